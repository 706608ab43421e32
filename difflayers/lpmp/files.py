"""Problems as text files in the format of LPMP, which published instances come in.

An asymmetric multiway cut reads::

    ASYMMETRIC MULTIWAY CUT
    MULTICUT
    0 1 1.5
    1 2 -0.5
    NODE COSTS
    0 1 2.5
    1 0 2.5
    0 0 1

An edge line holds two node indices from 0 and the cost of cutting; a row of node costs holds the costs of all
labels at the next node. A multicut is the same without the first line and without node costs. Numbers are
separated by blanks or tabs; below the headings, blank lines and lines that start with ``c`` or ``#`` are
comments. LPMP does not store which labels are partitionable, nor isolated last nodes of a multicut: both
stand in comments of ours, ``# PARTITIONABLE 1 0 0`` and ``# NODES 3``, which are written directly below
``MULTICUT`` and read from anywhere among the edges. Costs of ``inf`` and ``-inf`` are the constraints of
:class:`difflayers.amwc.AMWC`; LPMP knows no such costs. Files may be compressed by gzip.
"""

import gzip
import os
from pathlib import Path
from typing import IO

import numpy as np

from difflayers.amwc.problem import AMWC
from difflayers.lpmp.text import TextReader
from difflayers.multicut import Multicut

_AMWC, _EDGES, _NODES = b"ASYMMETRIC MULTIWAY CUT", b"MULTICUT", b"NODE COSTS"
_PARTITIONABLE, _COUNT = b"PARTITIONABLE", b"NODES"
_ROWS_AT_ONCE = 1 << 15


def read(
    path: str | os.PathLike[str], partitionable: np.ndarray | None = None, *, max_bytes: int = 1 << 32
) -> AMWC:
    """Read an asymmetric multiway cut.

    Args:
        path: a text file, compressed by gzip or not.
        partitionable: (K,) bool, needed where the file does not say; if given, it is what counts.
        max_bytes: most bytes of text after decompression. Memory stays in proportion to what was read.

    Returns:
        The problem, in float64.

    Raises:
        ValueError: if the file is malformed, cut short or too long, or costs are so large that their sum
            overflows; the message names the file and, where it is one, the line.
        OSError: if there is no such file or it cannot be read.
    """
    with TextReader(path, max_bytes) as text:
        text.heading(_AMWC)
        text.heading(_EDGES)
        edges, edge_costs, lines, ended = _edges(text)
        if not ended:
            text.fail(f'the file ends without "{_NODES.decode()}"')
        node_costs = _node_costs(text)
        _check_nodes(text, edges, lines, len(node_costs))
        if partitionable is None:
            partitionable = _partitionable(text, node_costs.shape[1])
    try:
        return AMWC(node_costs, edges, edge_costs, partitionable)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def read_multicut(path: str | os.PathLike[str], *, max_bytes: int = 1 << 32) -> Multicut:
    """Read a multicut; arguments and errors as :func:`read`, and nodes are as many as the file mentions."""
    with TextReader(path, max_bytes) as text:
        text.heading(_EDGES)
        edges, edge_costs, lines, ended = _edges(text)
        if ended:
            text.fail(f'"{_NODES.decode()}" has no place in a multicut', text.line - 1)
        num_nodes = int(edges.max(initial=-1)) + 1
        for line, words in _comments(text, _COUNT):
            if len(words) != 1 or not words[0].isdigit() or len(words[0]) > 10:
                text.fail("expected the number of nodes", line)
            num_nodes = int(words[0])
        _check_nodes(text, edges, lines, num_nodes)
        if num_nodes == 0:
            text.fail("the file mentions no nodes")
        if 8 * num_nodes > max_bytes:
            text.fail(f"{num_nodes} nodes take more memory than max_bytes = {max_bytes}")
    try:
        return Multicut(num_nodes, edges, edge_costs)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def write(path: str | os.PathLike[str], problem: AMWC) -> None:
    """Write an asymmetric multiway cut so that :func:`read` gives the same one; by gzip if named ``.gz``."""
    with _open_to_write(path) as file:
        file.write(_AMWC + b"\n" + _EDGES + b"\n")
        flags = " ".join(str(int(flag)) for flag in problem.partitionable)
        file.write(b"# " + _PARTITIONABLE + f" {flags}\n".encode())
        _write_edges(file, problem.edges, problem.edge_costs)
        file.write(_NODES + b"\n")
        for begin in range(0, problem.num_nodes, _ROWS_AT_ONCE):
            rows = problem.node_costs[begin : begin + _ROWS_AT_ONCE].astype(np.float64).tolist()
            file.write("".join(" ".join(map(repr, row)) + "\n" for row in rows).encode())


def write_multicut(path: str | os.PathLike[str], problem: Multicut) -> None:
    """Write a multicut so that :func:`read_multicut` gives the same one; by gzip if named ``.gz``."""
    with _open_to_write(path) as file:
        file.write(_EDGES + b"\n# " + _COUNT + f" {problem.num_nodes}\n".encode())
        _write_edges(file, problem.edges, problem.edge_costs)


def _edges(text: TextReader) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Edges, their costs and lines, and whether a heading for node costs followed."""
    parts = [(np.empty((0, 2), np.int32), np.empty((0, 1)), np.empty(0, np.int64))]
    ended = False
    while not ended:
        rows, ended = text.rows(until=_NODES)
        if not rows and not ended:
            break
        parts.append(text.numbers(rows, columns=3, indices=2))
        text.line += ended
    edges, costs, lines = (np.concatenate(part) for part in zip(*parts, strict=True))
    return edges, costs[:, 0], lines, ended


def _node_costs(text: TextReader) -> np.ndarray:
    parts: list[np.ndarray] = []
    while rows := text.rows(until=None)[0]:
        _, costs, lines = text.numbers(rows, columns=parts[0].shape[1] if parts else 0, indices=0)
        if len(costs):
            forbidden = (costs == np.inf).all(axis=1)
            if forbidden.any():
                text.fail("no label is allowed, all costs are inf", int(lines[forbidden.argmax()]))
            parts.append(costs)
    if not parts:
        text.fail("the file ends without node costs")
    return np.concatenate(parts)


def _check_nodes(text: TextReader, edges: np.ndarray, lines: np.ndarray, num_nodes: int) -> None:
    beyond = (edges >= num_nodes).any(axis=1)
    if beyond.any():
        row = int(beyond.argmax())
        text.fail(f"the edge joins node {edges[row].max()}, but there are only {num_nodes}", int(lines[row]))


def _partitionable(text: TextReader, num_labels: int) -> np.ndarray:
    for line, words in _comments(text, _PARTITIONABLE):
        if len(words) != num_labels or not set(words) <= {b"0", b"1"}:
            text.fail(f"expected {num_labels} flags 0 or 1, one for every label", line)
        return np.array([word == b"1" for word in words])
    text.fail(f'no "# {_PARTITIONABLE.decode()}" comment, so the argument partitionable is needed')


def _comments(text: TextReader, name: bytes) -> list[tuple[int, list[bytes]]]:
    """Line and words of the comments that begin with a name, without it."""
    split = [(line, comment.split()) for line, comment in text.comments]
    return [(line, words[1:]) for line, words in split if words[:1] == [name]]


def _open_to_write(path: str | os.PathLike[str]) -> IO[bytes]:
    # A fixed time stamp, so that the same problem is the same file.
    if Path(path).suffix == ".gz":
        return gzip.GzipFile(path, "wb", compresslevel=6, mtime=0)  # type: ignore[return-value]
    return open(path, "wb")


def _write_edges(file: IO[bytes], edges: np.ndarray, costs: np.ndarray) -> None:
    for begin in range(0, len(edges), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        rows = zip(*edges[part].T.tolist(), costs[part].astype(np.float64).tolist(), strict=True)
        file.write("".join(f"{u} {v} {cost!r}\n" for u, v, cost in rows).encode())
