# SPDX-License-Identifier: Apache-2.0
"""What the slots of one PEFT layer share.

PEFT switches adapters layer by layer, so each layer has a runtime of its own; a context (adapter names or per-example
inputs) is entered at all layers together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from rankwise.core.context import Context
from rankwise.core.slot import Runtime


class LayerRuntime(Runtime):
    """The runtime of one PEFT layer."""

    def routes(self, names: Iterable[str]) -> bool:
        """Whether the current context gives some example an adapter of these names."""
        chosen = None if self.context is None else self.context.adapters
        return chosen is not None and any(name in chosen for name in names)


class WithDefaults:
    """A layer's context as one adapter sees it: its config's default for every input that is not given."""

    def __init__(self, runtime: Runtime, defaults: Mapping[str, float]) -> None:
        self.runtime = runtime
        self.defaults = {name: torch.tensor(value) for name, value in defaults.items()}

    def current_context(self) -> Context | None:
        """The entered context, completed."""
        context = self.runtime.current_context()
        if not self.defaults:
            return context
        context = context or Context()
        return replace(context, values={**self.defaults, **context.values})
