"""How a blackbox layer reacts to λ, and whether its λ and the sense of its costs are right."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import positive
from difflayers._files import replacing
from difflayers.engine.autograd import measuring
from difflayers.engine.call import Call
from difflayers.engine.checks import check_call
from difflayers.engine.instances import any_nonzero
from difflayers.layers.blackbox import BlackboxLayer
from difflayers.pictures import new_figure
from difflayers.solver import Array, SolverError

# Below the first share, λ changes too few solutions; above the second, the costs hardly matter.
_TOO_FEW, _TOO_MANY = 0.1, 0.9


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        scales: (N,) the λ that were tried, ascending.
        changed: (N,) for each λ, the share of instances whose solution it changed, among those with an
            incoming gradient.
        norms: (N,) for each λ, the mean Euclidean norm of the gradient (W(c + λ g) − W(c)) / λ per instance.
        cosines: (N, N) mean cosine between the gradients of two λ, over the instances in which neither is
            zero; NaN without such instances.
        with_gradient: share of instances whose incoming gradient is not zero.
        suggested: lowest and highest λ that change from 10 to 90 % of the solutions; None without such λ.
        own: (K,) the λ that the layer would use next.
        own_changed: (K,) for each of these, the share of solutions that it changes.
        beaten: share of solutions that are beaten in the objective by the solver's answer to other costs,
            those of another instance or the negative ones: none for an exact solver, most for a solver that
            works in the other sense; NaN if the solver fails on all other costs.
        seconds: (B,) the time of the solve per instance; one number, the mean, for a batched solver.
        failures: share of the problems for which the solver found no solution.

    Examples:
        >>> import difflayers
        >>> layer = difflayers.BlackboxLayer(difflayers.solvers.TopK(1), batched=True)
        >>> costs, push = torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> found = difflayers.diagnose(layer, costs, gradient=push, scales=[0.5, 2.0, 4.0])
        >>> print(str(found).splitlines()[1])
               0.5     0.0%            0   nan
    """

    scales: Array
    changed: Array
    norms: Array
    cosines: Array
    with_gradient: float
    suggested: tuple[float, float] | None
    own: Array
    own_changed: Array
    beaten: float
    seconds: Array
    failures: float

    @property
    def wrong_sense(self) -> bool:
        """Whether the solver likely maximizes what is taken as costs, or the other way round."""
        return self.beaten > 0.5

    def __str__(self) -> str:
        lines = ["         λ   changed   |gradient|   cosine to the next λ"]
        following = [*(f"{value:.2f}" for value in np.diagonal(self.cosines, 1)), ""]
        for row in zip(self.scales, self.changed, self.norms, following, strict=True):
            lines.append("{:10.4g}   {:6.1%}   {:10.4g}   {}".format(*row))
        lines.append(f"{self.with_gradient:.0%} of the instances have an incoming gradient")
        if self.suggested is None:
            lines.append("no λ that was tried changes from 10 % to 90 % of the solutions")
        else:
            low, high = self.suggested
            lines.append(f"suggested: UniformScales({low:.3g}, {high:.3g})")
            if self.own_changed.max() < _TOO_FEW:
                lines.append(
                    f"the layer's λ, {self.own.max():.3g} at most, is too small: "
                    f"it changes {self.own_changed.max():.0%} of the solutions, and most gradients are zero"
                )
            if self.own_changed.min() > _TOO_MANY:
                lines.append(
                    f"the layer's λ, {self.own.min():.3g} at least, is too large: it changes "
                    f"{self.own_changed.min():.0%} of the solutions, whatever the costs. Have they shrunk?"
                )
        if self.wrong_sense:
            lines.append(
                f"{self.beaten:.0%} of the solutions are beaten by the answer to other costs: "
                "does the solver minimize, or with `maximize` maximize?"
            )
        milliseconds = self.seconds * 1e3
        lines.append(
            f"a solve takes {np.median(milliseconds):.3g} ms (median), {milliseconds.max():.3g} ms at most"
        )
        if self.failures:
            lines.append(f"{self.failures:.1%} of the problems had no solution")
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw how many solutions each λ changes, and the norms and cosines of its gradients.

        Args:
            path: where to save the picture, if anywhere.

        Returns:
            The matplotlib figure. Raises ImportError without matplotlib.
        """
        figure = new_figure(9, 3)
        shares, norms, cosines = figure.subplots(1, 3)
        shares.plot(self.scales, self.changed, "o-")
        shares.set(xscale="log", xlabel="λ", ylim=(-0.03, 1.03), title="share of changed solutions")
        if self.suggested is not None:
            shares.axvspan(*self.suggested, alpha=0.2)
        norms.plot(self.scales, self.norms, "o-")
        norms.set(xscale="log", xlabel="λ", title="norm of the gradient")
        if self.norms.any():
            norms.set_yscale("log")  # leaves out what is zero
        ticks = [f"{scale:.2g}" for scale in self.scales]
        image = cosines.imshow(self.cosines, vmin=-1, vmax=1, cmap="coolwarm")
        cosines.set(title="cosine between λ", xticks=range(len(ticks)), yticks=range(len(ticks)))
        cosines.set_xticklabels(ticks, rotation=90, fontsize=7)
        cosines.set_yticklabels(ticks, fontsize=7)
        figure.colorbar(image, ax=cosines)
        if path is not None:
            with replacing(path) as new:
                figure.savefig(new, dpi=150)
        return figure


def diagnose(
    layer: BlackboxLayer,
    costs: Tensor | Sequence[Tensor],
    *,
    loss: Callable[..., Tensor] | None = None,
    gradient: Tensor | Sequence[Tensor] | None = None,
    context: Sequence[Any] | None = None,
    scales: Sequence[float] | None = None,
) -> Diagnosis:
    """Report how a blackbox layer reacts to each λ on one batch; `print` it, or `plot()` it.

    The layer's own state, such as its generator and an adaptive λ, is left as it is.

    Args:
        layer: the layer; its solver is called three times for the batch and once more per λ, including
            the λ of the layer itself.
        costs: (B, *shape), or several such tensors, as the layer is called with.
        loss: from the layer's solutions to the loss that is trained with, for the incoming gradient.
        gradient: the incoming gradient itself, one (B, *shape) for each cost, in place of `loss`.
        context: as the layer is called with.
        scales: the λ to try; by default 13 over six decades, around the standard deviation of the costs
            divided by the largest entry of the gradient.

    Raises:
        TypeError: the layer has no λ, or the costs are no floating-point tensors.
        ValueError: neither or both of loss and gradient are given, the gradient has a NaN or infinite value
            or another shape than the solutions, a scale is not positive and finite, or the batch is empty.
        SolverError: a solver failed, and `on_failure` is "raise".

    Examples:
        >>> layer = BlackboxLayer(lambda c: np.eye(2)[c.argmin()])
        >>> costs = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 5.0], [0.0, 7.0]])
        >>> push = torch.tensor([[1.0, 0.0]]).expand(4, 2)  # against item 0, which is the cheaper one
        >>> found = diagnose(layer, costs, gradient=push, scales=[0.5, 2.0, 4.0, 8.0])
        >>> found.changed.tolist()
        [0.0, 0.25, 0.5, 1.0]
        >>> found.suggested
        (2.0, 4.0)
    """
    if not isinstance(layer, BlackboxLayer):
        raise TypeError(f"layer must be a BlackboxLayer, which has λ, got a {type(layer).__name__}")
    if (loss is None) == (gradient is None):
        raise ValueError("either loss or gradient must be given")
    tensors = [costs] if isinstance(costs, Tensor) else list(costs)
    check_call(tensors, (), context)
    if sum(tensor.numel() for tensor in tensors) == 0:
        raise ValueError("costs must hold at least one number, but are empty")
    given = None if scales is None else _checked_scales(scales)
    solver = layer.solver
    pool, solver.pool = solver.pool, None  # what is asked here is what the solver would do
    before = (solver.statistics.solves, solver.statistics.failures)
    try:
        with measuring(solver, tensors, context) as call:
            batch = call.costs
            solutions, seconds = _timed(call)
            incoming = _incoming(solutions, tensors, loss, gradient)
            tried = _candidates(batch, incoming) if given is None else given
            state = copy.deepcopy(layer.scales.state_dict())
            own = layer.scales.draw()
            layer.scales.load_state_dict(state)
            gradients = []
            for scale in [*tried.tolist(), *own.tolist()]:
                moved = call.solve(
                    [cost + scale * g for cost, g in zip(batch, incoming, strict=True)],
                    f"perturbed with scale {scale:g}",
                )
                parts = [(there - y).flatten(1) for there, y in zip(moved, solutions, strict=True)]
                gradients.append(torch.cat(parts, 1) / scale)
            active = any_nonzero(incoming)
            if call.failed is not None:
                active = active & ~call.failed
            beaten = _beaten(call, solutions)
    finally:
        solver.pool = pool
    solves = solver.statistics.solves - before[0]
    failures = solver.statistics.failures - before[1]
    vectors = torch.stack(gradients)[:, active].cpu().double()
    changed = vectors.any(2).double()
    shares, own_changed = np.split(
        changed.mean(1).numpy() if active.any() else np.zeros(len(changed)), [len(tried)]
    )
    vectors = vectors[: len(tried)]
    fitting = tried[(shares >= _TOO_FEW) & (shares <= _TOO_MANY)]
    return Diagnosis(
        scales=tried,
        changed=shares,
        norms=vectors.norm(dim=2).mean(1).numpy() if active.any() else np.zeros(len(tried)),
        cosines=_cosines(vectors),
        with_gradient=float(active.double().mean()),
        suggested=(float(fitting[0]), float(fitting[-1])) if len(fitting) else None,
        own=own,
        own_changed=own_changed,
        beaten=beaten,
        seconds=seconds,
        failures=failures / max(solves, 1),
    )


def _timed(call: Call) -> tuple[list[Tensor], Array]:
    """Solve the batch itself; return the solutions and the seconds of each solve."""
    batch = call.batch
    if call.solver.batched or call.solver.tensors:
        start = time.perf_counter()
        return call.solve(), np.array([(time.perf_counter() - start) / max(batch, 1)])
    answers, seconds = [], []
    for row in range(batch):
        own = call.part(torch.tensor([row], device=call.costs[0].device))
        start = time.perf_counter()
        answers.append(own.solve())
        seconds.append(time.perf_counter() - start)
    return [torch.cat(column) for column in zip(*answers, strict=True)], np.array(seconds)


def _incoming(
    solutions: Sequence[Tensor],
    costs: Sequence[Tensor],
    loss: Callable[..., Tensor] | None,
    gradient: Tensor | Sequence[Tensor] | None,
) -> list[Tensor]:
    if gradient is not None:
        given: list[Any] = list(gradient) if isinstance(gradient, list | tuple) else [gradient]
        if len(given) != len(costs):
            raise ValueError(
                f"gradient must hold {len(costs)} tensors, one per cost tensor, got {len(given)}"
            )
    else:
        assert loss is not None
        leaves = [
            y.detach().clone().to(cost.device, cost.dtype).requires_grad_()
            for y, cost in zip(solutions, costs, strict=True)
        ]
        with torch.enable_grad():
            value = loss(*leaves)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ValueError("loss must return one number that depends on the solutions, as a tensor")
        parts = torch.autograd.grad(value, leaves, allow_unused=True)
        given = [torch.zeros_like(y) if g is None else g for g, y in zip(parts, leaves, strict=True)]
    for index, (g, y) in enumerate(zip(given, solutions, strict=True)):
        if not isinstance(g, Tensor):
            raise TypeError(f"gradient[{index}] must be a tensor, got a {type(g).__name__}")
        if g.shape != y.shape:
            raise ValueError(f"gradient[{index}] must have shape {tuple(y.shape)}, got {tuple(g.shape)}")
        if not g.isfinite().all():
            row = int((~g.isfinite()).flatten(1).any(1).int().argmax())
            raise ValueError(f"gradient[{index}] has a NaN or infinite value in instance {row}")
    return [g.detach().to(y) for g, y in zip(given, solutions, strict=True)]


def _checked_scales(scales: Sequence[float]) -> Array:
    values = np.asarray(scales, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scales must hold at least one λ, got {scales!r}")
    for value in values.tolist():
        positive("each of scales", value)
    return np.sort(values)


def _candidates(costs: Sequence[Tensor], incoming: Sequence[Tensor]) -> Array:
    finite = torch.cat([cost[cost.isfinite()] for cost in costs])
    largest = max(float(g.abs().amax()) for g in incoming)
    middle = float(finite.std()) / largest if largest > 0 and len(finite) > 1 else 1.0
    return (middle or 1.0) * np.logspace(-3, 3, 13)


def _cosines(vectors: Tensor) -> Array:
    norms = vectors.norm(dim=2, keepdim=True)
    units = vectors / norms.where(norms > 0, 1)
    present = (norms[..., 0] > 0).double()
    products = torch.einsum("nbd,mbd->nm", units, units)
    return (products / (present @ present.T).where(present @ present.T > 0, torch.nan)).numpy()


def _beaten(call: Call, solutions: Sequence[Tensor]) -> float:
    """Return the share of solutions that cost more than the solver's answer to other costs.

    The other costs are those of the next instance, and the negative ones, for which an exact solver gives the
    worst solution. Both answers are feasible, since the context stays, so that they beat an optimum only if
    the solver works in the other sense.
    """
    costs = call.costs
    own = _objective(costs, solutions)
    different = beaten = torch.zeros_like(own, dtype=torch.bool)
    tried = False
    for others in ([cost.roll(1, 0) for cost in costs], [-cost for cost in costs]):
        try:
            other = _objective(costs, call.solve(others))
        except SolverError:  # other costs may forbid what an instance needs, or be refused
            continue
        tried = True
        different = different | (other != own)
        beaten = beaten | (other < own)
    if call.failed is not None:
        different = different & ~call.failed
    if not tried:
        return math.nan
    return float(beaten[different].double().mean()) if different.any() else 0.0


def _objective(costs: Sequence[Tensor], solutions: Sequence[Tensor]) -> Tensor:
    parts = [torch.where(y == 0, 0, cost * y) for cost, y in zip(costs, solutions, strict=True)]
    return torch.stack([part.flatten(1).sum(1) for part in parts]).sum(0)
