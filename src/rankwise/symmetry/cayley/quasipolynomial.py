# SPDX-License-Identifier: Apache-2.0
"""The smallest quasi-polynomial through a list of exact values: how a formula for diameters is guessed.

A quasi-polynomial of period s and degree d is a polynomial of degree d in n for each residue of n modulo s, s (d + 1)
coefficients together. All arithmetic is in fractions, and a formula counts only if it goes through every value. One
that is determined by as many values as it has coefficients says nothing; so for each residue at least one value must
be left over that the formula predicts. The first few n may be exceptions and be left out, if they are fewer than the
predicted values; an exception costs as much as a coefficient, and the formula of least cost wins.

A fit is a conjecture, not a proof. Reference: arXiv 2509.19162, where diameters are conjectured in this way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from numbers import Integral

from rankwise.errors import SymmetryError

Polynomial = tuple[Fraction, ...]  # coefficients of 1, n, n^2, ...


@dataclass(frozen=True)
class QuasiPolynomial:
    """A polynomial in n for each residue of n modulo the period.

    Args:
        coefficients: for each residue 0, 1, ..., s - 1 the coefficients of 1, n, n^2, ..., d + 1 of them.
        fitted: how many values determined the coefficients.
        predicted: how many further values came out right.
        dropped: the first few n, whose values it does not go through.
    """

    coefficients: tuple[Polynomial, ...]
    fitted: int
    predicted: int
    dropped: tuple[int, ...] = ()

    @property
    def period(self) -> int:
        """S."""
        return len(self.coefficients)

    @property
    def degree(self) -> int:
        """d, the largest power of n allowed for."""
        return len(self.coefficients[0]) - 1

    def __call__(self, n: int) -> Fraction:
        """The value at n, exact; it compares equal to an integer where it is one."""
        return _value(self.coefficients[n % self.period], n)

    def __str__(self) -> str:
        residues: dict[Polynomial, list[int]] = {}
        for residue in [1, 0] if self.period == 2 else range(self.period):
            residues.setdefault(self.coefficients[residue], []).append(residue)
        if len(residues) == 1:
            return _written(self.coefficients[0])
        return ", ".join(f"{_written(one)} {self._where(which)}" for one, which in residues.items())

    def _where(self, residues: list[int]) -> str:
        if self.period == 2:
            return f"for {'odd' if residues[0] else 'even'} n"
        return f"for n = {', '.join(map(str, residues))} mod {self.period}"

    def summary(self) -> str:
        """The formula, and what it rests on, in one line."""
        dropped = f", without n = {', '.join(map(str, self.dropped))}" if self.dropped else ""
        return f"{self} (fitted on {_count(self.fitted)}, predicts {self.predicted}{dropped})"


def fit(
    values: Mapping[int, int] | Sequence[int],
    first: int | None = None,
    *,
    max_period: int = 6,
    max_degree: int = 3,
    max_dropped: int = 3,
) -> QuasiPolynomial:
    """The quasi-polynomial of least cost through all values: s (d + 1) coefficients and the values left out.

    Of equal cost, the one that leaves out fewer values is taken, then the one of smaller period.

    Args:
        values: a value for each n, or the values from n = `first` on.
        first: the n of the first value, if they are a sequence.
        max_period: largest s to try.
        max_degree: largest d to try.
        max_dropped: how many of the least n may be left out.

    Raises:
        SymmetryError: if none goes through all values with one predicted for each residue; the message says how many
            more values would settle the next one. Also if a value is no integer, or the arguments do not fit.

    Example:
        >>> fit([1, 2, 4, 6, 9, 12, 16, 20], first=2).summary()
        '(n^2 - 1)/4 for odd n, n^2/4 for even n (fitted on 6 values, predicts 2)'
    """
    points = _points(values, first)
    if max_period < 1 or max_degree < 0 or max_dropped < 0:
        raise SymmetryError(
            f"{max_period=}, {max_degree=}, {max_dropped=}: give a period from 1 on, the others from 0 on."
        )
    shapes = [
        (period * (degree + 1) + dropped, dropped, period, degree)
        for period in range(1, max_period + 1)
        for degree in range(max_degree + 1)
        for dropped in range(min(max_dropped, len(points) - 1) + 1)
    ]
    open_shapes: list[tuple[int, str]] = []
    for _, dropped, period, degree in sorted(shapes):
        found, lacking = _try(points, dropped, period, degree)
        if found is not None and lacking == 0 and found.predicted > dropped:
            return found
        if lacking and dropped == 0:
            open_shapes.append((lacking, f"period {period} and degree {degree}"))
    raise SymmetryError(_refusal(points, (max_period, max_degree, max_dropped), open_shapes))


def _points(values: Mapping[int, int] | Sequence[int], first: int | None) -> list[tuple[int, int]]:
    """The values in order of n."""
    if isinstance(values, Mapping):
        if first is not None:
            raise SymmetryError(f"first={first} goes with a sequence of values; a mapping says each n itself.")
        points = sorted(values.items())
    else:
        if first is None:
            raise SymmetryError("A sequence of values needs first=, the n of its first value.")
        points = list(enumerate(values, first))
    wrong = [(n, value) for n, value in points if not (isinstance(n, Integral) and isinstance(value, Integral))]
    if wrong:
        raise SymmetryError(
            f"The value at n = {wrong[0][0]} is {wrong[0][1]!r}; fits are exact and take integers only."
        )
    if not points:
        raise SymmetryError("There are no values to fit; give some.")
    return [(int(n), int(value)) for n, value in points]


def _try(points: list[tuple[int, int]], dropped: int, period: int, degree: int) -> tuple[QuasiPolynomial | None, int]:
    """The quasi-polynomial of a shape, and how many values more it would need; None if a value contradicts it."""
    kept = points[dropped:]
    classes = [[point for point in kept if point[0] % period == residue] for residue in range(period)]
    coefficients: list[Polynomial] = []
    for members in classes:
        polynomial = _interpolated(members[: degree + 1], degree)
        if any(_value(polynomial, n) != value for n, value in members):
            return None, 0
        coefficients.append(polynomial)
    fitted = period * (degree + 1)
    found = QuasiPolynomial(tuple(coefficients), fitted, len(kept) - fitted, tuple(n for n, _ in points[:dropped]))
    return found, _lacking([len(members) for members in classes], degree + 2, points[-1][0])


def _lacking(counts: list[int], wanted: int, last: int) -> int:
    """How many values after n = last it takes until each residue has as many as wanted."""
    counts, more = list(counts), 0
    while min(counts) < wanted:
        more += 1
        counts[(last + more) % len(counts)] += 1
    return more


def _interpolated(points: Sequence[tuple[int, int]], degree: int) -> Polynomial:
    """The polynomial through at most degree + 1 points, by Newton's divided differences; 0 coefficients fill it up."""
    places = [n for n, _ in points]
    differences = [Fraction(value) for _, value in points]
    for order in range(1, len(points)):
        for index in range(len(points) - 1, order - 1, -1):
            gap = places[index] - places[index - order]
            differences[index] = (differences[index] - differences[index - 1]) / gap
    result = [Fraction(0)] * (degree + 1)
    for place, difference in zip(reversed(places), reversed(differences), strict=True):
        shifted = [Fraction(0), *result[:-1]]  # Horner: times (n - place), plus the next difference
        result = [up - place * here for up, here in zip(shifted, result, strict=True)]
        result[0] += difference
    return tuple(result)


def _value(polynomial: Polynomial, n: int) -> Fraction:
    value = Fraction(0)
    for coefficient in reversed(polynomial):
        value = value * n + coefficient
    return value


def _count(values: int) -> str:
    return f"{values} value{'' if values == 1 else 's'}"


def _written(polynomial: Polynomial) -> str:
    """Over one denominator, highest power first: (3n^2 - 8n + 9)/4."""
    denominator = lcm(*(coefficient.denominator for coefficient in polynomial))
    terms = []
    for power, numerator in reversed(list(_numerators(polynomial, denominator))):
        size = abs(numerator)
        letter = {0: "", 1: "n"}.get(power, f"n^{power}")
        sign = "-" if numerator < 0 else "+"
        terms.append((sign, f"{size if size != 1 or not power else ''}{letter}"))
    if not terms:
        return "0"
    (sign, head), *rest = terms
    text = ("-" if sign == "-" else "") + head + "".join(f" {sign} {term}" for sign, term in rest)
    if denominator == 1:
        return text
    return f"({text})/{denominator}" if rest else f"{text}/{denominator}"


def _numerators(polynomial: Polynomial, denominator: int) -> Iterator[tuple[int, int]]:
    """Power and integer coefficient of each term that is not zero."""
    for power, coefficient in enumerate(polynomial):
        if coefficient:
            yield power, int(coefficient * denominator)


def _refusal(points: list[tuple[int, int]], most: tuple[int, int, int], open_shapes: list[tuple[int, str]]) -> str:
    text = (
        f"No quasi-polynomial of period <= {most[0]} and degree <= {most[1]} goes through the {_count(len(points))} "
        f"for n = {points[0][0]}..{points[-1][0]} (leaving out at most {most[2]}) with one predicted for each residue."
    )
    if not open_shapes:
        return f"{text} More values cannot help; allow a larger max_period= or max_degree=."
    more, shape = min(open_shapes)
    return (
        f"{text} The next that is not ruled out has {shape} and needs "
        f"{_count(more).replace(' ', ' more ')}, to n = {points[-1][0] + more}."
    )
