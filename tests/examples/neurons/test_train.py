"""Trainings at tiny settings: every loss falls, and costs learn what the affinities got wrong."""

import numpy as np
import pytest
import torch

pytest.importorskip("skimage", reason="needs the extra `examples`")

from difflayers import graph
from examples.neurons.data import draw_slices
from examples.neurons.network import EdgeCosts, UNet
from examples.neurons.segment import Problem, cheapest_cuts
from examples.neurons.train import edge_losses, pixel_loss, predict, random_crops, train_costs, train_network


def misjudged(seed: int) -> Problem:
    """Squares whose first feature says nothing; the second says which borders are cut."""
    rng = np.random.default_rng(seed)
    regions = graph.region_graph(np.arange(36).reshape(6, 6).repeat(2, 0).repeat(2, 1))
    cell = np.arange(36) // 6 // 2
    cuts = (cell[regions.edges[:, 0]] != cell[regions.edges[:, 1]]).astype(np.float32)
    features = rng.normal(size=(len(cuts), 14)).astype(np.float32)
    features[:, 1] = 2 * cuts - 1 + 0.2 * features[:, 1]
    return Problem(regions, features, cuts)


@pytest.mark.parametrize("name", ["edge by edge", "Fenchel–Young", "blackbox"])
def test_steps_against_the_gradient_lower_each_loss(name: str) -> None:
    torch.manual_seed(0)
    seen = misjudged(0)
    features, cuts = torch.from_numpy(seen.features), torch.from_numpy(seen.cuts)
    costs = EdgeCosts(features)
    losses = []
    for _ in range(20):
        costs.zero_grad()
        loss = edge_losses(seed=0)[name](costs(features), cuts, seen.regions)  # the same noise in each step
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for weights in costs.parameters():
                weights -= 0.05 * weights.grad / max(weights.grad.norm(), 1e-6)
    assert losses[1] <= losses[0]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["edge by edge", "Fenchel–Young", "blackbox"])
def test_costs_learn_cuts_that_the_first_feature_does_not_show(name: str) -> None:
    problems = [misjudged(seed) for seed in range(4)]
    held_out = misjudged(9)
    costs, losses = train_costs(problems, edge_losses(0)[name], epochs=15, seed=0, rate=2e-2)
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])

    def wrong(values: np.ndarray) -> float:
        return float((cheapest_cuts(values, held_out.regions) != held_out.cuts).mean())

    before = wrong(held_out.features[:, 0])
    with torch.no_grad():
        assert wrong(costs(torch.from_numpy(held_out.features)).numpy()) < before / 2


def test_costs_begin_as_the_first_feature() -> None:
    features = torch.randn(7, 14)
    assert torch.equal(EdgeCosts(features)(features), features[:, 0])


def test_slices_without_an_edge_are_left_out_and_refused_if_alone() -> None:
    regions = graph.region_graph(np.zeros((4, 4), int))
    empty = Problem(regions, np.zeros((0, 14), np.float32), np.zeros(0, np.float32))
    loss = edge_losses(0)["edge by edge"]
    assert len(train_costs([empty, misjudged(0)], loss, epochs=2, seed=0)[1]) == 2
    with pytest.raises(ValueError, match="must have edges, got slices of one region"):
        train_costs([empty], loss, epochs=1, seed=0)


def test_the_network_learns_affinities_of_slices_it_has_not_seen() -> None:
    slices = draw_slices(5, side=64)
    torch.manual_seed(0)
    network = UNet(channels=4)

    def held_out() -> float:
        logits = torch.from_numpy(predict(network, slices[-1].image))
        return pixel_loss(logits, slices[-1].cells).item()

    before = held_out()
    losses = train_network(network, slices[:-1], steps=30, seed=0, side=48, rate=1e-2)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert held_out() < before - 0.1


def test_slices_of_any_size_have_a_logit_for_each_pixel() -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).random((37, 50)).astype(np.float32)
    assert predict(UNet(channels=4), image).shape == (8, 37, 50)


def test_crops_show_image_and_cells_of_the_same_place() -> None:
    (drawn,) = draw_slices(1, side=64)
    for crop, _ in zip(random_crops([drawn], 32, np.random.default_rng(0)), range(10), strict=False):
        assert crop.image.shape == crop.cells.shape == (32, 32)
        assert crop.image[crop.cells > 0].mean() > crop.image[crop.cells == 0].mean()
    whole = next(random_crops([drawn], 100, np.random.default_rng(0)))
    assert whole.image.shape == (64, 64)
