"""Colours that are told apart, and outlines where segments meet."""

import subprocess
import sys

import numpy as np
import pytest

from difflayers.pictures import outlines, palette, segment_colors


def test_colours_of_a_palette_are_distinct_and_stay_when_it_grows():
    colors = palette(20_000)
    assert len(np.unique(colors, axis=0)) == 20_000
    for count in (0, 1, 7, 133, 990, 1000):
        assert (palette(count) == colors[:count]).all()
    for count in (-1, 100_001):
        with pytest.raises(ValueError, match="count must lie in"):
            palette(count)
    few = palette(20).astype(int)
    apart = np.abs(few[:, None] - few).sum(2)[~np.eye(20, dtype=bool)]
    assert apart.min() > 50


def test_instances_get_shades_of_their_class_and_stuff_keeps_its_colour():
    blue, green = (20, 20, 200), (20, 200, 20)
    colors = segment_colors([blue, blue, blue, green], [True, True, True, False])
    assert len(np.unique(colors[:3], axis=0)) == 3
    assert (colors[:3].argmax(1) == 2).all()
    assert colors[3].tolist() == list(green)


def test_outlines_are_exactly_where_an_outlined_segment_meets_another():
    segments = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2]])
    marked = outlines(segments, [False, True, False])
    assert marked.tolist() == [[0, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert not outlines(segments, [False, False, False]).any()


def test_figures_without_matplotlib_say_what_to_install():
    program = (
        "import sys; sys.modules['matplotlib'] = sys.modules['matplotlib.figure'] = None\n"
        "from difflayers import pictures\n"
        "pictures.palette(3)\n"
        "try:\n    pictures.new_figure(1, 1)\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "figures need matplotlib: pip install matplotlib"
