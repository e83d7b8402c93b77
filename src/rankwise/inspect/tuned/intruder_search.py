# SPDX-License-Identifier: Apache-2.0
"""The counts of `intruders`, without decomposing the base as a whole where that is not needed.

Whether max_i |<u1_j, u0_i>| reaches eps is often known from the leading base vectors alone: one of them reaches it, or
what is left of u1_j outside their span is shorter than eps. Otherwise a bound on the mass of u1_j along any one
further base vector may settle it (`spread`). Where it does not, and where a cosine is as close to eps as single
precision can tell, the matrix is measured again in float64 against all base vectors.
"""

from collections.abc import MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from rankwise.core.lowrank import Product, folded
from rankwise.inspect.side_by_side import blas
from rankwise.inspect.tuned.intruders import (
    Criterion,
    Intruders,
    Triplets,
    intruders,
    relative_gaps,
    require_finite,
    require_shape,
)
from rankwise.inspect.tuned.leading import Factors, leading_triplets
from rankwise.inspect.tuned.spread import largest_share
from rankwise.inspect.tuned.tridiagonal import Tridiagonal, tridiagonal
from rankwise.linalg.svd import wide

Cache = MutableMapping[tuple[str, str, str], Tridiagonal]
_SMALL = 256  # up to it, all base vectors in float64 cost no more than the leading ones
_ONE_THREAD = 1024  # up to it, waking further threads for each step of a reduction takes longer than the step
_TINY = 16  # below, both matrices are decomposed as a whole
_MARGIN = 1e-3  # of a cosine in float32
_ROUNDING = 8  # units in which a leading eigenvector is off, divided by its relative gap


@dataclass(frozen=True)
class Task:
    """One matrix and how it is to be measured.

    Attributes:
        name: of the matrix, for messages and the cache.
        criterion: what counts.
        exact: measure against all base vectors, so that the cosines and not only the counts are exact.
        cache: keeps what is known of the base between calls: the same base, the same names.
    """

    name: str
    criterion: Criterion
    exact: bool = False
    cache: Cache | None = None


def find_intruders(base: Float[Tensor, "out in"], change: Product | Tensor, task: Task) -> Intruders:
    """The intruder dimensions of base + change.

    Args:
        base: the weight before, float32 or float64.
        change: what training added: factors, or a dense matrix.
        task: the criterion and the way.

    Returns:
        The record; its counts are those of `intruders`.

    Raises:
        DataError: if the shapes do not fit, or an entry is not finite.
    """
    _require(base, change, task.name)
    threads = blas().limit(limits=1, user_api="blas") if min(base.shape) <= _ONE_THREAD else nullcontext()
    with threads:
        return _found(base, change, task)


def _found(base: Tensor, change: Product | Tensor, task: Task) -> Intruders:
    if min(base.shape) < _TINY:
        return _dense(base, change, task)
    if task.criterion.side == "both":
        return _both(base, change, task)
    turned = task.criterion.side == "right"
    seen = (base.t(), _transposed(change)) if turned else (base, change)
    found = None
    if not (task.exact or min(base.shape) <= _SMALL):
        found = _measured(*seen, replace(task, exact=False), wide(base.dtype))
    if found is None:
        found = _measured(*seen, replace(task, exact=True), torch.float64)
    if found is None:
        return _dense(base, change, task)
    return _turned(found) if turned else found


def _both(base: Tensor, change: Product | Tensor, task: Task) -> Intruders:
    asked = task.criterion
    left, right = (
        find_intruders(base, change, replace(task, criterion=replace(asked, side=side))) for side in ("left", "right")
    )
    low, high = torch.maximum(left.maxcos, right.maxcos), torch.maximum(left.ceiling, right.ceiling)
    return replace(left, criterion=asked, maxcos=low, ceiling=high)


def _measured(base: Tensor, change: Product | Tensor, task: Task, dtype: torch.dtype) -> Intruders | None:
    """The record in a dtype, None where the counts are not settled in it."""
    matrix = _array(base, dtype)
    axes = _axes(matrix, task)
    if axes is None:
        return None
    criterion, size = task.criterion, min(base.shape)
    k = min(criterion.k, size)
    found = leading_triplets(matrix, axes.gram, _changed(change, dtype), k)
    if found is None:
        return None
    x = axes.coordinates(found.seen)
    s0, known = axes.leading(size if task.exact else min(2 * k, size))
    cosines = np.abs(known.T @ x)
    gaps = relative_gaps(torch.from_numpy(found.s.astype(np.float64)))[:k]
    error = _error(found.s[:k], gaps.numpy(), dtype)
    low = cosines.max(0)
    high = _ceiling(axes, x, known, low, (criterion.eps, error)) if len(s0) < size else low
    if not task.exact and bool(((low < criterion.eps + error) & (high >= criterion.eps - error)).any()):
        return None
    return Intruders(
        criterion,
        (base.shape[0], base.shape[1]),
        _tensor(low, base).clamp(max=1.0),
        _tensor(high, base).clamp(max=1.0),
        _tensor(cosines[: 2 * criterion.k].T, base),
        Triplets(_tensor(found.u, base), _tensor(found.s[:k], base), _tensor(found.v, base)),
        gaps.to(wide(base.dtype)),
        float(s0[0]),
    )


def _ceiling(
    axes: Tridiagonal, x: ndarray, known: ndarray, low: ndarray, asked: tuple[float, ndarray]
) -> Float[ndarray, " k"]:
    """What no cosine exceeds, by the length of what the leading base vectors leave over and by its spread."""
    eps, error = asked
    rest = x - known @ (known.T @ x)
    high = np.maximum(low, np.linalg.norm(rest, axis=0))
    open_ = (low < eps + error) & (high >= eps - error)
    if open_.any():
        enough = float((max(eps - float(error[open_].max()), 0.0)) ** 2)
        shares = largest_share(axes.diagonal, axes.off, rest[:, open_], enough)
        high[open_] = np.maximum(low[open_], np.minimum(high[open_], np.sqrt(shares)))
    return high


def _error(s: ndarray, gaps: ndarray, dtype: torch.dtype) -> ndarray:
    """How far rounding may have moved a cosine: the Gram matrix's own, over the gap of its eigenvalue."""
    unit = torch.finfo(dtype).eps
    bound = _ROUNDING * unit * np.square(s[0] / s) / np.maximum(gaps, unit)
    return bound + (_MARGIN if dtype == torch.float32 else 0.0)


def _axes(matrix: ndarray, task: Task) -> Tridiagonal | None:
    key = (task.name, task.criterion.side, matrix.dtype.name)
    if task.cache is not None and key in task.cache:
        return task.cache[key]
    axes = tridiagonal(matrix)
    if axes is not None and task.cache is not None:
        task.cache[key] = axes
    return axes


def _dense(base: Tensor, change: Product | Tensor, task: Task) -> Intruders:
    added = change.scale * (change.left @ change.right) if isinstance(change, Product) else change
    asked, before = task.criterion, base.double()
    return intruders(before, before + added.double(), asked.k, asked.eps, asked.side)


def _turned(found: Intruders) -> Intruders:
    """A record of the transposed matrix as one of the matrix."""
    u, s, v = found.tuned
    return replace(found, shape=found.shape[::-1], tuned=Triplets(v.t(), s, u.t()))


def _transposed(change: Product | Tensor) -> Product | Tensor:
    if isinstance(change, Product):
        return Product(change.right.t(), change.left.t(), change.scale)
    return change.t()


def _changed(change: Product | Tensor, dtype: torch.dtype) -> Factors | ndarray:
    if isinstance(change, Product):
        left, right = folded(change)
        return Factors(_array(left, dtype), _array(right, dtype))
    return _array(change, dtype)


def _array(tensor: Tensor, dtype: torch.dtype) -> ndarray:
    return tensor.detach().to("cpu", dtype).numpy()


def _tensor(values: ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(wide(like.dtype))


def _require(base: Tensor, change: Product | Tensor, name: str) -> None:
    parts = change[:2] if isinstance(change, Product) else (change,)
    require_shape(tuple(base.shape), (parts[0].shape[0], parts[-1].shape[1]), name)
    require_finite(base, f"{name} of the base model")
    for values in parts:
        require_finite(values, f"the change of {name}")
