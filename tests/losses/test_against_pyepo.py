"""The same losses and gradients as PyEPO's, on the same inputs; skipped where it is not installed."""

import numpy as np
import pytest
import torch

from difflayers.engine.pool import SolutionPool
from difflayers.functional import normalized_regret, regret
from difflayers.losses import (
    ContrastiveLoss,
    FenchelYoungLoss,
    PerturbationGradientLoss,
    RankingLoss,
    SPOPlusLoss,
)
from tests.losses.polytopes import Enumeration, drawn_costs, knapsacks, paths

pyepo = pytest.importorskip("pyepo")

from pyepo.data.dataset import optDataset  # noqa: E402
from pyepo.func import CMAP, NCE, PFY, PG, PFYMul, SPOPlus, lsLTR, prLTR, ptLTR  # noqa: E402
from pyepo.metric import calRegret  # noqa: E402
from pyepo.model.opt import optModel  # noqa: E402


class Peer(optModel):
    """An Enumeration as PyEPO sees a solver."""

    def __init__(self, points, maximize):
        self.solver, self.sign = Enumeration(points), -1 if maximize else 1
        self.modelSense = pyepo.EPO.MAXIMIZE if maximize else pyepo.EPO.MINIMIZE
        super().__init__()

    def _getModel(self):
        return None, list(range(self.solver.points.shape[1]))

    def setObj(self, c):
        self.costs = np.asarray(c)

    def solve(self):
        solution = self.solver(self.sign * self.costs)
        return solution, float(solution @ self.costs)


class Case:
    def __init__(self, points, maximize):
        self.costs, self.true_costs = drawn_costs(points, 8, 2, batch=8)
        self.peer = Peer(points, maximize)
        solver, sign = Enumeration(points), self.peer.sign
        self.solver = lambda costs: solver(sign * costs)
        self.options = {"reduction": "none", "maximize": maximize}
        self.solutions = torch.tensor(np.array([self.solver(c) for c in self.true_costs.numpy()]))
        self.objectives = (self.true_costs * self.solutions).sum(1, keepdim=True)

    def seen(self):
        """A data set for the pools of PyEPO's losses, and a pool for ours, with the same solutions."""
        pool = SolutionPool(0)
        ContrastiveLoss(self.solver, pool=pool, maximize=self.options["maximize"])(
            self.true_costs, true_solutions=self.solutions
        )
        return optDataset(self.peer, self.costs.numpy(), self.true_costs.numpy()), pool

    def assert_same(self, ours, theirs, **tolerances):
        (ours, our_gradient), (theirs, their_gradient) = (self._evaluate(loss) for loss in (ours, theirs))
        torch.testing.assert_close(ours, theirs, **tolerances)
        torch.testing.assert_close(our_gradient, their_gradient, **tolerances)

    def _evaluate(self, loss):
        costs = self.costs.clone().requires_grad_()
        values = loss(costs)
        return values.detach(), torch.autograd.grad(values.sum(), costs)[0]


@pytest.fixture(params=["paths-minimize", "knapsacks-maximize"])
def case(request):
    return Case(paths(), False) if request.param == "paths-minimize" else Case(knapsacks(), True)


def test_spo_plus(case):
    theirs = SPOPlus(case.peer, reduction="none")
    case.assert_same(
        lambda c: SPOPlusLoss(case.solver, **case.options)(c, true_costs=case.true_costs),
        lambda c: theirs(c, case.true_costs, case.solutions, case.objectives),
    )


@pytest.mark.parametrize("difference", ["backward", "central"])
def test_perturbation_gradient(case, difference):
    theirs = PG(case.peer, sigma=0.5, two_sides=difference == "central", reduction="none")
    ours = PerturbationGradientLoss(case.solver, 0.5, difference, **case.options)
    # Theirs divides by the step plus 1e-7.
    case.assert_same(
        lambda c: ours(c, true_costs=case.true_costs),
        lambda c: theirs(c, case.true_costs),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("perturbation", ["additive", "multiplicative"])
def test_perturbed_fenchel_young_in_expectation(case, perturbation):
    samples = 1000
    peer = PFY if perturbation == "additive" else PFYMul
    theirs = peer(case.peer, n_samples=samples, sigma=0.5, reduction="none")
    ours = FenchelYoungLoss(case.solver, 0.5, samples, perturbation=perturbation, **case.options)
    # Four standard errors of differences between two means over 1000 samples of deviation up to about 2.
    case.assert_same(
        lambda c: ours(c, true_solutions=case.solutions),
        lambda c: theirs(c, case.solutions),
        atol=4 * 2.0 * (2 / samples) ** 0.5,
        rtol=0,
    )


@pytest.mark.parametrize(("kind", "peer"), [("nce", NCE), ("map", CMAP)])
def test_contrastive(case, kind, peer):
    dataset, pool = case.seen()
    theirs = peer(case.peer, solve_ratio=0, dataset=dataset, reduction="none")
    ours = ContrastiveLoss(case.solver, kind, pool=pool, **case.options)
    # Theirs keeps the solutions in float32.
    case.assert_same(
        lambda c: ours(c, true_solutions=case.solutions),
        lambda c: theirs(c, case.solutions),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize(("kind", "peer"), [("pointwise", ptLTR), ("pairwise", prLTR), ("listwise", lsLTR)])
def test_ranking(case, kind, peer):
    dataset, pool = case.seen()
    theirs = peer(case.peer, solve_ratio=0, dataset=dataset, reduction="none")
    ours = RankingLoss(case.solver, kind, pool=pool, **case.options)
    # Theirs raises the wanted probabilities of the list to at least 1e-8.
    case.assert_same(
        lambda c: ours(c, true_costs=case.true_costs), lambda c: theirs(c, case.true_costs), atol=1e-5, rtol=0
    )


def test_regret(case):
    options = {"maximize": case.options["maximize"]}
    expected = [
        calRegret(case.peer, cost.numpy(), true.numpy(), objective.item())
        for cost, true, objective in zip(case.costs, case.true_costs, case.objectives, strict=True)
    ]
    ours = regret(case.solver, case.costs, true_costs=case.true_costs, reduction="none", **options)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert normalized_regret(case.solver, case.costs, true_costs=case.true_costs, **options) == pytest.approx(
        pyepo.metric.SPOError(case.costs.numpy(), case.true_costs.numpy(), case.peer), rel=1e-6
    )
