"""Read cut problems from text files.

The first line that is neither blank nor a comment says what a file holds:

- `ASYMMETRIC MULTIWAY CUT` (LPMP): then `MULTICUT`, edges, `NODE COSTS` and rows of node costs.
- `MULTICUT` (LPMP): edges. If `LIFTED` and more edges follow, it is a lifted multicut.
- `p cep 10 11` (PACE 2021): cluster editing of a graph of 10 nodes and 11 edges, one edge `u v` per line,
nodes
  from 1. It becomes a multicut: cost +1 for every edge and −1 for every other pair.
- An edge: a multicut without a heading.

An asymmetric multiway cut reads:

    ASYMMETRIC MULTIWAY CUT
    MULTICUT
    0 1 1.5
    1 2 -0.5
    NODE COSTS
    0 1 2.5
    1 0 2.5
    0 0 1

An edge line holds two nodes, numbered from 0, and the cost of cutting. A row of node costs holds the costs of
all labels at the next node. Numbers are separated by blanks or tabs. Blank lines and lines that start with
`c` or `#` are comments. LPMP stores neither which labels are partitionable nor how many nodes a multicut has.
Both stand in comments of ours, `# PARTITIONABLE 1 0 0` and `# NODES 3`, which are written directly below
`MULTICUT` and read from anywhere among the edges. Costs of `inf` and `-inf` are the constraints of
`difflayers.amwc.AMWC`, which LPMP does not know. Files may be compressed by gzip, and may start with the
byte-order mark of UTF-8.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from difflayers.amwc.problem import AMWC
from difflayers.lifted_multicut.problem import LiftedMulticut
from difflayers.lpmp.text import TextReader, shown
from difflayers.multicut import Multicut

AMWC_HEADING, EDGES_HEADING = b"ASYMMETRIC MULTIWAY CUT", b"MULTICUT"
NODE_COSTS_HEADING, LIFTED_HEADING = b"NODE COSTS", b"LIFTED"
PARTITIONABLE_COMMENT, NODES_COMMENT = b"PARTITIONABLE", b"NODES"
_SECTIONS = (NODE_COSTS_HEADING, LIFTED_HEADING)

Problem = AMWC | Multicut | LiftedMulticut
"""What a file may hold."""

Made = TypeVar("Made", AMWC, Multicut, LiftedMulticut)


def read(
    path: str | os.PathLike[str], partitionable: np.ndarray | None = None, *, max_bytes: int = 1 << 32
) -> Problem:
    """Read the cut problem that a text file holds, of whichever kind its heading says.

    Args:
        path: a text file, compressed by gzip or not.
        partitionable: (K,) bool, for an asymmetric multiway cut. It is needed if the file does not say which
            labels are partitionable, and counts more than what the file says.
        max_bytes: most bytes of text after decompression. Memory stays in proportion to what was read.

    Returns:
        An AMWC, a Multicut or a LiftedMulticut with costs in float64. A multicut has as many nodes as its
        `# NODES` comment says, else one more than its largest node: a list that counts from 1 keeps its
        numbers, and node 0 has no edge.

    Raises:
        ValueError: if the file is malformed, cut short or too long, if costs are so large that their sum
            overflows, or if `partitionable` was given for a multicut. The message names the file and, where
            one line is wrong, the line.
        OSError: if there is no such file or it cannot be read.

    Examples:
        >>> import pathlib, tempfile
        >>> from difflayers import lpmp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "edges.txt")
        ...     _ = path.write_text("0 1 1.5\\n1 2 -2\\n")
        ...     problem = lpmp.read(path)
        >>> type(problem).__name__, problem.num_nodes, problem.edge_costs.tolist()
        ('Multicut', 3, [1.5, -2.0])
    """
    with TextReader(path, max_bytes) as text:
        return _read(text, partitionable)


def read_multicut(path: str | os.PathLike[str], *, max_bytes: int = 1 << 32) -> Multicut:
    """Read a multicut as `lpmp.read` does, and refuse files that hold another kind of problem.

    Args:
        path: a text file, compressed by gzip or not.
        max_bytes: most bytes of text after decompression.

    Raises:
        ValueError: as `lpmp.read`, and if the file holds node costs or lifted edges.
        OSError: if there is no such file or it cannot be read.

    Examples:
        >>> import pathlib, tempfile
        >>> from difflayers import lpmp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "one.gr")
        ...     _ = path.write_text("p cep 3 1\\n1 2\\n")  # PACE: one edge, two other pairs
        ...     problem = lpmp.read_multicut(path)
        >>> problem.edges.tolist(), problem.edge_costs.tolist()
        ([[0, 1], [0, 2], [1, 2]], [1.0, -1.0, -1.0])
    """
    with TextReader(path, max_bytes) as text:
        if text.peek() == AMWC_HEADING:
            text.fail(f'expected "{EDGES_HEADING.decode()}", got "{AMWC_HEADING.decode()}": use lpmp.read')
        problem = _read(text, None)
        if not isinstance(problem, Multicut):
            text.fail(f'"{LIFTED_HEADING.decode()}" makes it a lifted multicut: use lpmp.read')
    return problem


def _read(text: TextReader, partitionable: np.ndarray | None) -> Problem:
    """Read the problem that the first line announces."""
    first = text.peek()
    if first == AMWC_HEADING:
        return _amwc(text, partitionable)
    if first != EDGES_HEADING and not first[:1].isdigit() and not first.startswith(b"p"):
        text.fail(f'expected "{AMWC_HEADING.decode()}", "MULTICUT", "p cep" or an edge, {_got(first)}')
    if partitionable is not None and first != AMWC_HEADING:
        text.fail(f'partitionable is for files that begin with "{AMWC_HEADING.decode()}"')
    return _cluster_editing(text) if first.startswith(b"p") else _multicut(text)


def _amwc(text: TextReader, partitionable: np.ndarray | None) -> AMWC:
    text.skip()
    if text.peek() != EDGES_HEADING:
        text.fail(f'expected "{EDGES_HEADING.decode()}", {_got(text.peek())}')
    text.skip()
    edges, edge_costs, lines, heading = _edges(text)
    if heading == LIFTED_HEADING:
        text.fail(f'"{heading.decode()}" has no place in an asymmetric multiway cut', text.line - 1)
    if heading != NODE_COSTS_HEADING:
        text.fail(f'the file ends without "{NODE_COSTS_HEADING.decode()}"')
    node_costs = _node_costs(text)
    _check_nodes(text, edges, lines, len(node_costs))
    if partitionable is None:
        partitionable = _partitionable(text, node_costs.shape[1])
    return _made(text, AMWC, node_costs, edges, edge_costs, partitionable)


def _multicut(text: TextReader) -> Multicut | LiftedMulticut:
    if text.peek() == EDGES_HEADING:
        text.skip()
    parts = [_edges(text)]
    if parts[0][3] == LIFTED_HEADING:
        parts.append(_edges(text))
    if heading := parts[-1][3]:
        text.fail(f'"{heading.decode()}" has no place here', text.line - 1)
    num_nodes = max(int(edges.max(initial=-1)) for edges, *_ in parts) + 1
    if comment := text.comment(NODES_COMMENT):
        line, words = comment
        if len(words) != 1 or not words[0].isdigit() or len(words[0]) > 10:
            text.fail("expected the number of nodes", line)
        num_nodes = int(words[0])
    for edges, _, lines, _ in parts:
        _check_nodes(text, edges, lines, num_nodes)
    if num_nodes == 0:
        text.fail("the file mentions no nodes")
    text.check_memory(8 * num_nodes, f"{num_nodes} nodes")
    (edges, costs, *_), *lifted = parts
    if lifted:
        return _made(text, LiftedMulticut, num_nodes, edges, costs, *lifted[0][:2])
    return _made(text, Multicut, num_nodes, edges, costs)


def _cluster_editing(text: TextReader) -> Multicut:
    """Read a graph to edit. Its edits are the cost of the multicut plus the number of pairs without edge."""
    words = text.peek().split()
    sizes = [word for word in words[2:] if word.isdigit() and len(word) < 10]
    if len(words) != 4 or words[:2] != [b"p", b"cep"] or len(sizes) != 2:
        text.fail(f'expected "p cep" and the numbers of nodes and edges, {_got(text.peek())}')
    num_nodes, num_edges = map(int, sizes)
    if num_nodes == 0:
        text.fail("the file has no nodes")
    text.check_memory(8 * num_nodes**2, f"all pairs of {num_nodes} nodes")
    text.skip()
    edges, _, lines, heading = _edges(text, columns=2)
    if heading:
        text.fail(f'"{heading.decode()}" has no place here', text.line - 1)
    if (edges == 0).any():
        text.fail("nodes are numbered from 1, got 0", int(lines[(edges == 0).any(axis=1).argmax()]))
    _check_nodes(text, edges, lines, num_nodes + 1)
    if len(edges) != num_edges:
        text.fail(f"the file has {len(edges)} edges, but its heading says {num_edges}")
    adjacent = np.zeros((num_nodes, num_nodes), bool)
    adjacent[tuple(edges.T - 1)] = adjacent[tuple(edges.T[::-1] - 1)] = True
    pairs = np.triu_indices(num_nodes, 1)
    return Multicut(num_nodes, np.stack(pairs, axis=1), np.where(adjacent[pairs], 1.0, -1.0))


def _edges(text: TextReader, columns: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, bytes]:
    """Edges (r, 2), costs (r,), lines (r,) and the heading of the section that follows, b"" at the end."""
    parts = [(np.empty((0, 2), np.int32), np.empty((0, columns - 2)), np.empty(0, np.int64))]
    heading = b""
    while not heading:
        rows, heading = text.rows(until=_SECTIONS)
        if not rows and not heading:
            break
        parts.append(text.numbers(rows, columns=columns, indices=2))
        text.line += bool(heading)
    edges, costs, lines = (np.concatenate(part) for part in zip(*parts, strict=True))
    return edges, costs.reshape(-1), lines, heading


def _node_costs(text: TextReader) -> np.ndarray:
    parts: list[np.ndarray] = []
    while rows := text.rows()[0]:
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
    comment = text.comment(PARTITIONABLE_COMMENT)
    if comment is None:
        text.fail(f'no "# {PARTITIONABLE_COMMENT.decode()}" comment, so the argument partitionable is needed')
    line, words = comment
    if len(words) != num_labels or not set(words) <= {b"0", b"1"}:
        text.fail(f"expected {num_labels} flags 0 or 1, one per label", line)
    return np.array([word == b"1" for word in words])


def _made(text: TextReader, problem: Callable[..., Made], *arguments: Any) -> Made:
    """Construct a problem; its errors are given the file's name."""
    try:
        return problem(*arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text.path}: {error}") from None


def _got(line: bytes) -> str:
    return f'got "{shown(line)}"' if line else "but the file ends"
