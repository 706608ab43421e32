"""Whether a stage that a folder holds may be continued: its settings and classes must be the same."""

from dataclasses import fields

from examples.cops.config import Config
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.settings import read_about

_FIRST = ("data", "network", "stage1", "training")
_SOLVER = ("rejection", "loss", "solver")
#: The tables of settings that decide what each stage comes to; a stage begins with what the first one left.
READ = {
    "stage 1": _FIRST,
    "stage 2": (*_FIRST, "stage2", *_SOLVER),
    "warm-up": _FIRST,  # its iterations are those of stage 1 then
    "single stage": (*_FIRST, "single", *_SOLVER),
}


def check_settings(checkpoint: Checkpoint, config: Config, stage: str) -> None:
    """Raise ValueError if a checkpoint is of other classes than its `about`, or of other settings.

    Args:
        checkpoint: of a stage, which may not have begun; if its `about` names no classes, any will do.
        config: the settings now.
        stage: its name; settings in tables that it does not read may differ.
    """
    if (state := checkpoint.load()) is None:
        return
    before, then = read_about(checkpoint.path, state)
    other = [entry for table in READ[stage] for entry in differences(before, config, table)]
    given = checkpoint.about.get("categories", [])
    if given and [list(category[:3]) for category in then] != [row[:3] for row in given]:
        other.append(f"the classes {[row[1] for row in then]}, now {[row[1] for row in given]}")
    if other:
        raise ValueError(
            f"{checkpoint.path}: was trained with {', '.join(other)}; choose another --out, or delete it"
        )


def differences(before: Config, now: Config, table: str) -> list[str]:
    """The settings of a table that are not the same, each with both values."""
    old, new = getattr(before, table), getattr(now, table)
    pairs = [(f"{table}.{e.name}", getattr(old, e.name), getattr(new, e.name)) for e in fields(old)]
    return [f"{name} {then}, now {value}" for name, then, value in pairs if then != value]
