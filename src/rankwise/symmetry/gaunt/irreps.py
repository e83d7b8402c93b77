# SPDX-License-Identifier: Apache-2.0
"""Irreps of O(3) written as e3nn writes them: "16x0e + 8x1o" is 16 scalars, then 8 vectors, stored one after another.

A block of multiplicity `mul` and degree l takes mul * (2l + 1) numbers, multiplicity slow and order m = -l..l fast. A
representation of degree l and parity p is carried by functions on the sphere of type s = p * (-1)^l: type +1 is made of
true functions (0e, 1o, 2e, ...), type -1 of functions that change sign under inversion as well (0o, 1e, 2o, ...).
Reference for the notation: https://docs.e3nn.org.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from rankwise.errors import SymmetryError

_BLOCK = re.compile(r"(?:(\d+)\s*x\s*)?(\d+)\s*([eoy])")


@dataclass(frozen=True, order=True)
class Block:
    """So many copies of one irreducible representation.

    Args:
        mul: the number of copies.
        degree: l.
        parity: +1 (even, "e") or -1 (odd, "o").
    """

    mul: int
    degree: int
    parity: int

    @property
    def dim(self) -> int:
        """How many numbers the block takes."""
        return self.mul * (2 * self.degree + 1)

    @property
    def type(self) -> int:
        """+1 if functions on the sphere carry it, -1 if functions that change sign under inversion do."""
        return self.parity * (-1) ** self.degree

    @property
    def irrep(self) -> str:
        """The name without the multiplicity, such as "1o"."""
        return f"{self.degree}{'e' if self.parity == 1 else 'o'}"

    def __str__(self) -> str:
        return f"{self.mul}x{self.irrep}"


@dataclass(frozen=True)
class Irreps:
    """A direct sum of irreps with multiplicities, in the order in which a tensor stores them.

    Args:
        blocks: the summands.

    Example:
        >>> irreps = Irreps.of("2x0e + 1o")
        >>> str(irreps), irreps.dim, irreps.degree
        ('2x0e+1x1o', 5, 1)
    """

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, irreps: object) -> "Irreps":
        """Read e3nn's notation, from a string or from anything that prints as one (e3nn's own Irreps do).

        Raises:
            SymmetryError: if the text is no list of irreps; the message names the part that is not.
        """
        if isinstance(irreps, Irreps):
            return irreps
        text = str(irreps).strip()
        parts = [part.strip() for part in text.split("+")] if text else []
        return cls(tuple(block for part in parts if (block := _parsed(part, text)).mul))

    @classmethod
    def functions(cls, degree: int, mul: int = 1) -> "Irreps":
        """Functions on the sphere up to a degree: mul x 0e + mul x 1o + mul x 2e + ..."""
        return cls(tuple(Block(mul, ell, (-1) ** ell) for ell in range(degree + 1)))

    @cached_property
    def dim(self) -> int:
        """The length of a tensor's last axis."""
        return sum(block.dim for block in self.blocks)

    @cached_property
    def degree(self) -> int:
        """The largest l, 0 if there is none."""
        return max((block.degree for block in self.blocks), default=0)

    @cached_property
    def types(self) -> tuple[int, ...]:
        """The types that occur, +1 before -1."""
        return tuple(sorted({block.type for block in self.blocks}, reverse=True))

    @cached_property
    def plain(self) -> bool:
        """Whether a tensor of these irreps is one function: 0e + 1o + 2e + ... without a gap."""
        return self == Irreps.functions(self.degree)

    def slices(self) -> Iterator[tuple[Block, slice]]:
        """The blocks, each with its place on the last axis."""
        start = 0
        for block in self.blocks:
            yield block, slice(start, start + block.dim)
            start += block.dim

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __str__(self) -> str:
        return "+".join(map(str, self.blocks))


def _parsed(part: str, text: str) -> Block:
    match = _BLOCK.fullmatch(part)
    if match is None:
        raise SymmetryError(
            f"{part!r} in the irreps {text!r} is no irrep. Write multiplicity x degree and parity, joined by +, such "
            "as '16x0e + 8x1o' (e: even, o: odd, y: the parity of the spherical harmonics)."
        )
    mul, degree, letter = int(match[1] or 1), int(match[2]), match[3]
    return Block(mul, degree, {"e": 1, "o": -1, "y": (-1) ** degree}[letter])
