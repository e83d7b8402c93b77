# SPDX-License-Identifier: Apache-2.0
"""Shrink intruder dimensions in a low-rank change, after training and without data.

    W_new = W1 + (lam - 1) sum_{j in I} s_j u_j v_j,   (u_j, s_j, v_j) of W1 = W0 + left right

With lam = 1 nothing changes, lam = 0 takes the intruders out. The new change has rank r + |I| at most and needs no
further decomposition:

    left' = [left, (lam - 1) u_I diag(s_I)^(1/2)],   right' = [right; diag(s_I)^(1/2) v_I]

Section 5 of Shuttleworth et al. 2024, arXiv 2410.21228, shrinks the first intruder of each matrix. Shrinking once may
leave vectors below the threshold; it is not repeated here. `neighbors` and `shrunk` are the controls to hold a repair
against: a change of other leading vectors, and the same loss of norm without any choice.
"""

import torch

from rankwise.core.lowrank import Product, folded
from rankwise.errors import MethodError
from rankwise.inspect.tuned.intruders import Intruders
from rankwise.linalg.singular_values import singular_values_of_product
from rankwise.linalg.svd import svd_of_product, wide


def mitigate(change: Product, found: Intruders, lam: float, which: str = "all") -> Product:
    """The change with its intruders shrunk.

    Args:
        change: what was added to the base.
        found: the intruders of the base with this change.
        lam: what the intruders' singular values are multiplied with.
        which: "all" of them, or the "first" of the matrix alone, as in the paper.

    Returns:
        Factors of rank r + |I|; the change itself if there is no intruder.

    Raises:
        MethodError: if lam is negative or `which` is another word.
    """
    if which not in ("all", "first"):
        raise MethodError(f'which must be "all" or "first", got {which!r}.')
    return scaled(change, found, found.indices if which == "all" else found.indices[:1], lam)


def scaled(change: Product, found: Intruders, indices: tuple[int, ...], lam: float) -> Product:
    """The change that multiplies chosen leading singular values of the tuned weight by lam.

    Args:
        change: what was added to the base.
        found: the record that holds the leading triplets of the base with this change.
        indices: which of them.
        lam: the factor, at least 0; above 1 it amplifies.

    Returns:
        Factors of rank r + |indices|.

    Raises:
        MethodError: if lam is negative or not finite.
    """
    if not 0 <= lam < float("inf"):
        raise MethodError(f"lam multiplies singular values; it must be at least 0 and finite, got {lam}.")
    if not indices:
        return change
    left, right = folded(change)
    u, s, v = found.tuned
    chosen = list(indices)
    root = s[chosen].sqrt()
    added_left, added_right = (lam - 1) * u[:, chosen] * root, root[:, None] * v[chosen]
    dtype = torch.promote_types(wide(left.dtype), s.dtype)
    wider = [tensor.to(left.device, dtype) for tensor in (left, added_left, right, added_right)]
    return Product(torch.cat(wider[:2], dim=1), torch.cat(wider[2:], dim=0))


def neighbors(found: Intruders) -> tuple[int, ...]:
    """The control: for each intruder the next leading vector that is none and not taken yet."""
    taken: list[int] = []
    for index in found.indices:
        free = [j for j in range(index + 1, len(found.maxcos)) if j not in found.indices and j not in taken]
        taken += free[:1]
    return tuple(taken)


def shrunk(change: Product, repaired: Product) -> Product:
    """The control: the whole change shrunk to the Frobenius norm of the repaired one."""
    before, after = (
        float(torch.linalg.vector_norm(singular_values_of_product(*folded(one)))) for one in (change, repaired)
    )
    return Product(change.left, change.right, change.scale * (after / before if before else 1.0))


def at_rank(change: Product, rank: int) -> tuple[Product, float]:
    """The best factors of a rank.

    Args:
        change: any factors.
        rank: at least 1.

    Returns:
        The factors, and ||change - factors||_F / ||change||_F.

    Raises:
        MethodError: if the rank is below 1.
    """
    if rank < 1:
        raise MethodError(f"rank must be at least 1, got {rank}.")
    u, s, v = svd_of_product(*folded(change))
    root = s[:rank].sqrt()
    total = float(torch.linalg.vector_norm(s))
    lost = float(torch.linalg.vector_norm(s[rank:])) / total if total else 0.0
    return Product(u[:, :rank] * root, root[:, None] * v[:rank]), lost
