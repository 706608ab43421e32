"""Bipartite matching with shares of similar and of different pairs, as in Mandi et al. (JAIR 2024)."""

import numpy as np

from difflayers._arguments import count
from difflayers.solvers import DiverseMatching
from difflayers.tasks.polynomial import checked, scores
from difflayers.tasks.task import Task


def diverse_matching(
    num_instances: int = 30,
    num_features: int = 8,
    size: int = 20,
    num_fields: int = 5,
    degree: int = 4,
    least_similar: float = 0.25,
    least_different: float = 0.25,
    seed: int = 0,
) -> Task:
    """The matching with the most links, of which given shares are within a field and between fields.

    Wilder et al. (AAAI 2019), Ferber et al. (AAAI 2020) and Mandi et al. match papers of the Cora data set.
    Here the features are drawn: those of a pair (i, j) are the products of the features of i and j. A link
    exists with a probability that is a polynomial of one weighted sum of them.

    Args:
        num_instances: number N of instances.
        num_features: number p of features per pair.
        size: number of nodes on each side.
        num_fields: number of fields, of which every node has one.
        degree: of the polynomial.
        least_similar: least share of pairs of one field.
        least_different: least share of pairs of two fields.
        seed: of the random numbers.

    Returns:
        A task with features (N, size, size, p), costs −1 for a link and 0 for none (N, size, size), and
        contexts that say which pairs are of one field.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = diverse_matching(num_instances=2, size=6)
        >>> task.features.shape, task.optima
        ((2, 6, 6, 8), array([-3., -2.]))
    """
    checked(num_instances, num_features, degree, 0)
    count("size", size)
    count("num_fields", num_fields)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 2, num_features)
    left, right = rng.normal(size=(2, num_instances, size, num_features))
    fields = rng.integers(0, num_fields, (2, num_instances, size))
    features = left[:, :, None] * right[:, None, :]
    score = scores(features.reshape(-1, num_features), weights[None]).reshape(features.shape[:-1])
    links = rng.random(score.shape) < np.clip((np.maximum(score, 0) / 5) ** degree, 0, 1)
    similar = fields[0][:, :, None] == fields[1][:, None, :]
    solver = DiverseMatching(similar[0], least_similar, least_different)
    return Task(features, -links.astype(np.float64), solver, contexts=list(similar), seed=seed)
