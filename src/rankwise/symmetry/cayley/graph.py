# SPDX-License-Identifier: Apache-2.0
"""What is searched: generators and the state to start from.

A `PermutationGraph` has words as states; generator p sends x to y with `y[i] = x[p[i]]`. From a start of n distinct
letters its states are the group that the generators generate (a Cayley graph); from a start with repeated letters, such
as 0011, they are its cosets (a Schreier graph). A `MatrixGraph` (matrices.py) has matrices as states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.names import checked_names, number_of
from rankwise.symmetry.cayley.permutations import Permutation, checked, identity, integers, inverse, is_even


@dataclass(frozen=True)
class PermutationGraph:
    """Words, and permutations of their places: `y[i] = x[p[i]]`.

    Args:
        generators: permutations of 0..n-1, each a sequence of n integers; repeated ones change nothing.
        start: the word of n letters from which distances count, letters from 0; None is the identity 0, 1, ..., n-1.
        names: one name for each generator; None calls them g0, g1, ...
        title: what results and plots call the graph.

    Raises:
        SymmetryError: if a generator is no permutation, lengths differ, or the start does not fit.

    Example:
        >>> graph = PermutationGraph([(1, 2, 3, 0), (1, 0, 2, 3)], names=["L", "X"])
        >>> graph.inverse_closed, graph.is_group
        (False, True)
    """

    generators: Sequence[Sequence[int]]
    start: Sequence[int] | None = None
    names: Sequence[str] | None = None
    title: str = "permutations"

    def __post_init__(self) -> None:
        generators = tuple(checked(letters, f"generator {index}") for index, letters in enumerate(self.generators))
        if not generators:
            raise SymmetryError("A graph needs at least one generator, got none.")
        sizes = sorted({len(generator) for generator in generators})
        if len(sizes) > 1:
            raise SymmetryError(f"Generators have different lengths {sizes}; all must permute the same n places.")
        start = identity(sizes[0]) if self.start is None else integers(self.start, "the start")
        if len(start) != sizes[0] or min(start) < 0:
            raise SymmetryError(
                f"The start {start} must have {sizes[0]} letters, integers from 0: as many as the generators permute."
            )
        names = checked_names(self.names, len(generators))
        for field, value in (("generators", generators), ("start", start), ("names", names)):
            object.__setattr__(self, field, value)

    @property
    def size(self) -> int:
        """n, the number of letters of a state."""
        return len(self.start)  # type: ignore[arg-type]

    @property
    def is_group(self) -> bool:
        """Whether the start's letters are distinct, so that states are group elements."""
        return len(set(self.start)) == self.size  # type: ignore[arg-type]

    @cached_property
    def distinct(self) -> tuple[Permutation, ...]:
        """The generators without repetitions and without the identity, in the order given."""
        kept = dict.fromkeys(self.generators)
        kept.pop(identity(self.size), None)  # type: ignore[call-overload]
        return tuple(kept)  # type: ignore[arg-type]

    @cached_property
    def inverse_closed(self) -> bool:
        """Whether each generator's inverse is a generator, so that edges have no direction."""
        return {inverse(generator) for generator in self.distinct} == set(self.distinct)

    @cached_property
    def all_even(self) -> bool:
        """Whether every generator is an even permutation, so that the group lies in A_n."""
        return all(is_even(generator) for generator in self.distinct)

    @cached_property
    def order(self) -> int:
        """The order of the group that the generators generate, by Schreier and Sims's algorithm (sympy's)."""
        from sympy.combinatorics import Permutation as Element  # noqa: PLC0415  an extra, needed here only
        from sympy.combinatorics import PermutationGroup  # noqa: PLC0415

        if not self.distinct:
            return 1
        return int(PermutationGroup([Element(list(generator)) for generator in self.distinct]).order())

    @cached_property
    def moves(self) -> NDArray[np.int64]:
        """The generators as an array [generators, n]."""
        return np.array(self.generators, dtype=np.int64)

    @property
    def start_states(self) -> NDArray[np.int64]:
        """The start as an array of one state, [1, n]."""
        return np.array([self.start], dtype=np.int64)

    def neighbors(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every generator applied to every state: [states, n] -> [generators, states, n]."""
        return np.moveaxis(np.asarray(states)[:, self.moves], 1, 0)

    def applied(self, state: Sequence[int], path: Sequence[str | int]) -> tuple[int, ...]:
        """The state that a path of generators, by name or by number, leads to from `state`.

        Raises:
            SymmetryError: if there is no generator of that name or number, or the state has another length.
        """
        word = np.array(integers(state, "the state"), dtype=np.int64)
        if word.shape != (self.size,):
            raise SymmetryError(f"A state has {self.size} letters, got one of shape {word.shape}.")
        for step in path:
            word = word[self.moves[self.index(step)]]
        return tuple(word.tolist())

    def index(self, step: str | int) -> int:
        """The number of a generator given by name or by number.

        Raises:
            SymmetryError: if there is no such generator.
        """
        return number_of(step, self.names)  # type: ignore[arg-type]

    def inverted(self) -> "PermutationGraph":
        """The graph with every edge turned round: the inverse generators, from the same start."""
        turned = [inverse(generator) for generator in self.generators]  # type: ignore[arg-type]
        return replace(self, generators=turned, title=f"{self.title}, inverted")
