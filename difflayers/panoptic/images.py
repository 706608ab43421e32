"""Reading images: the only place where an image file is opened."""

from pathlib import Path

import numpy as np

try:
    from PIL import Image, ImageOps
except ImportError as error:
    raise ImportError("images are read by Pillow: pip install pillow") from error

#: The formats that are read, by their content. Others (EPS, say, which starts Ghostscript) are refused.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
#: Endings of files in these formats.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: More pixels are refused: a file of some kilobytes can hold billions. This is 8192 x 8192.
MAX_PIXELS = 1 << 26

DEEP_MODES = ("I", "F")  # of Pillow: 32 bits per pixel


def read_image(path: Path, upright: bool = False) -> np.ndarray:
    """Read an image of 8 bits per channel as (H, W, 3) uint8; a grey one becomes RGB.

    Args:
        path: a file in one of `FORMATS`, of at most `MAX_PIXELS` pixels.
        upright: whether to turn the image as its EXIF orientation says. Labels are for the pixels as stored.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is damaged, of another format, too large, or has more than 8 bits
            per channel, which RGB would clip.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check(image)
            return np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limits
        raise ValueError(f"{path}: cannot be read as an image ({_too_large('more')})") from None
    except Image.UnidentifiedImageError:
        reason = f"damaged, or of another format than {', '.join(FORMATS)}"
        raise ValueError(f"{path}: cannot be read as an image ({reason})") from None
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise ValueError(f"{path}: cannot be read as an image ({error or type(error).__name__})") from error


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large(f"{image.width} x {image.height}"))
    if image.mode in DEEP_MODES or image.mode.startswith("I;16"):
        raise ValueError(f"its mode is {image.mode}, expected 8 bits per channel")


def _too_large(pixels: str) -> str:
    return (
        f"it must have at most {MAX_PIXELS} pixels, got {pixels}; shrink it, or raise MAX_PIXELS in "
        "difflayers/panoptic/images.py if you trust the file"
    )
