"""Algorithm 1 against enumeration on scenes small enough to write down."""

import itertools

import numpy as np

from difflayers import amwc, mwc
from difflayers.panoptic.lifted import Forward, lifted_backward, lifted_classes

EDGES = np.array([[0, 1], [1, 2], [2, 3]])


def brute_force_mwc(problem: mwc.MWC) -> tuple[np.ndarray, np.ndarray, float]:
    best = (np.zeros(0), np.zeros(0), np.inf)
    n, k = problem.node_costs.shape
    for labels in itertools.product(range(k), repeat=n):
        x = np.array(labels)
        cuts = x[problem.edges[:, 0]] != x[problem.edges[:, 1]]
        cost = problem.node_costs[np.arange(n), x].sum() + problem.edge_costs[cuts].sum()
        if cost < best[2]:
            best = (x, cuts.astype(np.uint8), cost)
    return best


def test_every_segment_unmatched_target_and_absent_class_has_a_label() -> None:
    classes = lifted_classes(np.array([2, 0, 2]), np.array([2, 1]), 5)
    assert classes.tolist() == [2, 0, 2, 2, 1, 3, 4]


def test_a_label_is_not_given_twice_to_a_class_that_is_present() -> None:
    assert lifted_classes(np.array([0, 1]), np.array([], dtype=int), 2).tolist() == [0, 1]


def make_forward(rng: np.random.Generator) -> Forward:
    node_costs, edge_costs = rng.normal(size=(4, 2)), rng.normal(size=3)
    problem = amwc.AMWC(node_costs, EDGES, edge_costs, np.array([True, False]))
    solution = amwc.solve_exact(problem)
    segment_classes = np.array(
        [solution.labels[solution.segments == s][0] for s in range(solution.segments.max() + 1)]
    )
    return Forward(problem, solution, lifted_classes(segment_classes, np.array([0]), 2))


def test_estimate_equals_equation_3_on_enumerated_problems() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        forward = make_forward(rng)
        gradient, scale = rng.normal(size=(len(forward.classes), 4)), rng.uniform(0.5, 5)
        node, edge = lifted_backward(forward, gradient, scale, lambda p, start: amwc.solve_exact(p))
        perturbed = mwc.MWC(
            forward.problem.node_costs[:, forward.classes] + scale * gradient.T,
            EDGES,
            forward.problem.edge_costs,
        )
        z, cuts, _ = brute_force_mwc(perturbed)
        one_hot = np.eye(2)
        expected = (one_hot[forward.classes[z]] - one_hot[forward.solution.labels]) / scale
        np.testing.assert_allclose(node, expected, atol=1e-12)
        np.testing.assert_allclose(edge, (cuts - forward.solution.cuts.astype(float)) / scale, atol=1e-12)


def test_no_gradient_in_gives_no_gradient_out() -> None:
    forward = make_forward(np.random.default_rng(1))
    zero = np.zeros((len(forward.classes), 4))
    node, edge = lifted_backward(forward, zero, 2.0, amwc.solve)
    assert not node.any()
    assert not edge.any()


def test_a_merged_instance_is_split_through_the_unmatched_targets_label() -> None:
    # Two pedestrians wrongly merged: pixels 0-1 and 2-3, one class, all edges slightly attractive.
    node_costs, edge_costs = np.zeros((4, 1)), np.full(3, 0.1)
    problem = amwc.AMWC(node_costs, EDGES, edge_costs, np.array([True]))
    solution = amwc.solve(problem)
    assert solution.segments.tolist() == [0, 0, 0, 0]
    forward = Forward(problem, solution, np.array([0, 0]))
    gradient = np.array([[-1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    _, edge = lifted_backward(forward, gradient, 1.0, amwc.solve)
    # Cutting the middle edge lowers the loss, so descent lowers that edge's cost: its gradient is positive.
    assert edge.tolist() == [0.0, 1.0, 0.0]
