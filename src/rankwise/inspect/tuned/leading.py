# SPDX-License-Identifier: Apache-2.0
"""The leading singular triplets of W0 + s left right without that sum.

The Gram matrix of the tuned weight is that of the base and an update of rank 2 r:

    W1 W1^T = W0 W0^T + P Q^T + Q P^T,    P = s W0 right^T + s^2 left right right^T / 2,   Q = left

and likewise for W1^T W1, of which the smaller is taken. Its leading eigenvectors are the singular vectors on one side,
and a product with W0 and the factors gives the other side. A dense change (full fine-tuning) is added up instead.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from rankwise.inspect.tuned.lapack import gram_matrix, reduced
from rankwise.inspect.tuned.tridiagonal import largest


class Factors(NamedTuple):
    """The change left @ right.

    Attributes:
        left: [out, r].
        right: [r, in].
    """

    left: ndarray
    right: ndarray


class Leading(NamedTuple):
    """Leading singular triplets and what follows them.

    Attributes:
        u: [out, k].
        s: [k + 1], or [k] if there are no more.
        v: [k, in].
        seen: [n, k], what `Tridiagonal.coordinates` asks for of u.
    """

    u: ndarray
    s: ndarray
    v: ndarray
    seen: ndarray


def leading_triplets(
    base: Float[ndarray, "out in"], gram: Float[ndarray, "n n"], change: Factors | ndarray, k: int
) -> Leading | None:
    """The k leading triplets of the base plus the change.

    Args:
        base: the weight before.
        gram: its smaller Gram matrix; the lower triangle is read.
        change: factors, or the dense change.
        k: how many, at most min(out, in).

    Returns:
        The triplets; None if one of them is so small beside the first that the Gram matrix has lost it.
    """
    tall, size = base.shape[0] > base.shape[1], len(gram)
    tuned = None if isinstance(change, Factors) else base + change
    whole = _updated(gram, base, change, tall) if isinstance(change, Factors) else gram_matrix(base + change, tall)
    turned = reduced(whole)
    s, vectors = largest(turned.diagonal, turned.off, min(k + 1, size))
    known = np.ascontiguousarray(turned.times(vectors[:, :k]))
    if s[k - 1] <= np.sqrt(size * np.finfo(s.dtype).eps) * s[0]:
        return None
    if tall:
        u = _times(base, tuned, change, known) / s[:k]
        return Leading(u, s, known.T, base.T @ u)
    transposed = Factors(change.right.T, change.left.T) if isinstance(change, Factors) else change.T
    v = _times(base.T, None if tuned is None else tuned.T, transposed, known) / s[:k]
    return Leading(known, s, v.T, known)


def _updated(gram: ndarray, base: ndarray, change: Factors, tall: bool) -> ndarray:
    """The Gram matrix of the tuned weight, right in its lower triangle."""
    if tall:
        inner, outer, product = change.left, change.right.T, base.T @ change.left
    else:
        inner, outer, product = change.right.T, change.left, base @ change.right.T
    half = (product + outer @ (inner.T @ inner) / 2) @ outer.T
    return np.asfortranarray(gram + half + half.T)


def _times(base: ndarray, tuned: ndarray | None, change: Factors | ndarray, x: ndarray) -> ndarray:
    if isinstance(change, Factors):
        return base @ x + change.left @ (change.right @ x)
    return tuned @ x
