"""Read tables of numbers from long text files block by block; errors name the line."""

import gzip
import io
import os
import zlib
from typing import IO, Any, NoReturn

import numpy as np

_BLOCK = 1 << 20
_LONGEST_LINE = 1 << 24
_BLANK = np.zeros(256, bool)
_BLANK[list(b" \t\n\r\x0b\x0c")] = True
_COMMENT = (b"#", b"c")
_MARK = b"\xef\xbb\xbf"  # how some editors begin a text in UTF-8


class TextReader:
    """Lines of a text file, compressed by gzip or not, of at most `max_bytes` bytes in all.

    Every error is a ValueError that names the file and the line.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int) -> None:
        self.path: str = os.fspath(path)
        self.line: int = 1
        self._comments: dict[bytes, tuple[int, list[bytes]]] = {}
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._lines = b""
        self._at = 0  # where in them the next line begins
        self._tail = b""
        self._raw = io.BufferedReader(io.FileIO(os.fspath(path)))
        compressed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=self._raw) if compressed else self._raw

    def __enter__(self) -> "TextReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self._raw.close()

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise the error of a line, by default of the line that is read next."""
        raise ValueError(f"{self.path}, line {self.line if line is None else line}: {message}")

    def check_memory(self, size: int, what: str) -> None:
        """Raise the error of a file that announces more bytes than may be read."""
        if size > self._max_bytes:
            self.fail(f"{what} take more memory than max_bytes = {self._max_bytes}")

    def comment(self, name: bytes) -> tuple[int, list[bytes]] | None:
        """Return line and further words of the first comment so far that begins with a name, if any."""
        return self._comments.get(name)

    def peek(self) -> bytes:
        """Return the next line that is neither blank nor a comment, stripped; b"" at the end of the file."""
        while self._more():
            line = self._lines[self._at : self._lines.index(b"\n", self._at)].strip()
            if self.line == 1 and line.startswith(_MARK):
                self._at += len(_MARK)  # of the first line, where nothing precedes the mark
                line = line[len(_MARK) :].strip()
            if line and not line.startswith(_COMMENT):
                return line
            self._note(line)
            self.skip()
        return b""

    def skip(self) -> None:
        """Leave out the next line."""
        self._at = self._lines.index(b"\n", self._at) + 1
        self.line += 1

    def rows(self, until: tuple[bytes, ...] = ()) -> tuple[bytes, bytes]:
        """Whole lines up to the next heading, which is read too, and the heading; both b"" at the end.

        As many lines as are at hand come back, so the caller asks again until there are no more lines or a
        heading came, b"" if none did.
        """
        if not self._more():
            return b"", b""
        lines, self._lines, self._at = self._lines[self._at :], b"", 0
        found = [(begin, end, heading) for heading in until for begin, end in _whole_line(lines, heading)]
        if not found:
            return lines, b""
        begin, end, heading = min(found)
        self._lines = lines[end + 1 :]
        return lines[:begin], heading

    def _more(self) -> bool:
        """Whether there is another line, which is then at hand."""
        return self._at < len(self._lines) or self._fill()

    def _fill(self) -> bool:
        while True:
            try:
                data = self._file.read(_BLOCK)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.fail(f"the compressed file is damaged or cut short: {error}")
            self._left -= len(data)
            if self._left < 0:
                self.fail(f"the text is longer than max_bytes = {self._max_bytes}")
            self._tail += data if data or not self._tail else b"\n"
            whole, newline, tail = self._tail.rpartition(b"\n")
            if newline:
                self._lines, self._at, self._tail = whole + newline, 0, tail
                return True
            if not data:
                return False
            if len(tail) > _LONGEST_LINE:
                self.fail(f"longer than {_LONGEST_LINE} bytes")

    def _note(self, comment: bytes) -> None:
        """Keep the words of a comment that begins with a capital letter, as those that matter do."""
        words = comment[1:].split()
        if words and words[0].isupper():
            self._comments.setdefault(words[0], (self.line, words[1:]))

    def numbers(self, rows: bytes, columns: int, indices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices (r, i) int32, numbers (r, columns - i) float64 and lines (r,) of all rows but the comments.

        The first `indices` columns hold node indices. `columns` is 0 if the first row decides how many there
        are.
        """
        begin = 0
        while rows.startswith(b"#", begin):
            end = rows.index(b"\n", begin)
            self._note(rows[begin:end])
            self.line += 1
            begin = end + 1
        rows = rows[begin:]  # once, since each slice is a copy
        found = None if b"_" in rows else _plain_table(rows, columns, indices)
        first = self.line
        if found is not None:
            self.line += len(found[0])
            return *found, np.arange(first, self.line)
        return self._careful_table(rows, columns, indices)

    def _careful_table(
        self, rows: bytes, columns: int, indices: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the table line by line, so that an error can name its line."""
        nodes: list[list[int]] = []
        costs: list[list[float]] = []
        lines: list[int] = []
        for line in rows.split(b"\n")[:-1]:
            tokens = line.split()
            if tokens and not tokens[0].startswith(_COMMENT):
                columns = columns or len(tokens)
                if len(tokens) != columns:
                    self.fail(f'expected {columns} columns, got {len(tokens)}: "{shown(line)}"')
                nodes.append([self._node(token) for token in tokens[:indices]])
                costs.append([self._cost(token, may_attract=indices > 0) for token in tokens[indices:]])
                if indices and len(set(nodes[-1])) < indices:
                    self.fail(f"an edge must join different nodes, got {nodes[-1][0]} twice")
                lines.append(self.line)
            elif tokens:
                self._note(line.strip())
            self.line += 1
        return (
            np.array(nodes, np.int32).reshape(len(lines), indices),
            np.array(costs, np.float64).reshape(len(lines), max(columns - indices, 0)),
            np.array(lines, np.int64),
        )

    def _node(self, token: bytes) -> int:
        if not token.isdigit():
            self.fail(f'expected a node index, got "{shown(token)}"')
        if len(token) > 10 or int(token) >= 2**31 - 1:
            self.fail(f"node index {shown(token)} is too large")
        return int(token)

    def _cost(self, token: bytes, may_attract: bool) -> float:
        try:
            cost = float(token) if b"_" not in token else np.nan
        except ValueError:
            cost = np.nan
        if np.isnan(cost) or (cost == -np.inf and not may_attract):
            self.fail(f'expected a cost, got "{shown(token)}"')
        if np.isinf(cost) and b"inf" not in token.lower():
            self.fail(f"cost {shown(token)} is too large")
        return cost


def _plain_table(rows: bytes, columns: int, indices: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the table if all of its rows are good, else None."""
    data = np.frombuffer(rows, np.uint8)
    if not len(data):
        return None
    blank = _BLANK[data]
    begins = ~blank
    begins[1:] &= blank[:-1]
    newlines = np.flatnonzero(data == 10)
    counts = np.add.reduceat(begins.view(np.uint8), np.r_[0, newlines[:-1] + 1], dtype=np.int32)
    columns = columns or int(counts[0])
    if columns == 0 or (counts != columns).any():
        return None
    tokens = rows.split()
    nodes = np.empty((len(counts), indices), np.int32)
    costs = np.empty((len(counts), columns - indices))
    try:
        for column in range(indices):
            if not all(map(bytes.isdigit, tokens[column::columns])):
                return None
            read = np.array(list(map(int, tokens[column::columns])), np.int64)  # NumPy 1 wraps into int32
            if (read >= 2**31 - 1).any():
                return None
            nodes[:, column] = read
        if indices:
            for column in range(indices, columns):
                costs[:, column - indices] = list(map(float, tokens[column::columns]))
        else:
            costs.ravel()[:] = list(map(float, tokens))
    except (ValueError, OverflowError):
        return None
    if np.isnan(costs).any() or (not indices and (costs == -np.inf).any()):
        return None
    # A number too large for a float reads as infinity, which would be a constraint that nobody wrote.
    infinite = np.isinf(costs).sum()
    if infinite and infinite != rows.lower().count(b"inf"):
        return None
    if indices == 2 and (nodes[:, 0] == nodes[:, 1]).any():
        return None
    return nodes, costs


def _whole_line(lines: bytes, heading: bytes) -> list[tuple[int, int]]:
    """Begin and end of the first line that is the heading but for blanks around it, if there is one."""
    at = lines.find(heading)
    while at >= 0:
        begin, end = lines.rfind(b"\n", 0, at) + 1, lines.index(b"\n", at)
        if lines[begin:end].strip() == heading:
            return [(begin, end)]
        at = lines.find(heading, end)
    return []


def shown(text: bytes) -> str:
    """Text fit for a message: short, and printable whatever bytes it has."""
    text = text if len(text) <= 40 else text[:40] + b"..."
    return text.decode("latin-1").encode("unicode_escape").decode()
