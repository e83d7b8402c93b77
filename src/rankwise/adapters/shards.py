# SPDX-License-Identifier: Apache-2.0
"""The pools of shards that MoS's layers share, where each layer stands in its group, and which shards it uses."""

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import kaiming_uniform
from rankwise.core.targets import Target
from rankwise.errors import MethodError

if TYPE_CHECKING:
    from rankwise.adapters.mos import MoS


@dataclass(frozen=True)
class Share:
    """Where one target stands in its group.

    Attributes:
        group: name of the group's pools.
        first: place of its first matrix among the layers of the group.
        layers: how many layers the group has.
    """

    group: str
    first: int
    layers: int


class Pools(nn.Module):
    """The two pools of every group of layers: [e L l, in / l] for right factors, [e L l, out / l] for left ones.

    The (e - p) L l public shards come first, then p l of each layer. Left ones start at zero, right ones as the vectors
    of LoRA on their layers would.

    Attributes:
        left: pools of shards of left factors, by group.
        right: pools of shards of right factors, by group.
        shares: where each target stands, by its name.
    """

    def __init__(self, targets: list[Target], method: "MoS") -> None:
        super().__init__()
        self.left, self.right = nn.ParameterDict(), nn.ParameterDict()
        self.shares: dict[str, Share] = {}
        groups: dict[str, list[Target]] = {}
        for target in targets:
            _require_divisible(target, method.shards)
            groups.setdefault(_group(target), []).append(target)
        for group, members in groups.items():
            counts = [math.prod(target.batch) for target in members]
            for target, first in zip(members, itertools.accumulate(counts, initial=0), strict=False):
                self.shares[target.name] = Share(group, first, sum(counts))
            right = _right_pool(members, method)
            self.right[group] = nn.Parameter(right)
            self.left[group] = nn.Parameter(torch.zeros(len(right), members[0].out_features // method.shards))


def _group(target: Target) -> str:
    """Kind and size of a weight."""
    words = [word for word in target.name.split(".") if not word.isdigit()]
    return f"{words[-1] if words else 'layer'}-{target.out_features}x{target.in_features}"


def _require_divisible(target: Target, shards: int) -> None:
    both = math.gcd(target.out_features, target.in_features)
    if both % shards:
        nearest = min((d for d in range(1, both + 1) if both % d == 0), key=lambda divisor: abs(divisor - shards))
        raise MethodError(
            f"shards {shards} does not divide both sides of {target.name!r} ({target.out_features} x "
            f"{target.in_features}); the nearest that does is {nearest}."
        )


def _right_pool(members: list[Target], method: "MoS") -> Float[Tensor, "shards width"]:
    """The start of a right pool; a target's own vectors are the first that its generator gives."""
    own, public, size = [], [], members[0].in_features
    for target in members:
        count, generator = math.prod(target.batch), target.generator()
        for pile, rank in ((own, method.private_rank), (public, method.equivalent_rank - method.private_rank)):
            pile.append(kaiming_uniform((count * rank, size), size, generator))
    return torch.cat([*public, *own]).reshape(-1, size // method.shards)


def indices(target: Target, share: Share, method: "MoS", rank: int) -> tuple[Tensor, Tensor]:
    """Rows of the left and of the right pool for every matrix of a target."""
    generator = torch.Generator().manual_seed(
        (method.index_seed * 0x9E3779B1 + zlib.crc32(target.name.encode())) % 2**63
    )
    shards, private = method.shards, method.private_rank * method.shards
    public = (method.equivalent_rank - method.private_rank) * share.layers * shards
    chosen = rank * shards - private
    lefts, rights = [], []
    for layer in range(share.first, share.first + math.prod(target.batch)):
        own = public + torch.arange(layer * private, (layer + 1) * private)
        right = torch.arange(public) if method.rank is None else torch.randperm(public, generator=generator)[:chosen]
        left = torch.randperm(public, generator=generator)[:chosen] if method.pair_dissociation else right
        lefts.append(torch.cat([left, own]))
        rights.append(torch.cat([right, own]))
    shape = (*target.batch, rank * shards)
    return torch.stack(lefts).reshape(shape), torch.stack(rights).reshape(shape)
