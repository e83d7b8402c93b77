# SPDX-License-Identifier: Apache-2.0
"""Bridges to other libraries: transformers' Trainer, and PEFT in both directions. Each needs its extra."""

import rankwise.adapters  # noqa: F401  registers every method
