"""Write cut problems in the format that `difflayers.lpmp.reading` describes."""

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from difflayers._files import replacing
from difflayers.amwc.problem import AMWC
from difflayers.lifted_multicut.problem import LiftedMulticut
from difflayers.lpmp.reading import (
    AMWC_HEADING,
    EDGES_HEADING,
    LIFTED_HEADING,
    NODE_COSTS_HEADING,
    NODES_COMMENT,
    PARTITIONABLE_COMMENT,
)
from difflayers.multicut import Multicut
from difflayers.mwc import MWC

_ROWS_AT_ONCE = 1 << 15


def write(path: str | os.PathLike[str], problem: AMWC | MWC | Multicut | LiftedMulticut) -> None:
    """Write a cut problem so that `lpmp.read` gives the same one.

    Nothing is opened before the problem is checked. The text goes to a temporary file in the same folder,
    which replaces `path` at the end. So an existing file is either replaced as a whole or stays as it is.

    Args:
        path: the file, compressed by gzip if its name ends in `.gz`.
        problem: an AMWC, MWC, Multicut or LiftedMulticut. An MWC becomes an AMWC without partitionable
            labels.

    Raises:
        TypeError: if `problem` is none of these.
        OSError: if the file cannot be written.

    Examples:
        >>> import pathlib, tempfile
        >>> from difflayers import lpmp, multicut
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "triangle.txt")
        ...     lpmp.write(path, multicut.Multicut(3, [[0, 1], [1, 2]], [1.5, -2.0]))
        ...     print(path.read_text())
        MULTICUT
        # NODES 3
        0 1 1.5
        1 2 -2.0
        <BLANKLINE>
    """
    lines = _lines(problem)
    with replacing(path) as new, ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(open(new, "wb"))
        if Path(path).suffix == ".gz":
            # Without a name and a time stamp in it, the same problem is the same file.
            zipped: Any = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
            file = stack.enter_context(zipped)
        for text in lines:
            file.write(text.encode())


def write_multicut(path: str | os.PathLike[str], problem: Multicut) -> None:
    """Write a multicut as `lpmp.write` does, and refuse every other kind of problem.

    Args:
        path: the file, compressed by gzip if its name ends in `.gz`.
        problem: a Multicut.

    Raises:
        TypeError: if `problem` is no Multicut; `lpmp.write` writes the other kinds.
        OSError: if the file cannot be written.

    Examples:
        >>> import pathlib, tempfile
        >>> from difflayers import lpmp, multicut
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "pair.txt.gz")
        ...     lpmp.write_multicut(path, multicut.Multicut(2, [[0, 1]], [1.0]))
        ...     lpmp.read_multicut(path).edge_costs.tolist()
        [1.0]
    """
    if not isinstance(problem, Multicut):
        raise TypeError(f"problem must be a Multicut, got {type(problem).__name__}; use lpmp.write")
    write(path, problem)


def _lines(problem: AMWC | MWC | Multicut | LiftedMulticut) -> Iterator[str]:
    """Text of a problem, in parts; raises TypeError at once, before the first part is asked for."""
    if isinstance(problem, AMWC):
        return _amwc_lines(problem)
    if isinstance(problem, MWC):
        return _amwc_lines(problem.as_amwc)
    if isinstance(problem, Multicut | LiftedMulticut):
        return _multicut_lines(problem)
    raise TypeError(f"problem must be an AMWC, MWC, Multicut or LiftedMulticut, got {type(problem).__name__}")


def _amwc_lines(problem: AMWC) -> Iterator[str]:
    flags = " ".join(str(int(flag)) for flag in problem.partitionable)
    yield f"{AMWC_HEADING.decode()}\n{EDGES_HEADING.decode()}\n# {PARTITIONABLE_COMMENT.decode()} {flags}\n"
    yield from _edge_lines(problem.edges, problem.edge_costs)
    yield NODE_COSTS_HEADING.decode() + "\n"
    for begin in range(0, problem.num_nodes, _ROWS_AT_ONCE):
        rows = problem.node_costs[begin : begin + _ROWS_AT_ONCE].astype(np.float64).tolist()
        yield "".join(" ".join(map(repr, row)) + "\n" for row in rows)


def _multicut_lines(problem: Multicut | LiftedMulticut) -> Iterator[str]:
    yield f"{EDGES_HEADING.decode()}\n# {NODES_COMMENT.decode()} {problem.num_nodes}\n"
    yield from _edge_lines(problem.edges, problem.edge_costs)
    if isinstance(problem, LiftedMulticut):
        yield LIFTED_HEADING.decode() + "\n"
        yield from _edge_lines(problem.lifted_edges, problem.lifted_costs)


def _edge_lines(edges: np.ndarray, costs: np.ndarray) -> Iterator[str]:
    for begin in range(0, len(edges), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        rows = zip(*edges[part].T.tolist(), costs[part].astype(np.float64).tolist(), strict=True)
        yield "".join(f"{u} {v} {cost!r}\n" for u, v, cost in rows)
