# SPDX-License-Identifier: Apache-2.0
"""One pair of low-rank factors in common for several weights of one size.

Weights with the same key and the same size have the same pair, that is the same two parameters: their gradient is the
sum of the weights' own, and an optimizer, a count and a checkpoint see them once.
"""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import kaiming_uniform
from rankwise.core.targets import Target


class Pairs(nn.Module):
    """The pairs of an adaptation's weights.

    Args:
        targets: the weights; none of them makes it empty.
        keys: what those have in common that may share.
        rank: inner dimension of the products.

    Attributes:
        left: [*batch, out, r] of each pair, zero at the start.
        right: [*batch, r, in] of each pair, the start of its first weight.
        of: the pair of each weight.
    """

    def __init__(self, targets: Sequence[Target], keys: Sequence[Hashable], rank: int) -> None:
        super().__init__()
        self.left, self.right = nn.ParameterList(), nn.ParameterList()
        self.of: list[int] = []
        known: dict[tuple, int] = {}
        for target, key in zip(targets, keys, strict=True):
            self.of.append(known.setdefault((key, target.matrix_shape), len(known)))
            if len(known) > len(self.left):
                left, right = lora_start(target, rank)
                self.left.append(nn.Parameter(left))
                self.right.append(nn.Parameter(right))

    def factors(self, index: int) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r in"]]:
        """The pair of one weight."""
        return self.left[self.of[index]], self.right[self.of[index]]

    def __len__(self) -> int:
        return len(self.left)


def lora_start(target: Target, rank: int) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r in"]]:
    """LoRA's start for one weight: zero, and Kaiming-uniform from the target's own generator."""
    left = torch.zeros(*target.batch, target.out_features, rank)
    right = kaiming_uniform((*target.batch, rank, target.in_features), target.in_features, target.generator())
    return left, right
