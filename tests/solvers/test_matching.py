from itertools import permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from difflayers.graph import grid_edges
from difflayers.solver import SolverError
from difflayers.solvers import BipartiteMatching, PerfectMatching


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.6]))
def test_bipartite_matchings_cost_as_much_as_those_of_scipy(rows, columns, seed, forbidden):
    rng = np.random.default_rng(seed)
    costs = rng.normal(size=(rows, columns))
    if seed % 2:
        costs = np.rint(costs)
    costs[rng.random(costs.shape) < forbidden] = np.inf
    solver = BipartiteMatching((rows, columns))
    try:
        expected = costs[linear_sum_assignment(costs)].sum()
    except ValueError:
        with pytest.raises(SolverError, match="instance 0: no matching of finite cost"):
            solver(costs[None])
        return
    matching = solver(costs[None])[0]
    assert costs[matching > 0].sum() == pytest.approx(expected)
    assert matching.sum() == min(rows, columns)
    assert matching.sum(axis=0).max() == matching.sum(axis=1).max() == 1


def test_a_large_bipartite_matching_costs_as_much_as_that_of_scipy():
    costs = np.random.default_rng(0).normal(size=(2, 60, 80))
    for cost, matching in zip(costs, BipartiteMatching((60, 80))(costs), strict=True):
        assert (cost * matching).sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


def reference_cost(num_nodes, edges, costs):
    """Least cost of a perfect matching by networkx, None where there is none."""
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    for (u, v), cost in zip(edges.tolist(), costs.tolist(), strict=True):
        if cost < min(np.inf, graph.get_edge_data(u, v, {"weight": np.inf})["weight"]):
            graph.add_edge(u, v, weight=cost)
    pairs = nx.min_weight_matching(graph)
    if 2 * len(pairs) < num_nodes:
        return None
    return sum(graph.edges[pair]["weight"] for pair in pairs)


def assert_as_cheap(num_nodes, edges, costs):
    expected = reference_cost(num_nodes, edges, costs)
    solver = PerfectMatching(num_nodes, edges)
    if expected is None:
        with pytest.raises(SolverError, match="instance 0: no perfect matching of finite cost"):
            solver(costs[None])
        return
    matching = solver(costs[None])[0]
    assert np.bincount(edges[matching > 0].ravel(), minlength=num_nodes).tolist() == [1] * num_nodes
    assert costs[matching > 0].sum() == pytest.approx(expected)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from([0.25, 0.4, 0.7, 1.0]),
    st.sampled_from(["uniform", "normal", "ties", "forbidden", "tiny", "huge"]),
    st.integers(0, 10**6),
)
def test_perfect_matchings_cost_as_much_as_those_of_networkx(half, density, kind, seed):
    rng = np.random.default_rng(seed)
    edges = np.stack(np.triu_indices(2 * half, 1), axis=1)
    edges = edges[rng.random(len(edges)) < density]
    # Parallel edges too, and either way round.
    edges = np.concatenate([edges, edges[rng.random(len(edges)) < 0.1][:, ::-1]])
    costs = rng.random(len(edges)) if kind in ("uniform", "forbidden") else rng.normal(size=len(edges))
    if kind == "ties":
        costs = rng.integers(-1, 3, len(edges)).astype(float)
    if kind == "forbidden":
        costs[rng.random(len(edges)) < 0.2] = np.inf
    costs *= {"tiny": 1e-300, "huge": 1e300}.get(kind, 1)
    assert_as_cheap(2 * half, edges, costs)


@pytest.mark.parametrize("seed", range(6))
def test_many_nested_blossoms_on_larger_graphs_are_solved_exactly(seed):
    # Triangles in a row, whose cheap odd cycles make blossoms of blossoms.
    rng = np.random.default_rng(seed)
    triangles = np.arange(36).reshape(12, 3)
    edges = [triangles[:, pair] for pair in ([0, 1], [1, 2], [0, 2])]
    edges.append(np.stack([triangles[:-1, 2], triangles[1:, 0]], axis=1))
    edges.append(rng.permuted(np.arange(36).reshape(18, 2), axis=0))
    edges = np.concatenate(edges)
    edges = edges[edges[:, 0] != edges[:, 1]]
    assert_as_cheap(36, edges, np.concatenate([rng.random(36), 3 + 5 * rng.random(len(edges) - 36)]))
    edges = grid_edges((6, 8), [1, 2])
    assert_as_cheap(48, edges, rng.integers(0, 5, len(edges)).astype(float))


def perfect_matchings(nodes, pairs):
    """All perfect matchings, as lists of numbers of pairs."""
    if not nodes:
        yield []
        return
    for number, pair in enumerate(pairs):
        if pair[0] == nodes[0] and pair[1] in nodes:
            for rest in perfect_matchings([v for v in nodes if v not in pair], pairs):
                yield [number, *rest]


@pytest.mark.parametrize("kind", ["decades", "prohibitive", "offset"])
def test_whole_costs_up_to_ten_to_the_fifteen_are_told_apart(kind):
    pairs = np.stack(np.triu_indices(8, 1), axis=1)
    matchings = list(perfect_matchings(list(range(8)), pairs.tolist()))
    assert len(matchings) == 105
    for seed in range(40):
        rng = np.random.default_rng(seed)
        costs = rng.integers(-9, 10, len(pairs)).astype(float)
        if kind == "decades":
            costs *= 10.0 ** rng.integers(0, 14, len(pairs))
        elif kind == "prohibitive":
            costs[rng.random(len(pairs)) < 0.4] = 10.0 ** rng.integers(5, 15)
        else:
            costs += 10.0 ** rng.integers(5, 15)
        matching = PerfectMatching(8, pairs)(costs[None])[0] > 0
        best = min(sum(int(costs[e]) for e in chosen) for chosen in matchings)
        assert sum(map(int, costs[matching])) == best
        square = rng.permutation(costs[:16]).reshape(4, 4)
        chosen = BipartiteMatching((4, 4))(square[None])[0] > 0
        orders = permutations(range(4))
        expected = min(sum(int(square[i, j]) for i, j in enumerate(order)) for order in orders)
        assert sum(map(int, square[chosen])) == expected


def test_without_nodes_the_empty_matching_is_perfect():
    assert PerfectMatching(0, np.empty((0, 2), int))(np.ones((3, 0))).shape == (3, 0)


def test_two_nodes_need_their_edge_and_three_cannot_be_matched():
    pair = PerfectMatching(2, np.array([[0, 1]]))
    assert pair(np.array([[5.0], [-5.0], [0.0]])).tolist() == [[1], [1], [1]]
    with pytest.raises(SolverError, match="instance 1: no perfect matching"):
        pair(np.array([[5.0], [np.inf]]))
    with pytest.raises(SolverError, match="instance 0"):
        PerfectMatching(2, np.empty((0, 2), int))(np.ones((1, 0)))
    with pytest.raises(ValueError, match="num_nodes must be even"):
        PerfectMatching(3, np.array([[0, 1], [1, 2]]))
