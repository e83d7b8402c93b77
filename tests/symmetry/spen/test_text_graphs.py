# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen import read_graphs

TEXT = "2\n3 -1\n5 1 1\n2 2 0 2\n5 1 1\n1 4\n9 0\n"


def test_reads_tags_classes_and_both_directions(tmp_path):
    path = tmp_path / "graphs.txt"
    path.write_text(TEXT)
    first, second = read_graphs(path)
    assert first.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert first.x.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert second.x.tolist() == [[0, 0, 1]]
    assert second.edge_index.shape == (2, 0)
    assert second.edge_index.dtype == torch.long
    assert [int(graph.y) for graph in (first, second)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "ends before"),
        ("3" + TEXT[1:], "ends before"),
        ("1" + TEXT[1:], "line 6: the file names 1 graphs"),
        (TEXT.replace("2 2 0 2", "2 2 0 3"), "line 4: a node of degree 2 in a graph of 3 nodes.*from 0 to 2"),
        (TEXT.replace("2 2 0 2", "2 2 0"), "line 4: a node of degree 2"),
        (TEXT.replace("2 2 0 2", "2"), "line 4: 1 numbers, at least 2"),
        (TEXT.replace("9 0", "x 0"), "line 7: 'x 0' is not a list of integers"),
    ],
)
def test_what_is_no_such_file(tmp_path, text, words):
    path = tmp_path / "graphs.txt"
    path.write_text(text)
    with pytest.raises(SymmetryError, match=words):
        read_graphs(path)
