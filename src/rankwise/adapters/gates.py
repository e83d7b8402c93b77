# SPDX-License-Identifier: Apache-2.0
"""Gates in front of the updates of several weights: relaxed to real numbers while they train, then rounded to 0 and 1.

    sigmoid:  g_i = 1 / (1 + exp(-theta_i))          softmax:  g_i = N exp(theta_i) / sum_j exp(theta_j),

the sum over the N weights of i's layer, so that equal gates are 1. Rounding keeps the K weights with the largest gates
of each layer or of the model, K = rho N to the nearest integer (halves up); of equal ones the first.

The layer of a weight is its name up to the first part that is a number: `model.layers.3` for
`model.layers.3.self_attn.q_proj`. Its place in the layer, with the number left out, is what layers have in common.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rankwise.core.sharded import whole
from rankwise.errors import MethodError, StateError, TargetError, listed
from rankwise.linalg import wide


class Gates(nn.Module):
    """One gate for each of the weights that an adaptation changes.

    Args:
        names: names of the weights.
        mode: how theta becomes a gate.
        layers: the layer of each weight; None where nothing depends on layers.

    Attributes:
        theta: what trains, [weights].
        selected: which gates are 1 after rounding; of no meaning before.
        rounded: whether the gates are 0 and 1 now.
        same: which weights are of one layer; for softmax alone.
    """

    selected: Tensor
    rounded: Tensor
    same: Tensor

    def __init__(
        self, names: Sequence[str], mode: Literal["sigmoid", "softmax"], layers: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.names, self.mode, self.layers = list(names), mode, layers
        self.theta = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("selected", torch.zeros(len(self.names), dtype=torch.bool))
        self.register_buffer("rounded", torch.tensor(False))
        if mode == "softmax":
            assert layers is not None
            same = [[one == other for other in layers] for one in layers]
            self.register_buffer("same", torch.tensor(same), persistent=False)

    def gate(self, index: int) -> Float[Tensor, ""]:
        """The gate of one weight, in float32 or wider; rounded, it has a gradient of exactly zero."""
        relaxed = self.relaxed(self.theta, index)
        return torch.where(self.rounded, self.selected[index].to(relaxed.dtype), relaxed)

    def relaxed(self, theta: Float[Tensor, " weights"], index: int) -> Float[Tensor, ""]:
        """The gate that theta gives one weight, as if nothing were rounded."""
        theta = theta.to(wide(theta.dtype))
        if self.mode == "sigmoid":
            return torch.sigmoid(theta[index])
        of_layer, count = self._of_layer(theta, index)
        return count * of_layer.softmax(0)[index]

    def round(self, rho: float, *, by_layer: bool) -> None:
        """Make the gates that `chosen` keeps 1 and the others 0, for good.

        Raises:
            MethodError: if rho is outside (0, 1] or keeps nothing.
            StateError: if theta is not finite, or as it was at the start.
        """
        if not bool(whole(self.theta).any()):
            raise StateError(
                "no gate has moved, so there is nothing to choose by; give theta a learning rate above 0 (3e-2 to "
                "1e-1), attach one such adaptation to an optimizer, and search for more steps."
            )
        self.selected.copy_(self.chosen(rho, by_layer=by_layer))
        self.rounded.fill_(True)

    @torch.no_grad()
    def chosen(self, rho: float, *, by_layer: bool) -> Bool[Tensor, " weights"]:
        """Which weights rounding keeps; compared by theta, so that gates which are 1 in float32 still differ.

        Raises:
            MethodError: if rho is outside (0, 1] or keeps nothing.
            StateError: if theta is not finite.
        """
        require_share(rho)
        if not by_layer:
            require_some(rho, len(self.names))
        theta = whole(self.theta).to(wide(self.theta.dtype))
        if not bool(theta.isfinite().all()):
            broken = [name for name, finite in zip(self.names, theta.isfinite().tolist(), strict=True) if not finite]
            raise StateError(
                f"the gates of {listed(broken)} are not finite, so there is nothing to choose by; load an earlier "
                "checkpoint and give the gates a smaller learning rate."
            )
        if self.mode == "softmax":
            rows = [self._of_layer(theta, index) for index in range(len(theta))]
            theta = torch.stack([row.log_softmax(0)[i] + count.log() for i, (row, count) in enumerate(rows)])
        groups: dict[str, list[int]] = {}
        for index in range(len(theta)):
            groups.setdefault(self.layers[index] if by_layer and self.layers else "", []).append(index)
        kept = torch.zeros_like(theta, dtype=torch.bool)
        for members in groups.values():
            order = theta[members].argsort(descending=True, stable=True).tolist()
            count = max(1, _rounded(rho * len(members)))
            kept[[members[place] for place in order[:count]]] = True
        return kept

    def _of_layer(
        self, theta: Float[Tensor, " weights"], index: int
    ) -> tuple[Float[Tensor, " weights"], Float[Tensor, ""]]:
        """Theta without the weights of other layers, and how many weights the layer has."""
        members = self.same[index].to(theta.device)
        return theta.masked_fill(~members, -math.inf), members.sum().to(theta.dtype)


def require_share(rho: float) -> None:
    """Refuse a share that is none.

    Raises:
        MethodError: if rho is outside (0, 1].
    """
    if not 0 < rho <= 1:
        raise MethodError(f"rho must be in (0, 1], got {rho}.")


def require_some(rho: float, count: int) -> None:
    """Refuse a share that is nearer to none of `count` weights than to one.

    Raises:
        MethodError: if it is.
    """
    if _rounded(rho * count) == 0:
        raise MethodError(
            f"rho={rho} of {count} gates is {rho * count:.3g}, which rounds to none: gates that select nothing. Take a "
            f'rho of at least {0.5 / count:.3g}, or scope="layer", which keeps at least one weight of each layer.'
        )


def layer_of(name: str) -> str:
    """The layer of a weight: its name up to the first part that is a number.

    Raises:
        TargetError: if no part is one.
    """
    parts = name.split(".")
    place = _number(parts)
    if place is None:
        raise TargetError(
            f"the layer of {name!r} cannot be told: no part of its name is a number, as 3 in "
            '"layers.3.self_attn.q_proj". Leave it out of targets, or choose what does not ask for layers: '
            'scope="global", mode="sigmoid", and share="none" or "type".'
        )
    return ".".join(parts[: place + 1])


def place_of(name: str) -> str:
    """The place of a weight in its layer, common to all layers: its name without the layer's number."""
    parts = name.split(".")
    place = _number(parts)
    return name if place is None else ".".join([*parts[:place], "*", *parts[place + 1 :]])


def _number(parts: list[str]) -> int | None:
    return next((place for place, part in enumerate(parts) if part.isdecimal()), None)


def _rounded(count: float) -> int:
    return math.floor(count + 0.5)
