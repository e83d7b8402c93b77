# SPDX-License-Identifier: Apache-2.0
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.quasipolynomial import fit

LX = [11, 18, 25, 35, 45, 58, 71, 87, 103, 122, 141]  # diameters for n = 5..15, OEIS A039745
PERIODS, DEGREES = 3, 3
ENOUGH = 6 * (DEGREES + 2)  # values that tell any two of them apart: 6 is divisible by every period up to 3
INTEGERS = st.integers(-20, 20)


def test_diameters_of_lx():
    found = fit(LX, first=5)
    assert str(found) == "(3n^2 - 8n + 9)/4 for odd n, (3n^2 - 8n + 12)/4 for even n"
    assert (found.period, found.degree, found.fitted, found.predicted, found.dropped) == (2, 2, 6, 5, ())
    assert [found(n) for n in range(5, 16)] == LX
    assert found.summary().endswith("(fitted on 6 values, predicts 5)")


def test_diameters_of_lrx_without_the_first_two():
    found = fit({2: 1, 3: 2} | {n: n * (n - 1) // 2 for n in range(4, 12)})
    assert found.summary() == "(n^2 - n)/2 (fitted on 3 values, predicts 5, without n = 2, 3)"
    assert found(12) == 66


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda n: n * n // 4, "(n^2 - 1)/4 for odd n, n^2/4 for even n"),
        (lambda n: 3 * (n - 1) // 2, "(3n - 3)/2 for odd n, (3n - 4)/2 for even n"),
        (lambda n: n, "n"),
        (lambda n: 7, "7"),
        (lambda n: 0, "0"),
        (lambda n: n - n**3, "-n^3 + n"),
        (lambda n: n // 3, "n/3 for n = 0 mod 3, (n - 1)/3 for n = 1 mod 3, (n - 2)/3 for n = 2 mod 3"),
        (lambda n: n % 4 == 1, "0 for n = 0, 2, 3 mod 4, 1 for n = 1 mod 4"),
    ],
)
def test_formulas_are_written_as_in_a_book(value, text):
    assert str(fit([int(value(n)) for n in range(20)], first=0)) == text


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, PERIODS).flatmap(
        lambda period: st.lists(
            st.lists(INTEGERS, min_size=DEGREES + 1, max_size=DEGREES + 1), min_size=period, max_size=period
        )
    ),
    st.integers(-10, 30),
)
def test_any_quasi_polynomial_is_found_again(coefficients, first):
    def value(n: int) -> int:
        return sum(coefficient * n**power for power, coefficient in enumerate(coefficients[n % len(coefficients)]))

    found = fit([value(n) for n in range(first, first + ENOUGH)], first=first, max_period=PERIODS, max_dropped=0)
    assert [found(n) for n in range(first - 50, first + 100)] == [value(n) for n in range(first - 50, first + 100)]
    assert found.fitted <= len(coefficients) * (DEGREES + 1)
    assert found.fitted + found.predicted == ENOUGH


@settings(max_examples=20, deadline=None)
@given(st.lists(INTEGERS, min_size=2, max_size=2), st.integers(1, 3), st.data())
def test_exceptions_at_the_beginning_are_left_out_and_named(line, exceptions, data):
    start = [line[0] + line[1] * n for n in range(14)]
    for n in range(exceptions):
        start[n] += data.draw(st.integers(50, 1000) if n == exceptions - 1 else st.integers(0, 1000))
    found = fit(start, first=0)
    assert found.dropped == tuple(range(exceptions))
    assert found(100) == line[0] + 100 * line[1]


def test_coefficients_are_exact_where_floats_would_round():
    big = 10**30
    assert fit([big * n + 1 for n in range(8)], first=0).coefficients == ((Fraction(1), Fraction(big)),)


def test_order_of_a_mapping_does_not_matter():
    assert fit(dict(reversed(list(enumerate(LX, 5))))) == fit(LX, first=5)


def test_noise_is_refused():
    chance = random.Random(3)
    noise = [chance.randrange(1000) for _ in range(40)]
    with pytest.raises(SymmetryError, match="More values cannot help"):
        fit(noise, first=1)
    with pytest.raises(SymmetryError, match=r"goes through the 11 values for n = 5\.\.15"):
        fit([*LX[:-1], LX[-1] + 1], first=5)


def test_too_few_values_say_how_many_are_lacking():
    with pytest.raises(SymmetryError, match="period 2 and degree 2 and needs 2 more values, to n = 12"):
        fit(LX[:6], first=5)
    assert fit(LX[:8], first=5).predicted == 2
    with pytest.raises(SymmetryError, match="period 1 and degree 0 and needs 1 more value, to n = 6"):
        fit([3], first=5)


def test_more_exceptions_than_predictions_are_no_fit():
    with pytest.raises(SymmetryError, match="goes through the 4 values"):
        fit([3, 7, 5, 5], first=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3],), "needs first="),
        (({1: 2}, 1), "a mapping says each n itself"),
        (([1, 2.5], 0), "n = 1 is 2.5"),
        (([], 0), "no values"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(SymmetryError, match=message):
        fit(*arguments)
    with pytest.raises(SymmetryError, match="max_period=0"):
        fit(LX, first=5, max_period=0)
