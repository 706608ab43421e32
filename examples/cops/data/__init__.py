"""Data sets: where their files lie, one labeled image, drawn scenes, and batches of crops."""

from difflayers.panoptic.files import Category, read_categories
from examples.cops.data.folders import CocoPanoptic, find_files, open_dataset
from examples.cops.data.samples import Sample
from examples.cops.data.scenes import DrawnScenes

__all__ = [
    "Category",
    "CocoPanoptic",
    "DrawnScenes",
    "Sample",
    "find_files",
    "open_dataset",
    "read_categories",
]
