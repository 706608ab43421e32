"""What is written is read again, and what is malformed is refused by its line."""

import gzip
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difflayers import lpmp, multicut
from difflayers.amwc import AMWC
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.lpmp import text
from difflayers.multicut import Multicut
from difflayers.mwc import MWC
from tests.amwc.problems import constrained_problems, random_problem

GOOD = """ASYMMETRIC MULTIWAY CUT
MULTICUT
0 1 1.0
0 2 -1.0
1 2 -1.5e-1
NODE COSTS
0 1 2.0
0 1 2.0
0 1 2.5
"""
THINGS = np.array([True, False, False])
each_file = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


TRIANGLE = ([[0, 1], [1, 2], [0, 2]], [1.5, -2.0, 0.25])
PROBLEMS = {
    "amwc": AMWC([[0.0, 1.0], [1.0, 0.5], [2.0, 0.0]], *TRIANGLE, [True, False]),
    "mwc": MWC([[0.0, 1.0], [1.0, 0.5], [2.0, 0.0]], *TRIANGLE),
    "multicut": Multicut(5, *TRIANGLE),
    "lifted multicut": LiftedMulticut(6, *TRIANGLE, [[0, 4], [2, 5]], [-1.0, 0.1]),
}


def equal(a: object, b: object) -> bool:
    names = (
        "num_nodes",
        "node_costs",
        "edges",
        "edge_costs",
        "partitionable",
        "lifted_edges",
        "lifted_costs",
    )
    return type(a) is type(b) and all(
        np.array_equal(getattr(a, name, None), getattr(b, name, None)) for name in names
    )


@settings(each_file, max_examples=60)
@given(constrained_problems(max_nodes=12, max_labels=4, max_edges=30), st.sampled_from(["a.txt", "a.txt.gz"]))
def test_what_is_written_is_read_again(tmp_path, problem, name):
    lpmp.write(tmp_path / name, problem)
    assert equal(lpmp.read(tmp_path / name), problem)
    cut = Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    lpmp.write_multicut(tmp_path / name, cut)
    again = lpmp.read_multicut(tmp_path / name)
    assert equal(again, cut)


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_every_kind_of_problem_is_written_and_told_by_its_heading(tmp_path, kind, name):
    problem = PROBLEMS[kind]
    lpmp.write(tmp_path / name, problem)
    assert equal(lpmp.read(tmp_path / name), problem.as_amwc if kind == "mwc" else problem)
    first = (tmp_path / name).read_bytes()
    lpmp.write(tmp_path / name, problem)
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("write", [lpmp.write, lpmp.write_multicut])
@pytest.mark.parametrize("wrong", [None, "amwc", "mwc", "lifted multicut", "a solution"])
def test_a_refused_problem_leaves_the_file_as_it_was(tmp_path, write, wrong):
    if write is lpmp.write and wrong in PROBLEMS:
        pytest.skip("this one is written")
    (tmp_path / "a").write_text("precious")
    with pytest.raises(TypeError, match="problem must be a"):
        write(tmp_path / "a", PROBLEMS.get(wrong, wrong))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "precious")]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    class Broken(Multicut):
        def __getattribute__(self, name):
            if name == "edge_costs" and hasattr(self, "ready"):
                raise KeyboardInterrupt
            return super().__getattribute__(name)

    problem = Broken(5, *TRIANGLE)
    object.__setattr__(problem, "ready", True)
    (tmp_path / "a").write_text("precious")
    for name in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            lpmp.write(tmp_path / name, problem)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "precious")]


def test_a_written_file_keeps_permissions_and_links(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    lpmp.write(tmp_path / "link", PROBLEMS["multicut"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert equal(lpmp.read(tmp_path / "real"), PROBLEMS["multicut"])
    for name, error in (("folder", IsADirectoryError), ("none/file", FileNotFoundError)):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(error, match=name):
            lpmp.write(tmp_path / name, PROBLEMS["multicut"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "real"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("comments", ["", "# made by hand\n\nc old\n"])
@pytest.mark.parametrize("heading", ["", "MULTICUT\n"])
def test_a_list_of_edges_is_a_multicut_in_the_numbers_of_the_file(tmp_path, mark, comments, heading):
    (tmp_path / "a").write_text(f"{mark}{comments}{heading}1 2 -1.5\n2\t3 4\n", encoding="utf-8")
    for read in (lpmp.read, lpmp.read_multicut):
        problem = read(tmp_path / "a")
        assert problem.num_nodes == 4  # node 0 has no edge where a list counts from 1
        assert problem.edges.tolist() == [[1, 2], [2, 3]]
        assert problem.edge_costs.tolist() == [-1.5, 4.0]


def test_pace_graphs_are_read_as_cluster_editing(tmp_path):
    (tmp_path / "a.gr").write_text("c a path of three nodes\np cep 3 2\n1 2\nc\n3 2\n")
    problem = lpmp.read(tmp_path / "a.gr")
    pairs = {tuple(edge): cost for edge, cost in zip(problem.edges.tolist(), problem.edge_costs, strict=True)}
    assert pairs == {(0, 1): 1.0, (0, 2): -1.0, (1, 2): 1.0}
    # One edit makes it clusters; one pair has no edge.
    assert multicut.solve_exact(problem).cost + 1 == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p cep 3\n1 2\n", 'line 1: expected "p cep" and the numbers of nodes and edges, got "p cep 3"'),
        ("p tw 3 1\n1 2\n", 'line 1: expected "p cep"'),
        ("p cep 3 1\n0 2\n", "line 2: nodes are numbered from 1, got 0"),
        ("p cep 3 1\n1 4\n", "line 2: the edge joins node 4"),
        ("p cep 3 2\n1 2\n", "line 3: the file has 1 edges, but its heading says 2"),
        ("p cep 99999 1\n1 2\n", "line 1: all pairs of 99999 nodes take more memory"),
        ("p cep 3 1\n1 2 1.5\n", "line 2: expected 2 columns, got 3"),
        ("3 2\n0 1 1.5\n", "line 1: expected 3 columns, got 2"),
        ("# a\n0 1 x\n", 'line 2: expected a cost, got "x"'),
        ("u,v,cost\n", 'line 1: expected .* or an edge, got "u,v,cost"'),
        ("MULTICUT\n0 1 1\nLIFTED\n0 1 1\nLIFTED\n", 'line 5: "LIFTED" has no place here'),
        ("MULTICUT\n# NODES 2\n0 1 1\nLIFTED\n0 2 1\n", "line 5: the edge joins node 2"),
        ("MULTICUT\n0 1 1\nLIFTED\n0 1 nan\n", 'line 4: expected a cost, got "nan"'),
    ],
)
def test_malformed_lists_and_graphs_are_named(tmp_path, text, message):
    (tmp_path / "a").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        lpmp.read(tmp_path / "a", max_bytes=1 << 20)
    assert str(tmp_path / "a") in str(caught.value)


def test_a_file_of_another_kind_is_refused_where_a_multicut_or_labels_are_meant(tmp_path):
    for kind in ("amwc", "lifted multicut"):
        lpmp.write(tmp_path / "a", PROBLEMS[kind])
        with pytest.raises(ValueError, match=r"use lpmp\.read"):
            lpmp.read_multicut(tmp_path / "a")
    with pytest.raises(ValueError, match='partitionable is for files that begin with "ASYMMETRIC'):
        lpmp.read(tmp_path / "a", THINGS)


@pytest.mark.parametrize("body", ["#\n", "c\n", "# NODES 2\n", "# NODE COSTS\n", "#\n0 1 1\n"])
@pytest.mark.parametrize("place", [0, 1])
def test_time_grows_as_the_number_of_comments(tmp_path, body, place):
    def seconds(count):
        parts = ["MULTICUT\n", "0 1 1\n"]
        parts.insert(place if "0 1" not in body else 1, body * count)
        (tmp_path / "a").write_text("".join(parts))
        times = []
        for _ in range(3):
            begin = time.process_time()
            assert lpmp.read(tmp_path / "a").num_nodes == 2
            times.append(time.process_time() - begin)
        return min(times)

    # 16 times as long; a quadratic reader takes 256 times as long.
    assert seconds(40_000) < 64 * seconds(2_500)


def test_files_longer_than_a_block_are_read_whole(tmp_path, monkeypatch):
    problem = random_problem(0, num_nodes=300, num_labels=5, num_edges=900)
    lpmp.write(tmp_path / "a", problem)
    for block in (1, 7, 1000):
        monkeypatch.setattr(text, "_BLOCK", block)
        assert equal(lpmp.read(tmp_path / "a"), problem)


def test_the_format_of_lpmp_is_read(tmp_path):
    commented = GOOD.replace("0 2 -1.0\n", "\n# a comment\nc 1 2\n\t0  2\t-1.0 \r\n").rstrip("\n")
    for content in (GOOD, commented):
        (tmp_path / "a").write_text(content, newline="")
        problem = lpmp.read(tmp_path / "a", THINGS)
        assert problem.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
        assert problem.edge_costs.tolist() == [1.0, -1.0, -0.15]
        assert problem.node_costs.tolist() == [[0, 1, 2], [0, 1, 2], [0, 1, 2.5]]
    (tmp_path / "b").write_text("MULTICUT\n0 1 1\n3 1 -2\n")
    assert lpmp.read_multicut(tmp_path / "b").num_nodes == 4


def test_the_argument_partitionable_counts_more_than_the_file(tmp_path):
    problem = AMWC(np.zeros((2, 3)), [[0, 1]], np.ones(1), THINGS)
    lpmp.write(tmp_path / "a", problem)
    assert lpmp.read(tmp_path / "a").partitionable.tolist() == THINGS.tolist()
    assert lpmp.read(tmp_path / "a", ~THINGS).partitionable.tolist() == (~THINGS).tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ASYMMETRIC ", "", 'line 1: expected "ASYMMETRIC MULTIWAY CUT".* or an edge, got "MULTIWAY CUT"'),
        ("\nMULTICUT", "\nMULTICAT", 'line 2: expected "MULTICUT", got "MULTICAT"'),
        ("0 2 -1.0", "0 2", 'line 4: expected 3 columns, got 2: "0 2"'),
        ("0 2 -1.0\n1 2 -1.5e-1", "0 2\n1 2 1 2", "line 4: expected 3 columns, got 2"),
        ("0 2 -1.0", "0 2 -1.0 7", "line 4: expected 3 columns, got 4"),
        ("0 2 -1.0", "0 2 x", 'line 4: expected a cost, got "x"'),
        ("0 2 -1.0", "0 2 1_0", 'line 4: expected a cost, got "1_0"'),
        ("0 2 -1.0", "0 2 nan", 'line 4: expected a cost, got "nan"'),
        ("0 2 -1.0", "0 -2 1", 'line 4: expected a node index, got "-2"'),
        ("0 2 -1.0", "0 1.0 1", 'line 4: expected a node index, got "1.0"'),
        ("0 2 -1.0", "0 99999999999 1", "line 4: node index 99999999999 is too large"),
        ("0 2 -1.0", "0 2147483647 1", "line 4: node index 2147483647 is too large"),
        ("0 2 -1.0", "2 2 1", "line 4: an edge must join different nodes, got 2 twice"),
        ("0 2 -1.0", "3 2 1", "line 4: the edge joins node 3, but there are only 3"),
        ("0 2 -1.0", "# x\n3 2 1", "line 5: the edge joins node 3, but there are only 3"),
        ("NODE COSTS", "NODE", "line 6: expected 3 columns, got 1"),
        ("0 1 2.5", "0 1", "line 9: expected 3 columns, got 2"),
        ("0 1 2.5", "0 1 -inf", 'line 9: expected a cost, got "-inf"'),
        ("0 1 2.5", "0 1 \xff", r'line 9: expected a cost, got "\\xc3\\xbf"'),
        ("0 1 2.5\n", "", "line 4: the edge joins node 2, but there are only 2"),
        ("0 1 2.5", "inf inf inf", "line 9: no label is allowed"),
        ("0 2 -1.0", "0 2 1e400", "line 4: cost 1e400 is too large"),
        ("0 2 -1.0", "0 2 -1e400", "line 4: cost -1e400 is too large"),
        ("0 1 2.5", "inf 1e400 2.5", "line 9: cost 1e400 is too large"),
        ("0 2 -1.0", "0 2 1\0", r'line 4: expected a cost, got "1\\x00"'),
        ("0 2 -1.0", "0 2 1e308\n0 2 1e308", "edge_costs are too large: sums of 4 numbers"),
        (GOOD[GOOD.index("NODE") :], "", 'line 6: the file ends without "NODE COSTS"'),
        (GOOD[GOOD.index("0 1 2.0") :], "", "line 7: the file ends without node costs"),
        ("NODE COSTS", "LIFTED", 'line 6: "LIFTED" has no place in an asymmetric multiway cut'),
        (GOOD, "", 'line 1: expected "ASYMMETRIC MULTIWAY CUT".* but the file ends'),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_malformed_lines_are_named(tmp_path, old, new, message, zipped):
    assert old in GOOD
    content = GOOD.replace(old, new, 1).encode()
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=message) as caught:
        lpmp.read(tmp_path / "a", THINGS)
    assert str(tmp_path / "a") in str(caught.value)


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 50)
    rows = [f"{i} {i + 1} 0.5" for i in range(100)]
    rows[70] = "70 70 0.5"
    (tmp_path / "a").write_text("\n".join(["MULTICUT", *rows]))
    with pytest.raises(ValueError, match="line 72: an edge must join different nodes"):
        lpmp.read_multicut(tmp_path / "a")


def test_comments_of_ours_are_checked(tmp_path):
    (tmp_path / "a").write_text(GOOD)
    with pytest.raises(ValueError, match="the argument partitionable is needed"):
        lpmp.read(tmp_path / "a")
    (tmp_path / "a").write_text(GOOD.replace("0 1 1.0", "# PARTITIONABLE 1 0\n0 1 1.0"))
    with pytest.raises(ValueError, match="line 3: expected 3 flags 0 or 1"):
        lpmp.read(tmp_path / "a")
    (tmp_path / "a").write_text("MULTICUT\n# NODES x\n0 1 1")
    with pytest.raises(ValueError, match="line 2: expected the number of nodes"):
        lpmp.read_multicut(tmp_path / "a")
    (tmp_path / "a").write_text("MULTICUT\n# NODES 3\n0 3 1")
    with pytest.raises(ValueError, match="line 3: the edge joins node 3, but there are only 3"):
        lpmp.read_multicut(tmp_path / "a")
    (tmp_path / "a").write_text("MULTICUT\n")
    with pytest.raises(ValueError, match="mentions no nodes"):
        lpmp.read_multicut(tmp_path / "a")
    (tmp_path / "a").write_text("MULTICUT\n0 1 1\nNODE COSTS\n")
    with pytest.raises(ValueError, match='line 3: "NODE COSTS" has no place'):
        lpmp.read_multicut(tmp_path / "a")
    (tmp_path / "a").write_text("MULTICUT\n0 1 1e308\n0 1 1e308\n")
    with pytest.raises(ValueError, match=f"{tmp_path / 'a'}: edge_costs are too large"):
        lpmp.read_multicut(tmp_path / "a")


def test_memory_stays_within_the_limit(tmp_path):
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as file:
        file.write(b"MULTICUT\n")
        for _ in range(40):
            file.write(b" " * (1 << 20))
    with pytest.raises(ValueError, match="line 2: longer than"):
        lpmp.read_multicut(bomb)
    with pytest.raises(ValueError, match="longer than max_bytes = 1000000"):
        lpmp.read_multicut(bomb, max_bytes=1_000_000)
    (tmp_path / "wide").write_text("MULTICUT\n0 2000000000 1\n")
    with pytest.raises(ValueError, match="2000000001 nodes take more memory than max_bytes"):
        lpmp.read_multicut(tmp_path / "wide", max_bytes=1_000_000)


def test_damaged_and_cut_short_gzip_is_refused(tmp_path):
    whole = gzip.compress(GOOD.encode())
    for damaged in (whole[:-9], whole[:20], whole[:30] + b"\0\0" + whole[32:]):
        (tmp_path / "a.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or cut short"):
            lpmp.read(tmp_path / "a.gz", THINGS)


@settings(each_file, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_flipped_bytes_raise_nothing_but_value_errors(tmp_path, flips, zipped):
    content = GOOD.replace("MULTICUT\n0", "MULTICUT\n# PARTITIONABLE 1 0 0\n0", 1).encode()
    cut = GOOD.encode()[len("ASYMMETRIC MULTIWAY CUT\n") : GOOD.index("NODE")]
    for source, reader in ((content, lpmp.read), (cut, lpmp.read_multicut)):
        flipped = bytearray(gzip.compress(source) if zipped else source)
        for position, value in flips:
            flipped[position % len(flipped)] ^= value
        (tmp_path / "a").write_bytes(flipped)
        try:
            problem = reader(tmp_path / "a", max_bytes=100_000)
        except ValueError:
            continue
        assert problem.edges.min(initial=0) >= 0
        assert not np.isnan(problem.edge_costs).any()
