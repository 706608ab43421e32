"""Tables and the picture of an arena's results."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from examples.arena.training import Job, Protocol, Result

Scores = dict[str, dict[str, list[Result]]]  # per task and method, one result per seed


def scores(protocol: Protocol, results: Mapping[Job, Result]) -> Scores:
    """Sort the results that count by task and method."""
    table: Scores = {}
    for job in protocol.testing(results.values()):
        if job in results:
            table.setdefault(job.task, {}).setdefault(job.method, []).append(results[job])
    return table


def table(found: Scores) -> str:
    """Return a Markdown table per task, the best method first: regret in %, time, and what was chosen."""
    lines: list[str] = []
    for task, methods in found.items():
        lines += [
            f"\n## {task}\n",
            "| method | regret in %, median | least to most | ms per epoch | setting, rate |",
        ]
        lines.append("| --- | --- | --- | --- | --- |")
        for method, results in sorted(methods.items(), key=lambda each: median(each[1])):
            regrets = [100 * result.test for result in results]
            seconds = np.median([result.seconds_per_epoch for result in results])
            job = results[0].job
            lines.append(
                f"| {method} | {np.median(regrets):.2f} | {min(regrets):.2f} to {max(regrets):.2f} "
                f"| {1000 * seconds:.0f} | {job.setting:g}, {job.rate:g} |"
            )
    return "\n".join(lines).strip() + "\n"


def median(results: Sequence[Result]) -> float:
    """Return the median regret on test data."""
    return float(np.median([result.test for result in results]))


def picture(found: Scores) -> Figure:
    """Draw the regret of every method, one panel per task and one dot per seed."""
    names = list(dict.fromkeys(method for methods in found.values() for method in methods))[::-1]
    figure = Figure(figsize=(2.6 * len(found) + 2, 0.3 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for panel, (task, methods) in zip(panels, found.items(), strict=True):
        for row, name in enumerate(names):
            if name in methods:
                regrets = [100 * result.test for result in methods[name]]
                panel.barh(row, np.median(regrets), color="0.85")
                panel.plot(regrets, [row] * len(regrets), "k.", ms=4)
        panel.set(title=task, xlabel="regret in %", yticks=range(len(names)), yticklabels=names)
    return figure


def comparison(first: Iterable[Result], second: Iterable[Result]) -> str:
    """Compare two runs, such as those of two machines: the same trainings, how regret and time differ."""
    other = {result.job: result for result in second}
    pairs = [(result, other[result.job]) for result in first if result.job in other]
    if not pairs:
        return "no training is in both files\n"
    differences = [abs(a.test - b.test) for a, b in pairs]
    ratios = [b.seconds_per_epoch / a.seconds_per_epoch for a, b in pairs if a.seconds_per_epoch > 0]
    return (
        f"{len(pairs)} trainings are in both files; {sum(d == 0 for d in differences)} have the same regret "
        f"to the last bit, and the largest difference is {100 * max(differences):.3f} points.\n"
        f"The second took {np.median(ratios):.2f} times as long per epoch (median).\n"
    )
