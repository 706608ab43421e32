"""Batches: the same images however they are split, and few file handles."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes
from examples.cops.data.batches import Batch, Crops

ROOT = Path(__file__).resolve().parents[4]
TINY = DRAWN.change(data={"size": (32, 48)}, network={"distances": (1, 2, 4, 8, 11)})


def whole(stage: int, size: int, iteration: int = 5) -> list[Batch]:
    crops = Crops(DrawnScenes("train", 0, 4), TINY, stage, size)
    return [crops[iteration, part] for part in range(4 // size)]


def test_an_iteration_has_the_same_images_and_seeds_however_the_batch_is_split() -> None:
    (together,) = whole(1, 4)
    for size in (1, 2):
        parts = whole(1, size)
        assert torch.equal(torch.cat([part.images for part in parts]), together.images)
        assert [seed for part in parts for seed in part.seeds] == together.seeds
        assert [file for part in parts for file in part.files] == together.files
        assert {part.scale_seed for part in parts} == {together.scale_seed}
        for kind in ("semantic", "semantic_weight", "edges", "edge_weights"):
            stacked = torch.cat([getattr(part.targets, kind) for part in parts])
            assert torch.equal(stacked, getattr(together.targets, kind))


def test_images_and_seeds_of_an_iteration_and_of_the_next_differ() -> None:
    batches = [batch for iteration in range(3) for batch in whole(2, 4, iteration)]
    seeds = [seed for batch in batches for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds)
    assert len({batch.scale_seed for batch in batches}) == len(batches)
    images = [image.numpy().tobytes() for batch in batches for image in batch.images]
    assert len(set(images)) == len(images)
    assert np.unique([file for batch in batches for file in batch.files]).size > 1


def test_a_batch_is_one_tensor_of_each_kind() -> None:
    (batch,) = whole(1, 4)
    assert batch.targets is not None
    assert [type(value) for value in batch.targets] == [torch.Tensor] * 4
    assert len(batch.targets.edges) == len(batch.images) == 4


FEW_HANDLES = """
import resource, sys
import torch
from tests.examples.cops.data.test_batches import TINY
from examples.cops.data import DrawnScenes
from examples.cops.data.batches import Crops, load_batches

config = TINY.change(run={"workers": 2})
crops = Crops(DrawnScenes("train", 0, 4), config, stage=1, size=48)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
held = list(load_batches(crops, [(i, 0) for i in range(2)], torch.device("cpu")))
print(sum(len(batch.images) for batch in held))
"""


def test_two_batches_of_48_images_from_two_readers_need_fewer_than_128_file_handles() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_HANDLES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "96", done.stderr
