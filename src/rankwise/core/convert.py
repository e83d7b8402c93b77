# SPDX-License-Identifier: Apache-2.0
"""The best low-rank adapter for the delta of any other one.

By Eckart and Young the best rank-r approximation in the Frobenius norm keeps the r largest singular values; its
relative error is sqrt(sum_{j>r} s_j^2 / sum_j s_j^2). For a factored adapter the singular values come from its factors
by two QR decompositions, so the dense delta is never built.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.adapter import Adapter, Factored
from rankwise.core.merge import as_float64, exact_delta
from rankwise.core.method import Method
from rankwise.core.targets import Target
from rankwise.errors import MethodError, listed
from rankwise.linalg.svd import svd, svd_of_product


@dataclass(frozen=True)
class Best:
    """The best factors for one target.

    Attributes:
        left: [*batch, out, r].
        right: [*batch, r, in].
        bias: the bias delta, None if there is none.
        relative_error: ||delta - left right||_F / ||delta||_F.
    """

    left: Float[Tensor, "*batch out r"]
    right: Float[Tensor, "*batch r in"]
    bias: Float[Tensor, "..."] | None
    relative_error: float


def best_factors(adapter: Adapter, rank: int) -> Best:
    """The best factors of `rank` for an adapter's delta; both carry the roots of the singular values."""
    target = adapter.target
    with torch.no_grad(), as_float64(adapter):
        bias = adapter.bias_delta()
        if isinstance(adapter, Factored) and type(adapter).delta is Factored.delta:
            u, s, v = svd_of_product(*adapter.factors())
        else:
            u, s, v = svd(exact_delta(adapter)[0].reshape(target.matrix_shape))
    root = s[..., :rank].sqrt()
    total, kept = float(torch.linalg.vector_norm(s)), float(torch.linalg.vector_norm(s[..., rank:]))
    error = kept / total if total else 0.0
    return Best(*_padded(u[..., :rank] * root[..., None, :], root[..., :, None] * v[..., :rank, :], rank), bias, error)


def require_convertible(method: Method, best: dict[str, Best]) -> None:
    """Refuse to drop a bias delta that the new method cannot hold.

    Raises:
        MethodError: if there is one.
    """
    moved = [name for name, one in best.items() if one.bias is not None and bool((one.bias != 0).any())]
    if moved and not method.to_dict().get("bias", False):
        raise MethodError(
            f"the adapter moves the bias of {listed(moved)}, which {type(method).__name__} without a bias would lose; "
            f"convert to {type(method).__name__}(..., bias=True)."
        )


def fitted_rank(method: Method, target: Target) -> int | None:
    """The rank to lower the method's to at a target that is too small for it, None where it fits.

    Raises:
        MethodError: if the method has no rank.
    """
    rank = method.to_dict().get("rank")
    if rank is None:
        raise MethodError(f"{type(method).__name__} has no rank to convert to; convert to LoRA(rank=...).")
    limit = min(target.out_features, target.in_features)
    return limit if rank > limit else None


def _padded(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Zero columns and rows up to `rank`, for a delta whose own rank is below it."""
    short = rank - left.shape[-1]
    if short <= 0:
        return left, right
    return torch.nn.functional.pad(left, (0, short)), torch.nn.functional.pad(right, (0, 0, 0, short))
