"""A number that is not finite stops a run before it reaches the weights or the checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes, open_dataset
from examples.cops.network import CopsNetwork
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.train import train_stage_one, train_stage_two
from tests.examples.cops.answers import write_scenes

TINY = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 4)},
    stage1={"iterations": 4, "batch": 2},
    stage2={"iterations": 4, "batch": 2, "warm_up": 1},
)


class Bad(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


def break_after(network: CopsNetwork, calls: int, what: str) -> None:
    """From the call after so many on, the semantic logits are NaN, or have a gradient of NaN."""
    seen = 0

    def spoil(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen <= calls:
            return output
        return output * float("nan") if what == "value" else Bad.apply(output)

    network.semantic_predictor.register_forward_hook(spoil)


def state_of(path: Path) -> dict[str, Any]:
    state = Checkpoint(path).load()
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("stage", "what", "message"),
    [
        (train_stage_one, "value", "the loss is nan"),
        (train_stage_one, "gradient", "the norm of the gradient is nan"),
        (train_stage_two, "value", "the costs that the network puts out hold NaN"),
        (train_stage_two, "gradient", "the norm of the gradient is nan"),
    ],
)
def test_the_run_stops_with_iteration_and_files_and_the_last_good_state_stays(
    stage: Any, what: str, message: str, tmp_path: Path
) -> None:
    data = open_dataset(write_scenes(tmp_path / "data"), "train")
    network = runs.build_network(TINY, len(data.categories))
    break_after(network, 2, what)
    path = tmp_path / "stage.pt"
    with pytest.raises(FloatingPointError, match=rf"iteration 2: {message}") as caught:
        stage(network, data, TINY, Checkpoint(path, every=1), progress=False)
    files = [str(tmp_path / "data" / "train" / f"{index}.png") for index in range(4)]
    named = [file for file in files if file in str(caught.value)]
    assert 1 <= len(named) <= 2  # the batch has two images, drawn with replacement
    state = state_of(path)
    assert len(state["log"]) == 2
    assert all(value.isfinite().all() for value in state["network"].values())
    weights = dict(network.named_parameters())  # no step was taken with what is not finite
    for name, parameter in weights.items():
        assert torch.equal(parameter, state["network"][name]), name


def test_drawn_scenes_are_named_too(tmp_path: Path) -> None:
    network = runs.build_network(TINY, 8)
    break_after(network, 0, "value")
    with pytest.raises(
        FloatingPointError, match=r"stage 1, iteration 0: .*images are train_0_0000\d, train_0_"
    ):
        train_stage_one(
            network, DrawnScenes("train", 0, 4), TINY, Checkpoint(tmp_path / "1.pt"), progress=False
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(value: float, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "stage1.pt")
    good, bad = {"weight": torch.ones(3)}, {"weight": torch.tensor([1.0, value, 1.0])}
    checkpoint.save(network=good)
    with pytest.raises(FloatingPointError, match=r"stage1\.pt: not written, since weight holds NaN or inf"):
        checkpoint.save(network=bad)
    with pytest.raises(FloatingPointError, match=r"stage1\.best-000003\.pt: not written"):
        checkpoint.save_best(3, network=bad)
    assert torch.equal(state_of(checkpoint.path)["network"]["weight"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["stage1.pt"]


def test_the_best_checkpoint_has_its_number_and_replaces_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "stage2.pt")
    (tmp_path / "other.best-000001.pt").touch()
    for iteration in (50, 100):
        checkpoint.save_best(iteration, network={"weight": torch.full((2,), float(iteration))})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"other.best-000001.pt", "stage2.best-000100.pt"}
    assert state_of(tmp_path / "stage2.best-000100.pt")["network"]["weight"].tolist() == [100, 100]
