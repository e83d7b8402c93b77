# SPDX-License-Identifier: Apache-2.0
"""How PEFT stores the product of one weight, and back.

    delta = s left right,   left [*batch, out, k], right [*batch, k, in]

    form         lora_A                              lora_B
    linear       right                               left
    conv         right as a kernel, block by block   left as a 1x1 kernel, grouped as the layer is
    embedding    right (lora_embedding_A)            left (lora_embedding_B)
    parameter    the stack's rights, row by row      the stack's lefts, one column of every matrix after another

PEFT's lora_A of a grouped convolution reads all channels. Ours reads those of one group, so each group gets a copy of
the right factor in its own block, and the rank counts once for every group.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.targets import Target
from rankwise.errors import CheckpointError

Form = Literal["linear", "conv", "embedding", "parameter"]
MAGNITUDE = "lora_magnitude_vector"


@dataclass(frozen=True)
class Product:
    """The factors of one weight, with what LoRA and DoRA keep beside them.

    Attributes:
        left: [*batch, out, k].
        right: [*batch, k, in].
        scaling: the factor in front of the product.
        bias: change of the bias, [out], None if it is not trained.
        magnitude: DoRA's row norms, [*batch, out], None for LoRA.
    """

    left: Float[Tensor, "*batch out k"]
    right: Float[Tensor, "*batch k in"]
    scaling: float
    bias: Float[Tensor, " out"] | None = None
    magnitude: Float[Tensor, "*batch out"] | None = None

    @property
    def rank(self) -> int:
        """Inner dimension."""
        return self.left.shape[-1]

    def widened(self, rank: int, scaling: float) -> "Product":
        """The same delta with zeros up to another inner dimension and another factor in front."""
        pad = rank - self.rank
        left = torch.nn.functional.pad(self.left * (self.scaling / scaling), (0, pad))
        return replace(self, left=left, right=torch.nn.functional.pad(self.right, (0, 0, 0, pad)), scaling=scaling)


def names(form: Form, *, bias: bool, magnitude: bool) -> list[str]:
    """The last parts of the keys that a weight of this form has."""
    found = ["lora_embedding_A", "lora_embedding_B"] if form == "embedding" else ["lora_A.weight", "lora_B.weight"]
    return found + (["lora_B.bias"] if bias else []) + ([MAGNITUDE] if magnitude else [])


def shapes(form: Form, target: Target, rank: int, *, transposed: bool = False) -> dict[str, tuple[int, ...]]:
    """The shapes PEFT gives the tensors of a weight, by the last parts of their keys."""
    out, columns = target.out_features, target.in_features
    if form == "conv":
        kernel = target.shape[2:]
        ones = (1,) * len(kernel)
        return {
            "lora_A.weight": (rank, target.shape[1] * target.groups, *kernel),
            "lora_B.weight": (out, rank // target.groups, *ones),
            "lora_B.bias": (out,),
            MAGNITUDE: (1, out, *ones),
        }
    if form == "embedding":
        return {"lora_embedding_A": (rank, columns), "lora_embedding_B": (out, rank), MAGNITUDE: (out,)}
    if form == "parameter":
        out, columns = (columns, out) if transposed else (out, columns)
        rank *= math.prod(target.batch)
    return {"lora_A.weight": (rank, columns), "lora_B.weight": (out, rank), "lora_B.bias": (out,), MAGNITUDE: (out,)}


def peft_rank(form: Form, target: Target, rank: int) -> int:
    """The rank that PEFT counts for a product of `rank`."""
    return rank * target.groups if form == "conv" else rank


def to_peft(product: Product, form: Form, target: Target, *, transposed: bool = False) -> dict[str, Tensor]:
    """The tensors of a weight as PEFT stores them, by the last parts of their keys.

    Args:
        product: the factors.
        form: how PEFT sees the weight.
        target: the weight.
        transposed: whether PEFT reads a stack of parameters as [*batch, in, out].
    """
    left, right = product.left, product.right
    if transposed:
        left, right = right.mT, left.mT
    if form == "conv":
        first, second = _blocks(right, target), left.reshape(*left.shape, *[1] * (len(target.shape) - 2))
    elif form == "parameter" and target.batch:
        first, second = right.flatten(0, -2), left.reshape(-1, *left.shape[-2:]).permute(1, 2, 0).flatten(1)
    else:
        first, second = right, left
    keys = names(form, bias=product.bias is not None, magnitude=product.magnitude is not None)
    tensors = {keys[0]: first, keys[1]: second}
    if product.bias is not None:
        tensors["lora_B.bias"] = product.bias / product.scaling
    if product.magnitude is not None:
        tensors[MAGNITUDE] = product.magnitude.reshape(shapes(form, target, 1)[MAGNITUDE])
    return {key: value.detach().contiguous() for key, value in tensors.items()}


def from_peft(
    tensors: Mapping[str, Tensor], scaling: float, form: Form, target: Target, *, transposed: bool = False
) -> Product:
    """The inverse of `to_peft`, for tensors of the right shapes.

    Raises:
        CheckpointError: if PEFT's adapter of a grouped convolution mixes groups, which no delta of the kernel does.
    """
    keys = names(form, bias=False, magnitude=False)
    right, left = tensors[keys[0]], tensors[keys[1]]
    if form == "conv":
        right, left = _unblocked(right, target), left.flatten(1)
    if form == "parameter" and target.batch:
        count = math.prod(target.batch)
        right = right.reshape(*target.batch, -1, right.shape[-1])
        left = left.reshape(left.shape[0], -1, count).permute(2, 0, 1).reshape(*target.batch, left.shape[0], -1)
    if transposed:
        left, right = right.mT, left.mT
    bias, magnitude = tensors.get("lora_B.bias"), tensors.get(MAGNITUDE)
    return Product(
        left,
        right,
        scaling,
        None if bias is None else bias * scaling,
        None if magnitude is None else magnitude.flatten(),
    )


def _blocks(right: Float[Tensor, "k in"], target: Target) -> Float[Tensor, "gk all *kernel"]:
    """A kernel whose block of each group is the right factor."""
    kernel = right.reshape(-1, *target.shape[1:])
    rank, channels = kernel.shape[:2]
    whole = kernel.new_zeros(target.groups, rank, target.groups, channels, *kernel.shape[2:])
    for group in range(target.groups):
        whole[group, :, group] = kernel
    return whole.flatten(2, 3).flatten(0, 1)


def _unblocked(whole: Float[Tensor, "gk all *kernel"], target: Target) -> Float[Tensor, "k in"]:
    rank = whole.shape[0] // target.groups
    first = whole[:rank, : target.shape[1]].reshape(rank, -1)
    if target.groups > 1 and not torch.equal(_blocks(first, target), whole):
        raise CheckpointError(
            f"lora_A of {target.name!r} reads channels across the {target.groups} groups of the convolution, which no "
            "change of its kernel does; PEFT cannot merge it either. Train that layer again with rankwise."
        )
    return first
