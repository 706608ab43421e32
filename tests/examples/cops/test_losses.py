"""Stage 1's loss against sums by hand, image by image and pair by pair."""

import numpy as np
import pytest
import torch

from examples.cops.data import DrawnScenes
from examples.cops.data.batches import quarter_labels
from examples.cops.losses import affinity_loss, hardest_mean, semantic_loss
from examples.cops.targets import Targets, stack_targets, stage_one_targets

DISTANCES = (1, 3, 40)  # the last one exceeds the maps: there is no pair to learn from


@pytest.fixture(scope="module")
def targets() -> list[Targets]:
    scenes = DrawnScenes("train", 0, 3)
    labels = quarter_labels([scenes[index] for index in range(3)])
    return [stage_one_targets(label, scenes.is_thing, DISTANCES, 16, 512) for label in labels]


def hardest(losses: list[float], fraction: float) -> float:
    """Mean of the largest losses, by sorting."""
    return float(np.mean(sorted(losses)[::-1][: max(1, round(fraction * len(losses)))]))


def test_the_hardest_pixels_of_all_images_count_with_their_weights(targets: list[Targets]) -> None:
    logits = torch.randn(3, 8, *targets[0].semantic.shape, generator=torch.Generator().manual_seed(0))
    losses = []
    for image, target in zip(logits.log_softmax(1).double(), targets, strict=True):
        for place, kind in np.ndenumerate(target.semantic.numpy()):
            if kind >= 0:
                losses.append(-float(image[(kind, *place)]) * float(target.semantic_weight[place]))
    assert len(losses) < 3 * targets[0].semantic.numel()  # some pixels are void
    found = semantic_loss(logits, stack_targets(targets), 0.2)
    assert found.item() == pytest.approx(hardest(losses, 0.2), rel=1e-5)


def test_the_hardest_pairs_of_each_distance_count_and_the_distances_alike(targets: list[Targets]) -> None:
    generator = torch.Generator().manual_seed(1)
    boundary = [
        tuple(torch.randn(3, *side.shape, generator=generator) for side in pair) for pair in targets[0].edges
    ]
    means = []
    for index in range(len(DISTANCES)):
        losses = []
        for side in (0, 1):
            for image, target in enumerate(targets):
                truth, weight = (part[index][side].double() for part in (target.edges, target.edge_weights))
                logits = boundary[index][side][image].double()
                loss = torch.log1p(torch.exp(torch.where(truth > 0, -logits, logits))) * weight
                losses += loss[weight > 0].tolist()
        means.append(hardest(losses, 0.25) if losses else 0.0)
    found = affinity_loss(boundary, stack_targets(targets), 0.25)  # type: ignore[arg-type]
    assert means[0] > 0
    assert found.item() == pytest.approx(np.mean(means), rel=1e-5)


def test_of_the_whole_map_each_direction_counts_alone_and_pixels_without_a_pair_are_zero(
    targets: list[Targets],
) -> None:
    generator = torch.Generator().manual_seed(2)
    boundary = [
        tuple(torch.randn(3, *side.shape, generator=generator) for side in pair) for pair in targets[0].edges
    ]
    means = []
    for index in range(len(DISTANCES)):
        for side in (0, 1):
            whole = np.zeros((3, *targets[0].semantic.shape))  # as the authors hold it: a map per direction
            for image, target in enumerate(targets):
                truth, weight = (part[index][side].double() for part in (target.edges, target.edge_weights))
                logits = boundary[index][side][image].double()
                loss = torch.log1p(torch.exp(torch.where(truth > 0, -logits, logits))) * weight
                whole[image, : loss.shape[0], : loss.shape[1]] = loss
            means.append(hardest(whole.ravel().tolist(), 0.25))
    found = affinity_loss(boundary, stack_targets(targets), 0.25, "map")  # type: ignore[arg-type]
    assert min(means) == 0  # no pair is 40 apart vertically
    assert found.item() == pytest.approx(np.mean(means), rel=1e-5)


def test_nothing_to_learn_from_is_a_loss_of_zero_with_a_gradient() -> None:
    nothing = torch.zeros(0, requires_grad=True)
    hardest_mean(nothing, 0.5).backward()
    assert nothing.grad is not None
