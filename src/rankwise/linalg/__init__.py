# SPDX-License-Identifier: Apache-2.0
"""Decompositions of weights and of products of factors."""

from rankwise.linalg.svd import svd, svd_of_product, wide

__all__ = ["svd", "svd_of_product", "wide"]
