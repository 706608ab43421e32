import numpy as np
import pytest

from difflayers import amwc, lifted_multicut, multicut, mutex, mwc
from difflayers.amwc import AMWC, evaluate, is_feasible, solve
from difflayers.graph import grid_edges
from difflayers.graph.checks import checked_edges
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mwc import MWC

GOOD = {
    "node_costs": np.zeros((3, 2)),
    "edges": np.array([[0, 1], [1, 2]]),
    "edge_costs": np.array([1.0, -1.0]),
    "partitionable": np.array([True, False]),
}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("node_costs", np.zeros(3), ValueError, r"node_costs must have shape \(n, K\), got \(3,\)"),
        ("node_costs", np.zeros((0, 2)), ValueError, r"at least one node and one label, got shape \(0, 2\)"),
        ("node_costs", np.zeros((3, 0)), ValueError, r"at least one node and one label, got shape \(3, 0\)"),
        (
            "node_costs",
            np.full((3, 2), np.nan),
            ValueError,
            r"node_costs must be no NaN, got NaN at \[0, 0\]",
        ),
        ("node_costs", np.array([["a", "b"]] * 3), TypeError, "node_costs must be real numbers"),
        (
            "edge_costs",
            np.zeros(3),
            ValueError,
            r"edge_costs must have shape \(2,\), got \(3,\): one per row of edges",
        ),
        ("edge_costs", np.array([1.0, np.nan]), ValueError, r"edge_costs must be no NaN.*\[1\]"),
        ("edges", np.zeros((2, 2)), TypeError, "edges must be integers, got float64"),
        ("edges", np.zeros((2, 3), int), ValueError, r"edges must have shape \(m, 2\), got \(2, 3\)"),
        ("edges", np.array([[0, 1], [1, 3]]), ValueError, r"nodes 0 to 2, but row 1 is \[1, 3\]"),
        ("edges", np.array([[0, 1], [-1, 2]]), ValueError, r"row 1 is \[-1, 2\]"),
        ("edges", np.array([[0, 1], [2, 2]]), ValueError, r"different nodes, but row 1 is \[2, 2\]"),
        ("partitionable", np.ones(3, bool), ValueError, r"must have shape \(2,\), got \(3,\)"),
        ("partitionable", np.ones(2, int), TypeError, "partitionable must be bool, got int64"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, value, error, message):
    with pytest.raises(error, match=message):
        AMWC(**{**GOOD, name: value})


def test_finite_costs_whose_sum_overflows_are_refused_for_their_size():
    with pytest.raises(
        ValueError, match=r"edge_costs are too large: sums of 2 numbers up to 1e\+308 overflow"
    ):
        AMWC(**{**GOOD, "edge_costs": np.array([1e308, 1e308])})


def test_more_edges_than_indices_of_32_bits_can_count_are_refused():
    with pytest.raises(ValueError, match=r"fewer than 2\*\*30 rows, got 1073741824"):
        checked_edges(np.broadcast_to([0, 1], (2**30, 2)), num_nodes=2)


def test_bad_starts_methods_and_cuts_are_refused():
    problem = AMWC(**GOOD)
    with pytest.raises(ValueError, match=r"start must have shape \(3,\), got \(2,\)"):
        solve(problem, start=np.zeros(2, int))
    with pytest.raises(ValueError, match="start must lie in 0 to 1"):
        solve(problem, start=np.full(3, 2))
    with pytest.raises(TypeError, match="start must be integers"):
        solve(problem, start=np.zeros(3))
    with pytest.raises(ValueError, match='"fast", "default" or "best"'):
        solve(problem, "quick")
    with pytest.raises(ValueError, match=r"cuts must have shape \(2,\), got \(1,\)"):
        evaluate(problem, np.zeros(3, int), np.zeros(1))


def test_mwc_and_multicut_refuse_what_amwc_refuses():
    with pytest.raises(
        ValueError, match=r"edge_costs must have shape \(2,\), got \(1,\): one per row of edges"
    ):
        MWC(GOOD["node_costs"], GOOD["edges"], np.zeros(1))
    with pytest.raises(ValueError, match="node_costs must have shape"):
        MWC(np.zeros(3), GOOD["edges"], GOOD["edge_costs"])
    with pytest.raises(ValueError, match="num_nodes must be an integer of at least 1, got 0"):
        Multicut(0, np.zeros((0, 2), int), np.zeros(0))
    with pytest.raises(ValueError, match="nodes 0 to 1"):
        Multicut(2, GOOD["edges"], GOOD["edge_costs"])


def test_objective_adds_node_costs_of_the_labels_and_edge_costs_of_the_cuts():
    problem = AMWC(
        np.array([[1.0, 5], [2, 7], [3, 11]]), GOOD["edges"], np.array([10.0, 100]), np.ones(2, bool)
    )
    assert evaluate(problem, np.array([0, 1, 1]), np.array([1, 0])) == 1 + 7 + 11 + 10


@pytest.mark.parametrize(
    ("labels", "cuts", "feasible"),
    [
        ([0, 0, 0], [0, 0, 0], True),
        ([0, 0, 0], [1, 1, 0], True),
        ([0, 0, 0], [1, 0, 0], False),  # a cycle with one cut edge
        ([1, 1, 1], [1, 1, 0], False),  # label 1 may not be split
        ([0, 1, 1], [1, 0, 1], True),
        ([0, 1, 1], [0, 0, 1], False),  # different labels, not cut
    ],
)
def test_feasibility_on_a_triangle_with_a_thing_label_and_a_stuff_label(labels, cuts, feasible):
    triangle = AMWC(np.zeros((3, 2)), np.array([[0, 1], [1, 2], [0, 2]]), np.ones(3), np.array([True, False]))
    # Edges are 01, 12, 02; the third label list isolates node 0, whose edges are the first and the last.
    assert is_feasible(triangle, np.array(labels), np.array(cuts)) is feasible


def test_other_node_costs_on_the_same_graph_make_the_problem_that_the_constructor_makes():
    problem = AMWC(**GOOD)
    node_costs, partitionable = np.arange(12.0).reshape(3, 4) % 5, np.array([False, True, False, True])
    other = problem.with_node_costs(node_costs, partitionable)
    expected = AMWC(node_costs, GOOD["edges"], GOOD["edge_costs"], partitionable)
    assert other.rows is not None
    assert all((a == b).all() for a, b in zip(other.rows, expected.rows, strict=True))
    for method in ("fast", "default", "best"):
        assert solve(other, method).cost == solve(expected, method).cost
    forbidden = AMWC(np.where(np.eye(3), np.inf, 0.0), GOOD["edges"], GOOD["edge_costs"], np.ones(3, bool))
    assert not forbidden.with_node_costs(node_costs, partitionable).constrained
    linked = AMWC(node_costs, GOOD["edges"], np.array([np.inf, 1.0]), partitionable)
    assert linked.with_node_costs(node_costs, partitionable).constrained
    single = problem.with_node_costs(node_costs.astype(np.float32), partitionable)
    assert single.node_costs.dtype == single.edge_costs.dtype == single.rows[2].dtype == np.float64
    with pytest.raises(ValueError, match=r"node_costs must have shape \(3, K\), got \(2, 4\)"):
        problem.with_node_costs(node_costs[:2], partitionable)
    with pytest.raises(ValueError, match="node_costs must be no NaN"):
        problem.with_node_costs(np.full((3, 4), np.nan), partitionable)


@pytest.mark.parametrize("order", ["as drawn", "shuffled", "by second end"])
def test_a_solution_does_not_depend_on_how_the_rows_were_sorted(order):
    rng = np.random.default_rng(0)
    edges = grid_edges((9, 11), [1, 3])
    edge_costs = rng.normal(size=len(edges))
    by = {
        "as drawn": np.arange(len(edges)),
        "shuffled": rng.permutation(len(edges)),
        "by second end": np.lexsort((edges[:, 0], edges[:, 1])),
    }[order]
    node_costs, partitionable = rng.normal(size=(99, 3)), np.array([True, False, True])
    sorted_here = solve(AMWC(node_costs, edges[by], edge_costs[by], partitionable), "fast")
    assert sorted_here.cost == pytest.approx(
        solve(AMWC(node_costs, edges, edge_costs, partitionable), "fast").cost
    )
    indptr, neighbours, weights = AMWC(node_costs, edges[by], edge_costs[by], partitionable).rows
    dense = np.zeros((99, 99))
    dense[np.repeat(np.arange(99), np.diff(indptr)), neighbours] = weights
    expected = np.zeros((99, 99))
    expected[edges[:, 0], edges[:, 1]] = expected[edges[:, 1], edges[:, 0]] = edge_costs
    assert (dense == expected).all()


def test_a_node_beyond_int64_is_named_as_it_came():
    with pytest.raises(ValueError, match=r"row 0 is \[18446744073709551615, 1\]"):
        checked_edges(np.array([[2**64 - 1, 1]], np.uint64), num_nodes=2)


def test_a_problem_keeps_what_it_was_given_whatever_becomes_of_the_callers_arrays():
    arrays = {name: np.array(value) for name, value in GOOD.items()}
    problem, plain = AMWC(**arrays), AMWC(**GOOD)
    cut = Multicut(3, arrays["edges"], arrays["edge_costs"])
    lifted = LiftedMulticut(3, arrays["edges"], arrays["edge_costs"], arrays["edges"], arrays["edge_costs"])
    other = problem.with_node_costs(arrays["node_costs"], arrays["partitionable"])
    arrays["node_costs"][:], arrays["edges"][:], arrays["edge_costs"][:] = np.nan, 7, np.nan
    arrays["partitionable"][:] = False
    for kept in (problem, other):
        for name in GOOD:
            assert (getattr(kept, name) == getattr(plain, name)).all()
    for name in ("edges", "edge_costs"):
        assert (getattr(cut, name) == getattr(plain, name)).all()
        assert (getattr(lifted, name) == getattr(plain, name)).all()
    assert (lifted.lifted_costs == plain.edge_costs).all()


def test_more_labels_than_float32_can_number_are_told_apart_in_float64():
    labels = 2**24 + 3
    node_costs = np.ones((1, labels), np.float32)
    node_costs[0, -1] = 0.0
    edges, edge_costs = np.empty((0, 2), int), np.empty(0, np.float32)
    problem = AMWC(node_costs, edges, edge_costs, np.zeros(labels, bool))
    assert solve(problem, "fast").labels.tolist() == [labels - 1]


def test_problems_of_more_than_32_bits_can_count_are_refused_before_they_are_copied():
    pairs, costs = np.broadcast_to([0, 1], (2**29, 2)), np.broadcast_to(1.0, 2**29)
    with pytest.raises(
        ValueError, match=r"edges and lifted_edges must have fewer than 2\*\*30 rows together"
    ):
        LiftedMulticut(2, pairs, costs, pairs, costs)
    with pytest.raises(
        ValueError, match=r"node_costs must have fewer than 2\*\*30 rows and columns together"
    ):
        AMWC(np.broadcast_to(0.0, (2**30, 1)), pairs[:0], costs[:0], np.ones(1, bool))
    with pytest.raises(ValueError, match=r"num_nodes must be below 2\*\*30, got 1073741824"):
        Multicut(2**30, pairs[:0], costs[:0])


def test_costs_too_large_for_float64_are_no_constraints():
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        with pytest.raises(ValueError, match="edge_costs are too large"):
            AMWC(**{**GOOD, "edge_costs": np.array([1, "1e400"], np.longdouble)})


PROBLEMS = {
    "difflayers.amwc": AMWC(**GOOD),
    "difflayers.mwc": MWC(GOOD["node_costs"], GOOD["edges"], GOOD["edge_costs"]),
    "difflayers.multicut": Multicut(3, GOOD["edges"], GOOD["edge_costs"]),
    "difflayers.lifted_multicut": LiftedMulticut(
        3, GOOD["edges"], GOOD["edge_costs"], GOOD["edges"], GOOD["edge_costs"]
    ),
}
FUNCTIONS = {
    "difflayers.amwc": [
        amwc.solve,
        amwc.solve_exact,
        amwc.lower_bound,
        lambda problem: amwc.certify(problem, amwc.solve(AMWC(**GOOD))),
        lambda problem: amwc.evaluate(problem, np.zeros(3, int), np.zeros(2, int)),
        lambda problem: amwc.is_feasible(problem, np.zeros(3, int), np.zeros(2, int)),
        mutex.semantic_mutex_watershed,
    ],
    "difflayers.mwc": [
        mwc.solve,
        mwc.solve_exact,
        mwc.lower_bound,
        lambda problem: mwc.certify(problem, amwc.solve(AMWC(**GOOD))),
    ],
    "difflayers.multicut": [
        multicut.solve,
        multicut.solve_exact,
        multicut.lower_bound,
        lambda problem: multicut.certify(problem, amwc.solve(AMWC(**GOOD))),
        lambda problem: multicut.solve(problem, start=np.zeros(3, int)),
        mutex.mutex_watershed,
    ],
    "difflayers.lifted_multicut": [
        lifted_multicut.solve,
        lifted_multicut.solve_exact,
        lambda problem: lifted_multicut.evaluate(problem, np.zeros(3, int)),
        lambda problem: lifted_multicut.is_feasible(problem, np.zeros(3, int)),
    ],
}


@pytest.mark.parametrize("module", FUNCTIONS)
def test_a_problem_of_another_kind_is_refused_with_the_module_that_solves_it(module):
    kind = type(PROBLEMS[module]).__name__
    for function in FUNCTIONS[module]:
        function(PROBLEMS[module])
        for other, problem in PROBLEMS.items():
            came = type(problem).__name__
            if other != module:
                with pytest.raises(
                    TypeError, match=f"problem must be an? {kind}, got an? {came}; {other} has"
                ):
                    function(problem)
        with pytest.raises(TypeError, match=f"problem must be an? {kind}, got a dict"):
            function({})


def test_certify_refuses_what_is_no_solution():
    with pytest.raises(TypeError, match="solution must be a Solution of the problem, got a list"):
        amwc.certify(AMWC(**GOOD), [0, 0, 0])
    alone = AMWC(np.zeros((1, 2)), np.empty((0, 2), int), np.empty(0), np.ones(2, bool))
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\), got \(1,\)"):
        amwc.certify(AMWC(**GOOD), amwc.solve(alone))
