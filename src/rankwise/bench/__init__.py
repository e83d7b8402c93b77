# SPDX-License-Identifier: Apache-2.0
"""The comparison of all adapters on equal terms: tasks, budgets, the sweep and its page."""

import rankwise.adapters  # noqa: F401  registers every method
