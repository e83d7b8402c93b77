# SPDX-License-Identifier: Apache-2.0
"""Assemble the factors of every layer from pieces of vectors in two pools that all layers of a kind share.

    W_t = W0_t + (alpha / r) B_t A_t,    row j of A_t [r, in] = concat_s poolA[idxA_t[j l + s]],   B_t [out, r] alike

with s = 0 ... l - 1 shards to a vector and frozen, random indices. The pools of a group of L layers hold e L l shards
each, as many numbers as LoRA of rank e on these layers, while every layer works at the larger rank r. Of its vectors p
are its own, the other r - p are drawn without replacement from the shards that all layers may use. What sets it apart
from one shared pool: subset selection (rank=None switches it off: every layer uses all vectors in the same order), pair
dissociation (left and right shards are drawn independently), sharding (l > 1) and privatization (p > 0).

MoS: Wang et al. 2024, arXiv 2410.00938. The choice of shards is drawn once and never learned: there is no router.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rankwise.adapters.shards import Pools, indices
from rankwise.core.adapter import Adapter, Factored
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class MoS(Method):
    """Mixture of shards, W = W0 + (alpha / r) B A with A and B assembled from shared pools.

    Layers share pools if they have the same kind (the last part of their name that is no number) and the same size.
    Each matrix of a stack counts as a layer.

    Attributes:
        rank: r, how many vectors a layer uses; None uses all of the pool, in the same order everywhere.
        equivalent_rank: e, the budget: the pools hold as many numbers as LoRA of this rank.
        private_rank: p, how many of a layer's vectors no other layer uses.
        shards: l, how many pieces a vector is cut into; must divide both sides of every weight.
        pair_dissociation: whether left and right shards are drawn independently.
        alpha: scale of the product; the delta is multiplied by alpha / r.
        dropout: probability of zeroing entries of the adapter's input in training.
        index_seed: the source of the indices, together with each target's name.

    Raises:
        MethodError: if a field is out of range, shards do not divide a weight's sides, or a group has too few vectors.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"shards": 1})

    rank: int | None = 8
    equivalent_rank: int = 2
    private_rank: int = 1
    shards: int = 4
    pair_dissociation: bool = True
    alpha: float = 16.0
    dropout: float = 0.0
    index_seed: int = 0

    def validate(self) -> None:
        """Check ranges."""
        for name, bound in (("equivalent_rank", 1), ("private_rank", 0), ("shards", 1), ("index_seed", 0)):
            self.at_least(name, bound)
        self.above("alpha", 0)
        self.probability("dropout")
        if self.rank is not None:
            self.at_least("rank", self.equivalent_rank)
        if self.private_rank > self.equivalent_rank:
            raise MethodError(
                f"MoS.private_rank {self.private_rank} is above equivalent_rank {self.equivalent_rank}, the vectors "
                "that there are for each layer; lower it."
            )

    def shared(self, targets: list[Target]) -> Pools:
        """Build the two pools of every group of layers."""
        return Pools(targets, self)

    def adapter(self, target: Target, shared: Pools) -> "MoSAdapter":
        """Choose the shards of one layer."""
        return MoSAdapter(target, self, shared)


class MoSAdapter(Factored):
    """The shards that one layer uses.

    Attributes:
        index_left: rows of the left pool, [*batch, r l]; l of them in turn make a vector.
        index_right: rows of the right pool.
        public: how many shards of a pool are public.
    """

    index_left: Tensor
    index_right: Tensor
    shared: Pools

    def __init__(self, target: Target, method: MoS, shared: Pools) -> None:
        super().__init__(target, shared)
        share = shared.shares[target.name]
        free = (method.equivalent_rank - method.private_rank) * share.layers
        self.rank = free + method.private_rank if method.rank is None else method.rank
        if self.rank - method.private_rank > free:
            raise MethodError(
                f"rank {self.rank} of {target.name!r} needs {self.rank - method.private_rank} public vectors, but its "
                f"group {share.group!r} of {share.layers} layers has (equivalent_rank - private_rank) * layers = "
                f"{free}; choose a rank of at most {free + method.private_rank}, or a larger equivalent_rank."
            )
        if method.rank is not None:
            target.require_rank(method.rank)
        self.group, self.public = share.group, free * method.shards
        self.scaling, self.dropout = method.alpha / self.rank, method.dropout
        left, right = indices(target, share, method, self.rank)
        self.register_buffer("index_left", left)
        self.register_buffer("index_right", right)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(alpha / r B, A), put together from the pools."""
        left = self._assembled(self.shared.left[self.group], self.index_left).mT
        return self.scaling * left, self._assembled(self.shared.right[self.group], self.index_right)

    def _assembled(self, pool: Float[Tensor, "shards width"], index: Int[Tensor, "*batch chosen"]) -> Tensor:
        """Vectors [*batch, r, l width]."""
        shards = pool[index.to(pool.device)].to(index.device)
        return shards.reshape(*index.shape[:-1], self.rank, -1)


def never_selected(adapters: Iterable[Adapter]) -> dict[str, float]:
    """The share of public shards that no layer uses, so that they never train.

    Args:
        adapters: those of one adaptation, `adaptation.adapters.values()`.

    Returns:
        The share by the pool's name, as in `adaptation.shared`; 0 for a pool without public shards.
    """
    used: dict[str, list[Tensor]] = {}
    public: dict[str, int] = {}
    for one in adapters:
        assert isinstance(one, MoSAdapter)
        for side, index in (("left", one.index_left), ("right", one.index_right)):
            name = f"{side}.{one.group}"
            used.setdefault(name, []).append(index[index < one.public].cpu())
            public[name] = one.public
    found = {name: len(torch.cat(some).unique()) for name, some in used.items()}
    return {name: 1 - found[name] / count if count else 0.0 for name, count in public.items()}
