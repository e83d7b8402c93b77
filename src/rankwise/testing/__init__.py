# SPDX-License-Identifier: Apache-2.0
"""What tests of methods share: tolerances by dtype, and the grid of layers and features every method must fill."""

import rankwise.adapters  # noqa: F401  registers every method
from rankwise.testing.tolerance import TOLERANCE, assert_close

__all__ = ["TOLERANCE", "assert_close"]
