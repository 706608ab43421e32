"""Whether what lies in a folder of results may be taken up: a run of other settings may not."""

from dataclasses import asdict

from examples.cops.config import Config, from_fields
from examples.cops.run.checkpoint import Checkpoint

#: Settings that play no role for what a stage comes to, and how a batch is split, for when memory is short.
FREE = {"inference_method", "multiple", "workers", "overlap", "accumulation"}
OF_SINGLE = {"iterations_warm", "iterations_single", "batch_single", "learning_rate_single"}
OF_TWO = {"iterations_two", "batch_two", "learning_rate_two", "rate_reduction"}
OF_SOLVER = {"thing_area", "stuff_area", "crop_stuff_factor", "warm_up", "scales", "samples", "method"}
OF_SOLVER |= {"loss_weight", "cost_dropout"}
UNREAD = {
    "stage 1": FREE | OF_SINGLE | OF_TWO | OF_SOLVER,
    "stage 2": FREE | OF_SINGLE,
    "warm-up": FREE | (OF_SINGLE - {"iterations_warm"}) | OF_TWO | OF_SOLVER | {"iterations_one"},
    "single stage": FREE | OF_TWO | {"iterations_one"},
}


def check_settings(checkpoint: Checkpoint, config: Config, stage: str) -> None:
    """Raise ValueError where a checkpoint is of other classes than its `about`, or of other settings.

    Args:
        checkpoint: of a stage, which may not have begun; where its `about` names no classes, any will do.
        config: the settings now.
        stage: its name; settings that it does not read may differ.
    """
    if (state := checkpoint.load()) is None:
        return
    before, now = asdict(from_fields(state["about"]["config"])), asdict(config)
    other = [f"{n} {before[n]}, now {now[n]}" for n in now if n not in UNREAD[stage] and before[n] != now[n]]
    then, given = (about.get("categories", []) for about in (state["about"], checkpoint.about))
    if given and [row[:3] for row in then] != [row[:3] for row in given]:
        other.append(f"the classes {[row[1] for row in then]}, now {[row[1] for row in given]}")
    if other:
        raise ValueError(
            f"{checkpoint.path}: was trained with {', '.join(other)}; choose another --out, or delete it"
        )
