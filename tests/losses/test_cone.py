"""Cone alignment on polytopes whose facets are known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from difflayers.functional import cone_alignment_loss
from difflayers.losses import ConeAlignmentLoss, binding_normals
from tests.losses.polytopes import Enumeration, matchings, simplex

# Rows of A_eq y = 1; with 0 ≤ y ≤ 1 they have no vertices but those listed.
EQUALITIES = {
    "simplex": np.ones((1, 4)),
    "matchings": np.concatenate([np.kron(np.eye(3), np.ones((1, 3))), np.kron(np.ones((1, 3)), np.eye(3))]),
}
VERTICES = {"simplex": simplex(), "matchings": matchings()}
polytopes = st.sampled_from(sorted(VERTICES))
seeds = st.integers(0, 2**32 - 1)


def random_case(name, seed, batch=3):
    generator = np.random.default_rng(seed)
    points = VERTICES[name]
    best = points[generator.integers(len(points), size=batch)]
    costs = torch.tensor(generator.normal(size=best.shape))
    return costs, best, binding_normals(best, A_eq=EQUALITIES[name])


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_is_zero_without_gradient_exactly_where_the_true_solution_is_optimal(name, seed):
    costs, _, _ = random_case(name, seed)
    solver = Enumeration(VERTICES[name], batched=True)
    best = solver(costs.numpy())
    costs.requires_grad_()
    inside = cone_alignment_loss(
        costs, normals=binding_normals(best, A_eq=EQUALITIES[name]), reduction="none"
    )
    inside.sum().backward()
    assert inside.abs().max() < 1e-9
    assert costs.grad.abs().max() < 1e-6

    _, other, normals = random_case(name, seed + 1)
    outside = cone_alignment_loss(costs, normals=normals, reduction="none")
    is_best = (other == best).reshape(len(best), -1).all(1)
    gap = (costs.detach().numpy() * (other - best)).reshape(len(best), -1).sum(1)
    clear = is_best | (gap > 0.01)  # where two solutions cost nearly the same, both have nearly no loss
    assert ((outside < 1e-9).numpy() == is_best)[clear].all()


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds)
def test_gradient_is_that_of_the_value(name, seed):
    costs, _, normals = random_case(name, seed)
    costs.requires_grad_()
    cone_alignment_loss(costs, normals=normals, reduction="sum").backward()
    direction = torch.tensor(np.random.default_rng(seed + 2).normal(size=costs.shape))
    width = 1e-6
    with torch.no_grad():
        ahead, behind = (
            cone_alignment_loss(costs + sign * width * direction, normals=normals, reduction="sum")
            for sign in (1, -1)
        )
    torch.testing.assert_close(
        (costs.grad * direction).sum(), (ahead - behind) / (2 * width), atol=1e-5, rtol=0
    )


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds)
def test_value_is_the_cosine_with_the_projection_of_another_solver(name, seed):
    costs, _, normals = random_case(name, seed)
    values, projected = cone_alignment_loss(costs, normals=normals, reduction="none", return_solution=True)
    for value, cost, matrix, nearest in zip(values, costs, normals, projected, strict=True):
        towards = -cost.numpy().ravel()
        point = lsq_linear(matrix.T, towards, bounds=(0, np.inf), method="bvls").x @ matrix
        np.testing.assert_allclose(nearest.numpy().ravel(), point, atol=1e-9)
        cosine = towards @ point / (np.linalg.norm(towards) * np.linalg.norm(point))
        assert abs(1 - cosine - value) < 1e-9


def test_two_normals_in_the_plane_by_hand():
    normals = [np.array([[1.0, 0.0], [0.0, 1.0]])] * 4  # the cone is the first quadrant
    costs = torch.tensor([[-1.0, -3.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    values = cone_alignment_loss(costs, normals=normals, reduction="none")
    values.sum().backward()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 - 0.5**0.5, 1.0, 1.0]))
    # At (1, −1) the angle to the first axis is 45°; turning towards it by dφ lowers the loss by sin 45° dφ.
    torch.testing.assert_close(costs.grad[1], torch.tensor([0.5, 0.5]) * 0.5**0.5)
    assert not costs.grad[[0, 2, 3]].any()


def test_rewards_to_maximise_are_costs_with_the_other_sign():
    costs, _, normals = random_case("matchings", 0)
    torch.testing.assert_close(
        cone_alignment_loss(-costs, normals=normals, maximize=True, reduction="none"),
        cone_alignment_loss(costs, normals=normals, reduction="none"),
        atol=0,
        rtol=0,
    )


def test_rows_of_zeros_change_nothing():
    costs, _, normals = random_case("simplex", 0)
    padded = np.zeros((3, 20, 4))
    for target, matrix in zip(padded, normals, strict=True):
        target[: len(matrix)] = matrix
    torch.testing.assert_close(
        cone_alignment_loss(costs, normals=torch.tensor(padded)), cone_alignment_loss(costs, normals=normals)
    )


def test_binding_normals_are_the_rows_that_hold_with_equality():
    (normals,) = binding_normals([[1.0, 0.0]], A_ub=[[1, 1], [1, 0], [2, 1]], b_ub=[1, 2, 2], A_eq=[[3, 1]])
    rows = {tuple(row) for row in normals}
    assert rows == {(1, 0), (0, -1), (1, 1), (2, 1), (3, 1), (-3, -1)}  # y₁ ≤ 1, y₂ ≥ 0, two of three, and =


def test_a_solution_that_breaks_a_constraint_is_refused_with_its_instance():
    with pytest.raises(
        ValueError, match="true_solutions must be feasible, but instance 1 breaks a constraint"
    ):
        binding_normals([[1.0, 0.0], [1.0, 1.0]], A_ub=[[1, 1]], b_ub=[1])


def test_normals_that_do_not_fit_are_refused_with_their_instance():
    costs = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"normals\[1\] must have shape \(K, 3\), got \(2, 4\)"):
        cone_alignment_loss(costs, normals=[np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ValueError, match=r"normals\[0\] must hold finite real numbers"):
        cone_alignment_loss(costs, normals=[np.full((2, 3), np.nan), np.ones((2, 3))])
    with pytest.raises(ValueError, match="normals must hold 2 matrices, one per instance, got 1"):
        cone_alignment_loss(costs, normals=[np.ones((2, 3))])


@pytest.mark.parametrize(
    ("matrices", "text"),
    [
        ({"A_ub": [[1, 1]]}, "A_ub is given without b_ub: inequalities need both"),
        ({"b_ub": [1]}, "b_ub is given without A_ub: inequalities need both"),
        ({"A_ub": [[1, 1]], "b_ub": [1, 2]}, r"b_ub must have shape \(1,\), got \(2,\)"),
        ({"A_ub": [[1, 1, 1]], "b_ub": [1]}, r"A_ub must have shape \(K, 2\), got \(1, 3\)"),
        ({"A_eq": [1, 1]}, r"A_eq must have shape \(K, 2\), got \(2,\)"),
        ({"A_ub": [[1, np.nan]], "b_ub": [1]}, "A_ub must hold finite real numbers"),
    ],
)
def test_matrices_that_are_no_program_are_refused_by_name(matrices, text):
    with pytest.raises(ValueError, match=text):
        binding_normals([[1.0, 0.0]], **matrices)


QUADRANT = [np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])]  # with a row of zeros, as a padded tensor has


def test_an_inner_aim_lies_between_the_projection_and_the_mean_of_the_normals():
    costs = torch.tensor([[-1.0, 3.0]], dtype=torch.float64, requires_grad=True)  # −ĉ = (1, −3)
    loss = ConeAlignmentLoss(inner=0.2)
    value, aim = loss(costs, normals=QUADRANT, return_solution=True)
    value.backward()
    # The projection has the direction (1, 0), and the mean of (1, 0) and (0, 1) is (½, ½).
    expected = 0.8 * np.array([1.0, 0.0]) + 0.2 * np.array([0.5, 0.5])
    np.testing.assert_allclose(aim[0] / aim[0].norm(), expected / np.linalg.norm(expected))
    towards = np.array([1.0, -3.0])
    cosine = towards @ expected / np.linalg.norm(towards) / np.linalg.norm(expected)
    assert value.item() == pytest.approx(1 - cosine, abs=1e-12)
    # With the aim held fixed, the slope of the cosine by differences.
    for entry, width in ((0, 1e-6), (1, 1e-6)):
        moved = -towards.copy()
        moved[entry] += width
        other = -moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected)
        assert costs.grad[0, entry].item() == pytest.approx((cosine - other) / width, abs=1e-5)


def test_an_inner_aim_changes_nothing_inside_the_cone_and_pulls_from_the_far_side():
    loss = ConeAlignmentLoss(inner=0.2)
    inside = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    assert loss(inside, normals=QUADRANT).item() == pytest.approx(0, abs=1e-6)
    far = torch.tensor([[1.0, 1.0]], requires_grad=True)
    assert ConeAlignmentLoss()(far, normals=QUADRANT).item() == 1
    for _ in range(200):
        value = loss(far, normals=QUADRANT)
        (gradient,) = torch.autograd.grad(value, far)
        far = (far - 0.1 * gradient + torch.tensor([[1e-3, 0.0]])).detach().requires_grad_()
    assert value.item() < 0.01


def test_without_projections_the_aim_is_between_the_costs_and_the_mean():
    loss = ConeAlignmentLoss(inner=0.2, solve_ratio=0, reduction="none")
    costs = torch.tensor([[-1.0, 3.0]], dtype=torch.float64)
    _, aim = loss(costs, normals=QUADRANT, return_solution=True)
    expected = 0.8 * np.array([1.0, -3.0]) / 10**0.5 + 0.2 * np.array([0.5, 0.5])
    np.testing.assert_allclose(aim[0] / aim[0].norm(), expected / np.linalg.norm(expected))


def test_the_share_of_calls_that_project_is_the_ratio_and_goes_on_after_a_restart():
    costs = torch.tensor([[-1.0, 3.0]], dtype=torch.float64)
    exact = ConeAlignmentLoss(inner=0.2)(costs, normals=QUADRANT).item()

    def projects(loss, count):
        return [loss(costs, normals=QUADRANT).item() == exact for _ in range(count)]

    loss = ConeAlignmentLoss(inner=0.2, solve_ratio=0.3, seed=1)
    assert 0.2 < np.mean(projects(loss, 400)) < 0.4
    resumed = ConeAlignmentLoss(inner=0.2, solve_ratio=0.3)
    resumed.load_state_dict(loss.state_dict())
    assert projects(resumed, 20) == projects(loss, 20)
    assert not ConeAlignmentLoss(inner=0.2).state_dict()


def test_wrong_shares_are_refused():
    for arguments, text in (
        ({"inner": 1.0}, "inner must be from 0 to below 1, got 1.0"),
        ({"solve_ratio": 1.5}, "solve_ratio must be from 0 to 1, got 1.5"),
        ({"solve_ratio": 0.5}, "inner must be above 0 if solve_ratio is below 1"),
    ):
        with pytest.raises(ValueError, match=text):
            ConeAlignmentLoss(**arguments)
    with pytest.raises(TypeError, match="solve_ratio needs ConeAlignmentLoss"):
        cone_alignment_loss(torch.ones(1, 2), normals=QUADRANT, inner=0.2, solve_ratio=0.5)
