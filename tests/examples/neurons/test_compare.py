"""The comparison and its command: tuned on some slices only, and what a user may get wrong."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason="needs the extra `examples`")

from examples.neurons import __main__ as program
from examples.neurons.compare import Result, Seen, measured, table
from examples.neurons.data import Slice
from examples.neurons.segment import Errors

CELLS = np.repeat([[1] * 4 + [2] * 4], 3, axis=0)


def seen(cells: np.ndarray) -> Seen:
    return Seen(Slice(np.zeros(cells.shape, np.float32), cells), np.empty(0), None)  # type: ignore[arg-type]


def test_the_bias_is_chosen_on_the_training_slices_alone() -> None:
    held_out = seen(np.ones_like(CELLS))

    def segment(each: Seen, bias: float) -> np.ndarray:
        """Right for the training slice at a bias of 1.5, and for the held-out slice at all others."""
        return CELLS if bias == 1.5 else np.ones_like(CELLS)

    result = measured(segment, [seen(CELLS)], [held_out])
    assert result.bias == 1.5
    assert result.errors.rand > 0.1
    assert result.unbiased.rand == pytest.approx(0)


def test_the_table_has_the_median_and_the_range_of_each_measure() -> None:
    of_seeds = [
        Result(Errors(rand, 2 * rand, rand, rand), 0.0, Errors(1, 1, 1, 1)) for rand in (0.1, 0.4, 0.2)
    ]
    title, row = table({"method": of_seeds}).splitlines()
    assert title.split()[:3] == ["adapted", "Rand", "error"]
    cells = (
        "0.200 (0.100–0.400) 0.400 (0.200–0.800) 0.200 (0.100–0.400) 0.200 (0.100–0.400) 1.000 (1.000–1.000)"
    )
    assert row.split() == ["method", *cells.split()]


def test_the_command_compares_all_methods_on_made_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neurons", "--quick"])
    program.main()
    lines = capsys.readouterr().out.splitlines()
    rows = lines[[line.startswith("2 held-out slices") for line in lines].index(True) + 2 :]
    assert [row[:24].strip() for row in rows[:6]] == [
        "thresholded watershed",
        "mutex watershed",
        "multicut, before",
        "multicut, edge by edge",
        "multicut, Fenchel–Young",
        "multicut, blackbox",
    ]
    assert all(0 <= float(row[24:].split()[0]) <= 1 for row in rows[:6])
    assert (tmp_path / "runs/neurons/result.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_slices_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neurons", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert str(caught.value).startswith(f"{tmp_path}: must hold image/0.png")
