"""Claims about sequences of moves: they only lower the cost, and find what no single move finds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.graph.rows import INDEX
from difflayers.lifted_multicut import LiftedMulticut, evaluate, is_feasible
from difflayers.lifted_multicut.multilevel import Graph, make_graph, move
from difflayers.lifted_multicut.problem import solution_from_clusters
from difflayers.lifted_multicut.sequences import move_in_sequences
from tests.lifted_multicut.test_lifted_multicut import random_problem


def graph_of(problem: LiftedMulticut) -> Graph:
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    return make_graph(problem.num_nodes, pairs, costs, np.arange(len(pairs)) < len(problem.edges))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**31), st.integers(2, 30), st.booleans())
def test_clusters_stay_connected_and_never_cost_more(seed, nodes, ties):
    problem = random_problem(seed, nodes, 3 * nodes, 3 * nodes, ties)
    drawn = np.random.default_rng(seed).integers(1 + nodes // 4, size=nodes)
    before = solution_from_clusters(problem, drawn)
    cluster = before.segments.astype(INDEX)
    paid = move_in_sequences(*graph_of(problem), cluster)
    after = np.unique(cluster, return_inverse=True)[1]
    assert is_feasible(problem, after)
    cost = evaluate(problem, after)
    assert cost < before.cost if paid else np.array_equal(cluster, before.segments)


def test_two_nodes_that_hold_on_to_each_other_move_together():
    # 0-1 and 4-5 are the ends of a ladder 0-2-4, 1-3-5. Nodes 2 and 3 hold on to each other with 1.25, to
    # their cluster with 1 each and to the other one with 2 each: either alone would lose.
    edges = [[0, 1], [4, 5], [2, 3], [0, 2], [1, 3], [2, 4], [3, 5]]
    problem = LiftedMulticut(6, edges, [9.0, 9.0, 1.25, 1.0, 1.0, 2.0, 2.0], [[0, 4]], [-50.0])
    graph = graph_of(problem)
    cluster = np.array([0, 0, 0, 0, 1, 1], INDEX)
    move(graph, cluster)
    assert cluster.tolist() == [0, 0, 0, 0, 1, 1]
    assert move_in_sequences(*graph, cluster) == 1
    assert cluster.tolist() == [0, 0, 1, 1, 1, 1]
