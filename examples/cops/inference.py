"""From images to panoptic labels: network, AMWC, rejection of small segments (paper, Section 4.1)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from torch.nn import functional as F

import difflayers
from difflayers import amwc
from difflayers.graph import grid_edges
from difflayers.panoptic import PanopticLabels, compact, from_solution, reject_small, resize
from examples.cops.config import Config
from examples.cops.data.batches import STRIDE
from examples.cops.data.samples import shrink_image, shrunk_size, to_tensor
from examples.cops.network import CopsNetwork
from examples.cops.run.processes import solver_jobs
from examples.cops.steps import autocast

AmwcSolver = Callable[[amwc.AMWC], amwc.Solution]


@dataclass
class Timing:
    """Seconds spent since the start, over `images` images."""

    network: float = 0.0
    solver: float = 0.0
    rest: float = 0.0
    images: int = 0

    def __str__(self) -> str:
        per_image = 1000 / max(self.images, 1)
        return (
            f"{self.network * per_image:.0f} ms network, {self.solver * per_image:.0f} ms solver, "
            f"{self.rest * per_image:.0f} ms rest per image"
        )


class Solved(NamedTuple):
    """One image at a quarter of its (shrunken) resolution, as the solver saw it.

    Attributes:
        node_costs: (h·w, K).
        edge_costs: for each distance vertical (h − d, w) and horizontal (h, w − d).
        solution: of the AMWC; its cuts are those of `grid_edges((h, w), distances)`.
        shape: (h, w).
    """

    node_costs: np.ndarray
    edge_costs: list[tuple[np.ndarray, np.ndarray]]
    solution: amwc.Solution
    shape: tuple[int, int]


class Prediction(NamedTuple):
    """What is predicted for one image.

    Attributes:
        labels: at the image's resolution, small segments rejected.
        scores: (S,) in [0, 1], per segment the mean probability of its class in the semantic branch.
        semantic: (H, W), the class of each pixel before the rejection.
        solved: the costs and the solution behind the labels.
    """

    labels: PanopticLabels
    scores: np.ndarray
    semantic: np.ndarray
    solved: Solved


class Predictor:
    """Panoptic labels of images.

    Args:
        network: trained network, on the device to use.
        is_thing: (K,) bool.
        config: sizes, thresholds, distances and method of the run.
        solver: replaces `amwc.solve` with the method of `config`.
    """

    def __init__(
        self, network: CopsNetwork, is_thing: np.ndarray, config: Config, solver: AmwcSolver | None = None
    ) -> None:
        self.solver = solver or partial(amwc.solve, method=config.inference.method)
        self.network = network.eval()
        self.is_thing = is_thing
        self.config = config
        self.device = next(network.parameters()).device
        self.timing = Timing()
        if solver is None:
            difflayers.warmup(["amwc"], ["float32"])  # otherwise the first image would include compiling

    def __call__(self, image: np.ndarray) -> PanopticLabels:
        """Label one image (H, W, 3) uint8 at its own resolution."""
        return self.predict([image])[0].labels

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Label images (H, W, 3) uint8, at their own resolution; those of one padded size form a batch."""
        self.network.eval()
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            height, width = shrunk_size(image.shape, self.config.data.max_side)
            multiple = self.config.inference.multiple
            padded = -(-height // multiple) * multiple, -(-width // multiple) * multiple
            groups.setdefault(padded, []).append(index)
        predictions: dict[int, Prediction] = {}
        for group in groups.values():
            predictions |= zip(group, self._predict_together([images[index] for index in group]), strict=True)
        return [predictions[index] for index in range(len(images))]

    def _predict_together(self, images: list[np.ndarray]) -> list[Prediction]:
        started = time.perf_counter()
        batch, sizes = network_input(images, self.config)
        prepared = time.perf_counter()
        instances = self._costs(batch, sizes)
        predicted = time.perf_counter()
        solve = partial(_solve, self.config, self.is_thing, self.solver)
        # The solver releases the GIL, so that threads use all cores.
        jobs = solver_jobs() if len(instances) > 1 else 1
        solved = Parallel(jobs, require="sharedmem")(delayed(solve)(*costs) for costs in instances)
        done = time.perf_counter()
        results = [
            at_full_resolution(image, size, found, labels, self.is_thing, self.config)
            for image, size, (found, labels) in zip(images, sizes, solved, strict=True)
        ]
        self.timing.network += predicted - prepared
        self.timing.solver += done - predicted
        self.timing.rest += prepared - started + time.perf_counter() - done
        self.timing.images += len(images)
        return results

    @torch.no_grad()
    def _costs(self, batch: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> list[tuple[Any, Any, Any]]:
        """Shape and costs of each image as arrays; the padding is cut away before the solver sees it."""
        with autocast(self.config, self.device):
            logits = self.network(batch.to(self.device))
        costs = self.network.costs(logits)
        node = costs.node.float().cpu().numpy()
        edges = [(v.float().cpu().numpy(), h.float().cpu().numpy()) for v, h in costs.edge]
        distances = self.config.network.distances
        instances = []
        for i, size in enumerate(sizes):
            rows, columns = (-(-side // STRIDE) for side in size)
            own = node[i, :, :rows, :columns].reshape(node.shape[1], -1).T
            sides = [
                (v[i, : max(rows - d, 0), :columns], h[i, :rows, : max(columns - d, 0)])
                for d, (v, h) in zip(distances, edges, strict=True)
            ]
            instances.append(((rows, columns), np.ascontiguousarray(own), sides))
        return instances


def network_input(images: Sequence[np.ndarray], config: Config) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Return images as the network sees them (B, 3, H, W), and the size of each without padding.

    Args:
        images: of one padded size.
        config: the longest side, and what the padded sides are multiples of.
    """
    multiple = config.inference.multiple
    inputs, sizes = [], []
    for image in images:
        small = shrink_image(image, config.data.max_side)
        height, width = small.shape[:2]
        inputs.append(F.pad(to_tensor(small), (0, -width % multiple, 0, -height % multiple)))
        sizes.append((height, width))
    return torch.stack(inputs), sizes


def at_full_resolution(
    image: np.ndarray,
    size: tuple[int, int],
    solved: Solved,
    labels: PanopticLabels,
    is_thing: np.ndarray,
    config: Config,
) -> Prediction:
    """Enlarge labels at a quarter of the shrunken size to the image, and reject small segments."""
    height, width = size
    rows, columns = solved.shape
    # The class of each segment is replaced by its number, so that the kept segments can be identified.
    numbered = PanopticLabels(labels.segments, np.arange(len(labels.classes)))
    padded = resize(numbered, (STRIDE * rows, STRIDE * columns))
    covered = compact(padded.segments[:height, :width], padded.classes)
    whole = resize(covered, (image.shape[0], image.shape[1]))
    # Thresholds are for the shrunken image.
    shrunk = (image.shape[0] * image.shape[1]) / (height * width)
    areas = config.rejection.thing_area * shrunk, config.rejection.stuff_area * shrunk
    kept = reject_small(whole, is_thing[labels.classes], *areas)
    return Prediction(
        PanopticLabels(kept.segments, labels.classes[kept.classes]),
        mean_probabilities(solved)[kept.classes],
        labels.classes[whole.classes][whole.segments],
        solved,
    )


def _solve(
    config: Config,
    is_thing: np.ndarray,
    solver: AmwcSolver,
    shape: tuple[int, int],
    node_costs: np.ndarray,
    edge_costs: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[Solved, PanopticLabels]:
    flat = np.concatenate([side.ravel() for pair in edge_costs for side in pair])
    problem = amwc.AMWC(node_costs, grid_edges(shape, config.network.distances), flat, is_thing)
    solution = solver(problem)
    labels = from_solution(solution.labels, solution.segments, shape)
    return Solved(node_costs, edge_costs, solution, shape), labels


def mean_probabilities(solved: Solved) -> np.ndarray:
    """Per segment, the mean over its pixels of the probability (softmax of the costs) of its class."""
    likelihood = np.exp(solved.node_costs.min(1, keepdims=True) - solved.node_costs)
    chosen = solved.solution.labels
    probability = likelihood[np.arange(len(chosen)), chosen] / likelihood.sum(1)
    segments = solved.solution.segments
    return np.bincount(segments, probability) / np.bincount(segments)
