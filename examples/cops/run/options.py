"""What the programs of COPS have in common on their command lines: settings, schedule, iterations."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from examples.cops.config import DRAWN, REAL, SETTINGS, Config, load, names

Schedule = Literal["two", "single"]


def choose_config(data: Path | None, seed: int) -> Config:
    return replace(DRAWN if data is None else REAL, seed=seed)


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


#: What the iterations of each phase are.
PHASES = {
    "one": "stage 1",
    "two": "stage 2",
    "warm": "the warm-up of the single stage",
    "single": "the single stage after its warm-up",
}


def add_iterations(command: argparse.ArgumentParser, *phases: str) -> None:
    """Arguments that take the place of the settings' iterations; `given_iterations` reads them."""
    for phase in phases:
        command.add_argument(
            f"--iterations-{phase}", type=int, metavar="N", help=f"iterations of {PHASES[phase]}"
        )


def given_iterations(options: argparse.Namespace) -> dict[str, Any]:
    """The iterations that were given, as fields of `Config`."""
    found = {f"iterations_{phase}": getattr(options, f"iterations_{phase}", None) for phase in PHASES}
    return {name: value for name, value in found.items() if value is not None}


def chosen_config(given: list[str] | None, data: Path | None, seed: int | None = None) -> Config:
    """Read the settings that --config names: files, or a data set's two files; `seed` replaces theirs."""
    if given is None:
        return choose_config(data, seed or 0)
    files = [Path(name) for name in given]
    if len(given) == 1 and given[0] in names():
        files = sorted(SETTINGS.glob(f"{given[0]}.*.toml"))
    config = load(files)
    return config if seed is None else replace(config, seed=seed)
