# SPDX-License-Identifier: Apache-2.0
"""A ladder of settings, and how many parameters of a setting train.

What counts is what can train in the end, whatever the data: ranks that grow count as if all growth went to the largest
weights, and DiffoRA counts after its search, with the largest weights kept and with every pair that those may use which
are not. What is masked until the end does not count, nor do DiffoRA's factors during the search, when all of them train
in turn with the gates.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.nola import NOLA
from rankwise.adapters.search import SearchState
from rankwise.adapters.svfit import SVFit
from rankwise.adapters.triadaptlora import TriAdaptLoRA
from rankwise.core.growth import Growing, GrowingAdapter
from rankwise.core.method import Method
from rankwise.core.place import Parts
from rankwise.core.targets import Target


@dataclass(frozen=True)
class Terms:
    """What a setting has to fit.

    Attributes:
        targets: the weights that a task adapts.
        steps: optimizer steps of a run.
        tasks: how many task ids there are, for methods that are told.
    """

    targets: list[Target]
    steps: int
    tasks: int

    @property
    def smaller_sides(self) -> list[int]:
        """min(out, in) of every weight."""
        return [min(target.out_features, target.in_features) for target in self.targets]

    @property
    def matrices(self) -> int:
        """How many matrices the weights are, those of a stack counted one by one."""
        return sum(math.prod(target.batch) for target in self.targets)

    def common(self, number: int = 0) -> int:
        """The largest divisor of both sides of every weight, and of a number."""
        return math.gcd(number, *(side for target in self.targets for side in target.matrix_shape[-2:]))

    def to_the_longest_side(self, first: int = 1) -> range:
        """Sizes up to the longest side of a weight."""
        return range(first, max(max(target.matrix_shape[-2:]) for target in self.targets) + 1)


def trained(method: Method, parts: Parts) -> int:
    """The trainable tensors of adapters and of what they share."""
    shared = [] if parts.installed.shared is None else [parts.installed.shared]
    return sum(p.numel() for one in (*parts.adapters.values(), *shared) for p in one.parameters() if p.requires_grad)


def itself(method: Method) -> Method:
    """The same method."""
    return method


@dataclass(frozen=True)
class Ladder:
    """The settings of one method by growing size.

    Attributes:
        setting: the method of a size.
        sizes: the sizes, in the order of their parameters.
        counted: how many parameters a setting trains, from the setting and the parts of its twin.
        twin: a method that is refused on the same weights for the same sizes, and is cheaper to build.
        layers: what kind of layers the method adapts.
        decomposes: whether it decomposes every weight, or its inputs, so that one weight of each size has to do as a
            trial.
    """

    setting: Callable[[int, Terms], Method]
    sizes: Callable[[Terms], Sequence[int]] = Terms.to_the_longest_side
    counted: Callable[[Method, Parts], int] = trained
    twin: Callable[[Method], Method] = itself
    layers: Literal["any", "convolutions", "linear"] = "any"
    decomposes: bool = False


def fully_grown(method: Method, parts: Parts) -> int:
    """The final ranks with all growth in the largest weights, up to their limits, one after the other."""
    assert isinstance(method, Growing)
    start, target_rank, total = method.rank, method.target_rank, 0
    weights = [one for one in parts.adapters.values() if isinstance(one, GrowingAdapter)]
    weights.sort(key=lambda one: sum(one.target.matrix_shape[-2:]), reverse=True)
    left = sum((target_rank - start) * one.rank.numel() for one in weights)
    for one in weights:
        for _ in range(one.rank.numel()):
            rank = min(one.limit, start + left)
            left -= rank - start
            between = rank + 1 if isinstance(method, TriAdaptLoRA) else 1  # two triangles, or one vector
            total += rank * (sum(one.target.matrix_shape[-2:]) + between)
    return total


def after_search(method: Method, parts: Parts) -> int:
    """The most that trains whatever the gates choose: the factors of the largest weights, and the pairs of the rest."""
    state = parts.installed.shared
    assert isinstance(method, DiffoRA) and isinstance(state, SearchState)
    own = [sum(p.numel() for p in parts.adapters[name].parameters(recurse=False)) for name in state.names]
    state.theta.data = state.theta.data.new_tensor(own)
    kept = state.chosen(method.rho, by_layer=method.scope == "layer").tolist()
    layers = state.layers if method.scope == "layer" and state.layers is not None else [""] * len(own)
    dropping = {layer for layer, keep in zip(layers, kept, strict=True) if not keep}
    used = {pair for layer, pair in zip(layers, state.pairs.of, strict=True) if layer in dropping}
    pairs = sum(state.pairs.left[pair].numel() + state.pairs.right[pair].numel() for pair in used)
    return pairs + sum(number for number, keep in zip(own, kept, strict=True) if keep)


def values(method: Method, parts: Parts) -> int:
    """Singular values, or pivots and the scale of each weight's."""
    assert isinstance(method, SVFit | LoLDU)
    scales = int(isinstance(method, LoLDU))
    targets = [one.target for one in parts.adapters.values()]
    return sum(math.prod(one.batch) * ((method.rank or min(one.matrix_shape[-2:])) + scales) for one in targets)


def coefficients(method: Method, parts: Parts) -> int:
    """One number for each random matrix of both factors."""
    assert isinstance(method, NOLA)
    return sum(2 * method.k * math.prod(one.target.batch) for one in parts.adapters.values())
