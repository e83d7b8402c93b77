# SPDX-License-Identifier: Apache-2.0
r"""All permutation-equivariant affine maps from tensors of one order to tensors of another, with channels.

    y = sum over t of embed_t(W_t contract_t(x)) + biases,

where contract_t lists the contractions of x that keep t blocks, side by side in the channels, and W_t is one ordinary
matrix [c_t d_in, e_t d_out]. For 2 -> 2 that is one product with the n x n entries (W_2, for x and its transpose), one
with the three vectors of row means, column means and the diagonal (W_1), and one with the two scalars (W_0), in place
of 15 maps of the size of x. The biases are the equivariant maps from a constant, one for each partition of the output's
indices. Below n = in_order + out_order some of the maps depend on others, which does no harm.
Reference: https://arxiv.org/abs/1812.09902 for the orders up to 2. Nothing here is specific to graphs.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.spen.partitions import contractions, dimension, embeddings
from rankwise.symmetry.spen.tensors import contracted, embedded

MOST_INDICES = 8


class EquivariantLinear(nn.Module):
    """All equivariant affine maps between two orders.

    Args:
        in_order: k, the number of axes n of the input.
        out_order: l, the number of axes n of the output.
        d_in: channels of the input.
        d_out: channels of the output.
        generator: draws the weights, N(0, 2 / (d_in + d_out)); biases start at zero.

    Raises:
        SymmetryError: if an order is negative or a number of channels is not positive.
        CapacityError: if k + l is above 8; there are 4,140 maps at 8 and 21,147 at 9.
    """

    def __init__(self, in_order: int, out_order: int, d_in: int, d_out: int, generator: torch.Generator) -> None:
        super().__init__()
        _check(in_order, out_order, d_in, d_out)
        self.in_order, self.out_order, self.d_in, self.d_out = in_order, out_order, d_in, d_out
        scale = math.sqrt(2 / (d_in + d_out))
        self.weights = nn.ParameterList()
        for kept in range(min(in_order, out_order) + 1):
            rows, columns = len(contractions(in_order, kept)) * d_in, len(embeddings(out_order, kept)) * d_out
            self.weights.append(nn.Parameter(scale * torch.randn(rows, columns, generator=generator)))
        self.bias = nn.Parameter(torch.zeros(len(embeddings(out_order, 0)) * d_out))

    @property
    def maps(self) -> int:
        """The number of equivariant maps, Bell(in_order + out_order)."""
        return dimension(self.in_order, self.out_order)

    def forward(self, x: Float[Tensor, "..."], size: int | None = None) -> Float[Tensor, "..."]:
        """Apply the map.

        Args:
            x: [..., n, .., n, d_in] with `in_order` axes n.
            size: n; needed from order 0 alone, which does not show it.

        Returns:
            [..., n, .., n, d_out] with `out_order` axes n.

        Raises:
            SymmetryError: if the shape of x does not fit.
        """
        size = self._size(x, size)
        return self.embed([contracted(x, self.in_order, kept) for kept in range(len(self.weights))], size)

    def embed(self, contractions_of_x: list[Tensor], size: int) -> Float[Tensor, "..."]:
        """Apply the map to the contractions of x for t = 0, 1, .., which several maps can share."""
        parts = [x @ weight for x, weight in zip(contractions_of_x, self.weights, strict=False)]
        parts[0] = parts[0] + self.bias
        return embedded(parts, self.out_order, size)

    def extra_repr(self) -> str:
        """What the printed module says."""
        return f"{self.in_order} -> {self.out_order}, {self.d_in} -> {self.d_out} channels, {self.maps} maps"

    def _size(self, x: Tensor, size: int | None) -> int:
        order = self.in_order
        sizes = set(x.shape[-order - 1 : -1]) | ({size} if size is not None else set())
        if x.ndim > order and x.shape[-1] == self.d_in and len(sizes) == 1 and 0 not in sizes:
            return sizes.pop()
        if x.ndim > order and x.shape[-1] == self.d_in and not sizes:
            if self.out_order == 0:
                return 1
            raise SymmetryError(
                f"A tensor of order 0 does not show the size of its output of order {self.out_order}; give size=n."
            )
        raise SymmetryError(
            f"The input has shape {tuple(x.shape)}{f' and size={size} was given' if size is not None else ''}; a map "
            f"from order {order} takes [..., {'n, ' * order}{self.d_in}] with one n >= 1."
        )


def _check(in_order: int, out_order: int, d_in: int, d_out: int) -> None:
    if in_order < 0 or out_order < 0:
        raise SymmetryError(f"The orders are {in_order} -> {out_order}; an order counts indices, 0, 1, 2, ...")
    if d_in < 1 or d_out < 1:
        raise SymmetryError(f"The channels are {d_in} -> {d_out}; both sides need at least one.")
    if in_order + out_order > MOST_INDICES:
        raise CapacityError(
            f"From order {in_order} to order {out_order} there are Bell({in_order + out_order}) equivariant maps; at "
            f"most {MOST_INDICES} indices in all are allowed, with {dimension(4, MOST_INDICES - 4):,} maps."
        )
