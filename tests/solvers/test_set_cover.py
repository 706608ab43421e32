import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from difflayers.solver import InfeasibleError
from difflayers.solvers import SetCover


def milp_cost(costs, members, demands, at_most):
    """The least cost by HiGHS, or None."""
    finite = costs < np.inf
    result = milp(
        np.where(finite, costs, 0),
        constraints=LinearConstraint(members, lb=demands),
        integrality=np.ones(len(costs)),
        bounds=Bounds(0, np.where(finite, at_most, 0)),
        options={"mip_rel_gap": 0},
    )
    return result.fun


@pytest.mark.parametrize("seed", range(60))
def test_covers_cost_what_milp_finds(seed):
    rng = np.random.default_rng(seed)
    num_sets, num_elements, at_most = rng.integers(1, 25), rng.integers(1, 15), int(rng.integers(1, 5))
    members = rng.random((num_elements, num_sets)) < rng.uniform(0.2, 0.6)
    members = members * rng.integers(1, 1 + rng.integers(1, 4), members.shape)
    demands = rng.integers(0, 2 + at_most, num_elements) if seed % 2 else np.ones(num_elements, int)
    costs = rng.random(num_sets) if seed % 3 else rng.integers(-1, 5, num_sets).astype(float)
    if seed % 5 == 0:
        costs[rng.integers(num_sets)] = np.inf
    expected = milp_cost(costs, members, demands, at_most)
    if expected is None:
        with pytest.raises(InfeasibleError, match="no sets of finite cost meet the demands"):
            SetCover(members, demands, at_most)(costs[None])
        return
    taken = SetCover(members, demands, at_most)(costs[None])[0]
    assert (members @ taken >= demands).all()
    assert (taken <= at_most).all()
    assert costs[taken > 0] @ taken[taken > 0] == pytest.approx(expected, abs=1e-7)


def test_fifty_sets_cover_twenty_five_elements_as_milp_does():
    rng = np.random.default_rng(0)
    members = rng.random((25, 50)) < 0.15
    members[np.arange(25), rng.integers(50, size=25)] = True
    costs = rng.random((4, 50))
    for row, taken in zip(costs, SetCover(members)(costs), strict=True):
        assert row @ taken == pytest.approx(milp_cost(row, members, 1, 1), abs=1e-7)


def test_contexts_give_each_instance_its_demands():
    solver = SetCover(np.eye(2, dtype=int), at_most=3)
    assert solver(np.ones((3, 2)), [[0, 3], [1, 1], [2, 0]]).tolist() == [[0, 3], [1, 1], [2, 0]]
    with pytest.raises(ValueError, match=r"demands must not be negative, got \[0, -1\] for instance 1"):
        solver(np.ones((2, 2)), [[0, 1], [0, -1]])


@pytest.mark.parametrize(
    ("members", "demands", "error", "message"),
    [
        ([1, 0], 1, ValueError, r"members must have shape \(elements, sets\), got \(2,\)"),
        ([[1, 0.5]], 1, ValueError, "members must be whole numbers of at least 0"),
        ([[1, 0]], -1, ValueError, "demands must be whole numbers of at least 0"),
        ([[1, 0]], [1, 1], ValueError, r"demands must have shape \(1,\), got \(2,\)"),
        ([["a"]], 1, TypeError, "members must be whole numbers, got dtype"),
    ],
)
def test_impossible_covers_are_refused_by_name(members, demands, error, message):
    with pytest.raises(error, match=message):
        SetCover(members, demands)
