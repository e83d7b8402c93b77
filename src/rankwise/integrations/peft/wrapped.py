# SPDX-License-Identifier: Apache-2.0
"""The weights that one wrapped module holds itself, as targets."""

from torch import nn

from rankwise.core.select import all_candidates
from rankwise.core.targets import Target


def own_targets(module: nn.Module, name: str) -> dict[str, Target]:
    """The weights that a module holds itself, by attribute."""
    found: dict[str, Candidate] = {one.attr: one for one in all_candidates(module).values() if one.module is module}
    targets = {attr: one.build() for attr, one in found.items()}
    for attr, target in targets.items():
        target.name = name if target.called else f"{name}.{attr}"
    return targets
