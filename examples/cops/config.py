"""Every number of a run in one place, each with its reason.

The defaults are the numbers that the paper states for Cityscapes, with the small network. `DRAWN` and `REAL`
depart from them where two CPU cores or small images demand it. The files in `settings/` hold the settings for
the paper's two data sets in full, with the source of every value; `load` reads them.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from examples.cops.network import Widths

SETTINGS = Path(__file__).parent / "settings"


@dataclass(frozen=True)
class Config:
    """Settings of a run. Areas are in pixels of the image, distances in pixels of a quarter of it."""

    # Data
    size: tuple[int, int] = (512, 1024)  # training crop (Section 4.1)
    max_side: int | None = None  # images are shrunk to this longest side; None leaves them as they are
    multiple: int = (
        32  # at inference, images are padded to a multiple of this, for the strides of the backbone
    )
    scale: tuple[float, float] = (0.5, 2.0)  # random scale of Panoptic-DeepLab
    thing_area: float = 200.0  # smaller predicted things are rejected (Section 4.1)
    stuff_area: float = 2048.0
    small_area: float = 4096.0  # instances below weigh 3 times in stage 1 (Section 4.2)
    # Network
    backbone: Literal["lite0", "resnet50"] = "lite0"
    heads: Literal["small", "deeplab"] = "small"
    distances: tuple[int, ...] = (1, 4, 16, 32, 64, 128)  # Section 3.1
    widths: Widths = field(default_factory=Widths)
    # Stage 1 (Section 4.2)
    iterations_one: int = 250_000
    batch_one: int = 12
    learning_rate_one: float = 1e-3
    warm_up_one: int = 0
    semantic_fraction: float = 0.2  # the hardest pixels that count
    affinity_fraction: float = 0.25  # the hardest pairs that count, for each distance
    affinity_weight: float = 0.25  # of the mean over the distances
    # Stage 2 (Section 4.2)
    iterations_two: int = 3_000
    batch_two: int = 24
    learning_rate_two: float = 1e-3
    rate_reduction: float = (
        0.0  # a layer s steps from the costs learns at 1 / (s · this); 0: all at the full rate
    )
    warm_up: int = 500
    scales: tuple[float, float] = (1.0, 5_000.0)  # λ is uniform in this range
    samples: int = 5  # N of Eq. 4
    loss_weight: float = 10.0
    cost_dropout: float = 0.1
    crop_stuff_factor: float = 1.0  # of the stuff area in the loss, since crops show less of a stuff region
    # Single stage: stage 1 as a warm-up, then all layers through the solver
    iterations_warm: int = 10_000
    iterations_single: int = 50_000
    batch_single: int = 24
    learning_rate_single: float = 1e-4
    # Solver
    method: Literal["fast", "default", "best"] = "default"  # in training, forward and backward
    inference_method: Literal["fast", "default", "best"] = "default"
    # How it runs
    precision: Literal["float32", "bfloat16"] = "float32"  # of the network; solver and losses see float32
    accumulation: int = 1  # parts that a process splits its batch into, each with a backward pass of its own
    gradient_norm: float = 5.0  # gradients are clipped to this norm
    workers: int = 0  # processes that read and augment; 0 does it between the iterations
    overlap: bool = True  # in stage 2, the frozen part sees the next batch while the solver works on this one
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming a setting whose value cannot be worked with."""
        _check_ranges(self)


#: The range of each number, where it must have one; of a pair or list it holds for each entry.
AT_LEAST_ONE = ("max_side", "distances", "batch_one", "batch_two", "batch_single", "samples", "accumulation")
AT_LEAST_ZERO = (
    *("iterations_one", "iterations_two", "iterations_warm", "iterations_single", "workers", "seed"),
    *("learning_rate_one", "learning_rate_two", "learning_rate_single", "rate_reduction"),
    *("warm_up_one", "warm_up", "thing_area", "stuff_area", "small_area", "crop_stuff_factor"),
    *("affinity_weight", "loss_weight", "cost_dropout"),
)
POSITIVE = ("scale", "scales", "gradient_norm", "semantic_fraction", "affinity_fraction")
AT_MOST_ONE = ("semantic_fraction", "affinity_fraction", "cost_dropout")
STRIDED = ("size", "multiple")  # the network puts out a quarter of them


def _check_ranges(config: Config) -> None:
    for names, fits, wanted in (
        (AT_LEAST_ONE, lambda value: value >= 1, "at least 1"),
        (AT_LEAST_ZERO, lambda value: 0 <= value < math.inf, "at least 0"),
        (POSITIVE, lambda value: 0 < value < math.inf, "above 0"),
        (AT_MOST_ONE, lambda value: value <= 1, "at most 1"),
        (STRIDED, lambda value: value >= 4 and value % 4 == 0, "a multiple of 4"),
    ):
        for name in names:
            value = getattr(config, name)
            entries = value if isinstance(value, tuple) else (value,)
            if not all(entry is None or fits(entry) for entry in entries):
                raise ValueError(f"{name} must be {wanted}, got {value}")
    for name in ("scale", "scales"):
        low, high = getattr(config, name)
        if low > high:
            raise ValueError(f"{name} must go from low to high, got {(low, high)}")
    if not config.distances or len(set(config.distances)) < len(config.distances):
        raise ValueError(f"distances must be distinct, and at least one, got {config.distances}")


#: A decoder a quarter as wide; dilations that fit maps of 8 to 20 pixels.
SMALL_WIDTHS = Widths(aspp=64, decoder=64, project_res3=24, project_res2=16, dilations=(2, 4, 6))

#: Drawn street scenes of 128 x 192: 1/85 of a Cityscapes image, so areas shrink, and so do distances.
DRAWN = Config(
    size=(128, 192),
    scale=(0.8, 1.25),
    thing_area=32.0,
    stuff_area=128.0,
    small_area=512.0,
    distances=(1, 2, 4, 8, 16),
    widths=SMALL_WIDTHS,
    iterations_one=600,
    batch_one=8,
    iterations_two=120,
    batch_two=8,
    learning_rate_two=2e-4,  # at 1e-3, the paper's for Cityscapes, a class is lost within 60 iterations
    warm_up=20,
    # λ times the gradient of a pixel is what moves its costs, and in small images segments have few pixels.
    scales=(1.0, 500.0),
    iterations_warm=200,
    iterations_single=200,
    batch_single=8,
)

#: Real images on two cores: longest side 256, crops of 160 x 160.
REAL = replace(
    DRAWN,
    size=(160, 160),
    max_side=256,
    scale=(0.7, 1.4),
    stuff_area=256.0,
    small_area=1024.0,
    distances=(1, 2, 4, 8, 16, 32),
)


def load(files: Sequence[Path]) -> Config:
    """Read a configuration from TOML files, such as those of stage 1 and of stage 2.

    Args:
        files: their tables only order the keys; a key is a field of `Config`, or of `Widths` in the table
            `widths`. What no file names keeps its default.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming file and key: not TOML, an unknown key, a key that was given before, a wrong type;
            naming the files and the key where a number is out of range.
    """
    values: dict[str, Any] = {}
    for path in files:
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; there are {', '.join(names())}") from None
        except ValueError as error:  # of TOML, or of UTF-8
            raise ValueError(f"{path}: not a TOML file ({error})") from error
        for name, value in content.items():
            table = value if isinstance(value, dict) and name != "widths" else {name: value}
            if given := table.keys() & values.keys():
                raise ValueError(f"{path}: {min(given)} was given before")
            values |= _checked(Config, table, path)
    try:
        return Config(**values)
    except ValueError as error:
        raise ValueError(f"{', '.join(map(str, files))}: {error}") from error


def names() -> list[str]:
    """The data sets that `settings/` has files for."""
    return sorted({path.name.split(".")[0] for path in SETTINGS.glob("*.toml")})


def from_fields(content: dict[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`, as checkpoints hold it."""
    return Config(**{**content, "widths": Widths(**content["widths"])})


def _checked(kind: type, content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values of a table as the fields of a dataclass want them."""
    types = get_type_hints(kind)
    known = {entry.name for entry in fields(kind)}
    if unknown := content.keys() - known:
        raise ValueError(f"{path}: {min(unknown)} is no setting; there are {', '.join(sorted(known))}")
    return {name: _converted(value, types[name], name, path) for name, value in content.items()}


def _converted(value: Any, wanted: Any, name: str, path: Path) -> Any:
    if wanted is Widths and isinstance(value, dict):
        return Widths(**_checked(Widths, value, path))
    options = get_args(wanted)
    if wanted is Widths:
        fits = False
    elif get_origin(wanted) is Literal:
        fits = value in options
    elif get_origin(wanted) is tuple:
        if fits := isinstance(value, list) and (options[-1] is ... or len(value) == len(options)):
            value = tuple(_converted(entry, options[0], name, path) for entry in value)
    elif wanted is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:  # int, bool, int | None; TOML has no None, it is the default
        kind = bool if wanted is bool else int
        fits = type(value) is kind
    if not fits:
        expected = f"one of {', '.join(options)}" if get_origin(wanted) is Literal else _described(wanted)
        raise ValueError(f"{path}: {name} must be {expected}, got {value!r}")
    return float(value) if wanted is float else value


def _described(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) or str(wanted) if not get_args(wanted) else str(wanted)
