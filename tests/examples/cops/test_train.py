"""The pipeline end to end: losses fall, stage 2 reaches the costs, a resumed run is the same run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.cops.config import DRAWN, REAL, Config
from examples.cops.data import folders, open_dataset
from examples.cops.data.batches import Crops
from examples.cops.data.scenes import DrawnScenes
from examples.cops.inference import Predictor
from examples.cops.network import CopsNetwork
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.steps import CrossEntropyStep
from examples.cops.train import Phase, rate, saves, train_stage_one, train_stage_two

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
TINY = DRAWN.change(
    data={"size": (64, 96)},
    network={"distances": (1, 4)},
    stage1={"iterations": 4, "batch": 2},
    stage2={"iterations": 4, "batch": 2, "warm_up": 1},
)


def tiny_scenes() -> DrawnScenes:
    return DrawnScenes("train", 0, 4)


def weights(network: CopsNetwork) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


def test_stage_one_and_two_learn_on_real_images(tmp_path: Path) -> None:
    if not (DATA / "pennfudan").is_dir():
        pytest.skip(f"{DATA / 'pennfudan'} is absent: the real images are not part of the repository")
    data = open_dataset(DATA / "pennfudan", "train")
    config = REAL.change(
        data={"size": (96, 96), "max_side": 128},
        network={"distances": (1, 4)},
        stage1={"iterations": 24, "batch": 4},
        stage2={"iterations": 6, "batch": 4, "warm_up": 1},
    )
    network = runs.build_network(config, len(data.categories))
    unseen = Crops(open_dataset(DATA / "pennfudan", "val"), config, stage=1, size=12)[0, 0]
    step = CrossEntropyStep(network, config)
    with torch.no_grad():
        before_training = step(unseen)[0]
    train_stage_one(network, data, config, Checkpoint(tmp_path / "1.pt"), progress=False)
    with torch.no_grad():
        assert step(unseen)[0] < 0.9 * before_training
    trained = [parameter for group in network.full_training_groups() for parameter in group]
    before = [p.detach().clone() for p in trained]
    log = train_stage_two(network, data, config, Checkpoint(tmp_path / "2.pt"), progress=False)
    assert all(0 <= entry["soft_pq"] <= 1 for entry in log)
    changed = [not torch.equal(a, b) for a, b in zip(before, trained, strict=True)]
    assert np.mean(changed) > 0.9


def test_stage_two_leaves_backbone_and_batch_norm_alone(tmp_path: Path) -> None:
    data = tiny_scenes()
    network = runs.build_network(TINY, len(data.categories))
    frozen = {
        name: value.clone()
        for name, value in network.state_dict().items()
        if name.startswith("backbone") or "running" in name or "aspp" in name
    }
    train_stage_two(network, data, TINY, Checkpoint(tmp_path / "2.pt"), progress=False)
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())


def test_the_authors_rates_fall_with_the_steps_from_the_costs(tmp_path: Path) -> None:
    data = tiny_scenes()
    network = runs.build_network(TINY, len(data.categories))
    groups = network.full_training_groups()
    assert {id(p) for p in groups[0]} == {id(p) for p in network.costs.parameters()}
    assert any(p is network.semantic_predictor.weight for p in groups[1])
    config = TINY.change(stage2={"iterations": 1, "learning_rate": 1e-3, "rate_reduction": 20.0})
    checkpoint = Checkpoint(tmp_path / "2.pt")
    train_stage_two(network, data, config, checkpoint, progress=False)
    state = checkpoint.load()
    assert state is not None
    assert state["base_rates"] == pytest.approx([1e-3, 1e-3 / 20, 1e-3 / 40, 1e-3 / 60])


def test_the_authors_rate_has_hardly_fallen_where_their_training_stops() -> None:
    phase = Phase(2, 3_000, 24, 0, [], torch.nn.Identity(), decay_iterations=20_000)
    assert rate(3_000, phase) == pytest.approx(0.85**0.9)  # 0.86
    assert rate(10_000, phase) == pytest.approx(0.5**0.9)
    assert rate(25_000, phase) == 0
    without = phase._replace(decay_iterations=None)
    assert rate(2_999, without) == pytest.approx((1 / 3_000) ** 0.9)


def test_stage_two_decays_over_the_iterations_that_its_settings_say(tmp_path: Path) -> None:
    rates = {}
    for decay in (None, 20_000):
        data = tiny_scenes()
        network = runs.build_network(TINY, len(data.categories))
        checkpoint = Checkpoint(tmp_path / f"{decay}.pt")
        config = TINY.change(stage2={"decay_iterations": decay, "learning_rate": 1e-3})
        train_stage_two(network, data, config, checkpoint, progress=False)
        state = checkpoint.load()
        assert state is not None
        rates[decay] = state["optimizer"]["param_groups"][0]["lr"]  # of the last of 4 iterations
    assert rates[None] == pytest.approx(1e-3 * 0.25**0.9)
    assert rates[20_000] == pytest.approx(1e-3 * (1 - 3 / 20_000) ** 0.9)


@pytest.mark.parametrize("stage", [train_stage_one, train_stage_two])
def test_a_resumed_run_ends_bit_for_bit_as_an_unbroken_one(tmp_path: Path, stage) -> None:  # type: ignore[no-untyped-def]
    data = tiny_scenes()

    class Killed(Exception):
        pass

    class KilledCheckpoint(Checkpoint):
        def save(self, **state: object) -> None:
            super().save(**state)
            raise Killed

    whole = runs.build_network(TINY, len(data.categories))
    log = stage(whole, data, TINY, Checkpoint(tmp_path / "whole.pt", every=2), progress=False)
    broken = runs.build_network(TINY, len(data.categories))
    with pytest.raises(Killed):
        stage(broken, data, TINY, KilledCheckpoint(tmp_path / "broken.pt", every=2), progress=False)
    resumed = runs.build_network(TINY, len(data.categories))
    resumed_log = stage(resumed, data, TINY, Checkpoint(tmp_path / "broken.pt", every=2), progress=False)
    assert resumed_log == log
    assert torch.equal(weights(whole), weights(resumed))


def test_a_short_run_is_saved_every_50_iterations_and_a_long_one_about_500_times() -> None:
    assert [done for done in range(1, 121) if saves(done, 120, 50)] == [50, 100, 120]
    assert sum(saves(done, 250_000, 50) for done in range(1, 250_001)) == 500
    assert saves(249_999, 249_999, 50)


def test_run_writes_checkpoints_pictures_and_figures_and_reloads(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(folders.DRAWN_LENGTH, "val", 3)
    figures = runs.run(None, tmp_path, TINY, progress=False)
    assert set(figures) == {"stage 1", "stage 2"}
    for name in ("stage1.pt", "stage2.pt", "predictions.png", "training.png", "figures.json"):
        assert (tmp_path / name).stat().st_size > 0
    network, config, categories = runs.load_network(tmp_path / "stage2.pt")
    assert config == TINY
    scene = DrawnScenes("val", 0, 1)[0]
    is_thing = np.array([category.is_thing for category in categories])
    again = [Predictor(network, is_thing, config)(scene.image) for _ in range(2)]
    assert again[0].segments.tolist() == again[1].segments.tolist()
    assert again[0].segments.shape == scene.labels.segments.shape


def test_imagenet_weights_for_another_backbone_are_refused() -> None:
    with pytest.raises(ValueError, match=r"R-52\.pkl: weights of a ResNet-50, but the backbone is lite0"):
        runs.build_network(TINY, 8, imagenet=Path("R-52.pkl"))


def test_prediction_covers_images_of_any_size() -> None:
    is_thing = tiny_scenes().is_thing
    network = runs.build_network(TINY, len(is_thing))
    config: Config = TINY.change(data={"max_side": 100}, rejection={"thing_area": 0.0, "stuff_area": 0.0})
    image = np.random.default_rng(0).integers(0, 256, (131, 57, 3), dtype=np.uint8)
    labels = Predictor(network, is_thing, config)(image)
    assert labels.segments.shape == (131, 57)
    assert (labels.segments >= 0).all()
