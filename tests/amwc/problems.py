"""Random problems for the property tests, and street scenes small enough for the exact solver."""

import numpy as np
from hypothesis import strategies as st

from difflayers.amwc import AMWC
from difflayers.graph import grid_edges


def random_problem(
    seed: int, num_nodes: int, num_labels: int, num_edges: int, kind: str = "mixed", things: str = "some"
) -> AMWC:
    """Problem on random pairs (parallel edges occur); `kind` is the sign of the edges or "ties"."""
    rng = np.random.default_rng(seed)
    num_edges = num_edges if num_nodes > 1 else 0
    tails = rng.integers(num_nodes, size=num_edges)
    heads = (tails + rng.integers(1, max(num_nodes, 2), size=num_edges)) % num_nodes
    if kind == "ties":
        node_costs = rng.integers(-1, 2, (num_nodes, num_labels)).astype(float)
        edge_costs = rng.integers(-1, 2, num_edges).astype(float)
    else:
        node_costs = rng.normal(size=(num_nodes, num_labels))
        edge_costs = rng.normal(size=num_edges)
    if kind == "attractive":
        edge_costs = np.abs(edge_costs)
    if kind == "repulsive":
        edge_costs = -np.abs(edge_costs)
    partitionable = {
        "some": rng.random(num_labels) < 0.5,
        "all": np.ones(num_labels, bool),
        "none": np.zeros(num_labels, bool),
    }[things]
    return AMWC(node_costs, np.stack([tails, heads], axis=1), edge_costs, partitionable)


def random_problems(
    max_nodes: int, max_labels: int, max_edges: int, ties: bool = True
) -> st.SearchStrategy[AMWC]:
    """Hypothesis strategy over all kinds of `random_problem`, or all but ties."""
    kinds = ["mixed", "attractive", "repulsive", *(["ties"] if ties else [])]
    return st.builds(
        random_problem,
        seed=st.integers(0, 2**31),
        num_nodes=st.integers(1, max_nodes),
        num_labels=st.integers(1, max_labels),
        num_edges=st.integers(0, max_edges),
        kind=st.sampled_from(kinds),
        things=st.sampled_from(["some", "all", "none"]),
    )


def constrained_problem(
    seed: int, num_nodes: int, num_labels: int, num_edges: int, things: str, share: float, dtype: type
) -> AMWC:
    """Random problem with a share of its labels forbidden and of its edges must- and cannot-links."""
    rng = np.random.default_rng(seed)
    plain = random_problem(seed, num_nodes, num_labels, num_edges, things=things)
    node_costs, edge_costs = plain.node_costs.astype(dtype), plain.edge_costs.astype(dtype)
    forbidden = rng.random(node_costs.shape) < share
    forbidden[np.arange(num_nodes), rng.integers(num_labels, size=num_nodes)] = False
    node_costs[forbidden] = np.inf
    kind = rng.random(len(edge_costs))
    edge_costs[kind < share / 2] = np.inf
    edge_costs[kind > 1 - share / 2] = -np.inf
    return AMWC(node_costs, plain.edges, edge_costs, plain.partitionable)


def constrained_problems(max_nodes: int, max_labels: int, max_edges: int) -> st.SearchStrategy[AMWC]:
    return st.builds(
        constrained_problem,
        seed=st.integers(0, 2**31),
        num_nodes=st.integers(1, max_nodes),
        num_labels=st.integers(1, max_labels),
        num_edges=st.integers(0, max_edges),
        things=st.sampled_from(["some", "all", "none"]),
        share=st.sampled_from([0.1, 0.3, 0.5]),
        dtype=st.sampled_from([np.float32, np.float64]),
    )


def grid_problem(height: int, width: int, num_labels: int, noise: float, seed: int) -> AMWC:
    """Two touching things on stuff, with Gaussian noise on all costs; half the labels may split."""
    rng = np.random.default_rng(seed)
    truth = np.full((height, width), num_labels - 1)
    instance = np.zeros((height, width), int)
    for number, columns in ((1, slice(1, width // 2)), (2, slice(width // 2, width - 1))):
        truth[height // 4 : -2, columns] = 0
        instance[height // 4 : -2, columns] = number
    node_costs = -2.0 * np.eye(num_labels)[truth.ravel()] + noise * rng.normal(size=(truth.size, num_labels))
    edges = grid_edges((height, width), (1, 3))
    region = (truth * 10 + instance).ravel()
    same = region[edges[:, 0]] == region[edges[:, 1]]
    edge_costs = np.where(same, 1.0, -1.0) + noise * rng.normal(size=len(edges))
    return AMWC(node_costs, edges, edge_costs, np.arange(num_labels) < num_labels // 2)
