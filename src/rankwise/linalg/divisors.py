# SPDX-License-Identifier: Apache-2.0
"""The divisors of a length, for methods that cut sides into blocks or factor them."""

import math


def divisors(number: int) -> list[int]:
    """All divisors of a number, in rising order."""
    small = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return sorted({*small, *(number // one for one in small)})
