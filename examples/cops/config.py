"""Every setting of a run: its table, type, allowed range, default, and the reason for the default.

The defaults are the numbers that the paper states for Cityscapes, with the small network. `DRAWN` and `REAL`
depart from them where two CPU cores or small images demand it. The files in `settings/` hold the settings for
the paper's two data sets in full, with the source of every value.

A new setting is one line in one of the dataclasses below. Its table in the files, its check, and its part in
whether a run may be resumed (`run/resume.py`) follow from that line.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints


class Rule(NamedTuple):
    """What a setting must be: in words, and as a test of its value."""

    words: str
    fits: Callable[[Any], bool]


def each(words: str, fits: Callable[[Any], bool]) -> Rule:
    """A rule for a number, for each entry of a tuple, and for nothing where the value is None."""
    return Rule(words, lambda value: all(e is None or fits(e) for e in _entries(value)))


AT_LEAST_0 = each("at least 0", lambda value: 0 <= value < math.inf)
AT_LEAST_1 = each("at least 1", lambda value: 1 <= value < math.inf)
ABOVE_0 = each("above 0", lambda value: 0 < value < math.inf)
FRACTION = each("above 0 and at most 1", lambda value: 0 < value <= 1)
PROBABILITY = each("from 0 to 1", lambda value: 0 <= value <= 1)
STRIDED = each("a multiple of 4", lambda value: value >= 4 and value % 4 == 0)  # the network's output stride
ASCENDING = Rule("from low to high", lambda value: list(value) == sorted(value))
DISTINCT = Rule("distinct, and at least one", lambda value: 0 < len(value) == len(set(value)))

Method = Literal["fast", "default", "best"]  # of `amwc.solve`


@dataclass(frozen=True)
class Data:
    """What images become before the network sees them."""

    size: Annotated[tuple[int, int], STRIDED] = (512, 1024)  # training crop, pixels (Section 4.1)
    max_side: Annotated[int | None, AT_LEAST_1] = None  # images are shrunk to this longest side, if given
    scale: Annotated[tuple[float, float], ABOVE_0, ASCENDING] = (0.5, 2.0)  # random scale of Panoptic-DeepLab
    short_sides: Annotated[tuple[int, ...] | None, AT_LEAST_1] = None  # if given, one is drawn, not a scale
    longest_side: Annotated[int | None, AT_LEAST_1] = None  # which then limits the scale


@dataclass(frozen=True)
class Widths:
    """Channels and dilations of a decoder (Section 3.1)."""

    aspp: Annotated[int, AT_LEAST_1] = 256
    decoder: Annotated[int, AT_LEAST_1] = 256
    project_res3: Annotated[int, AT_LEAST_1] = 64
    project_res2: Annotated[int, AT_LEAST_1] = 32
    dilations: Annotated[tuple[int, ...], AT_LEAST_1] = (6, 12, 18)


@dataclass(frozen=True)
class Network:
    """The network; distances are in pixels of a quarter of the image."""

    backbone: Literal["lite0", "resnet50"] = "lite0"
    heads: Literal["small", "deeplab"] = "small"
    distances: Annotated[tuple[int, ...], AT_LEAST_1, DISTINCT] = (1, 4, 16, 32, 64, 128)  # Section 3.1
    widths: Widths = field(default_factory=Widths)


@dataclass(frozen=True)
class Stage1:
    """Cross-entropies on classes and boundaries (Section 4.2)."""

    iterations: Annotated[int, AT_LEAST_0] = 250_000
    batch: Annotated[int, AT_LEAST_1] = 12
    learning_rate: Annotated[float, AT_LEAST_0] = 1e-3
    warm_up: Annotated[int, AT_LEAST_0] = 0  # iterations in which the learning rate rises from 0
    semantic_fraction: Annotated[float, FRACTION] = 0.2  # the hardest pixels, which alone count
    affinity_fraction: Annotated[float, FRACTION] = 0.25  # the hardest pairs, for each distance
    affinity_of: Literal["pairs", "map"] = "pairs"  # what the fraction is of, see `losses.affinity_loss`
    affinity_weight: Annotated[float, AT_LEAST_0] = 0.25  # of the mean over the distances
    small_area: Annotated[float, AT_LEAST_0] = 4096.0  # instances of fewer pixels of the image weigh 3 times


@dataclass(frozen=True)
class Stage2:
    """Soft panoptic quality through the solver, after stage 1 (Section 4.2)."""

    iterations: Annotated[int, AT_LEAST_0] = 3_000
    batch: Annotated[int, AT_LEAST_1] = 24
    learning_rate: Annotated[float, AT_LEAST_0] = 1e-3
    warm_up: Annotated[int, AT_LEAST_0] = 500
    decay_iterations: Annotated[int | None, AT_LEAST_1] = (
        None  # after which the rate is 0; None: `iterations`
    )
    rate_reduction: Annotated[float, AT_LEAST_0] = (
        0.0  # s layers from the costs: rate / (s · this), if above 1
    )
    short_sides: Annotated[tuple[int, ...] | None, AT_LEAST_1] = None  # as in `Data`; None: those of `Data`


@dataclass(frozen=True)
class Single:
    """Stage 1's loss as a warm-up, then all layers through the solver."""

    warm_iterations: Annotated[int, AT_LEAST_0] = 10_000  # in place of stage 1's iterations
    iterations: Annotated[int, AT_LEAST_0] = 50_000
    batch: Annotated[int, AT_LEAST_1] = 24
    learning_rate: Annotated[float, AT_LEAST_0] = 1e-4
    warm_up: Annotated[int, AT_LEAST_0] = 500


@dataclass(frozen=True)
class Rejection:
    """Predicted segments of fewer pixels of the image are rejected; the loss has the same thresholds."""

    thing_area: Annotated[float, AT_LEAST_0] = 200.0  # Section 4.1
    stuff_area: Annotated[float, AT_LEAST_0] = 2048.0


@dataclass(frozen=True)
class Loss:
    """The loss behind the solver (Eq. 6)."""

    weight: Annotated[float, AT_LEAST_0] = 10.0
    cost_dropout: Annotated[float, PROBABILITY] = 0.1  # of pixels' node costs, and of single edges
    crop_stuff_factor: Annotated[float, AT_LEAST_0] = (
        1.0  # of stuff_area: a crop shows part of a stuff region
    )


@dataclass(frozen=True)
class Solver:
    """The solver in training, forward and backward (Eq. 4)."""

    scales: Annotated[tuple[float, float], ABOVE_0, ASCENDING] = (1.0, 5_000.0)  # λ is uniform in this range
    samples: Annotated[int, AT_LEAST_1] = 5  # N
    method: Method = "default"
    #: "gpu": tensor operations ("fast") on the GPU; "cpu": `method`; "auto": what takes less time on a GPU.
    place: Literal["auto", "cpu", "gpu"] = "auto"


@dataclass(frozen=True)
class Training:
    """What all stages have in common."""

    precision: Literal["float32", "bfloat16"] = "float32"  # of the network; solver and losses see float32
    gradient_norm: Annotated[float, ABOVE_0] = 5.0  # gradients are clipped to this norm
    seed: Annotated[int, AT_LEAST_0] = 0
    deterministic: bool = False  # algorithms on a GPU that repeat bit for bit; torch warns where it has none


@dataclass(frozen=True)
class Inference:
    """How a trained network labels images."""

    method: Method = "default"
    multiple: Annotated[int, STRIDED] = 32  # images are padded to a multiple of this, the backbone's strides


@dataclass(frozen=True)
class Run:
    """How a run uses the machine; what training comes to does not depend on this, but for rounding."""

    evaluate_every: Annotated[int, AT_LEAST_0] = 0  # iterations between two evaluations in training; 0: none
    evaluate_images: Annotated[int | None, AT_LEAST_1] = 100  # the first held-out ones; None: all
    accumulation: Annotated[int, AT_LEAST_1] = (
        1  # parts that a process splits its batch into, one after another
    )
    workers: Annotated[int, AT_LEAST_0] = 0  # processes that read and augment; 0 reads between the iterations
    overlap: bool = True  # in stage 2 the frozen layers see the next batch while the solver works on this one


@dataclass(frozen=True)
class Config:
    """All settings of a run, a table each.

    Raises:
        ValueError: naming table, setting and allowed range, if a value is out of its range.
    """

    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    stage1: Stage1 = field(default_factory=Stage1)
    stage2: Stage2 = field(default_factory=Stage2)
    single: Single = field(default_factory=Single)
    rejection: Rejection = field(default_factory=Rejection)
    loss: Loss = field(default_factory=Loss)
    solver: Solver = field(default_factory=Solver)
    training: Training = field(default_factory=Training)
    inference: Inference = field(default_factory=Inference)
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        _check(self)

    def change(self, **tables: dict[str, Any]) -> "Config":
        """A copy with other settings, such as `config.change(stage1={"batch": 4}, training={"seed": 1})`."""
        changed = {name: replace(getattr(self, name), **values) for name, values in tables.items()}
        return replace(self, **changed)


def _entries(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _check(table: Any, prefix: str = "") -> None:
    types = get_type_hints(type(table), include_extras=True)
    for entry in fields(table):
        name, value = prefix + entry.name, getattr(table, entry.name)
        if is_dataclass(value):
            _check(value, f"{name}.")
        for rule in getattr(types[entry.name], "__metadata__", ()):
            if not rule.fits(value):
                raise ValueError(f"{name} must be {rule.words}, got {value}")


#: Drawn street scenes of 128 x 192: 1/85 of a Cityscapes image, so areas shrink, and so do distances.
DRAWN = Config(
    data=Data(size=(128, 192), scale=(0.8, 1.25)),
    # A decoder a quarter as wide; dilations that fit maps of 8 to 20 pixels.
    network=Network(
        distances=(1, 2, 4, 8, 16),
        widths=Widths(aspp=64, decoder=64, project_res3=24, project_res2=16, dilations=(2, 4, 6)),
    ),
    stage1=Stage1(iterations=600, batch=8, small_area=512.0),
    # At 1e-3, the paper's learning rate for Cityscapes, a class is lost within 60 iterations.
    stage2=Stage2(iterations=120, batch=8, learning_rate=2e-4, warm_up=20),
    single=Single(warm_iterations=200, iterations=200, batch=8, warm_up=20),
    rejection=Rejection(thing_area=32.0, stuff_area=128.0),
    # λ times the gradient of a pixel is what moves its costs, and in small images segments have few pixels.
    solver=Solver(scales=(1.0, 500.0)),
)

#: Real images on two cores: longest side 256, crops of 160 x 160.
REAL = DRAWN.change(
    data={"size": (160, 160), "max_side": 256, "scale": (0.7, 1.4)},
    network={"distances": (1, 2, 4, 8, 16, 32)},
    stage1={"small_area": 1024.0},
    rejection={"stuff_area": 256.0},
)
