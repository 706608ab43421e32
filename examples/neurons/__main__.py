"""Segment nerve cells in slices of electron microscopy, by a multicut whose costs are learned through it.

A small U-Net sees which pixels lie in the same cell. Watershed regions become the nodes of a graph, and the
features of their borders become costs, which are trained edge by edge or through the multicut.
`python -m examples.neurons` compares the segmentations, on made slices or on those of `--data`.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from skimage.segmentation import mark_boundaries

from examples.comparison import save
from examples.neurons.compare import Result, Seen, Segmenter, Settings, run, table
from examples.neurons.data import draw_slices, read_slices, split

SHOWN = ("thresholded watershed", "mutex watershed", "multicut, before", "multicut, Fenchel–Young")


def draw(methods: dict[str, Segmenter], results: dict[str, list[Result]], seen: Seen) -> Figure:
    """A slice with its cells, and with those that some methods found."""
    found = {name: methods[name](seen, results[name][-1].bias) for name in SHOWN}
    panels = {"cells": seen.slice.cells, **found}
    figure = Figure(figsize=(3 * len(panels), 3.3), layout="constrained")
    for axis, (name, cells) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axis.imshow(mark_boundaries(seen.slice.image, cells.astype(int), color=(1, 0.8, 0)))
        axis.set(title=name, xticks=[], yticks=[])
    return figure


def main() -> None:
    """Run the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m examples.neurons", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="image/<number>.png and label/<number>.png, whose 0 is membrane; made slices without it",
    )
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        data = options.data
        slices = split(draw_slices(6 if options.quick else 24) if data is None else read_slices(data))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    settings = Settings(steps=200, side=128) if options.data is None else Settings()
    if options.quick:
        settings = Settings((0,), steps=20, side=64, channels=8, epochs=5)
    results, methods, seen = run(slices, settings)
    print(f"{len(slices.held_out)} held-out slices, median (range) over seeds; 0 is perfect")
    print(table(results))
    save(draw(methods, results, seen), "runs/neurons/result.png")


if __name__ == "__main__":
    main()
