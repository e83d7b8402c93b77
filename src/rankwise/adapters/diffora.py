# SPDX-License-Identifier: Apache-2.0
"""Find out by gates which weights deserve a LoRA, then train only those.

    W_i = W0_i + g_i (alpha / r) left_i right_i

Search: the relaxed gates g train on one half of the data and the factors on the other, min_theta L_gates(w*(theta),
theta) with w*(theta) = argmin_w L_factors(w, theta), to first order by turns: after `search_warmup` steps of the
factors every other optimizer step moves the gates alone, the next one the factors alone. After `search_steps` steps the
largest gates become 1 and the others 0, for good, and the factors start anew: LoRA on the weights that were kept. The
others stay as they are, or use one pair of factors in common with those of their type or layer.

DiffoRA: arXiv 2502.08905; see `rankwise.adapters.gates` for what a layer is. The paper's form of weight sharing and the
second-order gradient are not here: the former could not be found, the latter needs passes that no hook can make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.adapters.gates import require_share
from rankwise.adapters.pairs import lora_start
from rankwise.adapters.search import SearchState
from rankwise.core.adapter import Factored
from rankwise.core.method import LowRank, register
from rankwise.core.sharded import local, shard_of, whole
from rankwise.core.targets import Target
from rankwise.core.training import Training
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class DiffoRA(LowRank):
    """Differential low-rank matrix adaptation, W = W0 + g (alpha / rank) left right with gates g that end at 0 or 1.

    Give the gates an optimizer group of their own, without weight decay: `shared.theta` of
    `adaptation.named_parameters()`, learning rate 3e-2 to 1e-1. Before each step `gate_step` says whose turn it is.

    Attributes:
        rank: inner dimension of the products.
        alpha: scale of the products; a delta is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.
        rho: the share of weights that is kept; of each layer at least one.
        mode: the gate of a weight is the sigmoid of its theta, or N times the softmax over its layer's N weights.
        scope: whether rounding keeps the largest gates of each layer or of the whole model.
        share: what the other weights get: nothing, or one pair of factors for all of the same place in their layer and
            the same size ("type"), or for all of the same layer and size ("layer").
        warm_start: keep the factors of the search, times sqrt(g) each, instead of fresh ones.
        search_warmup: steps at the start that move factors only; while these are zero a gate has no gradient.
        search_steps: steps until rounding, `search_warmup` among them.

    Raises:
        MethodError: if a field is out of range, or no step would move the gates.
    """

    scheduled: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"search_warmup": 1, "search_steps": 4, "scope": "global", "share": "none"}
    )

    rho: float = 0.5
    mode: Literal["sigmoid", "softmax"] = "sigmoid"
    scope: Literal["layer", "global"] = "layer"
    share: Literal["none", "type", "layer"] = "type"
    warm_start: bool = False
    search_warmup: int = 50
    search_steps: int = 500

    def validate(self) -> None:
        """Check ranges, and that gates move at all."""
        super().validate()
        require_share(self.rho)
        self.at_least("search_warmup", 0)
        if self.search_steps <= self.search_warmup:
            raise MethodError(
                f"DiffoRA.search_steps {self.search_steps} must be above search_warmup {self.search_warmup}, or no "
                "step moves the gates; raise the first, or lower the second."
            )

    def shared(self, targets: list[Target]) -> "SearchState":
        """Build the gates of all weights, and the pairs that those may use which are not kept."""
        return SearchState(targets, self)

    def adapter(self, target: Target, shared: "SearchState") -> "DiffoRAAdapter":
        """Build the factors of one weight."""
        return DiffoRAAdapter(target, self, shared)

    def before_step(self, training: Training) -> None:
        """Take the gradients of all tensors whose turn it is not, so that no optimizer touches them."""
        state, adapters = _parts(training)
        moving = {id(parameter) for parameter in state.moving(adapters)}
        resting = [p for part in (state, *adapters) for p in part.parameters()]
        if state.turn and training.optimizer is not None:  # a head that trains beside the adapter is a factor too
            resting = [p for group in training.optimizer.param_groups for p in group["params"]]
        for parameter in resting:
            if id(parameter) not in moving:
                parameter.grad = None

    def after_step(self, training: Training) -> None:
        """Count the step, and round the gates after the last one of the search."""
        state, adapters = _parts(training)
        state.steps += 1
        if int(state.steps) != self.search_steps:
            return
        assert training.optimizer is not None
        state.round(self.rho, by_layer=self.scope == "layer")
        for one in adapters:
            one.restart(warm=self.warm_start)
            for parameter in one.parameters():
                training.optimizer.state.pop(parameter, None)  # moments of the search mean nothing here


class DiffoRAAdapter(Factored):
    """The factors of one weight behind its gate.

    Attributes:
        left: [*batch, out, r].
        right: [*batch, r, in].
        index: the place of the weight among the gates.
    """

    shared: SearchState

    def __init__(self, target: Target, method: DiffoRA, shared: SearchState) -> None:
        super().__init__(target, shared)
        target.require_rank(method.rank)
        if method.share != "none" and method.rank != shared.method.rank:
            raise MethodError(
                f'share="{method.share}" needs one rank for all weights, got {method.rank} for {target.name!r} and '
                f'{shared.method.rank} for others; drop the entry of ranks, or use share="none".'
            )
        self.scaling, self.dropout = method.scaling, method.dropout
        self.index = shared.names.index(target.name)
        left, right = lora_start(target, method.rank)
        self.left, self.right = nn.Parameter(left), nn.Parameter(right)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(g alpha / r left, right); those of the pair without a gate where the weight uses one."""
        state, device = self.shared, self.left.device
        left, right = state.gate(self.index).to(device) * (self.scaling * self.left), self.right
        if not len(state.pairs):
            return left, right
        common_left, common_right = (factor.to(device) for factor in state.pairs.factors(self.index))
        dropped = (state.rounded & ~state.selected[self.index]).to(device)
        left = torch.where(dropped, self.scaling * common_left, left)
        return left, torch.where(dropped, common_right, right)

    def restart(self, *, warm: bool) -> None:
        """Start the factors anew, or, with `warm`, take the root of the relaxed gate into each."""
        left, right = local(self.left), local(self.right)
        if warm:
            root = self.shared.relaxed(whole(self.shared.theta), self.index).sqrt().to(left.device)
            left.mul_(root)
            right.mul_(root)
            return
        fresh = lora_start(self.target, self.left.shape[-1])[1].to(right)
        left.zero_()
        right.copy_(shard_of(fresh, self.right))


def _parts(training: Training) -> tuple[SearchState, list[DiffoRAAdapter]]:
    return training.shared, list(training.adapters.values())  # type: ignore[return-value]
