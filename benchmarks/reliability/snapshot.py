"""Row 6: everything about a model that a refused call must leave as it was."""

import torch
from torch import nn


def snapshot(model: nn.Module) -> dict:
    """Classes, attributes, state, flags and hooks of a model."""
    return {
        "classes": {name: type(module) for name, module in model.named_modules()},
        "attributes": {name: set(module.__dict__) for name, module in model.named_modules()},
        "hooks": {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()},
        "objects": {name: id(p) for name, p in model.named_parameters()},
        "flags": {name: p.requires_grad for name, p in model.named_parameters()},
        "state": {name: value.clone() for name, value in model.state_dict().items()},
    }


def same(before: dict, after: dict) -> bool:
    """Whether two snapshots are of the same model in the same state."""
    plain = all(before[key] == after[key] for key in before if key != "state")
    state = before["state"].keys() == after["state"].keys()
    return plain and state and all(torch.equal(before["state"][key], after["state"][key]) for key in before["state"])
