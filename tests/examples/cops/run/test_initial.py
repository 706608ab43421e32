"""Weights to begin with, and the authors' checkpoints in every command that takes a checkpoint."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.cops import __main__ as program
from examples.cops.config import DRAWN
from examples.cops.data import Category
from examples.cops.data.street import CATEGORIES
from examples.cops.network import DeepLabCops
from examples.cops.network.published import own_name
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.initial import class_tensors, initialize
from examples.cops.run.resume import check_settings
from examples.cops.run.settings import described
from tests.examples.cops.network.test_network import CLASSES, CROP, DISTANCES, NARROW, published

SMALL = DRAWN.change(data={"size": CROP}, network={"distances": DISTANCES})
AUTHORS = SMALL.change(network={"backbone": "resnet50", "heads": "deeplab", "widths": NARROW})
FIVE = [Category(index, f"class {index}", index > 2, (0, 0, 0)) for index in range(CLASSES)]


def ours(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint of `train` for the classes of the drawn scenes, with weights of another seed."""
    network = runs.build_network(SMALL.change(training={"seed": 9}), len(CATEGORIES))
    Checkpoint(path, about=described(SMALL, CATEGORIES)).save(network=network.state_dict())
    return network.state_dict()


def test_a_checkpoint_of_the_same_classes_fills_the_whole_network(tmp_path: Path) -> None:
    weights = ours(tmp_path / "stage1.pt")
    network = runs.build_network(SMALL, len(CATEGORIES))
    placement = initialize(network, tmp_path / "stage1.pt", SMALL, CATEGORIES)
    assert placement.missing == ()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("count", [8, 5])
def test_for_other_classes_only_what_depends_on_them_stays_random(count: int, tmp_path: Path) -> None:
    weights = ours(tmp_path / "stage1.pt")
    others = [Category(index, f"class {index}", False, (0, 0, 0)) for index in range(count)]
    network = runs.build_network(SMALL, count)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    placement = initialize(network, tmp_path / "stage1.pt", SMALL, others)
    assert (
        set(placement.missing)
        == {
            "semantic_predictor.weight",
            "semantic_predictor.bias",
            "affinity_decoder.fuse_res2.0.0.weight",
            "affinity_decoder.fuse_res2.0.1.weight",
            "affinity_decoder.fuse_res2.0.1.bias",
            "affinity_decoder.fuse_res2.0.1.running_mean",
            "affinity_decoder.fuse_res2.0.1.running_var",
            "affinity_decoder.fuse_res2.1.0.weight",
        }
        == class_tensors(SMALL, count)
    )
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name in placement.missing else weights[name]), name


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    ours(tmp_path / "stage1.pt")
    other = SMALL.change(network={"distances": (1, 2, 4)})
    with pytest.raises(
        ValueError, match=r"another network: network\.distances \(1, 4, 16\), now \(1, 2, 4\)"
    ):
        initialize(runs.build_network(other, 8), tmp_path / "stage1.pt", other, CATEGORIES)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt: no such file"):
        initialize(runs.build_network(SMALL, 8), tmp_path / "nowhere.pt", SMALL, CATEGORIES)


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the authors' naming, of five classes."""
    path = tmp_path_factory.mktemp("authors") / "model_final.pth"
    network = runs.build_network(AUTHORS.change(training={"seed": 9}), CLASSES)
    assert isinstance(network, DeepLabCops)
    weights = network.state_dict()
    tensors = {name: weights.get(own_name(name), value) for name, value in published(network).items()}
    torch.save({"model": tensors, "iteration": 3000}, path)
    return path


def test_training_can_begin_with_the_authors_weights(authors: Path) -> None:
    network = runs.build_network(AUTHORS, CLASSES)
    placement = initialize(network, authors, AUTHORS, FIVE)
    assert placement.missing == ()
    tensors = torch.load(authors, weights_only=True)["model"]
    assert torch.equal(
        network.state_dict()["semantic.predictor.bias"], tensors["sem_seg_head.predictor.bias"]
    )
    assert network.state_dict()["costs.node_offset"] == tensors["amwc_layer.seg_cost_weights.1"]


def test_the_authors_weights_can_be_tuned_to_other_classes(authors: Path) -> None:
    network = runs.build_network(AUTHORS, 3)
    placement = initialize(network, authors, AUTHORS, FIVE[:3])
    assert set(placement.missing) == class_tensors(AUTHORS, 3)
    assert set(placement.missing) == {
        "semantic.predictor.weight",
        "semantic.predictor.bias",
        "affinity.affinity_head.0.weight",
    }
    assert "needs (3,)" in placement.left_over["sem_seg_head.predictor.bias"]


def test_what_does_not_depend_on_the_classes_must_be_there(authors: Path, tmp_path: Path) -> None:
    tensors = torch.load(authors, weights_only=True)["model"]
    del tensors["sem_seg_head.head.1.weight"]
    torch.save(tensors, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth: lacks semantic\.head\.1\.weight"):
        initialize(runs.build_network(AUTHORS, CLASSES), tmp_path / "model.pth", AUTHORS, FIVE)
    with pytest.raises(ValueError, match="their network has deeplab heads"):
        initialize(runs.build_network(SMALL, CLASSES), tmp_path / "model.pth", SMALL, FIVE)


def settings(folder: Path) -> Path:
    path = folder / "narrow.toml"
    path.write_text(
        f"[data]\nsize = {list(CROP)}\n[network]\nbackbone = 'resnet50'\nheads = 'deeplab'\n"
        f"distances = {list(DISTANCES)}\nwidths.aspp = 16\nwidths.decoder = 16\nwidths.project_res3 = 8\n"
        "widths.project_res2 = 8\nwidths.dilations = [2, 4, 6]\n[rejection]\nthing_area = 0\nstuff_area = 0\n"
    )
    return path


def test_predict_labels_images_with_the_authors_weights(
    authors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*CROP, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    classes = [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in FIVE]
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    command = ["cops", "predict", "--checkpoint", str(authors), "--out", str(tmp_path / "out")]
    command += ["--published", str(settings(tmp_path)), str(tmp_path / "photo.png")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="--published needs --categories"):
        program.main()
    monkeypatch.setattr(
        sys, "argv", [*command[:2], "--categories", str(tmp_path / "classes.json"), *command[2:]]
    )
    program.main()
    (annotation,) = json.loads((tmp_path / "out" / "panoptic.json").read_text())["annotations"]
    assert {segment["category_id"] for segment in annotation["segments_info"]} <= set(range(CLASSES))
    assert sum(segment["area"] for segment in annotation["segments_info"]) == CROP[0] * CROP[1]


def test_a_file_of_the_authors_without_its_settings_says_what_to_pass(authors: Path) -> None:
    with pytest.raises(ValueError, match=r"model_final\.pth: says nothing of its settings.*--published"):
        runs.load_network(authors)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"config": {"stage1": {"bach": 3}}}, r"stage1\.bach is no setting"),
        ({"config": {"size": [64, 96]}}, "size is no setting"),
        ({}, "config"),
        (3, "its settings or classes cannot be read"),
        ({"config": {}, "categories": [[1, "sky"]]}, "missing 2 required"),
    ],
)
def test_a_checkpoint_whose_settings_are_not_todays_is_refused_by_name(
    about: object, message: str, tmp_path: Path
) -> None:
    torch.save({"about": about, "network": {}}, tmp_path / "stage1.pt")
    with pytest.raises(ValueError, match=rf"stage1\.pt: .*{message}"):
        runs.load_network(tmp_path / "stage1.pt")
    with pytest.raises(ValueError, match=rf"stage1\.pt: .*{message}"):
        check_settings(Checkpoint(tmp_path / "stage1.pt"), SMALL, "stage 1")


def test_weights_that_do_not_fit_their_settings_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"about": described(SMALL, CATEGORIES), "network": {}}, tmp_path / "stage1.pt")
    with pytest.raises(ValueError, match=r"stage1\.pt: its weights do not fit its settings"):
        runs.load_network(tmp_path / "stage1.pt")


def test_the_authors_network_computes_in_float32_unless_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runs, "load_published", lambda *_: "loaded")
    monkeypatch.setattr(runs, "build_network", lambda *_: DeepLabCops.__new__(DeepLabCops))
    monkeypatch.setattr(DeepLabCops, "to", lambda self, *_: self)
    _, config = runs.load_published_network(tmp_path / "model.pth", ["cityscapes"], FIVE)
    assert config.training.precision == "float32"
    half = tmp_path / "half.toml"
    half.write_text("[training]\nprecision = 'bfloat16'\n")
    _, config = runs.load_published_network(tmp_path / "model.pth", [str(half)], FIVE)
    assert config.training.precision == "bfloat16"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "lists no category"),
        ("{", "not a JSON file"),
        ('{"images": []}', "an entry lacks 'categories'"),
        ('[{"id": 1, "name": "a", "isthing": "yes"}]', "isthing must be a whole number from 0 to 1"),
    ],
)
def test_a_file_of_categories_with_a_mistake_says_which(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.json: .*{message}"):
        program.read_categories(tmp_path / "classes.json")
