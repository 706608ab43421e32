"""Image files: named formats only, a bounded number of pixels, one kind of error with its name."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from difflayers.panoptic import images
from difflayers.panoptic.images import FORMATS, read_image
from tests.trust.malformed import attempt, budget
from tests.trust.test_files import damaged, damages

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(started) print
%%EOF
"""
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header states a size; a decoder finds no rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_each_named_format_is_read_by_its_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "photo.xyz").write_bytes(encoded(kind))
    read = read_image(tmp_path / "photo.xyz")
    assert read.shape == PICTURE.shape
    assert kind == "JPEG" or (read == PICTURE).all()


def test_a_postscript_file_called_png_starts_no_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", refuse)
    Image.init()  # every plugin is registered, as after any other use of Pillow
    (tmp_path / "photo.png").write_bytes(EPS)
    with pytest.raises(ValueError, match=r"photo\.png: cannot be read as an image .*PNG, JPEG"):
        read_image(tmp_path / "photo.png")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "PDF", "JPEG2000"])
def test_formats_that_are_not_named_are_refused(tmp_path: Path, kind: str) -> None:
    Image.fromarray(PICTURE).convert("RGB").save(tmp_path / "photo.png", kind)
    with pytest.raises(ValueError, match=r"photo\.png: cannot be read as an image"):
        read_image(tmp_path / "photo.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height", "stated"),
    [(8193, 8192, "8193 x 8192"), (13_000, 13_000, "13000 x 13000"), (30_000, 30_000, "more")],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, width: int, height: int, stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(huge_png(width, height))
    monkeypatch.setattr(Image.Image, "convert", lambda *_, **__: pytest.fail("decoded"))
    message = f"photo.png: cannot be read as an image (it must have at most 67108864 pixels, got {stated}; "
    with pytest.raises(ValueError, match=re.escape(message) + ".*raise MAX_PIXELS"):
        read_image(path)


def test_the_largest_size_is_read_and_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(images, "MAX_PIXELS", 63)
    assert read_image(tmp_path / "photo.png").shape == (9, 7, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 62)
    with pytest.raises(ValueError, match="at most 62 pixels, got 7 x 9"):
        read_image(tmp_path / "photo.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of some damage before it fails
@pytest.mark.parametrize("kind", FORMATS)
@budget(60)
@given(damage=damages(), cut=st.floats(0, 1))
def test_a_damaged_file_is_read_or_refused_by_name(
    kind: str, damage: list[tuple[str, float, int]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    content = damaged(encoded(kind), damage)
    path.write_bytes(content[: int(cut * len(content)) + 1])
    read, refusal = attempt(lambda: read_image(path, upright=True), (ValueError,))
    assert refusal is None or str(path) in refusal
    assert read is None or (read.dtype, read.ndim) == (np.uint8, 3)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}: cannot be read as an image")):
        read_image(tmp_path)


def test_without_pillow_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['PIL'] = None; import difflayers.panoptic.score"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("ImportError: images are read by Pillow: pip install pillow")
