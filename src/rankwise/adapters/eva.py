# SPDX-License-Identifier: Apache-2.0
"""Start low-rank adaptation from the principal directions of each layer's inputs, with the ranks where they are needed.

    W = W0 + alpha / r left right,   right = C[:r_i],  left = 0 at the start,   C the principal directions of the inputs
    share_ij = variance of the inputs of weight i along C_ij / their whole variance
    r_i = how many of the sum_i r largest shares are those of weight i, at most round(rho r)

The directions come from a few batches of the fine-tuning data (`calibration=`), seen once by the frozen model. The
factor alpha / r is that of the nominal rank for every weight, so a weight of rank r_i has alpha_i = alpha r_i / r. A
weight of rank 0 gets no adapter. From then on everything is LoRA.

EVA: Paischer et al. 2024, arXiv 2410.07170. Inputs are centered as in the official code (the paper's theorem is about
`center=False`). Embeddings, whose inputs are indices, and weights that are read without calling a layer are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.adapters.lora import LoRA, LoRAAdapter
from rankwise.core.calibration import Calibrated, Calibration, Group, Reading
from rankwise.core.method import Method, register
from rankwise.core.targets import EmbeddingTarget, Target
from rankwise.errors import MethodError, TargetError
from rankwise.linalg.incremental_pca import PrincipalComponents
from rankwise.linalg.settling import Directions, GramDirections, IncrementalDirections

_WIDEST_GRAM = 4096  # inputs up to here get a Gram matrix by default


@register
@dataclass(frozen=True)
class EVA(Method):
    """Explained variance adaptation: LoRA that starts from the data.

    Attributes:
        rank: nominal rank; the ranks of all weights add up to its sum.
        rho: how far a rank may grow, as a factor; 1 leaves all ranks as they are.
        alpha: scale of the product; every delta is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.
        tau: cosine between the directions before and after more data at which they count as converged.
        center: whether to subtract the inputs' mean.
        whiten: "none"; "deviation" divides each direction by the inputs' standard deviation along it, "singular" (the
            official code's way) by the root of its singular value, which depends on how many rows were seen.
        backend: "gram" adds up Gram matrices and is exact, "incremental" updates components batch by batch as the
            official code does (with a randomized decomposition above 4096 features); "auto" takes "gram" for inputs of
            up to 4096 features.
        use_label_mask: whether tokens with the label -100 are left out.
        max_batches: the most calibration batches that are run.

    Raises:
        MethodError: if a field is out of range.
    """

    calibrated: ClassVar[bool] = True

    rank: int = 16
    rho: float = 2.0
    alpha: float = 1.0
    dropout: float = 0.0
    tau: float = 0.99
    center: bool = True
    whiten: Literal["none", "deviation", "singular"] = "none"
    backend: Literal["auto", "gram", "incremental"] = "auto"
    use_label_mask: bool = True
    max_batches: int = 256

    def validate(self) -> None:
        """Check ranges."""
        for name in ("rank", "rho", "max_batches"):
            self.at_least(name, 1)
        self.above("alpha", 0)
        for name in ("dropout", "tau"):
            self.probability(name)

    def at_rank(self, rank: int) -> "EVA":
        """The method of a weight with another rank, and the same alpha / rank."""
        return self if rank == self.rank else replace(self, rank=rank, alpha=self.alpha * rank / self.rank)

    def adapter(self, target: Target) -> LoRAAdapter:
        """Build the two factors for one weight; `calibrate` starts the right one."""
        return LoRAAdapter(target, LoRA(rank=self.rank, alpha=self.alpha, dropout=self.dropout))

    def calibrate(self, targets: list[Target], methods: Sequence[Method], calibration: Calibration) -> Calibrated:
        """Find each input's principal directions and give each weight its share of the ranks.

        Raises:
            MethodError: if a rank or the number of components is above what a layer or the data has.
            TargetError: if a target is no layer that is called, or got no input.
        """
        ranks = [one.to_dict()["rank"] for one in methods]
        for target, rank in zip(targets, ranks, strict=True):
            _require_input(target)
            target.require_rank(rank)
        most = {
            target.name: min(round(rank * self.rho), target.out_features, target.in_features)
            for target, rank in zip(targets, ranks, strict=True)
        }

        def build(shared: list[Target]) -> Directions:
            return self._directions(shared[0], max(most[one.name] for one in shared))

        def review(groups: list[Group]) -> None:
            if all(one.statistic.before is not None for one in groups):
                given = _redistributed(groups, most, sum(ranks))
                for one in groups:
                    wanted = max(given[target.name] for target in one.targets)
                    one.active = not one.statistic.settled(wanted, self.tau)

        reading = Reading(self.max_batches, self.use_label_mask)
        groups = calibration.run(targets, reading, build, review)
        for one in groups:
            if not one.statistic.finish():
                raise _too_few(one)
        given = _redistributed(groups, most, sum(ranks))
        starts = {
            target.name: {"right": self._start(one.statistic.now, given[target.name], target)}
            for one in groups
            for target in one.targets
            if given[target.name]
        }
        return Calibrated({one.name: given[one.name] for one in targets}, starts)

    def _directions(self, target: Target, count: int) -> Directions:
        wide = target.in_features > _WIDEST_GRAM
        if self.backend == "gram" or (self.backend == "auto" and not wide):
            return GramDirections(count, center=self.center)
        return IncrementalDirections(count, center=self.center, generator=target.generator() if wide else None)

    def _start(self, found: PrincipalComponents, rank: int, target: Target) -> Float[Tensor, "r in"]:
        if self.whiten == "none":
            return found.directions[:rank].clone()
        sizes = found.singular_values if self.whiten == "singular" else found.explained_variance
        if not bool((sizes[:rank] > 0).all()):
            raise MethodError(
                f"the inputs of {target.name!r} vary along fewer than {rank} directions, so whiten={self.whiten!r} "
                'would divide by zero; use whiten="none", a smaller rank or more calibration data.'
            )
        return found.directions[:rank] / sizes[:rank, None].sqrt()


def redistribute(shares: Sequence[Float[Tensor, "_"]], budget: int) -> list[int]:
    """How many of the `budget` largest entries of all vectors belong to each of them; of equal ones the first count."""
    owner = torch.cat([torch.full((len(share),), index) for index, share in enumerate(shares)])
    order = torch.cat([share.cpu() for share in shares]).argsort(descending=True, stable=True)
    return torch.bincount(owner[order[:budget]], minlength=len(shares)).tolist()


def _redistributed(groups: list[Group], most: dict[str, int], budget: int) -> dict[str, int]:
    """The rank of each target."""
    shares = {t.name: one.statistic.now.explained_variance_ratio[: most[t.name]] for one in groups for t in one.targets}
    return dict(zip(shares, redistribute(list(shares.values()), budget), strict=True))


def _too_few(group: Group) -> MethodError:
    where = "in all calibration batches together" if group.statistic.once else "in each of the calibration batches"
    return MethodError(
        f"{group.statistic.count} principal directions (rank times rho) of the input of {group.targets[0].name!r} need "
        f"as many rows, but there are fewer {where} ({group.rows} in all); give more data, or lower rank or rho."
    )


def _require_input(target: Target) -> None:
    if isinstance(target, EmbeddingTarget):
        raise TargetError(
            f"{target.name!r} is an embedding, whose inputs are indices without principal directions; leave it out of "
            "targets, or give it a LoRA adapter of its own name."
        )
    if not target.called:
        raise TargetError(
            f"{target.name!r} is read without its layer being called, so EVA cannot see its inputs; leave it out of "
            "targets, or give it a LoRA adapter of its own name."
        )
