# SPDX-License-Identifier: Apache-2.0
"""The questions that the comparison puts to every method, one file each."""
