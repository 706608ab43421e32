"""What is written is read again, and what is malformed is refused by its line."""

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difflayers import lpmp
from difflayers.amwc import AMWC
from difflayers.lpmp import text
from difflayers.multicut import Multicut
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


def equal(a: AMWC, b: AMWC) -> bool:
    names = ("node_costs", "edges", "edge_costs", "partitionable")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@settings(each_file, max_examples=60)
@given(constrained_problems(max_nodes=12, max_labels=4, max_edges=30), st.sampled_from(["a.txt", "a.txt.gz"]))
def test_what_is_written_is_read_again(tmp_path, problem, name):
    lpmp.write(tmp_path / name, problem)
    assert equal(lpmp.read(tmp_path / name), problem)
    cut = Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    lpmp.write_multicut(tmp_path / name, cut)
    again = lpmp.read_multicut(tmp_path / name)
    assert again.num_nodes == cut.num_nodes
    assert np.array_equal(again.edges, cut.edges)
    assert np.array_equal(again.edge_costs, cut.edge_costs)


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
        ("ASYMMETRIC ", "", 'line 1: expected "ASYMMETRIC MULTIWAY CUT", got "MULTIWAY CUT"'),
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
        (GOOD, "", 'line 1: expected "ASYMMETRIC MULTIWAY CUT", but the file ends'),
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
