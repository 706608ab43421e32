"""The loss behind the solver: several processes see the gradient of one; dropped costs belong to an image."""

from typing import Any

import numpy as np
import pytest
import torch

from examples.cops import steps
from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes
from examples.cops.data.batches import Crops
from examples.cops.network import Costs
from examples.cops.run import runs
from examples.cops.steps import SolverStep, drop_costs
from tests.elsewhere import elsewhere

TINY = DRAWN.change(
    data={"size": (64, 96)},
    network={"distances": (1, 4)},
    solver={"scales": (200.0, 5000.0)},
    rejection={"thing_area": 16.0, "stuff_area": 64.0},
)


def gradients(
    step: SolverStep, crops: Crops, part: int
) -> tuple[float, list[torch.Tensor], list[torch.Tensor]]:
    """The loss of a part, and its gradients in the solver's input and in the parameters of stage 2."""
    solver_input: list[torch.Tensor] = []
    whole = step.layer.forward

    def noted(node: torch.Tensor, edge: Any, targets: Any) -> Any:
        node.register_hook(lambda gradient: solver_input.append(gradient / steps.world()))
        return whole(node, edge, targets)

    step.layer.forward = noted  # type: ignore[method-assign]
    parameters = [p for group in step.network.full_training_groups() for p in group]
    try:
        loss, _ = step(crops[3, part])
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        step.layer.forward = whole  # type: ignore[method-assign]
    return loss.item(), solver_input, [p if g is None else g for p, g in zip(parameters, found, strict=True)]


def test_two_processes_give_the_solver_and_the_weights_the_gradient_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenes = DrawnScenes("train", 0, 4)
    step = SolverStep(runs.build_network(TINY, 8), scenes.is_thing, TINY, frozen_trunk=True)
    loss, (solver_gradient,), whole = gradients(step, Crops(scenes, TINY, 2, 4), 0)
    assert solver_gradient.abs().sum() > 0

    halves = Crops(scenes, TINY, 2, 2)
    answers: dict[int, Any] = {}
    monkeypatch.setattr(steps, "world", lambda: 2)
    for _ in range(2):  # in the second round the answer of the other process is known
        parts = []
        for process in (0, 1):

            def gathered(own: Any, process: int = process) -> list[Any]:
                answers[process] = own
                return [answers.get(number, []) for number in (0, 1)]

            monkeypatch.setattr(steps, "rank", lambda process=process: process)
            monkeypatch.setattr(steps, "gathered", gathered)
            parts.append(gradients(step, halves, process))
    assert [part[0] for part in parts] == pytest.approx([loss, loss], rel=1e-5)
    at_solver = torch.cat([part[1][0] for part in parts])
    assert torch.nn.functional.cosine_similarity(at_solver.flatten(), solver_gradient.flatten(), 0) > 0.9999
    assert at_solver.abs().mean() == pytest.approx(solver_gradient.abs().mean().item(), rel=1e-3)
    for one, first, second in zip(whole, parts[0][2], parts[1][2], strict=True):
        torch.testing.assert_close((first + second) / 2, one, rtol=1e-3, atol=1e-6)


def test_each_alone_would_take_a_loss_of_its_own_whose_gradient_is_larger() -> None:
    """Why the sums run over all processes: the mean size of the gradient grows with their number."""
    scenes = DrawnScenes("train", 0, 4)
    step = SolverStep(runs.build_network(TINY, 8), scenes.is_thing, TINY, frozen_trunk=True)
    _, (together,), _ = gradients(step, Crops(scenes, TINY, 2, 4), 0)
    alone = torch.cat([gradients(step, Crops(scenes, TINY, 2, 2), part)[1][0] for part in (0, 1)])
    assert alone.abs().mean() > 1.2 * together.abs().mean()


def test_dropped_costs_of_an_image_depend_on_its_seed_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    node = torch.rand(3, 5, 8, 12, generator=generator) + 1
    sides = [
        (torch.rand(3, 8 - d, 12, generator=generator) + 1, torch.rand(3, 8, 12 - d, generator=generator) + 1)
        for d in (1, 4, 8)
    ]
    dropped = drop_costs(Costs(node, sides), 0.25, [5, 6, 7])
    kept = dropped.node != 0
    assert (kept.all(1) == kept.any(1)).all()  # whole pixels
    assert torch.equal(dropped.node[kept], node[kept])
    zeros = torch.cat([(side == 0).flatten() for pair in dropped.edge for side in pair]).float().mean()
    assert zeros.item() == pytest.approx(0.25, abs=0.05)
    alone = drop_costs(Costs(node[1:2], [(v[1:2], h[1:2]) for v, h in sides]), 0.25, [6])
    assert torch.equal(alone.node[0], dropped.node[1])
    for pair, other in zip(alone.edge, dropped.edge, strict=True):
        assert all(torch.equal(one[0], all_[1]) for one, all_ in zip(pair, other, strict=True))
    assert not torch.equal(dropped.node[0] == 0, dropped.node[1] == 0)


def one_step(config: Any, device: torch.device) -> tuple[SolverStep, float, list[torch.Tensor]]:
    """A step of stage 2, its loss, and the gradients of the parameters that it reaches, on the CPU."""
    scenes = DrawnScenes("train", 0, 4)
    batch = Crops(scenes, config, 2, 2)[3, 0]
    network = runs.build_network(config, 8).to(device)
    step = SolverStep(network, scenes.is_thing, config, frozen_trunk=True)
    loss, _ = step(batch.to(device))
    parameters = [p for group in network.full_training_groups() for p in group]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return step, loss.item(), [gradient.cpu() for gradient in found if gradient is not None]


def test_costs_on_a_cpu_are_solved_there_and_nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SolverStep, "seconds", lambda *_: pytest.fail("timed"))
    step, _, _ = one_step(TINY, torch.device("cpu"))
    assert (step.place, step.layer.on_device) == ("cpu", False)


@pytest.mark.parametrize("place", ["cpu", "gpu"])
def test_the_place_of_the_settings_counts_and_gives_on_a_device_what_it_gives_on_the_cpu(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TINY.change(solver={"place": place}, loss={"cost_dropout": 0.0})
    _, loss, expected = one_step(config, torch.device("cpu"))
    with elsewhere() as device:
        step, there, found = one_step(config, device)
    assert step.layer.on_device == (place == "gpu")
    assert there == pytest.approx(loss, abs=1e-6)
    assert any(gradient.any() for gradient in expected)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("faster", ["cpu", "gpu"])
def test_on_a_device_the_faster_place_is_taken_told_and_kept(
    faster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SolverStep, "seconds", lambda _, place, *rest: 1.0 if place == faster else 2.0)
    with elsewhere() as device:
        costs = Costs(torch.zeros(1, 8, 4, 4, device=device), [])
        step = SolverStep(torch.nn.Module(), np.ones(8, bool), TINY, frozen_trunk=True)  # type: ignore[arg-type]
        assert step.faster_place(costs, Crops(DrawnScenes("train", 0, 4), TINY, 2, 1)[0, 0]) == faster
    assert f"solver: {faster} (layer and loss on the first batch: cpu" in capsys.readouterr().out
