# SPDX-License-Identifier: Apache-2.0
"""Gradient spectra of training examples: what one step of fine-tuning on each would do to a model's attention.

For each example, layer and projection X in {q, k, v, o}, with G = d loss / d W_X and singular values s of G:

    nuclear norm  sum s        effective rank  exp(-sum p ln p), p = s / sum s        Frobenius norm
    cosine of the gradients of (q, o) and (k, v) of one layer, and of X in two adjacent layers

loss is the mean over the response tokens; the model is only differentiated, one example at a time, in eval mode. Better
data gave lower nuclear norms and higher effective ranks (Li et al., arXiv:2504.10766). Both are moved by length alone:
the rank of G is at most the number of tokens, and a mean over few tokens is noisier. So every result carries tokens and
response tokens, and beside each reading one that is less bound to length: effective rank / min(side, tokens), nuclear
norm * sqrt(response tokens).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.errors import MethodError
from rankwise.inspect.data.examples import DataSet
from rankwise.inspect.data.gradient_factors import Factors, gradient_factors
from rankwise.inspect.data.gradient_spectra import gradient_cosines, gradient_numbers
from rankwise.inspect.data.journal import DataJournal
from rankwise.inspect.data.projections import ROLES, Projection, find_projections
from rankwise.inspect.side_by_side import side_by_side
from rankwise.inspect.tracking import tracked
from rankwise.recipes.encode import IGNORED, Encoded
from rankwise.recipes.errors import DataError

PAIRS = (("q", "o"), ("k", "v"))
Profile = list[float]  # one number a layer; not a number where it is not defined


@dataclass(frozen=True)
class ExampleSpectra:
    """The gradients of one example in numbers.

    Attributes:
        id: of the example.
        tokens: length of the sequence, T.
        response: response tokens that the loss counts, L.
        loss: the mean loss of a response token.
        layers: numbers of the layers, for all lists below.
        nuclear: nuclear norms by projection.
        effective_rank: effective ranks by projection.
        frobenius: Frobenius norms by projection.
        side: the smaller side of the weights, by projection.
        same_layer: cosines of "q,o" and "k,v"; not a number where the two shapes differ.
        adjacent: cosines with the next layer by projection; not a number where that was not analyzed.
    """

    id: str
    tokens: int
    response: int
    loss: float
    layers: list[int]
    nuclear: dict[str, Profile]
    effective_rank: dict[str, Profile]
    frobenius: dict[str, Profile]
    side: dict[str, list[int]]
    same_layer: dict[str, Profile]
    adjacent: dict[str, Profile]

    @property
    def rank_share(self) -> dict[str, Profile]:
        """Effective rank / min(side, T): the share of the rank that is possible."""
        return {
            role: [rank / min(side, self.tokens) for rank, side in zip(ranks, self.side[role], strict=True)]
            for role, ranks in self.effective_rank.items()
        }

    @property
    def scaled_nuclear(self) -> dict[str, Profile]:
        """Nuclear norm * sqrt(L): the size that independent token gradients would keep under averaging."""
        return {role: [n * math.sqrt(self.response) for n in norms] for role, norms in self.nuclear.items()}


@dataclass(frozen=True)
class MeasuredData:
    """The gradient spectra of a data set.

    Attributes:
        name: of the data set.
        examples: one for each example.
        short: ids of examples that were left out for too short a response.
    """

    name: str
    examples: tuple[ExampleSpectra, ...]
    short: tuple[str, ...] = ()


def measure_data(
    model: nn.Module, data: DataSet, every: int = 1, journal: str | Path | None = None, *, progress: bool = False
) -> MeasuredData:
    """The gradient spectra of each example of a data set.

    Args:
        model: a causal language model that is called as model(input_ids=...) and answers with `logits`, in float32.
        data: the examples.
        every: take each `every`-th attention layer; profiles are smooth over depth.
        journal: a file of JSON lines, made if it is not there. Each example is written to it once it is done, and what
            it holds for this model and these layers is not computed again.
        progress: draw a bar.

    Raises:
        ModelError: if there is no attention that can be told apart, or the model computes in less than float32.
        DataError: if there is no example, or the loss of one is not finite; the message has its id.
        MethodError: if `every` is below 1.
    """
    if every < 1:
        raise MethodError(f"layers={every}: take every layer (1), every 2nd (2), ...")
    if not data.items:
        raise DataError(f"{data.name} holds no example; there is nothing to measure.")
    places = find_projections(model)
    chosen = {number: places[number] for number in list(places)[::every]}
    kept = None if journal is None else DataJournal(Path(journal), model, list(chosen))
    result = []
    for key, item in tracked(data.items.items(), f"gradients of {data.name}", len(data.items), progress):
        record = kept.get(key, item) if kept else None
        if record is None:
            record = asdict(_measured(model, key, item, chosen))
            if kept:
                kept.add(key, item, record)
        result.append(ExampleSpectra(**record))
    return MeasuredData(data.name, tuple(result), data.short)


def response_loss(model: nn.Module, item: Encoded) -> Float[Tensor, ""]:
    """The mean cross entropy of the response tokens, each given all before it."""
    device = next(model.parameters()).device
    ids, labels = (torch.tensor([values], device=device) for values in (item.input_ids, item.labels))
    logits = model(input_ids=ids, use_cache=False).logits
    return F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED)


def example_gradients(
    model: nn.Module, item: Encoded, places: Mapping[int, Mapping[str, Projection]]
) -> tuple[float, dict[int, dict[str, Factors]]]:
    """The loss of an example, and its gradients by layer and projection as factors.

    Args:
        model: a causal language model.
        item: the example.
        places: where the projections are, as `find_projections` tells.
    """
    paths = list(dict.fromkeys(one.path for layer in places.values() for one in layer.values()))
    loss, found = gradient_factors(model, paths, lambda: response_loss(model, item))
    gradients = {}
    for number, layer in places.items():
        queries = found[layer["o"].path].shape[1]
        gradients[number] = {role: _own(found[layer[role].path], layer[role], queries) for role in ROLES}
    return loss, gradients


def _own(factors: Factors, projection: Projection, queries: int) -> Factors:
    if projection.groups is None:
        return factors
    return factors.block(projection.rows(factors.shape[0], queries))


def _measured(
    model: nn.Module, key: str, item: Encoded, places: Mapping[int, Mapping[str, Projection]]
) -> ExampleSpectra:
    if not item.learned:
        raise DataError(f"{key}: the example has no response token whose loss could be taken; take it out.")
    loss, gradients = example_gradients(model, item, places)
    finite = all(bool(one.gradients.isfinite().all()) for layer in gradients.values() for one in layer.values())
    if not math.isfinite(loss) or not finite:
        raise DataError(
            f"{key}: the loss is {loss}{'' if finite else ' and its gradient is not finite'}; look at the "
            "example, or at the model if all examples do this."
        )
    layers = list(gradients)
    found = list(side_by_side(gradient_numbers, [gradients[layer][role] for role in ROLES for layer in layers]))
    numbers = {role: found[at * len(layers) : (at + 1) * len(layers)] for at, role in enumerate(ROLES)}
    return ExampleSpectra(
        id=key,
        tokens=len(item.input_ids),
        response=item.learned,
        loss=loss,
        layers=layers,
        nuclear={role: [one.nuclear for one in profile] for role, profile in numbers.items()},
        effective_rank={role: [one.effective_rank for one in profile] for role, profile in numbers.items()},
        frobenius={role: [one.frobenius for one in profile] for role, profile in numbers.items()},
        side={role: [one.side for one in profile] for role, profile in numbers.items()},
        same_layer={f"{a},{b}": [_cosine(g[a], g[b]) for g in gradients.values()] for a, b in PAIRS},
        adjacent={role: list(_adjacent(gradients, role)) for role in ROLES},
    )


def _adjacent(gradients: Mapping[int, Mapping[str, Factors]], role: str) -> Iterator[float]:
    for layer, own in gradients.items():
        following = gradients.get(layer + 1)
        yield math.nan if following is None else _cosine(own[role], following[role])


def _cosine(first: Factors, second: Factors) -> float:
    return float(gradient_cosines([first, second])[0, 1]) if first.shape == second.shape else math.nan
