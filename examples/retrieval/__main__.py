"""Learn an embedding in which images of the same digit are near each other, by training on recall itself.

After Rolínek et al., Optimizing Rank-based Metrics with Blackbox Differentiation (CVPR 2020): sorting is the
solver, the similarities to a query are its costs, and the loss looks at the ranks. The digits lie anywhere on
a larger, noisy image, so that pixels alone say little. `python -m examples.retrieval` compares ways to train.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import difflayers
from difflayers.solvers import Ranking
from examples.comparison import Loss, Table, print_table, save

SIDE, TRAINING, CLASSES, EACH = 10, 1200, 10, 6  # a batch has 6 images of each of the ten digits
SHOWN, QUERIES = ("pixels", "untrained", "blackbox"), (0, 11, 42, 77, 5)


def draw_images(seed: int) -> tuple[Tensor, Tensor]:
    """Put each of scikit-learn's digits at a random place on a noisy image; (1797, 10, 10) and labels."""
    digits, generator = load_digits(), np.random.default_rng(seed)
    images = generator.normal(0, 0.15, (len(digits.images), SIDE, SIDE))
    places = generator.integers(0, SIDE - 7, (len(images), 2))
    for image, digit, (row, column) in zip(images, digits.images, places, strict=True):
        image[row : row + 8, column : column + 8] += digit / 16
    return torch.from_numpy(images).float(), torch.from_numpy(digits.target)


def network() -> nn.Module:
    """An embedding of 16 dimensions."""
    convolutions = nn.Conv2d(1, 16, 5), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2), nn.ReLU()
    return nn.Sequential(nn.Unflatten(1, (1, SIDE)), *convolutions, nn.Flatten(), nn.Linear(128, 16))


def embed(model: nn.Module, images: Tensor) -> Tensor:
    """Vectors of length 1, whose inner products are the cosines by which images are ranked."""
    return nn.functional.normalize(model(images).flatten(1), dim=1)


def scores(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of every image of a batch with those of its class (60, 5), and with all others (60, 54)."""
    label = torch.arange(CLASSES).repeat_interleave(EACH)
    same, cosines = label[:, None] == label, embeddings @ embeddings.T
    relevant = cosines[same & ~torch.eye(len(label), dtype=torch.bool)]
    return relevant.view(len(label), -1), cosines[~same].view(len(label), -1)


def recall(layer: nn.Module, margin: float) -> Loss:
    """Recall at all k together, summed over queries. The margin makes narrow leads count as losses."""
    loss = difflayers.losses.recall_loss
    return lambda embeddings: loss(layer, *scores(embeddings), margin=margin, reduction="sum")


def triplets(embeddings: Tensor) -> Tensor:
    """Every relevant image should be nearer than every irrelevant image, by a margin."""
    relevant, others = scores(embeddings)
    return (others[:, None] - relevant[:, :, None] + 0.2).clamp(min=0).mean()


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train, from a batch of embeddings, sorted by class; units are those of cosine."""
    gaussian, solver = difflayers.gaussian_noise(seed), Ranking()
    blackbox = difflayers.BlackboxLayer(solver, scales=5.0, batched=True)
    return {
        "triplets": triplets,
        "blackbox": recall(blackbox, 0.2),
        "blackbox, no margin": recall(blackbox, 0.0),
        "I-MLE": recall(difflayers.IMLELayer(solver, 5.0, 0.05, noise=gaussian, batched=True), 0.2),
        "perturbed": recall(difflayers.PerturbedLayer(solver, 0.1, 10, gaussian, batched=True), 0.2),
        "identity": recall(difflayers.IdentityLayer(solver, batched=True), 0.2),
    }


def train(images: Tensor, labels: Tensor, loss: Loss, seed: int, steps: int) -> nn.Module:
    """Fit the embedding to the first images."""
    torch.manual_seed(seed)
    members = [torch.nonzero(labels[:TRAINING] == digit).squeeze(1) for digit in range(CLASSES)]
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        rows = torch.cat([rows[torch.randperm(len(rows))[:EACH]] for rows in members])
        optimizer.zero_grad()
        loss(embed(model, images[rows])).backward()
        optimizer.step()
    return model


@torch.no_grad()
def ranked(model: nn.Module, images: Tensor) -> Tensor:
    """Per test image, the numbers of all other test images by falling similarity (M, M - 1)."""
    vectors = embed(model, images[TRAINING:])
    return (vectors @ vectors.T).fill_diagonal_(-2).argsort(1, descending=True)[:, :-1] + TRAINING


def quality(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, ...]:
    """Recall@1, recall@4 (is one of the k nearest the same digit?) and mean average precision, in %."""
    hits = (labels[ranked(model, images)] == labels[TRAINING:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    average = (precision * hits).sum(1) / hits.sum(1)
    return tuple(100 * float(each.mean()) for each in (hits[:, 0], hits[:, :4].amax(1), average))


def run(
    seeds: Sequence[int] = (0, 1, 2), steps: int = 200
) -> tuple[Table, dict[str, nn.Module], Tensor, Tensor]:
    """Return every method's results, one per seed, and the last seed's models, images and labels."""
    table: Table = {}
    for seed in seeds:
        images, labels = draw_images(seed)
        torch.manual_seed(seed)
        models: dict[str, nn.Module] = {"pixels": nn.Identity(), "untrained": network()}
        models |= {name: train(images, labels, loss, seed, steps) for name, loss in losses(seed).items()}
        for name, model in models.items():
            table.setdefault(name, []).append(quality(model, images, labels))
    return table, models, images, labels


def draw(models: dict[str, nn.Module], images: Tensor, labels: Tensor) -> Figure:
    """Some queries, framed black, and the ten images nearest to them, green where they are the same digit."""
    figure = Figure(figsize=(13, 2.6))
    for block, name in enumerate(SHOWN):
        order = ranked(models[name], images)
        for row, query in enumerate(QUERIES):
            for place, shown in enumerate([TRAINING + query, *order[query, :10].tolist()]):
                axis = figure.add_axes((0.005 + (block + 0.085 * place) / 3, 0.74 - 0.18 * row, 0.026, 0.16))
                axis.imshow(images[shown].numpy(), cmap="gray_r")
                colour = "tab:green" if labels[shown] == labels[TRAINING + query] else "tab:red"
                axis.spines[:].set(color=colour if place else "black", linewidth=2)
                axis.set(xticks=[], yticks=[], title=name if (place, row) == (5, 0) else "")
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, images, labels = run((0,), 20) if "--quick" in sys.argv else run()
    print_table(
        "test images, mean (range) over seeds, in %: recall@1; recall@4; mean average precision",
        table,
        digits=1,
    )
    save(draw(models, images, labels), "runs/retrieval/result.png")
