# SPDX-License-Identifier: Apache-2.0
"""Write deltas into base weights, and take them out again to the last bit.

    W = round(W0 + sum_i scale_i delta_i),   the sum in float64 and one rounding to the weight's dtype

The weight as it was is kept until the adapter is unmerged or removed, so unmerging restores the original bits. Nothing
is written before every new weight is computed and found finite.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter
from rankwise.core.slot import Slot
from rankwise.core.targets.base import Target
from rankwise.errors import StateError, TargetError, listed


@dataclass(frozen=True)
class MergeReport:
    """How much of a merge survived the rounding to the weights' dtype.

    Attributes:
        lost: for each target the share of the delta that rounding ate, ||written - delta|| / ||delta||; 0 for no delta.
        tolerance: the share above which a target counts as damaged.
    """

    lost: dict[str, float]
    tolerance: float = 0.05

    @property
    def worst(self) -> float:
        """The largest share lost at any target."""
        return max(self.lost.values(), default=0.0)

    @property
    def damaged(self) -> list[str]:
        """Targets that lost more than the tolerance."""
        return [name for name, share in self.lost.items() if share > self.tolerance]

    def __str__(self) -> str:
        text = f"merged {len(self.lost)} targets; rounding ate at most {self.worst:.2%} of a delta"
        if self.damaged:
            text += (
                f"; above {self.tolerance:.0%} at {listed(self.damaged)}: merge into a wider dtype to keep the update"
            )
        return text


@dataclass(frozen=True)
class _Merged:
    """A new weight and bias, computed and not yet written; no weight if nothing is merged any more."""

    slot: Slot
    weight: Tensor | None
    bias: Tensor | None
    lost: float


def merge(slots: list[Slot], names: list[str]) -> MergeReport:
    """Make the base weights of `slots` hold the deltas of the adapters in `names` and of no others.

    Raises:
        StateError: if a delta or a merged weight is not finite.
        TargetError: if a weight is quantized, or a bias delta has no bias to go into.
    """
    computed = [_computed(slot, [name for name in names if name in slot]) for slot in slots]
    with torch.no_grad():
        for one in computed:
            _write(one)
    return MergeReport({one.slot.target.name: one.lost for one in computed})


def exact_delta(adapter: Adapter) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."] | None]:
    """The delta and the bias delta of an adapter, computed in float64 from its tensors as they are."""
    with torch.no_grad(), as_float64(adapter), torch.autocast(adapter.target.device.type, enabled=False):
        bias = adapter.bias_delta()
        return adapter.delta().double(), None if bias is None else bias.double()


@contextmanager
def as_float64(adapter: Adapter) -> Iterator[None]:
    """Let an adapter and its shared state read their floating-point tensors in float64.

    The tensors themselves stay untouched, so gradients, optimizers and data-parallel hooks do not notice.
    """
    modules = [m for root in (adapter, adapter.shared) if root is not None for m in root.modules()]
    stores: list[dict] = [store for m in modules for store in (m._parameters, m._buffers)]
    kept = [(store, key, value) for store in stores for key, value in store.items() if value is not None]
    try:
        for store, key, value in kept:
            if value.is_floating_point():
                wide = value.detach().double()
                store[key] = nn.Parameter(wide, requires_grad=False) if isinstance(value, nn.Parameter) else wide
        yield
    finally:
        for store, key, value in kept:
            store[key] = value


def _computed(slot: Slot, names: list[str]) -> _Merged:
    target = slot.target
    if target.quantized:
        raise TargetError(
            f"{target.name!r} is quantized ({type(target.parameter()).__name__}); writing a small update into it would "
            "erase most of it. Load the base in 16 or 32 bits and merge there (rankwise export does)."
        )
    if not names:
        return _Merged(slot, None, target.bias(), 0.0)
    base = target.stored().detach()
    deltas = [(slot.runtime.installed[name].scale, *_merged_delta(slot, name)) for name in names]
    total = _sum([(scale, target.to_storage(delta)) for scale, delta, _ in deltas])
    shifts = [scale * shift for scale, _, shift in deltas if shift is not None]
    norm = float(torch.linalg.vector_norm(total))
    if not _is_finite(norm, total) or not all(bool(torch.isfinite(shift).all()) for shift in shifts):
        raise StateError(
            f"the delta of {target.name!r} from adapter {listed(names)} holds NaN or infinite entries; nothing was "
            "merged. The adapter is broken: train it again or load an earlier checkpoint."
        )
    exact = total.add_(base) if _is_fresh(total, slot, names) else total + base
    weight = exact.to(base.dtype, copy=True)
    rounding = float(torch.linalg.vector_norm(exact.sub_(weight)))
    if not _is_finite(rounding, weight):
        raise StateError(
            f"the merged weight of {target.name!r} does not fit into {base.dtype}; nothing was merged. "
            "Use a wider dtype."
        )
    return _Merged(slot, weight, _new_bias(target, shifts), rounding / norm if norm else 0.0)


def _sum(deltas: list[tuple[float, Tensor]]) -> Tensor:
    scaled = [delta if scale == 1.0 else scale * delta for scale, delta in deltas]
    return scaled[0] if len(scaled) == 1 else torch.stack(scaled).sum(0)


def _is_finite(norm: float, tensor: Tensor) -> bool:
    """Whether all entries are; a finite norm says so without another look at them, an overflowing one does not."""
    return math.isfinite(norm) or bool(torch.isfinite(tensor).all())


def _is_fresh(total: Tensor, slot: Slot, names: list[str]) -> bool:
    """Whether a sum of deltas is memory of its own, which may be written over: making such memory costs more."""
    adapters = [slot.adapter(name) for name in names]
    modules = [module for one in adapters for module in (one, one.shared) if module is not None]
    held = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    held += [slot.target.stored(), *([] if slot.target.original is None else [slot.target.original])]
    storage = total.untyped_storage().data_ptr()
    dense = torch.ops.aten.is_non_overlapping_and_dense(total)
    return dense and all(tensor.untyped_storage().data_ptr() != storage for tensor in held)


def _merged_delta(slot: Slot, name: str) -> tuple[Tensor, Tensor | None]:
    """The delta that an adapter has in the context it was merged in, whatever context is entered now."""
    with slot.runtime.entered(slot.runtime.installed[name].merged_in):
        return exact_delta(slot.adapter(name))


def _new_bias(target: Target, shifts: list[Tensor]) -> Tensor | None:
    bias = target.bias()
    if not shifts:
        return bias
    if bias is None:
        raise TargetError(
            f"the method moves the bias of {target.name!r}, but the layer has none to merge into; give the layer a "
            "zero bias, or use the adapter unmerged."
        )
    return (bias.detach().double() + torch.stack(shifts).sum(0)).to(bias.dtype)


def _write(one: _Merged) -> None:
    target = one.slot.target
    weight, bias = target.stored().detach(), target.bias()
    if one.weight is None:
        target.write(weight, bias)
        target.original = target.original_bias = None
        return
    if target.original is not None:
        target.write(one.weight, one.bias)
        return
    previous, previous_bias = weight.clone(), None if bias is None else bias.detach().clone()
    target.write(one.weight, one.bias)
    # The new weight's memory holds the old one from now on: a merge keeps one copy of the weights, not two.
    target.original, target.original_bias = one.weight.copy_(previous), previous_bias
