# SPDX-License-Identifier: Apache-2.0
"""The errors rankwise raises, and the one form their messages take.

A message says what was given, what is allowed and what to do. `listed` and `nearest` write the middle part:
names sorted, at most ten and then a count, and the names closest to the one that did not match.
"""

import difflib
from collections.abc import Iterable


class RankwiseError(Exception):
    """Base class of every error that rankwise raises about its user's input."""


class TargetError(RankwiseError, ValueError):
    """A target that does not exist, matches nothing, or cannot carry the method."""


class MethodError(RankwiseError, ValueError):
    """A method's field has a value outside its allowed range, or the name is unknown."""


class CheckpointError(RankwiseError, ValueError):
    """A saved adapter is damaged, incomplete, from another base or from a newer format."""


class StateError(RankwiseError, RuntimeError):
    """The call does not fit the state the model is in (merged, removed, not attached, sharded)."""


class SymmetryError(RankwiseError, ValueError):
    """A permutation, matrix, weight, irrep or graph that is not what the mathematics asks for."""


class CapacityError(RankwiseError, RuntimeError):
    """An exact answer that needs more memory or disk than was allowed."""


class Interrupted(RankwiseError):
    """Ctrl-C ended a run in an orderly way; what it had reached is saved and the message says how to go on."""


def listed(names: Iterable[str]) -> str:
    """Write names sorted, at most ten of them, then how many more there are."""
    ordered = sorted(set(names))
    if not ordered:
        return "(none)"
    shown = ", ".join(ordered[:10])
    return shown if len(ordered) <= 10 else f"{shown} and {len(ordered) - 10} more"


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` are closest to `name`, as a sentence that can end a message."""
    candidates = sorted(set(names))
    close = difflib.get_close_matches(name, candidates, n=5, cutoff=0.5)
    if not close:
        leaves = {candidate.rsplit(".", 1)[-1]: candidate for candidate in candidates}
        close = [leaves[leaf] for leaf in difflib.get_close_matches(name.rsplit(".", 1)[-1], leaves, n=5, cutoff=0.5)]
    return f"Did you mean {', '.join(close)}?" if close else f"Allowed: {listed(candidates)}."
