# SPDX-License-Identifier: Apache-2.0
"""The rows with which every registered method goes through PEFT's own tests.

A row is a model of PEFT's test suite, the modules to adapt, and the fields of the method that differ from its defaults. `TINY` fields come
from the methods themselves (`Method.tiny`); `FITS` holds what else a method needs on these models.
"""

from dataclasses import fields

from rankwise.core.method import Method, methods
from rankwise.integrations.peft import register
from rankwise.integrations.peft.config import RankwiseConfig

CONFIGS = register()

# Model of PEFT's, modules to adapt, and the largest rank they have in common.
MODELS: list[tuple[str, list[str], int]] = [
    ("MLP", ["lin0"], 2),
    ("MLP", ["lin1"], 2),
    ("MLP", ["lin0", "lin1"], 2),
    ("MLP_LayerNorm", ["lin0"], 2),
    ("MLP2", ["lin0", "lin1"], 2),
    ("EmbConv1D", ["emb"], 2),
    ("EmbConv1D", ["conv1d"], 1),
    ("EmbConv1D", ["emb", "conv1d", "lin0"], 1),
    ("Conv1d", ["conv1d"], 1),
    ("Conv1dBigger", ["conv1d"], 2),
    ("Conv1dGroups", ["conv1d"], 2),
    ("Conv2d", ["conv2d"], 2),
    ("Conv2d", ["conv2d", "lin0"], 2),
    ("Conv2d2", ["conv2d"], 2),
    ("Conv2d1x1", ["conv2d"], 1),
    ("Conv2dGroups", ["conv2d"], 2),
    ("Conv2dGroups2", ["conv2d"], 2),
    ("Conv3d", ["conv3d"], 2),
    ("MHA", ["mha"], 2),
    ("MHA", ["mha", "lin0"], 2),
    ("MlpUsingParameters", ["lin0"], 2),
]


def settings(method: type[Method], rank: int) -> dict[str, object]:
    """The fields of a method on a small model."""
    names = {spec.name for spec in fields(method)}
    renamed = CONFIGS[method.__name__.lower()].renamed
    values = {"rank": rank} if "rank" in names else {}
    values |= dict(method.tiny)
    plain = {renamed[name]: min(value, rank) if name == "rank" else value for name, value in values.items()}
    plain |= {"scheduled": False} if method.scheduled else {}
    return plain | {f"default_{name}": 0.5 for name in method.inputs}


def rows() -> list[tuple[str, str, type[RankwiseConfig], dict[str, object]]]:
    """PEFT's TEST_CASES: a name, a model, a config class and its arguments."""
    found = []
    for name, method in methods().items():
        for model, modules, rank in MODELS:
            label = f"rw{name} {model} {'+'.join(modules)}"
            found.append((label, model, CONFIGS[name], {"target_modules": modules, **settings(method, rank)}))
        saved = {"target_modules": ["lin0"], "modules_to_save": ["lin1"], **settings(method, 2)}
        found.append((f"rw{name} MLP lin0 saving lin1", "MLP", CONFIGS[name], saved))
    return found


def active_rows() -> list[tuple[str, str, type[RankwiseConfig], dict[str, object], dict[str, object]]]:
    """PEFT's MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES: two configs on one model, on the same layer and on different ones."""
    found = []
    for name, method in methods().items():
        shared = {"init_weights": False, **settings(method, 2)}
        for label, second in (("same", "lin0"), ("different", "lin1")):
            first = {"target_modules": ["lin0"], **shared}
            other = {"target_modules": [second], **shared, "seed": 1}
            found.append((f"rw{name} {label}", f"rw{name}", CONFIGS[name], first, other))
    return found


def mixed_rows() -> list[tuple[str, RankwiseConfig, RankwiseConfig]]:
    """PEFT's MIXED_ADAPTER_TEST_CASES: two configs whose adapters share a batch."""
    found = []
    for name, method in methods().items():
        one = CONFIGS[name](target_modules=["lin0"], init_weights=False, **settings(method, 2))
        two = CONFIGS[name](target_modules=["lin0", "lin1"], init_weights=False, seed=1, **settings(method, 2))
        found.append((f"rw{name}", one, two))
    return found
