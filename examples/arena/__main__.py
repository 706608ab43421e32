"""Every method on every task, tuned on validation data: `python -m examples.arena --out runs/arena`.

A run that was killed goes on where it was. `--compare OTHER` compares the results of two folders.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from joblib import Parallel, delayed

from examples.arena import report
from examples.arena.field import ENERGY, FIELDS
from examples.arena.methods import METHODS
from examples.arena.training import Job, Protocol, Record, run

RESULTS = "results.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    usual = [name for name, field in FIELDS.items() if not field.slow]
    parser.add_argument("--out", type=Path, default=Path("runs/arena"), help="folder of results")
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=[*FIELDS, ENERGY],
        default=usual,
        metavar="TASK",
        help=", ".join([*FIELDS, ENERGY]),
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        metavar="METHOD",
        help=", ".join(METHODS),
    )
    parser.add_argument("--energy", metavar="FILE", help="prices, for the task energy; see difflayers.tasks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; -1 for all cores")
    parser.add_argument("--backend", default="loky", help="of joblib, such as loky, dask or ray")
    parser.add_argument("--compare", type=Path, metavar="OTHER", help="another folder of results")
    given = parser.parse_args(arguments)
    record = Record(given.out / RESULTS)
    if given.compare is not None:
        print(report.comparison(record.results.values(), Record(given.compare / RESULTS).results.values()))
        return
    if ENERGY in given.tasks and given.energy is None:
        parser.error("--energy FILE must name the file of prices for the task energy")
    protocol = Protocol(given.tasks, given.methods, given.seeds, given.epochs, energy=given.energy)
    workers = Parallel(given.jobs, given.backend, return_as="generator_unordered")
    train("tuning", protocol.tuning(), protocol.energy, record, workers)
    train("testing", protocol.testing(record.results.values()), protocol.energy, record, workers)
    found = report.scores(protocol, record.results)
    (given.out / "table.md").write_text(report.table(found))
    report.picture(found).savefig(given.out / "arena.png", dpi=110)
    print(report.table(found))
    print(f"table, picture and {RESULTS} are in {given.out}")


def train(stage: str, jobs: Iterable[Job], energy: str | None, record: Record, workers: Parallel) -> None:
    """Run those jobs that have no result yet, and record each result as it comes."""
    missing = record.missing(jobs)
    for done, result in enumerate(workers(delayed(run)(job, energy) for job in missing), start=1):
        record.add(result)
        job = result.job
        print(f"{stage} {done} of {len(missing)}: {job.task}, {job.method}: {100 * result.test:.2f} %")


if __name__ == "__main__":
    main()
