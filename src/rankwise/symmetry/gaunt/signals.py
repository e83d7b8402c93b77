# SPDX-License-Identifier: Apache-2.0
"""Between e3nn's flat tensors and signals on the sphere: checks, slices, and the irreps a product reaches.

A signal is stored [types, rows, (L+1)^2]; degrees that the irreps do not have are zero.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from rankwise.errors import SymmetryError, listed
from rankwise.symmetry.gaunt.coefficients import bracket_factor, gaunt_factor
from rankwise.symmetry.gaunt.irreps import Block, Irreps
from rankwise.symmetry.gaunt.pattern import Types

Key = tuple[int, int]  # type and degree


def checked(x: Tensor, irreps: Irreps, name: str, like: Tensor) -> None:
    """Refuse a tensor that is not of these irreps or not of the module's dtype.

    Raises:
        SymmetryError: saying which axis or dtype differs.
    """
    if x.ndim == 0 or x.shape[-1] != irreps.dim:
        raise SymmetryError(
            f"{name} has shape {tuple(x.shape)}, but its irreps {irreps} take a last axis of length {irreps.dim}."
        )
    if x.dtype != like.dtype:
        raise SymmetryError(
            f"{name} is {x.dtype}, the product's tables are {like.dtype}. Move one of them; float32 and float64 are "
            "exact to rounding, half precision loses the equivariance."
        )


def parts(x: Tensor, irreps: Irreps) -> Iterator[tuple[Block, Tensor]]:
    """The blocks of a flat tensor [rows, dim], each as [rows, mul, 2l + 1]."""
    for block, place in irreps.slices():
        yield block, x[:, place].unflatten(-1, (block.mul, 2 * block.degree + 1))


def assembled(found: Mapping[Key, Tensor], types: Types, degree: int) -> Tensor:
    """Signals [types, rows, channels, harmonics] from [rows, channels, 2l + 1] by type and degree."""
    like = next(iter(found.values()))
    stacked = []
    for sign in types:
        columns = [
            found[sign, ell] if (sign, ell) in found else like.new_zeros(*like.shape[:2], 2 * ell + 1)
            for ell in range(degree + 1)
        ]
        stacked.append(torch.cat(columns, dim=-1))
    return torch.stack(stacked) if len(stacked) > 1 else stacked[0][None]


def packed(x: Tensor, irreps: Irreps, weights: Tensor | None) -> Tensor:
    """Signals [types, rows, channels, harmonics] from [rows, dim], where each irrep occurs once, all as often.

    Args:
        x: the flat tensor.
        irreps: its irreps.
        weights: a factor for each block and channel.
    """
    if weights is None and irreps.plain:
        return x[None, :, None]
    found = {}
    for number, (block, part) in enumerate(parts(x, irreps)):
        found[block.type, block.degree] = part if weights is None else part * weights[number, :, None]
    return assembled(found, irreps.types, irreps.degree)


def flat(signals: Tensor, irreps: Irreps, channels: int, weights: Tensor | None) -> Tensor:
    """[rows, dim] from signals [types, rows * channels, harmonics], the reverse of `packed`."""
    if weights is None and irreps.plain:
        return signals.squeeze(0)
    found, columns = [], split(signals, irreps.types, irreps.degree, channels)
    for number, block in enumerate(irreps):
        part = columns[block.type, block.degree]
        found.append((part if weights is None else part * weights[number, :, None]).flatten(1))
    return torch.cat(found, dim=-1)


def uniform(irreps: Irreps, name: str) -> int:
    """The multiplicity that all irreps have.

    Raises:
        SymmetryError: if there is none, they differ, or an irrep stands in two blocks.
    """
    muls = {block.mul for block in irreps}
    names = [block.irrep for block in irreps]
    if len(muls) != 1 or len(set(names)) != len(names):
        raise SymmetryError(
            f"{name} is {str(irreps)!r}; channel by channel each irrep stands once and all have one multiplicity, such "
            "as '8x0e+8x1o'. GauntTensorProduct takes any irreps."
        )
    return muls.pop()


def batch_of(first: tuple[Tensor, Irreps], second: tuple[Tensor, Irreps], like: Tensor) -> torch.Size:
    """The common batch shape of two inputs of a product, each with its irreps.

    Raises:
        SymmetryError: if one is not of its irreps or not of the tables' dtype, or the batch axes do not broadcast.
    """
    for (x, irreps), name in ((first, "The first input"), (second, "The second input")):
        checked(x, irreps, name, like)
    try:
        return torch.broadcast_shapes(first[0].shape[:-1], second[0].shape[:-1])
    except RuntimeError:
        raise SymmetryError(
            f"The batch axes {tuple(first[0].shape[:-1])} and {tuple(second[0].shape[:-1])} do not broadcast."
        ) from None


def split(signals: Tensor, types: Types, degree: int, channels: int) -> dict[Key, Tensor]:
    """[rows, channels, 2l + 1] for each type and degree, from signals [types, rows * channels, harmonics]."""
    sizes = [2 * ell + 1 for ell in range(degree + 1)]
    return {
        (sign, ell): part.unflatten(0, (-1, channels))
        for sign, signal in zip(types, signals.unbind(), strict=True)
        for ell, part in enumerate(signal.split(sizes, dim=-1))
    }


def variances(first: Irreps, second: Irreps, bracket: float) -> dict[Key, float]:
    """What the product reaches, with the variance of its components for independent inputs of variance one."""
    found: dict[Key, float] = {}
    ones, others = ({(block.type, block.degree) for block in irreps} for irreps in (first, second))
    for s1, l1 in ones:
        for s2, l2 in others:
            for ell in range(abs(l1 - l2), l1 + l2 + 1):
                odd = (l1 + l2 + ell) % 2
                factor = bracket * bracket_factor(l1, l2, ell) if odd else gaunt_factor(l1, l2, ell)
                if factor:
                    key = (-s1 * s2 if odd else s1 * s2, ell)
                    found[key] = found.get(key, 0.0) + factor**2 / (2 * ell + 1)
    return found


def require_reachable(irreps: Irreps, reached: Mapping[Key, float], complete: bool) -> None:
    """Refuse outputs that would always be zero.

    Raises:
        SymmetryError: naming them and what is reached.
    """
    lost = [block.irrep for block in irreps if (block.type, block.degree) not in reached]
    if lost:
        cure = "" if complete else " complete=True adds the antisymmetric half, which may reach them."
        found = ", ".join(block.irrep for block in by_degree(reached, 1))
        raise SymmetryError(f"The product cannot reach {listed(lost)}; it reaches {found}.{cure}")


def by_degree(reached: Mapping[Key, float], mul: int) -> Irreps:
    """The irreps of some types and degrees, by degree, true functions first."""
    keys = sorted(reached, key=lambda key: (key[1], -key[0]))
    return Irreps(tuple(Block(mul, ell, sign * (-1) ** ell) for sign, ell in keys))


def bracket_balance(first: Irreps, second: Irreps) -> float:
    """The factor of the brackets that gives them as much variance in sum as the products have; 1 if there are none."""

    def total(bracket: float) -> float:
        return sum(value * (2 * ell + 1) for (_, ell), value in variances(first, second, bracket).items())

    products = total(0.0)
    brackets = total(1.0) - products
    return (products / brackets) ** 0.5 if brackets > 0 else 1.0
