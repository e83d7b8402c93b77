# SPDX-License-Identifier: Apache-2.0
"""A search by gates: whose turn a step is, which tensors move in it, and what the gates choose.

    step:   0 ... w - 1     w, w + 2, ...     w + 1, w + 3, ...     search_steps ...       w = search_warmup
    moves:  factors         gates             factors               what was kept

The batches of the gates' steps are to come from one half of the data, those of the factors' from the other.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rankwise.adapters.gates import Gates, layer_of, place_of, require_some
from rankwise.adapters.pairs import Pairs
from rankwise.core.adaptation import Adaptation
from rankwise.core.targets import Target
from rankwise.errors import MethodError

if TYPE_CHECKING:
    from rankwise.adapters.diffora import DiffoRA, DiffoRAAdapter


class SearchState(Gates):
    """The gates of all weights, what the weights share that are not kept, and how far the search is.

    Attributes:
        pairs: the pairs of factors; empty with share="none".
        steps: optimizer steps taken.
    """

    steps: Tensor

    def __init__(self, targets: list[Target], method: "DiffoRA") -> None:
        names = [target.name for target in targets]
        by_layer = method.scope == "layer" or method.mode == "softmax"
        super().__init__(names, method.mode, [layer_of(name) for name in names] if by_layer else None)
        if method.scope == "global":
            require_some(method.rho, len(targets))
        self.method, sharing = method, targets if method.share != "none" else []
        common = place_of if method.share == "type" else layer_of
        self.pairs = Pairs(sharing, [common(target.name) for target in sharing], method.rank)
        self.register_buffer("steps", torch.tensor(0))

    @property
    def turn(self) -> bool:
        """Whether the next step moves the gates."""
        since = int(self.steps) - self.method.search_warmup
        return 0 <= since < self.method.search_steps - self.method.search_warmup and since % 2 == 0

    def moving(self, adapters: Iterable["DiffoRAAdapter"]) -> list[nn.Parameter]:
        """The tensors that the next step moves."""
        if not bool(self.rounded):
            return [self.theta] if self.turn else [p for one in adapters for p in (one.left, one.right)]
        kept = self.selected.tolist()
        own = [p for one in adapters if kept[one.index] for p in (one.left, one.right)]
        others = [index for index, keep in enumerate(kept) if not keep] if len(self.pairs) else []
        used = {self.pairs.of[index] for index in others}
        return [*own, *(p for pair in sorted(used) for p in (self.pairs.left[pair], self.pairs.right[pair]))]


def gate_step(adaptation: Adaptation) -> bool:
    """Whether the next optimizer step moves the gates, so that its batch must come from the gates' half of the data.

    Raises:
        MethodError: if the adaptation is not DiffoRA's.
    """
    return _state(adaptation).turn


def selected(adaptation: Adaptation, rho: float | None = None) -> list[str]:
    """The weights that the gates choose as they are now; if the model is sharded, every process must call this.

    Args:
        adaptation: one of DiffoRA.
        rho: the share to keep, in place of the method's own: other shares need no other search.

    Returns:
        Their names, as `targets=` of `adapt` takes them for a plain LoRA.

    Raises:
        MethodError: if the adaptation is not DiffoRA's, or rho is outside (0, 1] or keeps nothing.
    """
    state = _state(adaptation)
    method = state.method
    kept = state.chosen(method.rho if rho is None else rho, by_layer=method.scope == "layer").tolist()
    return [name for name, keep in zip(state.names, kept, strict=True) if keep]


def _state(adaptation: Adaptation) -> SearchState:
    if not isinstance(adaptation.shared, SearchState):
        raise MethodError(f"only an adaptation with DiffoRA has gates, got {type(adaptation.method).__name__}.")
    return adaptation.shared
