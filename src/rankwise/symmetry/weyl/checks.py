# SPDX-License-Identifier: Apache-2.0
"""What a weight, a point and a set of integrable nodes must be."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Integral

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl.cartan import Cartan
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.subsets import mask_of, nodes_of


def checked_weight(cartan: Cartan, lam: Sequence[int | Fraction]) -> tuple[int | Fraction, ...]:
    """The numbers <alpha_i^vee, lam>, exact.

    Raises:
        SymmetryError: if there is not one exact number for each node.
    """
    labels = tuple(lam)
    if len(labels) != cartan.rank:
        raise SymmetryError(
            f"The weight {_written(labels)} has {len(labels)} numbers; {cartan.title} has {cartan.rank} nodes and "
            "needs one for each, lam_i = <alpha_i^vee, lam>."
        )
    for i, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, Integral | Fraction):
            raise SymmetryError(
                f"lam[{i}] = {label!r} must be an integer or a fractions.Fraction; the mathematics here is exact."
            )
    return tuple(int(label) if label == int(label) else label for label in labels)  # type: ignore[arg-type, misc]


def integrability(lam: Sequence[int | Fraction], nodes: Iterable[int] | None) -> Vector:
    """I_V, ascending; every node that can be integrable if none are named.

    Raises:
        SymmetryError: if a node does not exist or its lam_i is no integer from 0.
    """
    possible = [i for i, label in enumerate(lam) if isinstance(label, int) and label >= 0]
    if nodes is None:
        return tuple(possible)
    chosen = nodes_of(mask_of(nodes, len(lam), "integrable"))
    for node in chosen:
        if node not in possible:
            raise SymmetryError(
                f"Node {node} cannot be integrable: lam[{node}] = {lam[node]} is no integer from 0. For this weight "
                f"I_V is a subset of {possible}."
            )
    return chosen


def checked_point(cartan: Cartan, point: Sequence[int]) -> Vector:
    """The coordinates c of lam - sum c_i alpha_i.

    Raises:
        SymmetryError: if there is not one integer for each node.
    """
    parts = tuple(point)
    if len(parts) != cartan.rank or not all(isinstance(part, Integral) for part in parts):
        raise SymmetryError(
            f"A point lam - sum c_i alpha_i is given by {cartan.rank} integers c_i, one for each node, got {parts}."
        )
    return tuple(int(part) for part in parts)


def _written(labels: Sequence[object]) -> str:
    return f"({', '.join(map(str, labels))})"
