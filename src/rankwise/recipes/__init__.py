# SPDX-License-Identifier: Apache-2.0
"""Whole jobs that the command line runs: data in, model out."""

import rankwise.adapters  # noqa: F401  registers every method
