"""Mutex watersheds against a transcription of their definition that looks at all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.amwc import AMWC, evaluate, is_feasible
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed, semantic_mutex_watershed
from tests.amwc.problems import constrained_problems, random_problem, random_problems


def naive(problem: AMWC, semantic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Cluster and label of every node by the definition, O(m n)."""
    n, m = problem.num_nodes, len(problem.edges)
    cluster, label = np.arange(n), np.full(n, -1)
    apart: set[frozenset[int]] = set()
    visits = [(abs(cost), e) for e, cost in enumerate(problem.edge_costs.tolist())]
    if semantic:
        for v, row in enumerate(np.sort(problem.node_costs.astype(float), axis=1)):
            visits.append((row[1] - row[0] if len(row) > 1 else 0.0, m + v))
    for _, visit in sorted(visits, key=lambda pair: -pair[0]):
        if visit >= m:
            v = visit - m
            if label[v] < 0:
                label[cluster == cluster[v]] = problem.node_costs[v].argmin()
            continue
        u, v = (int(c) for c in cluster[problem.edges[visit]])
        if problem.edge_costs[visit] < 0:
            if u != v:
                apart.add(frozenset((u, v)))
        elif problem.edge_costs[visit] > 0 and u != v and frozenset((u, v)) not in apart:
            labels = {int(k) for k in (label[u], label[v]) if k >= 0}
            if len(labels) == 2:
                continue
            cluster[cluster == v] = u
            label[cluster == u] = labels.pop() if labels else -1
            apart = {frozenset(u if c == v else c for c in pair) for pair in apart}
    return cluster, label


@settings(deadline=None, max_examples=200)
@given(random_problems(max_nodes=25, max_labels=1, max_edges=120))
def test_clusters_are_those_of_the_definition(problem):
    solution = mutex_watershed(Multicut(problem.num_nodes, problem.edges, problem.edge_costs))
    cluster, _ = naive(problem, semantic=False)
    first = np.unique(cluster, return_index=True, return_inverse=True)
    assert (solution.segments == np.argsort(np.argsort(first[1]))[first[2]]).all()


@settings(deadline=None, max_examples=200)
@given(random_problems(max_nodes=25, max_labels=4, max_edges=120))
def test_labels_and_clusters_are_those_of_the_definition(problem):
    solution = semantic_mutex_watershed(problem)
    cluster, label = naive(problem, semantic=True)
    assert (solution.labels == label).all()
    things = problem.partitionable[label]
    together = (cluster[:, None] == cluster) & things[:, None] & things
    together |= (label[:, None] == label) & ~things[:, None] & ~things
    assert ((solution.segments[:, None] == solution.segments) == together).all()


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=30, max_labels=4, max_edges=90))
def test_solutions_are_feasible_and_their_cost_is_the_objective(problem):
    cut = Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    for checked, solution in (
        (problem, semantic_mutex_watershed(problem)),
        (cut.as_amwc, mutex_watershed(cut)),
    ):
        assert is_feasible(checked, solution.labels, solution.cuts)
        assert solution.cost == evaluate(checked, solution.labels, solution.cuts)


@settings(deadline=None, max_examples=60)
@given(constrained_problems(max_nodes=20, max_labels=4, max_edges=40))
def test_constraints_are_kept(problem):
    cut = Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    for checked, watershed, given_problem in (
        (problem, semantic_mutex_watershed, problem),
        (cut.as_amwc, mutex_watershed, cut),
    ):
        try:
            solution = watershed(given_problem)
        except ValueError:
            continue
        assert is_feasible(checked, solution.labels, solution.cuts)
        assert solution.cost < np.inf


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_large_problems_fill_and_grow_the_table_and_agree_with_the_definition(seed):
    problem = random_problem(seed, num_nodes=150, num_labels=1, num_edges=6000)
    solution = mutex_watershed(Multicut(150, problem.edges, problem.edge_costs))
    cluster, _ = naive(problem, semantic=False)
    assert ((solution.segments[:, None] == solution.segments) == (cluster[:, None] == cluster)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_strong_repulsion_keeps_apart_what_weaker_attractions_join(dtype):
    edges = np.array([[0, 1], [1, 2], [0, 2]])
    apart = mutex_watershed(Multicut(3, edges, np.array([2, 3, -2.5], dtype)))
    assert apart.segments.tolist() == [0, 1, 1]
    joined = mutex_watershed(Multicut(3, edges, np.array([2, 3, -1], dtype)))
    assert joined.segments.tolist() == [0, 0, 0]


def test_a_label_spreads_along_attractions_stronger_than_the_preference_of_a_node():
    node_costs = np.array([[0.0, 5], [1, 0], [9, 0]])
    edges = np.array([[0, 1], [1, 2]])
    problem = AMWC(node_costs, edges, np.array([2.0, 3.0]), np.array([True, True]))
    # Visits: node 2 prefers label 1 by 9, node 0 label 0 by 5, then 1-2 joins (3), 0-1 (2) may not.
    assert semantic_mutex_watershed(problem).labels.tolist() == [0, 1, 1]


def test_visits_in_many_calls_of_the_kernel_give_what_one_call_gives(monkeypatch):
    problem = random_problem(0, num_nodes=60, num_labels=3, num_edges=900)
    cut = Multicut(60, problem.edges, problem.edge_costs)
    once = semantic_mutex_watershed(problem).segments, mutex_watershed(cut).segments
    monkeypatch.setattr("difflayers.mutex._AT_ONCE", 7)
    again = semantic_mutex_watershed(problem).segments, mutex_watershed(cut).segments
    assert all((a == b).all() for a, b in zip(once, again, strict=True))
