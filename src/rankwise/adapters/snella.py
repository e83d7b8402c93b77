# SPDX-License-Identifier: Apache-2.0
"""Let the entries of all weights compete for one budget, which falls while training, as well as those within a weight.

    N(t) = N1 + (N0 - N1) (1 - (t - t_init) / (T - t_final - t_init))^3,     N0 before that, N1 after it
    q = |p grad p|,   I <- b1 I + (1 - b1) q,   U <- b2 U + (1 - b2) |q - I| with the new I,    for every p in P and Q
    score of a weight = mean(I_P U_P) + mean(I_Q U_Q)

of an update made as SNELL makes it, here with the mixed kernel. At an event each weight may keep as many entries as its
score's share of N(t), at most all of them; what a full weight cannot take goes to the others by their scores, and
roundings go to the largest remainders, so that the numbers of kept entries add up to N(t) exactly. q is the parameter
after an optimizer's step with the gradient before it. Weights may come close to none or to all of their entries; P and
Q stay dense throughout, with the optimizer's state untouched.

SNELLA: arXiv 2510.24037; code ssfgunner/SNELL. Counts steps where the published code counts epochs. Scores by |p| or by
the mean of |S| are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankwise.adapters.snell import SNELL, SNELLAdapter
from rankwise.core.budget import apportion
from rankwise.core.method import register
from rankwise.core.sharded import whole
from rankwise.core.targets import Target
from rankwise.core.training import Training
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class SNELLA(SNELL):
    """Kernelized sparse tuning with a budget that all weights share.

    The fields that are not named here are those of `SNELL`; there is always a sparsifier.

    Attributes:
        sparsity: share of the entries of all weights together whose update is zero in the end.
        initial_sparsity: the same at the start, in every weight.
        total_steps: T, length of training in optimizer steps, which must be given; no event comes later.
        initial_steps: t_init, steps at the start without an event.
        final_steps: t_final, steps at the end in which the budget has fallen to its last value, each with an event.
        interval: steps from one event to the next before that.
        beta1: memory of the averaged sensitivity I.
        beta2: memory of its uncertainty U.

    Raises:
        MethodError: if a field is out of range, the budget would rise, or no step is left for it to fall.
    """

    scheduled: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"sparsity": 0.5, "subtract_start": True, "total_steps": 6, "initial_steps": 1, "interval": 1}
    )

    kernel: Literal["piecewise", "mixed", "linear"] = "mixed"
    initial_sparsity: float = 0.0
    total_steps: int | None = None
    initial_steps: int = 0
    final_steps: int = 0
    interval: int = 10
    beta1: float = 0.85
    beta2: float = 0.85

    def validate(self) -> None:
        """Check ranges, and that the budget can fall."""
        super().validate()
        for name, bound in (("interval", 1), ("initial_steps", 0), ("final_steps", 0)):
            self.at_least(name, bound)
        for name in ("beta1", "beta2", "initial_sparsity"):
            self.probability(name)
        if self.sparsifier == "none":
            raise MethodError("SNELLA keeps the largest entries only; use SNELL for sparsifier='none'.")
        if self.initial_sparsity > self.sparsity:
            raise MethodError(
                f"SNELLA.initial_sparsity {self.initial_sparsity} is above the sparsity {self.sparsity} in the end; "
                "the budget of entries falls, so give a lower one."
            )
        if self.total_steps is not None and self.initial_steps + self.final_steps >= self.total_steps:
            raise MethodError(
                f"SNELLA.initial_steps {self.initial_steps} and final_steps {self.final_steps} leave none of the "
                f"total_steps {self.total_steps} for the budget to fall in; lower them."
            )

    def adapter(self, target: Target) -> "SNELLAAdapter":
        """Build the points of one weight, and what it remembers of their sensitivity.

        Raises:
            MethodError: if `total_steps` is not given.
        """
        self.required("total_steps", "the number of optimizer steps; the budget falls until training ends")
        return SNELLAAdapter(target, self)

    def budget(self, step: int, entries: int) -> int:
        """N(t), how many of all entries may be kept before step t, counted from 0."""
        length = self.required("total_steps", "the number of optimizer steps")
        first, last = (int((1 - Fraction(str(one))) * entries) for one in (self.initial_sparsity, self.sparsity))
        if step <= self.initial_steps:
            return first
        if step > length - self.final_steps:
            return last
        falling = length - self.final_steps - self.initial_steps
        return int(last + (first - last) * (1 - Fraction(step - self.initial_steps, falling)) ** 3)

    def has_event(self, step: int) -> bool:
        """Whether the budget is dealt out anew before step t, counted from 0."""
        length = self.required("total_steps", "the number of optimizer steps")
        if not self.initial_steps < step < length:
            return False
        return step > length - self.final_steps or step % self.interval == 0

    def after_step(self, training: Training) -> None:
        """Take the step's sensitivities in, and deal the budget out if it is time to."""
        adapters: list[SNELLAAdapter] = list(training.adapters.values())  # type: ignore[assignment]
        for one in adapters:
            one.observe(self.beta1, self.beta2)
        step = training.step + 1
        if not self.has_event(step):
            return
        limits = [one.entries for one in adapters for _ in range(one.kept.numel())]
        scores = torch.cat([one.scores().flatten().cpu() for one in adapters]).tolist()
        shares = torch.tensor(apportion(self.budget(step, sum(limits)), scores, limits))
        for one, share in zip(adapters, shares.split([one.kept.numel() for one in adapters]), strict=True):
            one.kept.copy_(share.reshape(one.kept.shape))


class SNELLAAdapter(SNELLAdapter):
    """The points of one weight, and the averages that its score comes from.

    Attributes:
        kept: how many entries each matrix of the weight may keep, [*batch].
        averages: those of P and of Q.
    """

    kept: Tensor

    def __init__(self, target: Target, method: SNELLA) -> None:
        super().__init__(target, method)
        kept = self.entries - self.start_order if method.initial_sparsity else self.entries
        self.register_buffer("kept", torch.full(target.batch, kept))
        self.averages = nn.ModuleList([Averages(self.p), Averages(self.q)])

    @staticmethod
    def start_sparsity(method: Any) -> float:
        """The sparsity that training begins with."""
        return method.initial_sparsity

    @property
    def order(self) -> Int[Tensor, "*batch"]:
        """The place of the threshold among the magnitudes of D, from 1."""
        return (self.entries - self.kept).clamp(min=1)

    @property
    def sparsity(self) -> Float[Tensor, "*batch"]:
        """Share of the entries that is zero now."""
        return 1 - self.kept.double() / self.entries

    def observe(self, beta1: float, beta2: float) -> None:
        """Take the sensitivities of a step in, after the optimizer's move and with the gradients before it."""
        for one, points in zip(self.averages, (self.p, self.q), strict=True):
            one.observe(points, beta1, beta2)  # type: ignore[operator]

    def scores(self) -> Float[Tensor, "*batch"]:
        """How important each matrix is, mean(I_P U_P) + mean(I_Q U_Q)."""
        products = [one.sensitivity.double() * one.uncertainty for one in self.averages]  # type: ignore[operator]
        return sum(one.flatten(len(self.target.batch)).mean(-1) for one in products)  # type: ignore[return-value]


class Averages(nn.Module):
    """What is remembered of one parameter's sensitivity.

    Attributes:
        sensitivity: I, of the parameter's shape; all of it in every process if the parameter is sharded.
        uncertainty: U likewise.
    """

    sensitivity: Tensor
    uncertainty: Tensor

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        self.register_buffer("sensitivity", torch.zeros_like(parameter.detach()))
        self.register_buffer("uncertainty", torch.zeros_like(parameter.detach()))

    def observe(self, parameter: nn.Parameter, beta1: float, beta2: float) -> None:
        """I and U after one more step; what is not finite, and a parameter without gradient, count as 0."""
        if parameter.grad is None:
            product = torch.zeros_like(self.sensitivity)
        else:
            product = (whole(parameter.detach()) * whole(parameter.grad)).abs()
        product = torch.where(product.isfinite(), product, 0.0)
        self.sensitivity.mul_(beta1).add_(product, alpha=1 - beta1)
        self.uncertainty.mul_(beta2).add_((product - self.sensitivity).abs(), alpha=1 - beta2)
