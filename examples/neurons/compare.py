"""The comparison: every method is tuned by one number on training slices, and measured on held-out ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from examples.neurons.data import Slice, Split
from examples.neurons.network import EdgeCosts, UNet
from examples.neurons.segment import (
    Errors,
    Problem,
    by_multicut,
    by_mutex_watershed,
    by_threshold,
    errors,
    problem,
)
from examples.neurons.train import edge_losses, predict, train_costs, train_network

BIASES = np.arange(-3.0, 3.5, 0.5)


class Seen(NamedTuple):
    """A slice, its logits of affinities (8, h, w), and the graph of its regions."""

    slice: Slice
    logits: np.ndarray
    problem: Problem


Segmenter = Callable[[Seen, float], np.ndarray]  # a bias of the costs or logits is the one number to tune


class Result(NamedTuple):
    """Mean errors on held-out slices with the bias that was tuned, that bias, and the errors without bias."""

    errors: Errors
    bias: float
    unbiased: Errors


def see(network: UNet, slices: Sequence[Slice]) -> list[Seen]:
    """Run the network on slices, and make their graphs."""
    logits = [predict(network, each.image) for each in slices]
    return [Seen(each, maps, problem(maps, each.cells)) for each, maps in zip(slices, logits, strict=True)]


def segmenters(costs: dict[str, EdgeCosts]) -> dict[str, Segmenter]:
    """Every method by its name: two without a multicut, one before its costs are trained, and the others."""
    return {
        "thresholded watershed": lambda seen, bias: by_threshold(seen.logits, bias),
        "mutex watershed": lambda seen, bias: by_mutex_watershed(seen.logits, bias),
        "multicut, before": lambda seen, bias: by_multicut(
            seen.problem.regions, seen.problem.features[:, 0] + np.float32(bias)
        ),
        **{f"multicut, {name}": _with_costs(trained) for name, trained in costs.items()},
    }


def _with_costs(trained: EdgeCosts) -> Segmenter:
    @torch.no_grad()
    def segment(seen: Seen, bias: float) -> np.ndarray:
        costs = trained(torch.from_numpy(seen.problem.features)).numpy()
        return by_multicut(seen.problem.regions, costs + np.float32(bias))

    return segment


def measured(segment: Segmenter, training: Sequence[Seen], held_out: Sequence[Seen]) -> Result:
    """Choose the bias with the least variation of information on the training slices, and measure.

    The adapted Rand error would choose by a few large cells: one merge of two of them outweighs all others.
    """

    def mean_errors(slices: Sequence[Seen], bias: float) -> Errors:
        found = [errors(segment(seen, bias), seen.slice.cells) for seen in slices]
        return Errors(*np.mean(found, axis=0).tolist())

    bias = float(min(BIASES, key=lambda bias: mean_errors(training, bias).information))
    return Result(mean_errors(held_out, bias), bias, mean_errors(held_out, 0.0))


class Settings(NamedTuple):
    """Seeds of the comparison, and the size of its trainings: see `train_network` and `train_costs`."""

    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 400
    side: int = 176
    channels: int = 16
    epochs: int = 20


def run(slices: Split, settings: Settings) -> tuple[dict[str, list[Result]], dict[str, Segmenter], Seen]:
    """Every method's results, one per seed, and of the last seed the methods and a held-out slice."""
    results: dict[str, list[Result]] = {}
    for seed in settings.seeds:
        torch.manual_seed(seed)
        network = UNet(settings.channels)
        train_network(network, slices.training, settings.steps, seed, side=settings.side)
        training, held_out = (see(network, part) for part in slices)
        problems = [seen.problem for seen in training]
        costs = {
            name: train_costs(problems, loss, settings.epochs, seed)[0]
            for name, loss in edge_losses(seed).items()
        }
        methods = segmenters(costs)
        for name, segment in methods.items():
            result = measured(segment, training, held_out)
            results.setdefault(name, []).append(result)
            print(f"seed {seed}  {name:24} bias {result.bias:+.1f}  {_cells(result.errors)}", flush=True)
    return results, methods, held_out[0]


def _cells(values: Errors) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values._asdict().items())


def table(results: dict[str, list[Result]]) -> str:
    """Median of each measure and, in brackets, its range over the seeds; a line for each method."""
    titles = ("adapted Rand error", "variation of inf.", "of it: splits", "merges", "Rand error, no bias")
    lines = [f"{'':24} " + " ".join(f"{title:21}" for title in titles)]
    for name, of_seeds in results.items():
        columns = np.transpose([[*result.errors, result.unbiased.rand] for result in of_seeds])
        cells = [f"{np.median(c):.3f} ({c.min():.3f}–{c.max():.3f})" for c in columns]
        lines.append(f"{name:24} " + " ".join(f"{cell:21}" for cell in cells))
    return "\n".join(lines)
