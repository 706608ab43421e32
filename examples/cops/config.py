"""Every number of a run in one place, each with its reason.

``PAPER`` holds what the paper states; the small configurations depart from it only where two CPU cores or
small images demand it, and say so.
"""

from dataclasses import dataclass, field, replace

from examples.cops.network import Widths


@dataclass(frozen=True)
class Config:
    """Settings of a run. Areas are in pixels of the image, distances in pixels of a quarter of it."""

    # Data
    size: tuple[int, int] = (512, 1024)  # training crop (Section 4.1)
    max_side: int | None = None  # images are shrunk to this longest side; None leaves them as they are
    scale: tuple[float, float] = (0.5, 2.0)  # random scale of Panoptic-DeepLab
    thing_area: float = 200.0  # smaller predicted things are rejected (Section 4.1)
    stuff_area: float = 2048.0
    small_area: float = 4096.0  # instances below weigh 3 times in stage 1 (Section 4.2)
    # Network
    distances: tuple[int, ...] = (1, 4, 16, 32, 64, 128)  # Section 3.1
    widths: Widths = field(default_factory=Widths)
    # Stage 1 (Section 4.2)
    iterations_one: int = 250_000
    batch_one: int = 12
    learning_rate_one: float = 1e-3
    # Stage 2 (Section 4.2)
    iterations_two: int = 3_000
    batch_two: int = 24
    learning_rate_two: float = 1e-3
    warm_up: int = 500
    scales: tuple[float, float] = (1.0, 5_000.0)  # λ is uniform in this range
    samples: int = 5  # N of Eq. 4
    loss_weight: float = 10.0
    cost_dropout: float = 0.1
    seed: int = 0


PAPER = Config()

#: A decoder a quarter as wide; dilations that fit maps of 8 to 20 pixels.
SMALL_WIDTHS = Widths(aspp=64, decoder=64, project_res3=24, project_res2=16, dilations=(2, 4, 6))

#: Drawn street scenes of 128 x 192: 1/85 of a Cityscapes image, so areas shrink, and so do distances.
DRAWN = replace(
    PAPER,
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
