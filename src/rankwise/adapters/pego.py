# SPDX-License-Identifier: Apache-2.0
"""Add a group of LoRAs to each frozen weight, kept orthogonal to the weight and to each other by a penalty.

    W = W0 + sum_i D_i,   D_i = (alpha / r) B_i A_i,   i = 1 ... N
    penalty = preserve sum_i ||W0 D_i^T||_1 + diversify sum_{i<j} ||D_i D_j^T||_1,   over all weights

The norms are sums over entries. The group exists in the penalty alone: the members stand side by side in one left
[out, N r] and one right factor [N r, in]. No D_i is built: ||W0 D_i^T||_1 comes from (W0 A_i^T) B_i^T and
||D_i D_j^T||_1 from B_i (A_i A_j^T) B_j^T, with about in / (2 r) times fewer multiplications. Where W0 has rank `in`,
only D = 0 has rows orthogonal to all of its rows: there the first term is a shrinkage of D, strongest along the large
singular directions of W0.

PEGO: Hu et al. 2024, arXiv 2407.15085; code JudgingH/PEGO. The penalty is computed in float32 or wider. Does not sample
domains: the method reads no domain labels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rankwise.adapters.overlaps import absolute, squared
from rankwise.core.adapter import Adapter, Factored, kaiming_uniform
from rankwise.core.lowrank import without_autocast
from rankwise.core.method import Method, register
from rankwise.core.sharded import whole
from rankwise.core.targets import Target
from rankwise.core.training import Training
from rankwise.errors import MethodError, StateError, TargetError
from rankwise.linalg.svd import wide


@register
@dataclass(frozen=True)
class PEGO(Method):
    """Parameter-efficient group with orthogonal regularization, W = W0 + (alpha / rank) sum_i B_i A_i.

    Attributes:
        rank: r, inner dimension of each member.
        members: N, how many LoRAs a weight gets.
        alpha: scale of each member, which is multiplied by alpha / rank; None takes the rank, for a factor of 1.
        dropout: probability of zeroing entries of the adapter's input in training.
        preserve: weight of the orthogonality to the base.
        diversify: weight of the orthogonality between members.
        kind: what is measured: rows ("row", W0 D^T and D D^T) or columns ("col", W0^T D and D^T D), by the sum of
            absolute values ("l1") or of squares ("fro2", which needs r x r products only).
        normalize: take means over entries instead of sums, so that the weights do not depend on the size of a layer.
        every: evaluate the penalty in each k-th step only, k times as strong.
        fused_qkv: every weight holds the rows of query, key and value one after the other; query and value get a group
            each, the rows of the key stay as they are.

    Raises:
        MethodError: if a field is out of range, or the rank is above a weight's.
        TargetError: if `fused_qkv` and the rows of a weight are no multiple of 3.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"members": 2})

    rank: int = 4
    members: int = 4
    alpha: float | None = None
    dropout: float = 0.0
    preserve: float = 1e-3
    diversify: float = 1e-3
    kind: Literal["row_l1", "col_l1", "row_fro2", "col_fro2"] = "row_l1"
    normalize: bool = False
    every: int = 1
    fused_qkv: bool = False

    def validate(self) -> None:
        """Check ranges."""
        for name, bound in (("rank", 1), ("members", 1), ("every", 1), ("preserve", 0), ("diversify", 0)):
            self.at_least(name, bound)
        if self.alpha is not None:
            self.above("alpha", 0)
        self.probability("dropout")

    def adapter(self, target: Target) -> "PEGOAdapter":
        """Build the group of one weight."""
        return PEGOAdapter(target, self)

    def penalty(self, training: Training) -> Tensor | None:
        """The regularizer of all weights; None in the steps that `every` leaves out.

        Raises:
            StateError: if the adapter is merged, or `every` is above 1 and nothing counts the steps.
        """
        if training.installed.merged:
            raise StateError(
                f"adapter {training.name!r} is merged, and what is merged does not train; unmerge() first."
            )
        if self.every > 1 and training.installed.attachment is None:
            raise StateError(
                f"every={self.every} needs the number of the step, which adaptation.attach(optimizer, penalty=False) "
                f"counts for adapter {training.name!r}; attach it, or use every=1."
            )
        if training.step % self.every or self.preserve == self.diversify == 0:
            return None
        terms = orthogonality(training.adapters.values())
        return self.every * (self.preserve * terms.preserve + self.diversify * terms.diversify)


class PEGOAdapter(Factored):
    """The group of one weight, its members side by side.

    Attributes:
        left: [*batch, out, N r], zero at the start; with `fused_qkv` only the rows of query and value.
        right: [*batch, N r, in]; with `fused_qkv` the query's above the value's.
    """

    def __init__(self, target: Target, method: PEGO) -> None:
        super().__init__(target)
        target.require_rank(method.rank)
        if method.fused_qkv and target.out_features % 3:
            raise TargetError(
                f"{target.name!r} has {target.out_features} rows, which are not query, key and value of one size; use "
                "fused_qkv=False for it, or leave it out of targets."
            )
        self.method, self.parts, self.dropout = method, 2 if method.fused_qkv else 1, method.dropout
        self.scaling = 1.0 if method.alpha is None else method.alpha / method.rank
        self.rows = target.out_features // (3 if method.fused_qkv else 1)
        self.width = method.members * method.rank
        shape = (*target.batch, self.parts * self.width, target.in_features)
        self.right = nn.Parameter(kaiming_uniform(shape, target.in_features, target.generator()))
        self.left = nn.Parameter(torch.zeros(*target.batch, self.parts * self.rows, self.width))

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(alpha / r [B_1 ... B_N], [A_1 ; ... ; A_N]); those of query and value in blocks around the key's zeros."""
        left = self.scaling * self.left
        if self.parts == 1:
            return left, self.right
        query, value = left.split(self.rows, dim=-2)
        none = torch.zeros_like(query)
        rows = [torch.cat(row, dim=-1) for row in ((query, none), (none, none), (none, value))]
        return torch.cat(rows, dim=-2), self.right

    def terms(self) -> Float[Tensor, "2"]:
        """The sum of ||W0 D_i^T|| over members and that of ||D_i D_j^T|| over pairs; their products are not kept."""
        left, right = whole(self.left), whole(self.right)
        return checkpoint(self._terms, left, right, use_reentrant=False, preserve_rng_state=False)  # type: ignore[return-value]

    def _terms(self, left: Tensor, right: Tensor) -> Float[Tensor, "2"]:
        dtype, members = wide(left.dtype), self.method.members
        with without_autocast(left):
            base = whole(self.target.matrix(dtype)).unflatten(-2, (-1, self.rows))[..., ::2, :, :]  # not the key's
            left = (self.scaling * left.to(dtype)).unflatten(-2, (self.parts, -1)).unflatten(-1, (members, -1))
            left, right = left.movedim(-2, -3), right.to(dtype).unflatten(-2, (self.parts, members, -1))
            if self.method.kind.startswith("col"):
                base, left, right = base.mT, right.mT, left.mT
            entries = base.shape[-2] ** 2 if self.method.normalize else 1
            measured = absolute if self.method.kind.endswith("l1") else squared
            return measured(base[..., None, :, :], left, right) / entries


@dataclass(frozen=True)
class Orthogonality:
    """How far the members of groups are from orthogonal, in the norms of their method.

    Attributes:
        preserve: to the base, the sum of ||W0 D_i^T|| over all weights and members.
        diversify: to each other, the sum of ||D_i D_j^T|| over all weights and pairs.
    """

    preserve: Float[Tensor, ""]
    diversify: Float[Tensor, ""]


def orthogonality(adapters: Iterable[Adapter]) -> Orthogonality:
    """The two terms of the penalty without their weights, to be watched in training.

    Both are 0 at the start, where B = 0, and so are their gradients: the first step is the task's alone.

    Args:
        adapters: those of one adaptation, `adaptation.adapters.values()`.

    Returns:
        The terms, differentiable in the adapters' tensors.

    Raises:
        MethodError: if none of them is PEGO's.
    """
    found = [one.terms() for one in adapters if isinstance(one, PEGOAdapter)]
    if not found:
        raise MethodError("none of the adapters is PEGO's; give adaptation.adapters.values() of a PEGO adaptation.")
    preserve, diversify = torch.stack([one.to(found[0].device) for one in found]).sum(0)
    return Orthogonality(preserve, diversify)
