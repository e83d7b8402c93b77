# SPDX-License-Identifier: Apache-2.0
"""Which weights of a model a user means by `targets`.

    "all-linear"    every linear layer, attention projections and expert stacks included, the output head left out
    "attention"     those of them inside an attention module
    "mlp"           those of them in a numbered block and not in an attention module
    ["q_proj", ..]  names that end in one of these path suffixes; an attention or recurrent module's name means all its
                    matrices
    "layers.0.*"    any other string: one regular expression that matches whole names

A name or pattern that matches nothing is an error that lists the nearest names.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from rankwise.core.layer import SLOTS, slot_of
from rankwise.core.targets import (
    ConvTarget,
    ConvTransposeTarget,
    EmbeddingTarget,
    LinearTarget,
    ParameterTarget,
    Target,
)
from rankwise.core.targets.linear import is_transformers_conv1d
from rankwise.errors import TargetError, listed, nearest

KEYWORDS = ("all-linear", "attention", "mlp")
_HEADS = {"lm_head", "embed_out", "output_projection", "score", "classifier", "qa_outputs", "head", "fc_out"}
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_BLOCK = re.compile(r"(^|\.)\d+\.")


@dataclass(frozen=True)
class Candidate:
    """A weight that could be adapted.

    Attributes:
        name: its path.
        module: the module that holds it.
        attr: its attribute name there.
        owner: the path of the attention or recurrent module it belongs to, "" for others.
        linear: whether it is a linear map that "all-linear" means.
        build: makes its target.
    """

    name: str
    module: nn.Module
    attr: str
    owner: str
    linear: bool
    build: Callable[[], Target]


def find_targets(model: nn.Module, targets: str | Sequence[str]) -> list[Target]:
    """The targets that a user's `targets` names, in model order.

    Raises:
        TargetError: if nothing matches, a list entry matches nothing, or only some users of a tied weight match.
    """
    candidates = all_candidates(model)
    chosen = select(candidates, model, targets)
    return _built(model, chosen, {one.name for one in chosen})


def named_targets(model: nn.Module, names: Sequence[str]) -> list[Target]:
    """The targets with exactly these names, in model order; a tied weight has the name of its first user.

    Raises:
        TargetError: if the model has no such weight.
    """
    candidates = all_candidates(model)
    for name in names:
        if name not in candidates:
            raise TargetError(f"the model has no weight {name!r}. {nearest(name, candidates)}")
    wanted = set(names)
    return _built(model, [one for name, one in candidates.items() if name in wanted], set(candidates))


def all_candidates(model: nn.Module) -> "dict[str, Candidate]":
    """Every weight of a model that could be adapted, by name; those that are adapted already look the same."""
    return {candidate.name: candidate for candidate in _candidates(model)}


def _built(model: nn.Module, chosen: "list[Candidate]", allowed: set[str]) -> list[Target]:
    """The targets of candidates; a weight that is adapted already keeps its target, a tied one gets a single target."""
    ties = _ties(model)
    result, done = [], set()
    for candidate in chosen:
        parameter = candidate.module._parameters[candidate.attr]
        if id(parameter) in done:
            continue
        done.add(id(parameter))
        present = slot_of(candidate.module, candidate.attr)
        users = ties.get(id(parameter), [])
        if present is not None:
            result.append(present.target)
        elif len(users) < 2:
            result.append(candidate.build())
        else:
            result.append(_tied_target(candidate, users, allowed))
    return result


def select(candidates: dict[str, Candidate], model: nn.Module, targets: str | Sequence[str]) -> list[Candidate]:
    """The candidates that `targets` names; see `find_targets`."""
    if not candidates:
        raise TargetError(f"{type(model).__name__} has no weight that can be adapted: no matrix and no kernel.")
    if isinstance(targets, str):
        chosen = _by_keyword(candidates, model, targets) if targets in KEYWORDS else _by_pattern(candidates, targets)
        if not chosen:
            hint = nearest(targets, candidates)
            raise TargetError(
                f"targets={targets!r} matches none of the {len(candidates)} weights. {hint} Pass one of "
                f"{listed(KEYWORDS)}, a list of name suffixes, or one regular expression for whole names."
            )
        return chosen
    names = list(targets)
    if not names:
        raise TargetError('targets is an empty list; pass at least one name suffix, or "all-linear".')
    matched: dict[str, Candidate] = {}
    for suffix in names:
        hits = [one for one in candidates.values() if suffix_of(suffix, one.name) or _names_owner(suffix, one)]
        if not hits:
            leaves = {one.name.rsplit(".", 1)[-1] for one in candidates.values()}
            raise TargetError(
                f"the entry {suffix!r} of targets matches none of the {len(candidates)} weights. "
                f"{nearest(suffix, leaves | set(candidates))}"
            )
        matched |= {one.name: one for one in hits}
    return [one for name, one in candidates.items() if name in matched]


def suffix_of(suffix: str, name: str) -> bool:
    """Whether `suffix` is `name` or its last path components."""
    return name == suffix or name.endswith("." + suffix)


def clean(path: str) -> str:
    """A module path without what torch.compile puts into it."""
    return path.replace("_orig_mod.", "")


def _names_owner(suffix: str, one: Candidate) -> bool:
    return one.owner != "" and suffix_of(suffix, one.owner)


def _by_pattern(candidates: dict[str, Candidate], pattern: str) -> list[Candidate]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise TargetError(f"targets={pattern!r} is not a regular expression: {error}.") from error
    return [one for name, one in candidates.items() if compiled.fullmatch(name)]


def _by_keyword(candidates: dict[str, Candidate], model: nn.Module, keyword: str) -> list[Candidate]:
    heads = _heads(model)
    linear = [one for one in candidates.values() if one.linear and id(one.module) not in heads]
    if keyword == "all-linear":
        return linear
    attention = [one for one in linear if _ATTENTION.search(one.name) or one.owner]
    if keyword == "attention":
        return attention
    return [one for one in linear if one not in attention and _BLOCK.search(one.name)]


def _heads(model: nn.Module) -> set[int]:
    """Ids of the modules that map to the model's outputs."""
    getter = getattr(model, "get_output_embeddings", None)
    head = getter() if getter is not None else None
    found = {id(child) for name, child in model.named_children() if name in _HEADS}
    found |= {id(leaf) for name, child in model.named_children() if name in _HEADS for leaf in child.modules()}
    return found | ({id(head)} if head is not None else set())


def _candidates(model: nn.Module) -> Iterator[Candidate]:
    read: dict[int, tuple[nn.Module, str]] = {}  # layers whose weight another module reads
    hosts: dict[int, nn.Module] = {}  # encoder layers that read their attention's weights, by the attention
    for raw, module in model.named_modules():
        path = clean(raw)
        if SLOTS in path.split("."):
            continue
        if isinstance(module, nn.MultiheadAttention):
            read[id(module.out_proj)] = (hosts.get(id(module), module), path)
        if isinstance(module, nn.TransformerEncoderLayer):
            hosts[id(module.self_attn)] = module
            read |= {id(module.linear1): (module, ""), id(module.linear2): (module, "")}
        if id(module) in read:
            host, owner = read[id(module)]
            yield Candidate(
                path, module, "weight", owner, True, lambda p=path, m=module, h=host: _read(p, m, "weight", h)
            )
            continue
        yield from _of_module(path, module, hosts.get(id(module), module))


def _of_module(path: str, module: nn.Module, host: nn.Module) -> Iterator[Candidate]:
    name = path or "weight"  # the model itself may be a layer
    if isinstance(module, nn.Linear):
        yield Candidate(name, module, "weight", "", True, lambda: LinearTarget(name, module))
    elif is_transformers_conv1d(module):
        yield Candidate(name, module, "weight", "", True, lambda: LinearTarget(name, module, transposed=True))
    elif isinstance(module, _ConvTransposeNd):
        yield Candidate(name, module, "weight", "", False, lambda: ConvTransposeTarget(name, module))
    elif isinstance(module, _ConvNd):
        yield Candidate(name, module, "weight", "", False, lambda: ConvTarget(name, module))
    elif isinstance(module, nn.Embedding):
        yield Candidate(name, module, "weight", "", False, lambda: EmbeddingTarget(name, module))
    else:
        owner = path if isinstance(module, nn.MultiheadAttention | nn.RNNBase) else ""
        for attr, parameter in module._parameters.items():
            if parameter is None or parameter.ndim < 2 or attr in ("bias_k", "bias_v"):
                continue
            linear = isinstance(module, nn.MultiheadAttention)
            linear = linear or (parameter.ndim == 3 and "Experts" in type(module).__name__)
            full = f"{path}.{attr}" if path else attr
            yield Candidate(full, module, attr, owner, linear, lambda n=full, a=attr: _read(n, module, a, host))


def _read(name: str, module: nn.Module, attr: str, host: nn.Module) -> ParameterTarget:
    return ParameterTarget(name, module, attr, host)


def _ties(model: nn.Module) -> dict[int, list[tuple[str, nn.Module, str]]]:
    """The users of each parameter by its id."""
    users: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for path, module in model.named_modules():
        for attr, parameter in module._parameters.items():
            if parameter is not None:
                users.setdefault(id(parameter), []).append((clean(path), module, attr))
    return users


def _tied_target(first: Candidate, users: list[tuple[str, nn.Module, str]], chosen: set[str]) -> ParameterTarget:
    missing = [path for path, _, _ in users if path not in chosen and f"{path}.{first.attr}" not in chosen]
    if missing:
        raise TargetError(
            f"{first.name!r} shares its weight with {listed(missing)}; an adapter on one of them alone cannot be "
            f"merged and would be lost or doubled on saving. Put all of {listed([path for path, _, _ in users])} into "
            "targets, or untie the weights first."
        )
    others = tuple((module, attr) for _, module, attr in users if module is not first.module)
    return ParameterTarget(first.name, first.module, first.attr, first.module, others)
