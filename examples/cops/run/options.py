"""What the programs of COPS have in common on their command lines: settings, schedule, iterations."""

import argparse
from pathlib import Path
from typing import Any, Literal, get_args

from examples.cops.config import DRAWN, REAL, Config
from examples.cops.run.settings import SETTINGS, load, names

Schedule = Literal["two", "single"]


def add_config(command: argparse.ArgumentParser) -> None:
    """The argument that `chosen_config` reads."""
    command.add_argument(
        "--config",
        nargs="+",
        help=f"TOML files of settings, or one of {', '.join(names())}; for small images without it",
    )


def add_schedule(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--schedule",
        choices=get_args(Schedule),
        default="two",
        help="two: stage 1, then stage 2; single: a short stage 1, then all layers through the solver",
    )


#: The iterations of each phase: what they are, and the table and setting that hold them.
PHASES = {
    "one": ("stage 1", "stage1", "iterations"),
    "two": ("stage 2", "stage2", "iterations"),
    "warm": ("the warm-up of the single stage", "single", "warm_iterations"),
    "single": ("the single stage after its warm-up", "single", "iterations"),
}


def add_iterations(command: argparse.ArgumentParser, *phases: str) -> None:
    """Arguments that take the place of the settings' iterations; `given_iterations` reads them."""
    for phase in phases:
        command.add_argument(
            f"--iterations-{phase}", type=int, metavar="N", help=f"iterations of {PHASES[phase][0]}"
        )


def given_iterations(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The iterations that were given, as `Config.change` takes them."""
    tables: dict[str, dict[str, Any]] = {}
    for phase, (_, table, setting) in PHASES.items():
        if (iterations := getattr(options, f"iterations_{phase}", None)) is not None:
            tables.setdefault(table, {})[setting] = iterations
    return tables


def chosen_config(given: list[str] | None, data: Path | None, seed: int | None = None) -> Config:
    """Read the settings that --config names: files, or a data set's two files; `seed` replaces theirs."""
    if given is None:
        return (DRAWN if data is None else REAL).change(training={"seed": seed or 0})
    files = [Path(name) for name in given]
    if len(given) == 1 and given[0] in names():
        files = sorted(SETTINGS.glob(f"{given[0]}.*.toml"))
    config = load(files)
    return config if seed is None else config.change(training={"seed": seed})
