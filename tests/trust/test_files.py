"""Damaged files: read as something else that is valid, or a clear error that names the file; nothing runs."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import difflayers
from difflayers import amwc, lpmp
from difflayers.graph import grid_edges
from difflayers.panoptic import encode_ids
from examples.cops.data import CocoPanoptic
from examples.cops.data.cityscapes import TRAIN_LABEL_IDS
from examples.cops.network.weights import read_tensors
from examples.cops.run.checkpoint import Checkpoint
from tests.trust.malformed import attempt, budget


@st.composite
def damages(draw):
    """What happens to a file: bytes flipped, cut off, doubled or put in, each at a share of its length."""
    place = st.floats(0, 1, exclude_max=True)
    kinds = st.sampled_from(("flip", "flip", "byte", "cut", "double", "insert"))
    return draw(st.lists(st.tuples(kinds, place, st.integers(0, 255)), min_size=1, max_size=4))


def damaged(content, damage):
    content = bytearray(content)
    for kind, place, value in damage:
        at = int(place * len(content))
        if kind == "cut":
            del content[at:]
        elif kind == "double":
            content += content[at:]
        elif kind == "insert":
            content[at:at] = bytes([value]) * 5
        elif content and kind == "flip":
            content[at] ^= 1 << value % 8
        elif content:
            content[at] = value
    return bytes(content)


def read_or_refused(read, path):
    """What is read; None where a ValueError or FileNotFoundError names the file or its folder."""
    content, refusal = attempt(lambda: read(path), (ValueError, FileNotFoundError))
    assert refusal is None or str(path.parent) in refusal, refusal
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", ["problem.txt", "problem.txt.gz"])
@budget(80)
@given(damage=damages())
def test_text_of_problems(name, folder, damage):
    rng = np.random.default_rng(0)
    edges = grid_edges((3, 4), [1])
    good, path = folder / f"good.{name}", folder / name
    if not good.exists():
        problem = amwc.AMWC(
            rng.normal(size=(12, 2)), edges, rng.normal(size=len(edges)), np.array([True, False])
        )
        lpmp.write(good, problem)
        # Comments and blank lines are only read line by line.
    path.write_bytes(damaged(good.read_bytes(), damage))
    problem = read_or_refused(lambda path: lpmp.read(path, max_bytes=1 << 20), path)
    assert problem is None or not np.isnan(problem.node_costs).any()
    multicut = read_or_refused(lambda path: lpmp.read_multicut(path, max_bytes=1 << 20), path)
    assert multicut is None or not np.isnan(multicut.edge_costs).any()


def coco(root, ids=(3, 21), image="a.png", where=("panoptic_train.json", "panoptic_train", "train")):
    """A data set of one image of 6 × 4 pixels."""
    json_path, labels, images = (root / part for part in where)
    for path in (labels / "a.png", images / image, json_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array([[7, 7, 300, 300, 70000, 0]] * 4)
    Image.fromarray(encode_ids(pixels)).save(labels / "a.png")
    Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3)).save(images / image)
    segments = [
        {"id": 7, "category_id": ids[1], "area": 8, "bbox": [0, 0, 2, 4], "iscrowd": 0},
        {"id": 300, "category_id": ids[0], "area": 8, "bbox": [2, 0, 2, 4], "iscrowd": 0},
        {"id": 70000, "category_id": ids[0], "area": 4, "bbox": [4, 0, 1, 4], "iscrowd": 1},
    ]
    content = {
        "images": [{"id": "a", "file_name": image.split("/")[-1], "height": 4, "width": 6}],
        "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": segments}],
        "categories": [
            {"id": i, "name": f"class {i}", "isthing": int(i == ids[0]), "color": [0, 0, i]} for i in ids
        ],
    }
    json_path.write_text(json.dumps(content))
    return json_path, labels / "a.png", images / image


def cityscapes(root):
    name = "cityscapes_panoptic_train"
    parts = f"gtFine/{name}.json", f"gtFine/{name}", "leftImg8bit/train"
    return coco(root, TRAIN_LABEL_IDS, "bonn/bonn_0_0_leftImg8bit.png", parts)


LAYOUTS = {"coco": coco, "cityscapes": cityscapes}


def sample_of(root):
    data = CocoPanoptic(root, "train")
    return data[0] if len(data) else None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", [0, 1, 2], ids=["json", "labels", "image"])
@budget(60)
@given(damage=damages())
def test_data_sets(layout, which, folder, damage):
    root = folder / layout / str(which)
    path = LAYOUTS[layout](root)[which]
    path.write_bytes(damaged(path.read_bytes(), damage))
    sample = read_or_refused(lambda _: sample_of(root), root / "data set")
    if sample is not None:
        assert sample.image.shape[:2] == sample.labels.shape


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@budget(150)
@given(value=JSON, data=st.data())
def test_json_of_other_types(folder, value, data):
    """Any one value of the JSON file is replaced by any other."""
    root = folder / "types"
    path = coco(root)[0]
    content = json.loads(path.read_text())
    places = list(every_place(content))
    parent, key = data.draw(st.sampled_from(places))
    parent[key] = value
    path.write_text(json.dumps(content))
    read_or_refused(lambda _: sample_of(root), root / "data set")


def every_place(content):
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from every_place(value)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl"])
@budget(60)
@given(damage=damages())
def test_weights(name, folder, damage):
    path = folder / name
    weights = {"layer.weight": torch.ones(3, 2), "layer.bias": torch.zeros(2)}
    file = io.BytesIO()
    if name.endswith(".pkl"):
        pickle.dump({"model": {key: value.numpy() for key, value in weights.items()}}, file)
    else:
        torch.save(weights, file)
    path.write_bytes(damaged(file.getvalue(), damage))
    tensors = read_or_refused(read_tensors, path)
    assert tensors is None or all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


class Harm:
    """Runs code when unpickled, if the reader lets it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "checkpoint.pt"])
def test_readers_run_nothing(name, tmp_path):
    evidence, path = tmp_path / "evidence", tmp_path / name
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps({"model": Harm(evidence)}))
    else:
        torch.save({"model": Harm(evidence)}, path)
    with pytest.raises(ValueError, match="refused"):
        Checkpoint(path).load() if name == "checkpoint.pt" else read_tensors(path)
    assert not evidence.exists()


@budget(40)
@given(damage=damages())
def test_checkpoints(folder, damage):
    checkpoint = Checkpoint(folder / "stage.pt")
    checkpoint.save(iteration=3, network={"weight": torch.ones(4)})
    checkpoint.path.write_bytes(damaged(checkpoint.path.read_bytes(), damage))
    state = read_or_refused(lambda _: checkpoint.load(), checkpoint.path)
    assert state is None or isinstance(state, dict)


@budget(40)
@given(
    state=st.dictionaries(
        st.sampled_from(["extra", "generator", "solver._extra_state", "_extra_state"]), JSON
    )
)
def test_states_of_layers(state):
    """What no layer has saved is an error of torch's or ours, and the layer still works."""
    layer = difflayers.BlackboxLayer(
        lambda costs: costs, difflayers.UniformScales(1, 2), pool=difflayers.SolutionPool()
    )
    attempt(
        lambda: layer.load_state_dict(state, strict=False), (RuntimeError, TypeError, ValueError, KeyError)
    )
    assert layer(torch.ones(2, 3)).isfinite().all()
