"""The baselines of the study: centre voting, by hand, and a constant on the boundary costs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from difflayers.panoptic import PanopticLabels
from examples.cops.config import DRAWN, Widths
from examples.cops.data import DrawnScenes, folders
from examples.cops.data.batches import Crops
from examples.cops.inference import Predictor
from examples.cops.network import DeepLabCops, ResNet50
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.study import calibrate as calibration
from examples.cops.study import study
from examples.cops.study.calibrate import calibrate
from examples.cops.study.centres import Votes, centre_targets, centres, group, voting_loss
from examples.cops.study.voting import CentreVoting, VotingPredictor, VotingStep, train_voting

IS_THING = np.array([False, False, True, True])
TINY = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 4)},
    stage1={"iterations": 2, "batch": 2},
    stage2={"iterations": 3, "batch": 2, "warm_up": 1},
)


def street() -> PanopticLabels:
    """Two touching things of class 2 on stuff 0, a crowd of class 3, and void in a corner."""
    segments = np.zeros((8, 10), dtype=np.int32)
    segments[2:5, 1:4] = 1
    segments[2:5, 4:9] = 2
    segments[7, 6:] = 3
    segments[0, 0] = -1
    return PanopticLabels(segments, np.array([0, 2, 2, 3]), np.array([False, False, False, True]))


def tiny_voting() -> CentreVoting:
    torch.manual_seed(0)
    return CentreVoting(runs.build_network(TINY, 8), TINY)


def test_targets_are_gaussians_at_the_centres_and_the_way_there() -> None:
    targets = centre_targets(street(), IS_THING, sigma=0.8)
    assert [tuple(index) for index in (targets.heatmap == 1).nonzero().tolist()] == [(3, 2), (3, 6)]
    # One pixel from a centre, and between both: the nearer one decides.
    assert targets.heatmap[3, 3] == pytest.approx(np.exp(-1 / (2 * 0.8**2)))
    assert targets.heatmap[3, 5] == targets.heatmap[3, 3]
    assert targets.offsets[:, 2, 1].tolist() == [1, 1]
    assert targets.offsets[:, 4, 8].tolist() == [-1, -2]
    assert targets.things.sum() == 9 + 15
    assert targets.offsets[:, ~targets.things].abs().sum() == 0
    # Neither void nor the crowd says anything.
    assert (~targets.known).sum() == 1 + 4
    assert not targets.known[0, 0]


def test_the_loss_is_zero_at_the_targets_and_adds_the_weighted_means() -> None:
    targets = centre_targets(street(), IS_THING, sigma=0.8)
    heatmap, offsets = targets.heatmap[None].clone(), targets.offsets[None].clone()
    heatmap[0, 7, 9] = 5  # the crowd
    offsets[0, :, 0] = 5  # stuff
    assert voting_loss(Votes(heatmap, offsets), [targets])[0] == 0
    heatmap[0, 0, 5] += 0.5
    offsets[0, 1, 3, 2] += 2
    loss, figures = voting_loss(Votes(heatmap, offsets), [targets])
    assert figures["heatmap"] == pytest.approx(0.25 / 75)
    assert figures["offsets"] == pytest.approx(4 * 2 / 24)  # in pixels of the image
    assert loss.item() == pytest.approx(200 * 0.25 / 75 + 0.01 * 8 / 24)


def test_nothing_to_learn_from_is_no_loss() -> None:
    empty = PanopticLabels(np.full((4, 4), -1, dtype=np.int32), np.zeros(0, dtype=np.int64))
    votes = Votes(torch.ones(1, 4, 4, requires_grad=True), torch.ones(1, 2, 4, 4, requires_grad=True))
    loss, _ = voting_loss(votes, [centre_targets(empty, IS_THING, 1.0)])
    loss.backward()
    assert loss == 0


def test_perfect_votes_give_back_touching_instances() -> None:
    segments = street().segments.copy()
    segments[segments == 3] = 0  # no crowd, so that everything is told apart
    segments[0, 0] = 0
    truth = PanopticLabels(segments, np.array([0, 2, 2]))
    targets = centre_targets(truth, IS_THING, sigma=0.8)
    classes = torch.from_numpy(truth.semantic())
    labels, found = group(classes, targets.heatmap, targets.offsets, IS_THING)
    assert labels.tolist() == truth.semantic().ravel().tolist()
    assert found.tolist() == segments.ravel().tolist()


def test_most_pixels_of_a_segment_decide_on_its_class_and_stuff_has_no_vote() -> None:
    targets = centre_targets(street(), IS_THING, sigma=0.8)
    classes = torch.from_numpy(street().semantic()).clamp(min=0)
    classes[2, 1:4] = 3  # three of the nine pixels of a thing
    classes[4, 1] = 1  # and one that is taken for stuff
    labels, segments = group(classes, targets.heatmap, targets.offsets, IS_THING)
    labels, segments = labels.reshape(8, 10), segments.reshape(8, 10)
    assert (labels[2:4, 1:4] == 2).all()
    assert labels[4, 1] == 1
    assert len(np.unique(segments[2:4, 1:4])) == 1


def test_centres_are_local_maxima_above_the_threshold() -> None:
    heatmap = torch.zeros(6, 9)
    heatmap[1, 1], heatmap[1, 2], heatmap[4, 7], heatmap[0, 7] = 0.9, 0.8, 0.3, 0.09
    assert sorted(centres(heatmap).tolist()) == [[1, 1], [4, 7]]
    assert centres(heatmap * 0.1).tolist() == [[1, 1]]  # none is high enough: the highest


def test_an_image_without_things_has_stuff_only() -> None:
    classes = torch.tensor([[0, 0, 1], [0, 1, 1]])
    labels, segments = group(classes, torch.zeros(2, 3), torch.zeros(2, 2, 3), IS_THING)
    assert labels.tolist() == segments.tolist() == classes.flatten().tolist()


def test_the_head_learns_and_the_network_stays(tmp_path: Path) -> None:
    scenes, voting = DrawnScenes("train", 0, 1), tiny_voting()  # one scene, to learn by heart
    frozen = {name: value.clone() for name, value in voting.network.state_dict().items()}
    config = TINY.change(
        data={"size": (128, 192), "scale": (1.0, 1.0)}, stage2={"iterations": 30, "warm_up": 5}
    )
    log = train_voting(voting, scenes, config, Checkpoint(tmp_path / "voting.pt"), progress=False)
    for name, factor in (("heatmap", 0.75), ("offsets", 0.96)):
        first, last = (np.mean([entry[name] for entry in part]) for part in (log[:5], log[-5:]))
        assert last < factor * first
    assert all(torch.equal(frozen[name], value) for name, value in voting.network.state_dict().items())


def test_a_resumed_head_is_bit_for_bit_the_unbroken_one(tmp_path: Path) -> None:
    scenes = DrawnScenes("train", 0, 4)

    class Killed(Exception):
        pass

    class KilledCheckpoint(Checkpoint):
        def save(self, **state: object) -> None:
            super().save(**state)
            raise Killed

    whole, broken, resumed = tiny_voting(), tiny_voting(), tiny_voting()
    log = train_voting(whole, scenes, TINY, Checkpoint(tmp_path / "whole.pt", every=2), progress=False)
    path = tmp_path / "broken.pt"
    with pytest.raises(Killed):
        train_voting(broken, scenes, TINY, KilledCheckpoint(path, every=2), progress=False)
    assert train_voting(resumed, scenes, TINY, Checkpoint(path, every=2), progress=False) == log
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_the_authors_network_takes_the_head_too() -> None:
    config = TINY.change(
        network={"backbone": "resnet50", "heads": "deeplab", "widths": Widths(16, 16, 8, 8, (1, 2))}
    )
    network = runs.build_network(config, 8)
    assert isinstance(network, DeepLabCops)
    assert isinstance(network.backbone, ResNet50)
    scenes = DrawnScenes("train", 0, 2)
    voting = CentreVoting(network, config)
    batch = Crops(scenes, config, stage=2, size=2)[0, 0]
    voting.eval()
    loss, _ = VotingStep(voting, scenes.is_thing)(batch, voting.trunk(batch.images))
    loss.backward()
    assert all(p.grad is not None for p in voting.head.parameters())
    assert all(p.grad is None for p in voting.network.parameters())


def test_voting_keeps_the_classes_of_the_network_on_stuff() -> None:
    scenes, voting = DrawnScenes("val", 0, 2), tiny_voting()
    config = TINY.change(rejection={"thing_area": 0.0, "stuff_area": 0.0})
    for image in (scenes[0].image, scenes[1].image[:101, :77]):
        (prediction,) = VotingPredictor(voting, scenes.is_thing, config).predict([image])
        assert prediction.labels.shape == image.shape[:2]
        assert (prediction.labels.semantic() == prediction.semantic).all()
        (other,) = Predictor(voting.network, scenes.is_thing, config).predict([image])
        likeliest = other.solved.node_costs.argmin(1)
        stuff = ~scenes.is_thing[likeliest]
        assert (prediction.solved.solution.labels[stuff] == likeliest[stuff]).all()


def test_calibration_takes_the_constant_of_the_best_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = DrawnScenes("train", 0, 6)
    network = runs.build_network(TINY, 8)
    network.costs.edge_offset.data[:] = torch.tensor([0.25, -0.25])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(calibration, "OFFSETS", (-1.0, 0.0, 2.0))
    monkeypatch.setattr(calibration, "IMAGES", 3)
    asked: list[tuple[float, str]] = []

    class Perfect:
        """Right about an image where the constant is -1, and about nothing elsewhere."""

        def __init__(self, network: torch.nn.Module, *_: object) -> None:
            self.offset = network.costs.edge_offset[0].item() - 0.25

        def __call__(self, image: np.ndarray) -> PanopticLabels:
            index = next(i for i in range(6) if np.array_equal(scenes[i].image, image))
            asked.append((self.offset, scenes.name(index)))
            if self.offset == -1:
                return scenes[index].labels
            return PanopticLabels(np.zeros(image.shape[:2], dtype=np.int32), np.array([0]))

    monkeypatch.setattr(calibration, "Predictor", Perfect)
    found = calibrate(network, scenes, TINY)
    assert found[-1.0] == 1
    assert max(found[0.0], found[2.0]) < 0.5
    assert asked == [(o, scenes.name(i)) for o in (-1.0, 0.0, 2.0) for i in (0, 2, 5)]
    after = network.state_dict()
    assert after.pop("costs.edge_offset").tolist() == [-0.75, -1.25]
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_a_study_has_rows_for_both_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folders.DRAWN_LENGTH, "train", 4)
    monkeypatch.setitem(folders.DRAWN_LENGTH, "val", 2)
    monkeypatch.setattr(calibration, "OFFSETS", (-0.5,))  # more cuts, so that stage 2 has what to learn from
    rows = [study.VOTING, study.VOTING_LONGER, study.AFTER_CALIBRATION, study.CALIBRATED]
    config = TINY.change(solver={"scales": (1000.0, 5000.0)})  # what is hardly trained changes its mind late
    results = study.study(None, tmp_path, config, rows)
    assert list(results) == ["stage 1", "stage 2", *rows]
    assert all(set(results[row]) == {"PQ", "PQ_th", "PQ_st"} for row in rows)
    one, _, _ = runs.load_network(tmp_path / "stage1.pt")
    calibrated, _, _ = runs.load_network(tmp_path / f"{study.file_name(study.CALIBRATED)}.pt")
    shift = calibrated.costs.edge_offset - one.costs.edge_offset
    assert shift.tolist() == [-0.5, -0.5]
    after, _, _ = runs.load_network(tmp_path / f"{study.file_name(study.AFTER_CALIBRATION)}.pt")
    # Trained on from there, a bit.
    assert torch.allclose(after.costs.edge_offset, calibrated.costs.edge_offset, atol=0.01)
    assert not torch.equal(after.costs.edge_offset, calibrated.costs.edge_offset)
    for row, iterations in (
        (study.VOTING, TINY.stage2.iterations),
        (study.VOTING_LONGER, TINY.stage1.iterations),
    ):
        state = Checkpoint(tmp_path / f"{study.file_name(row)}.pt").load()
        assert state is not None
        assert len(state["log"]) == iterations
        kept = {f"network.{name}": value for name, value in one.state_dict().items()}
        assert all(torch.equal(state["network"][name], value) for name, value in kept.items())
