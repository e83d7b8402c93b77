# SPDX-License-Identifier: Apache-2.0
"""The settings of every registered method by growing size.

What is not size is as published: a method's own start and its own scale. Methods whose scale is alpha / rank get
alpha = 2 rank. Nothing is dropped out that is not by default, for runs are short. Schedules are fractions of the run:
ranks that grow start at half, and IncreLoRA has them grown after five events between a fifth and three fifths of it;
DiffoRA searches in the first half.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rankwise.adapters.bat import Bat
from rankwise.adapters.bone import Bone
from rankwise.adapters.convdora import ConvDoRA
from rankwise.adapters.convlora import ConvLoRA
from rankwise.adapters.cpdora import CPDoRA
from rankwise.adapters.cplora import CPLoRA
from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.dora import DoRA
from rankwise.adapters.dorac import DoRAC
from rankwise.adapters.eva import EVA
from rankwise.adapters.flora import FLoRA
from rankwise.adapters.hydra import Hydra
from rankwise.adapters.increlora import IncreLoRA
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.lora import LoRA
from rankwise.adapters.lorac import LoRAC
from rankwise.adapters.mhr import MHR
from rankwise.adapters.mos import MoS
from rankwise.adapters.nola import NOLA
from rankwise.adapters.pego import PEGO
from rankwise.adapters.petalface import PETALface
from rankwise.adapters.poly import Poly
from rankwise.adapters.randlora import RandLoRA
from rankwise.adapters.salt import SALT
from rankwise.adapters.shards import Pools
from rankwise.adapters.snell import SNELL
from rankwise.adapters.snella import SNELLA
from rankwise.adapters.svfit import SVFit
from rankwise.adapters.tlora import TLoRA
from rankwise.adapters.triadaptlora import TriAdaptLoRA
from rankwise.bench.counts import Ladder, Terms, after_search, coefficients, fully_grown, values
from rankwise.core.method import LowRank, Method
from rankwise.linalg.divisors import divisors

_SKILLS, _MEMBERS, _HEADS, _SHARDS = 8, 4, 8, 4  # as published
_RANDOM = range(1, 1025)  # random matrices of each factor, up to the most that NOLA was published with
_EVENTS = 5


def _low_rank(kind: type[LowRank] | type[LoRA], **fields: Any) -> Ladder:
    return Ladder(lambda size, terms: kind(rank=size, alpha=2 * size), **fields)


def _all_or_fewer(kind: type[SVFit] | type[LoLDU]) -> Ladder:
    """As many values as the smallest weight has, and last all values of every weight."""

    def sizes(terms: Terms) -> Sequence[int]:
        return sorted({*range(1, min(terms.smaller_sides) + 1), max(terms.smaller_sides)})

    def setting(size: int, terms: Terms) -> Method:
        return kind(rank=None if size == max(terms.smaller_sides) else size)

    return Ladder(setting, sizes, values, _lora, decomposes=True)


def _lora(method: Method) -> Method:
    return LoRA(rank=method.to_dict()["rank"] or 1)


def _tenth(terms: Terms) -> int:
    return max(1, terms.steps // 10)


def _growing(size: int, terms: Terms) -> dict[str, Any]:
    schedule = {"init_warmup": _tenth(terms), "incre_interval": _tenth(terms), "total_steps": terms.steps}
    return {"rank": size // 2, "target_rank": size, "alpha": 2 * size} | schedule


def _increlora(size: int, terms: Terms) -> Method:
    method = IncreLoRA(**_growing(size, terms))
    growths = math.ceil(terms.matrices * (size - method.rank) / method.increment)
    return replace(method, top_h=math.ceil(growths / _EVENTS))


def _diffora(size: int, terms: Terms) -> Method:
    warmup = _tenth(terms)
    in_layers = all(any(part.isdigit() for part in target.name.split(".")) for target in terms.targets)
    return DiffoRA(
        rank=size,
        alpha=2 * size,
        search_warmup=warmup,
        search_steps=max(terms.steps // 2, warmup + 1),
        scope="layer" if in_layers else "global",
    )


def _hydra(size: int, terms: Terms) -> Method:
    return Hydra(rank_parallel=math.ceil(size / 2), rank_sequential=size // 2)


def _mos(size: int, terms: Terms) -> Method:
    """Four times as many vectors as the budget's rank, as published, or as many as the smallest pool holds."""
    shards = terms.common(_SHARDS)
    groups = Pools(terms.targets, MoS(rank=size, equivalent_rank=size, shards=shards)).shares.values()
    held = (size - 1) * min(share.layers for share in groups) + 1  # one vector is private
    rank = max(size, min(4 * size, held, *terms.smaller_sides))
    return MoS(rank=rank, equivalent_rank=size, shards=shards, alpha=2 * rank)


def _pieces(most: int) -> Callable[[Terms], Sequence[int]]:
    """Total ranks of 2 or more pieces of rank 1, then multiples of the most pieces."""

    def sizes(terms: Terms) -> Sequence[int]:
        longest = terms.to_the_longest_side()
        return [*range(2, most), *range(most, max(longest[-1], most) + 1, most)]

    return sizes


def _poly(size: int, terms: Terms) -> Method:
    skills = min(size, _SKILLS)
    return Poly(rank=size // skills, skills=skills, tasks=terms.tasks)


def _mhr(size: int, terms: Terms) -> Method:
    skills = min(size, _SKILLS)
    return MHR(rank=size // skills, skills=skills, tasks=terms.tasks, heads=terms.common(_HEADS))


def _pego(size: int, terms: Terms) -> Method:
    members = min(size, _MEMBERS)
    return PEGO(rank=size // members, members=members)


def _randlora_ranks(terms: Terms) -> Sequence[int]:
    """Ranks of one product in falling order, those left out that another one serves for as many products."""
    full = max(terms.smaller_sides)
    return sorted({math.ceil(full / count) for count in range(1, full + 1)}, reverse=True)


def _tails(terms: Terms) -> Sequence[int]:
    """Ranks of the tail, which is the half of the singular values that are not scaled and shifted."""
    return range(1, max(side - side // 2 for side in terms.smaller_sides) + 1)


def _segments(terms: Terms) -> Sequence[int]:
    return terms.to_the_longest_side(2)[::2]


def _snella(size: int, terms: Terms) -> Method:
    return SNELLA(rank=size, total_steps=terms.steps, interval=_tenth(terms))


LADDERS: dict[str, Ladder] = {
    "bat": Ladder(lambda size, terms: Bat(rank=size), lambda terms: divisors(terms.common())),
    "bone": Ladder(lambda size, terms: Bone(rank=size)),
    "convdora": _low_rank(ConvDoRA, layers="convolutions"),
    "convlora": _low_rank(ConvLoRA, layers="convolutions"),
    "cpdora": _low_rank(CPDoRA),
    "cplora": _low_rank(CPLoRA),
    "diffora": Ladder(_diffora, counted=after_search),
    "dora": _low_rank(DoRA),
    "dorac": _low_rank(DoRAC, layers="convolutions"),
    # with rho above 1 the ranks, and with them the number of parameters, would depend on the data of each run
    "eva": Ladder(lambda size, terms: EVA(rank=size, rho=1.0), twin=_lora, decomposes=True),
    "flora": Ladder(lambda size, terms: FLoRA(rank=size)),
    "hydra": Ladder(_hydra, lambda terms: terms.to_the_longest_side(2)),
    "increlora": Ladder(_increlora, lambda terms: terms.to_the_longest_side(2), fully_grown),
    "loldu": _all_or_fewer(LoLDU),
    "lora": _low_rank(LoRA),
    "lorac": _low_rank(LoRAC, layers="convolutions"),
    "mhr": Ladder(_mhr, _pieces(_SKILLS)),
    "mos": Ladder(_mos),
    "nola": Ladder(lambda size, terms: NOLA(k=size), lambda terms: _RANDOM, coefficients, lambda method: NOLA(k=1)),
    "pego": Ladder(_pego, _pieces(_MEMBERS)),
    "petalface": Ladder(lambda size, terms: PETALface(rank=size)),
    "poly": Ladder(_poly, _pieces(_SKILLS)),
    "randlora": Ladder(lambda size, terms: RandLoRA(rank=size), _randlora_ranks),
    "salt": Ladder(lambda size, terms: SALT(tail_rank=size), _tails, decomposes=True),
    "snell": Ladder(lambda size, terms: SNELL(rank=size), _segments),
    "snella": Ladder(_snella, _segments),
    "svfit": _all_or_fewer(SVFit),
    "tlora": Ladder(lambda size, terms: TLoRA(rank=size), layers="linear"),
    "triadaptlora": Ladder(
        lambda size, terms: TriAdaptLoRA(**_growing(size, terms)),
        lambda terms: terms.to_the_longest_side(2),
        fully_grown,
    ),
}
