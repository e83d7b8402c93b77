# SPDX-License-Identifier: Apache-2.0
import pytest
import typer
from typer.testing import CliRunner

from rankwise.cli.weyl import weyl

APP = typer.Typer()
APP.command()(weyl)


def run(*arguments):
    return CliRunner().invoke(APP, list(arguments), catch_exceptions=False)


def test_faces_are_counted_and_eulers_relation_is_checked():
    said = run("E8", "--weight", "1,1,1,1,1,1,1,1")
    assert said.exit_code == 0
    assert "E8 with a Weyl group of order 696,729,600, highest weight (1, 1, 1, 1, 1, 1, 1, 1)" in said.stdout
    assert "4,470,681,600" in said.stdout
    assert "Euler's relation holds: the alternating sum is 1, for a bounded hull it is 1." in said.stdout
    assert "Counted in" in said.stdout


def test_hulls_without_end_and_endless_faces():
    said = run("A3", "--weight", "1,0,2", "--integrable", "0,1").stdout
    assert "integrable nodes: 0, 1" in said
    assert "the alternating sum is 0, for an unbounded hull it is 0" in said
    said = run("A1~", "--weight", "1,0").stdout
    assert said.count("infinite") == 4  # the group, vertices, edges, and why there is no relation to check
    assert "integrable nodes: none" in run("A2", "--weight=-1/2,-1").stdout
    assert "integrable nodes: none" in run("A2", "--weight", "1,1", "--integrable", "").stdout


def test_products_and_matrices_from_files(tmp_path):
    path = tmp_path / "hyperbolic.json"
    path.write_text("[[2, -3], [-3, 2]]")
    assert "indefinite(2) with an infinite Weyl group" in run(str(path), "--weight", "1,1").stdout
    assert "A2 x G2 with a Weyl group of order 72" in run("A2xG2", "--weight", "1,1,1,1").stdout


def test_pictures_of_rank_two_and_three(tmp_path):
    for name, weight, picture in (("A3", "1,1,1", "out.html"), ("G2", "2,1", "out.png")):
        said = run(name, "--weight", weight, "--plot", str(tmp_path / picture))
        assert said.exit_code == 0
        assert (tmp_path / picture).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["E9", "--weight", "1"], "There is no Cartan type E9. Allowed: A1"),
        (["E8", "--weight", "1,1"], "The weight (1, 1) has 2 numbers; E8 has 8 nodes"),
        (["A2", "--weight", "1,x"], "--weight: 'x' is no integer or fraction"),
        (["A2", "--weight", "1,1/0"], "--weight: '1/0' is no integer or fraction"),
        (["A2", "--weight", "1,-1", "--integrable", "1"], "Node 1 cannot be integrable: lam[1] = -1"),
        (["A2", "--weight", "1,1", "--integrable", "a"], "--integrable: 'a' is no node"),
        (["A2", "--weight", "1,1", "--integrable", "2"], "integrable: 2 is no node"),
        (["D4", "--weight", "1,0,0,0", "--plot", "x.html"], "D4 has rank 4"),
        (["A3", "--weight", "1,0,0", "--plot", "x.png"], "--plot of rank 3 writes a .html file, got 'x.png'"),
        (["A3", "--weight", "1,0,0", "--plot", "nowhere/x.html"], "there is no folder 'nowhere'"),
        (["nowhere.json", "--weight", "1"], "nowhere.json is no JSON file"),
        (["A30", "--weight", ",".join("1" * 30)], "Counting faces looks at all 2^30 subsets"),
    ],
)
def test_mistakes_end_in_a_message_and_status_two(arguments, message):
    said = run(*arguments)
    assert said.exit_code == 2
    assert said.stderr.startswith("rankwise: ")
    assert message in said.stderr
    assert "Euler" not in said.stdout


def test_a_matrix_that_is_no_cartan_matrix_is_refused_by_its_entry(tmp_path):
    path = tmp_path / "matrix.json"
    for content, message in (
        ("[[2, -1], [0, 2]]", "Entry (0, 1) of the matrix is -1 but entry (1, 0) is 0"),
        ("[[2, -1", "is no JSON file"),
        ('{"rows": 2}', "row 0 has 4 entries, there are 1 rows"),
        ("3", "a list of rows of integers, got 3"),
    ):
        path.write_text(content)
        said = run(str(path), "--weight", "1,1")
        assert said.exit_code == 2
        assert message in said.stderr
