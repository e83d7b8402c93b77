# SPDX-License-Identifier: Apache-2.0
"""The contract grid: every registered method on every kind of target with every feature.

A cell is empty only if mathematics leaves nothing to do there. Then the library must refuse, and `EMPTY` holds a piece
of the refusal's own message as the reason; the tests check that the refusal comes and says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import product

import rankwise.adapters  # noqa: F401 - registers the methods
from rankwise.core.method import Method, methods
from rankwise.errors import RankwiseError
from rankwise.testing.kinds import KINDS, Kind

FEATURES: dict[str, str] = {
    "start": "starts at the base function",
    "gradient": "every trainable tensor gets a gradient within 3 steps",
    "dense": "value and gradients equal those of the dense delta",
    "merge": "merge equals forward",
    "unmerge": "unmerge is exact",
    "disable": "disabled equals the base exactly",
    "remove": "remove restores the model",
    "sum": "two at once add up",
    "mixed": "a mixed batch equals one by one",
    "save": "save and load are identical",
    "resume": "resume is identical",
    "copy": "a deepcopy is equal and independent",
    "pickle": "a pickle is equal",
    "compile": "torch.compile is equal, in one graph",
    "autocast": "autocast changes precision alone",
    "recompute": "gradient checkpointing is equal",
    "accumulate": "gradient accumulation is equal",
    "dtype": "dtypes are what was asked for",
    "convert": "the conversion error is as stated",
    "ddp": "DDP with 2 processes equals 1",
    "fsdp2": "FSDP2 with 2 processes trains and saves the same checkpoint",
    "json": "JSON round trip",
    "seed": "the seed determines everything",
}


@dataclass(frozen=True)
class Empty:
    """Cells in which there is nothing to do, and why.

    Attributes:
        method: registered name, "*" for all.
        kind: name of the kind of target, "*" for all.
        feature: name of the feature, "*" for all.
        reason: a piece of the message with which the library refuses.
    """

    method: str
    kind: str
    feature: str
    reason: str


_OTHER_GROUP = "would mix output channels of different groups, which no grouped kernel can do"
_ROUNDED_AWAY = "writing a small update into it would erase most of it"

_DEPTHWISE = "its kernels are about as large as the layer's own"
_NO_CONVOLUTION = "is defined on convolution kernels alone"
_NO_MATRIX = "is a convolution or an embedding"
_NOT_SQUARE = "defined on square kernels of two dimensions alone"
_CONVOLUTIONS = [kind.name for kind in KINDS if kind.name.startswith("conv")]
_SQUARE = ("conv2d-square", "conv-grouped")
_OTHERS = [kind.name for kind in KINDS if kind.name not in _CONVOLUTIONS]
_UNCALLED = [*(kind.name for kind in KINDS if kind.name.startswith("mha")), "encoder-layer", "lstm", "gru"]
_UNCALLED += ["raw-matrix", "experts-3d", "tied-embedding-head"]
_NO_INPUT = "is read without its layer being called, so EVA cannot see its inputs"
EMPTY: tuple[Empty, ...] = (
    *(Empty("eva", kind, "*", _NO_INPUT) for kind in _UNCALLED),
    Empty("eva", "embedding", "*", "whose inputs are indices without principal directions"),
    *(Empty(method, "conv-depthwise", "*", _DEPTHWISE) for method in ("convlora", "convdora")),
    *(Empty(m, kind, "*", _NO_CONVOLUTION) for m in ("convlora", "convdora", "lorac", "dorac") for kind in _OTHERS),
    *(Empty(m, k, "*", _NOT_SQUARE) for m in ("lorac", "dorac") for k in _CONVOLUTIONS if k not in _SQUARE),
    *(Empty("tlora", kind, "*", _NO_MATRIX) for kind in [*_CONVOLUTIONS, "embedding"]),
    Empty("*", "torchao-int8", "merge", _ROUNDED_AWAY),
    Empty("*", "torchao-int8", "unmerge", _ROUNDED_AWAY),
    Empty("*", "bnb-4bit", "merge", _ROUNDED_AWAY),
    Empty("*", "bnb-4bit", "unmerge", _ROUNDED_AWAY),
    Empty("hydra", "conv-grouped", "*", _OTHER_GROUP),
    Empty("hydra", "conv-depthwise", "*", _OTHER_GROUP),
    Empty("hydra", "conv-transpose-grouped", "*", _OTHER_GROUP),
)
_BY_PLACE = {(one.method, one.kind, one.feature): one for one in EMPTY}


@dataclass(frozen=True)
class Cell:
    """One method on one kind of target, for one feature."""

    method: Method
    kind: Kind
    feature: str

    def __str__(self) -> str:
        return f"{registered_name(self.method)}-{self.kind.name}"

    @property
    def empty(self) -> Empty | None:
        """Why there is nothing to do, None if there is."""
        return reason(registered_name(self.method), self.kind.name, self.feature)

    @contextmanager
    def filled_or_refused(self) -> Iterator[None]:
        """Run a check: it must pass, or, in an empty cell, be refused for the reason given there.

        Raises:
            AssertionError: if an empty cell is not refused, or for another reason.
        """
        empty = self.empty
        if empty is None:
            yield
            return
        try:
            yield
        except RankwiseError as error:
            if empty.reason not in str(error):
                raise AssertionError(f"{self}: refused, but not because {empty.reason!r}: {error}") from error
        else:
            raise AssertionError(f"{self}: {self.feature} works, so it must leave the table of empty cells")


def cells(feature: str) -> list[Cell]:
    """Every registered method on every kind of target, for one feature."""
    small = [tiny(method) for method in methods().values()]
    return [Cell(method, kind, feature) for method in small for kind in KINDS]


def reason(method: str, kind: str, feature: str) -> Empty | None:
    """Why a cell is empty, None if it is not."""
    places = product((method, "*"), (kind, "*"), (feature, "*"))
    return next((_BY_PLACE[place] for place in places if place in _BY_PLACE), None)


def tiny(method: type[Method]) -> Method:
    """The method with ranks of at most 2 and what its `tiny` asks for, so that it fits layers of 3 to 8 features."""
    ranks = [spec for spec in fields(method) if spec.name == "rank" or spec.name.endswith("_rank")]
    lowered = {spec.name: min(2, spec.default) for spec in ranks if isinstance(spec.default, int)}
    return method(**lowered | dict(method.tiny))


def registered_name(method: Method) -> str:
    """The name a method is registered under."""
    return type(method).__name__.lower()
