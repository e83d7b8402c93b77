# SPDX-License-Identifier: Apache-2.0
"""Share an inventory of small LoRA skills between tasks, and learn for every task how to mix them.

    W_t = W0 + (alpha / r) B_t A_t,   A_t [r, in]: columns of block h = (sum_s w[t,h,s] lora_a[h,s])^T
                                      B_t [out, r]: rows of block h = (sum_s w[t,h,s] lora_b[h,s])^T
    p = sigmoid(Z[t]),   w[t,h,s] = p[h,s] / (sum_s' p[h,s'] + 1e-12)

with s = 1 ... S skills. Poly mixes whole skills (one block, H = 1); the blocks are those of multi-head routing, `MHR`.
The factors are mixed, not the products. The task of each example enters through `adaptation.context(task=[...])`. A
batch computes the mixtures of its distinct tasks once, runs them side by side as one product of rank n r, and keeps for
each example the channels of its own task. A weight has a delta, to merge or to convert, for one task at a time.

Polytropon: Ponti et al. 2022, arXiv 2202.13914. Every weight has a router of its own; no noise is drawn in training.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Factored
from rankwise.core.lowrank import Product
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError, StateError
from rankwise.linalg import wide


@register
@dataclass(frozen=True)
class Poly(Method):
    """Skills shared by tasks, W = W0 + (alpha / r) (sum_s w_ts B_s) (sum_s w_ts A_s).

    Attributes:
        rank: r, inner dimension of each skill and of the mixture.
        skills: S, how many skills each weight has.
        tasks: T, how many tasks there are; their ids are 0 ... T - 1. With one task the context may be left out.
        alpha: scale of the product; the delta is multiplied by alpha / r.
        normalize: how the weights of a block are scaled: "sum" to the sum 1; "sqrt" as sqrt(H / S) p; "l2" as
            Z / ||Z||, which may be negative.
        straight_through: round p to 0 or 1, with the gradient of p itself.
        shared_skill: let every task use the last skill fully, p = 1.
        init: bound of the uniform start of lora_a: "paper" 1 / sqrt(3 in), or "peft" sqrt(H / in).
        frozen_skills: whether only the router trains; `router_only` sets it on a trained inventory.

    Raises:
        MethodError: if a field is out of range, or rounding or a shared skill is asked for without a sigmoid.
    """

    inputs: ClassVar[tuple[str, ...]] = ("task",)
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"skills": 2, "tasks": 3})
    input_values: ClassVar[tuple[float, float, float]] = (0, 1, 2)

    rank: int = 8
    skills: int = 8
    tasks: int = 1
    alpha: float = 1.0
    normalize: Literal["sum", "sqrt", "l2"] = "sum"
    straight_through: bool = False
    shared_skill: bool = False
    init: Literal["paper", "peft"] = "paper"
    frozen_skills: bool = False

    def validate(self) -> None:
        """Check ranges."""
        for name in ("rank", "skills", "tasks"):
            self.at_least(name, 1)
        self.above("alpha", 0)
        if self.normalize == "l2" and (self.straight_through or self.shared_skill):
            raise MethodError(
                f"{type(self).__name__}.normalize='l2' uses the logits themselves, so there is no probability for "
                "straight_through or shared_skill to change; drop them, or use normalize='sum' or 'sqrt'."
            )

    def adapter(self, target: Target) -> "PolyAdapter":
        """Build the skills and the router of one weight."""
        return PolyAdapter(target, self)


class PolyAdapter(Factored):
    """The skills and the router of one weight; all matrices of a stack follow the same router.

    Attributes:
        lora_a: [*batch, H, S, in / H, r].
        lora_b: [*batch, H, S, r, out / H].
        logits: Z [T, H S], block after block.
        heads: H, how many blocks the input and the output are cut into.
    """

    lora_a: Tensor
    lora_b: Tensor

    def __init__(self, target: Target, method: Poly, heads: int = 1) -> None:
        super().__init__(target)
        target.require_rank(method.rank)
        _require_divisible(target, heads)
        if method.frozen_skills and not target.restoring:
            raise MethodError(
                f"frozen_skills=True freezes skills that are zero at the start, so {target.name!r} could never change; "
                "train with frozen_skills=False first, and continue with router_only(adaptation)."
            )
        self.method, self.heads, self.scaling = method, heads, method.alpha / method.rank
        generator, inputs = target.generator(), target.in_features
        bound = (heads / inputs if method.init == "peft" else 1 / (3 * inputs)) ** 0.5
        stack = (*target.batch, heads, method.skills)
        lora_a = (torch.rand((*stack, inputs // heads, method.rank), generator=generator) * 2 - 1) * bound
        lora_b = torch.zeros(*stack, method.rank, target.out_features // heads)
        if method.frozen_skills:
            self.register_buffer("lora_a", lora_a)
            self.register_buffer("lora_b", lora_b)
        else:
            self.lora_a, self.lora_b = nn.Parameter(lora_a), nn.Parameter(lora_b)
        noise = torch.rand((method.tasks, heads * method.skills), generator=generator) * 2 - 1
        self.logits = nn.Parameter(1e-3 * noise)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(alpha / r B_t, A_t) of the one task that holds for all examples now.

        Raises:
            StateError: if there is no such task.
        """
        return self._of_tasks(self._task().reshape(1))

    def routing(self, tasks: Int[Tensor, " n"]) -> Float[Tensor, "n heads skills"]:
        """The mixing weights w of tasks, computed in float32 or wider."""
        logits = self.logits[tasks.to(self.logits.device)].view(-1, self.heads, self.method.skills)
        return _weights(logits.to(wide(logits.dtype)), self.method)

    def mixture(
        self, weights: Float[Tensor, "n heads skills"]
    ) -> tuple[Float[Tensor, "*batch out nr"], Float[Tensor, "*batch nr in"]]:
        """The factors of n mixtures side by side, without alpha / r."""
        weights = weights.to(self.lora_a.dtype)
        left = torch.einsum("nhs,...hsro->...honr", weights, self.lora_b)
        right = torch.einsum("nhs,...hsir->...nrhi", weights, self.lora_a)
        return left.flatten(-2).flatten(-3, -2), right.flatten(-2).flatten(-3, -2)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus the low-rank product, each example with the factors of its own task."""
        context = None if self.runtime is None else self.runtime.current_context()
        dim = 0 if context is None else context.batch_dim
        tasks, places = self._distinct(x.shape[dim] if x.ndim else 1)
        left, right = self._of_tasks(tasks)
        if len(tasks) == 1:
            return self.add_product(x, base, Product(left, right), inplace=False, own=False)
        bottleneck = self.target.down(x, right.to(base.dtype), base)
        own = (places[:, None] == torch.arange(len(tasks), device=places.device)).to(base)
        bottleneck = self.target.weighed(bottleneck, own.repeat_interleave(self.method.rank, dim=-1), dim)
        return base + self.target.up(bottleneck, left.to(base.dtype))

    def _of_tasks(self, tasks: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        left, right = self.mixture(self.routing(tasks))
        return self.scaling * left, right

    def _distinct(self, rows: int) -> tuple[Int[Tensor, " n"], Int[Tensor, " rows"]]:
        """The distinct tasks of a batch and the place of each row's task among them.

        In a compiled graph, whose shape cannot depend on values, every example counts as a task of its own.
        """
        tasks = self._task(rows)
        if tasks.ndim == 0:
            return tasks.reshape(1), tasks.new_zeros(rows)
        if not torch.compiler.is_compiling():
            return torch.unique(tasks, return_inverse=True)
        context = None if self.runtime is None else self.runtime.current_context()
        repeat = rows // ((context and context.examples) or 1)
        return tasks[::repeat], torch.arange(rows, device=tasks.device) // repeat

    def _task(self, rows: int | None = None) -> Int[Tensor, "..."]:
        """The task of each of `rows` rows, or the one that holds for all; 0 where there is but one and none is named.

        Raises:
            StateError: if no task is named, an id is unknown, or there is more than one number for each example.
        """
        context = None if self.runtime is None else self.runtime.current_context()
        if self.method.tasks == 1 and (context is None or "task" not in context.values):
            return torch.zeros((), dtype=torch.int64)
        given = self.value("task", rows)
        if given.ndim > 1:
            raise StateError(f"'task' must be one id for each example, got a tensor of shape {list(given.shape)}.")
        tasks = given.long()
        known = (tasks == given) & (tasks >= 0) & (tasks < self.method.tasks)
        if torch.compiler.is_compiling():
            torch.ops.aten._assert_async.msg(known.all(), "'task' holds an id that the router does not know")
        elif not bool(known.all()):
            raise StateError(
                f"{self.target.name!r} knows the tasks 0 to {self.method.tasks - 1}, got "
                f"{given[~known].unique().tolist()}; pass one of these ids for each example, or learn a new task from "
                "these skills with router_only(adaptation)."
            )
        return tasks


def _weights(logits: Float[Tensor, "n heads skills"], method: Poly) -> Float[Tensor, "n heads skills"]:
    """The mixing weights from the logits."""
    if method.normalize == "l2":
        return F.normalize(logits, dim=-1, eps=1e-12)
    chosen = torch.sigmoid(logits)
    if method.straight_through:
        chosen = chosen + (chosen.round() - chosen).detach()
    if method.shared_skill:
        chosen = torch.cat([chosen[..., :-1], torch.ones_like(chosen[..., -1:])], dim=-1)
    if method.normalize == "sqrt":
        return chosen * (logits.shape[-2] ** 0.5 / logits.shape[-1] ** 0.5)
    return chosen / (chosen.sum(-1, keepdim=True) + 1e-12)


def _require_divisible(target: Target, heads: int) -> None:
    both = math.gcd(target.out_features, target.in_features)
    if both % heads:
        allowed = [divisor for divisor in range(1, both + 1) if both % divisor == 0]
        raise MethodError(
            f"heads {heads} does not divide both sides of {target.name!r} ({target.out_features} x "
            f"{target.in_features}); choose one of {allowed}, or leave the weight out of targets."
        )
