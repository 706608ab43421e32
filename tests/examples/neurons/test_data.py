"""Slices: drawn ones with their cells, folders, and what is held out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from examples.neurons.data import draw_slices, read_slices, split


def write(folder: Path, number: int, image: np.ndarray, label: np.ndarray) -> None:
    for kind, pixels in (("image", image), ("label", label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{number}.png")


def test_drawn_cells_are_bright_pieces_between_dark_membranes() -> None:
    for drawn in draw_slices(3, seed=1, side=96):
        assert drawn.image.dtype == np.float32
        assert 0 <= drawn.image.min() < drawn.image.max() <= 1
        assert drawn.cells.max() > 10
        assert drawn.image[drawn.cells > 0].mean() > drawn.image[drawn.cells == 0].mean() + 0.1
        for cell, box in enumerate(ndimage.find_objects(drawn.cells), start=1):
            assert ndimage.label(drawn.cells[box] == cell)[1] == 1
        # Two cells never touch: a membrane lies between them.
        for first, second in ((drawn.cells[1:], drawn.cells[:-1]), (drawn.cells[:, 1:], drawn.cells[:, :-1])):
            assert not ((first != second) & (first > 0) & (second > 0)).any()


def test_the_seed_decides_what_is_drawn() -> None:
    first, again, other = (draw_slices(1, seed, side=64)[0].image for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    label = np.full((4, 6), 255)
    label[:, 2] = 0
    for number in (10, 9, 0):
        write(tmp_path, number, np.full((4, 6), 5 * number), label)
    (tmp_path / "image" / "notes.png").write_text("")
    slices = read_slices(tmp_path)
    assert [round(255 * float(each.image[0, 0])) for each in slices] == [0, 45, 50]
    assert slices[0].cells.tolist() == [[1, 1, 0, 2, 2, 2]] * 4


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold image/0\.png"):
        read_slices(tmp_path)
    write(tmp_path, 0, np.zeros((4, 6)), np.ones((4, 5)))
    with pytest.raises(
        ValueError, match=r"label/0\.png: must have shape \(4, 6\) as its image, got \(4, 5\)"
    ):
        read_slices(tmp_path)
    write(tmp_path, 0, np.zeros((4, 6)), np.zeros((4, 6)))
    with pytest.raises(ValueError, match=r"label/0\.png: must have a pixel above 0"):
        read_slices(tmp_path)
    (tmp_path / "label" / "0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"label/0\.png: no such file"):
        read_slices(tmp_path)


def test_the_last_third_is_held_out_and_no_slice_serves_twice() -> None:
    slices = draw_slices(24, side=32)
    parts = split(slices)
    assert [len(part) for part in parts] == [16, 8]
    assert [id(each) for part in parts for each in part] == [id(each) for each in slices]
    assert [len(part) for part in split(slices[:7])] == [5, 2]
    with pytest.raises(ValueError, match="at least 3 slices are needed to train and to hold one out, got 2"):
        split(slices[:2])
