# SPDX-License-Identifier: Apache-2.0
"""Graphs from the one-file text form in which the TU sets are often passed on.

    number of graphs
    nodes class                      for each graph
    tag degree neighbor neighbor ..  for each of its nodes; neighbors count from 0 inside the graph

Tags become one-hot features, in ascending order of all tags of the file; a set without tags has one constant column.
Classes are renumbered from 0. The form knows no features of edges. Reference: Xu, Hu, Leskovec, Jegelka, How powerful
are graph neural networks?, https://arxiv.org/abs/1810.00826, whose experiments use it.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch_geometric.data import Data

from rankwise.errors import SymmetryError


def read_graphs(path: str | Path) -> list[Data]:
    """The graphs of a file, with x, edge_index (both directions) and y.

    Raises:
        SymmetryError: if the file is not of this form, with the line.
    """
    lines = _lines(Path(path))
    (count,) = _expected(next(lines, None), 1, path)
    drafts = [_graph(lines, path) for _ in range(count)]
    if (rest := next(lines, None)) is not None:
        raise SymmetryError(f"{path}, line {rest[0]}: the file names {count} graphs, and there is more after them.")
    tags = sorted({tag for _, found, _ in drafts for tag in found})
    classes = sorted({label for label, _, _ in drafts})
    return [
        Data(
            x=torch.nn.functional.one_hot(torch.tensor([tags.index(tag) for tag in found]), len(tags)).float(),
            edge_index=torch.tensor(sorted(edges), dtype=torch.long).reshape(-1, 2).t().contiguous(),
            y=torch.tensor([classes.index(label)]),
        )
        for label, found, edges in drafts
    ]


_Line = tuple[int, list[int]]


def _lines(path: Path) -> Iterator[_Line]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            yield number, [int(word) for word in line.split()]
        except ValueError:
            raise SymmetryError(f"{path}, line {number}: {line[:60]!r} is not a list of integers.") from None


def _expected(line: _Line | None, least: int, path: str | Path) -> list[int]:
    if line is None:
        raise SymmetryError(f"{path} ends before all of its graphs are there.")
    if len(line[1]) < least:
        raise SymmetryError(f"{path}, line {line[0]}: {len(line[1])} numbers, at least {least} belong there.")
    return line[1]


def _graph(lines: Iterator[_Line], path: str | Path) -> tuple[int, list[int], set[tuple[int, int]]]:
    size, label, *_ = _expected(next(lines, None), 2, path)
    tags: list[int] = []
    edges: set[tuple[int, int]] = set()
    for node in range(size):
        line = next(lines, None)
        tag, degree, *near = _expected(line, 2, path)
        if len(near) != degree or any(not 0 <= other < size for other in near):
            assert line is not None
            raise SymmetryError(
                f"{path}, line {line[0]}: a node of degree {degree} in a graph of {size} nodes names its {degree} "
                f"neighbors, each from 0 to {size - 1}; found {near}."
            )
        tags.append(tag)
        edges |= {pair for other in near for pair in ((node, other), (other, node))}
    return label, tags, edges
