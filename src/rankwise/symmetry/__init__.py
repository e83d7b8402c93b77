# SPDX-License-Identifier: Apache-2.0
"""Exact mathematics of groups, weights and symmetry; nothing here imports the learning side of rankwise."""
