# SPDX-License-Identifier: Apache-2.0
"""The rows with which every registered method goes through PEFT's own tests, and what is left out, by name with the
reason.

A row is a model of PEFT's test suite, the modules to adapt, and the fields of the method that differ from its defaults:
`Method.tiny`, a rank that the layer can have, and what `FIELDS` says a method needs on these models.
"""

from collections.abc import Callable
from dataclasses import fields, make_dataclass

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


GROUPED = ("Conv1dGroups", "Conv2dGroups", "Conv2dGroups2")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")

# The fields of a method for a rank that fits the layers, and for a model.
FIELDS: dict[str, Callable[[int, str], dict[str, object]]] = {
    "hydra": lambda rank, model: {"rank_parallel": rank, "rank_sequential": 0 if model in GROUPED else rank},
    "increlora": lambda rank, model: {"rank": rank - 1, "target_rank": rank, "alpha": 64.0},
    "bat": lambda rank, model: {"rank": 1},  # it divides the sides of all these layers
    "convlora": lambda rank, model: {"rank": 8 if model == "Conv2dGroups" else rank},  # it has 8 groups
    "convdora": lambda rank, model: {"rank": 8 if model == "Conv2dGroups" else rank},
    "triadaptlora": lambda rank, model: {"rank": rank - 1, "target_rank": rank, "alpha": 64.0},
    "snell": lambda rank, model: {"rank": 2},  # two segments; no rank is above a layer's
    "snella": lambda rank, model: {"rank": 2},
    "mos": lambda rank, model: {"rank": rank, "equivalent_rank": rank, "private_rank": rank - 1},
}

# Scales with which three steps at PEFT's rate of 0.5, on inputs up to 57 600, neither diverge nor kill every ReLU.
GENTLE: dict[tuple[str, str], dict[str, object]] = {
    ("convdora", "Conv2d1x1"): {"alpha": 100.0},
    ("convdora", "Conv2dGroups2"): {"alpha": 0.01},
    ("cpdora", "Conv2d conv2d+lin0"): {"alpha": 0.1},
    ("cpdora", "Conv2dGroups2"): {"alpha": 1e-4},
    ("cpdora", "EmbConv1D emb"): {"alpha": 200.0},
    ("cplora", "Conv2d"): {"alpha": 0.1},
    ("cplora", "Conv2dGroups2"): {"alpha": 0.01},
    ("cplora", "EmbConv1D emb"): {"alpha": 200.0},
    ("diffora", "Conv2dGroups2"): {"alpha": 0.01},
    ("diffora", "EmbConv1D emb"): {"alpha": 200.0},
    ("dora", "EmbConv1D emb"): {"alpha": 200.0},
    ("dorac", "Conv2d1x1"): {"alpha": 100.0},
    ("dorac", "Conv2dGroups2"): {"alpha": 0.01},
    ("flora", "Conv2d conv2d+lin0"): {"scale": 0.1},
    ("flora", "Conv2dGroups2"): {"scale": 1e-4},
    ("flora", "EmbConv1D emb"): {"scale": 200.0},
    ("flora", "EmbConv1D emb+conv1d+lin0"): {"scale": 20.0},
    ("flora", "MLP"): {"scale": 0.1},
    ("hydra", "Conv2dGroups2"): {"scale": 0.01},
    ("hydra", "EmbConv1D emb"): {"scale": 30.0},
    ("hydra", "EmbConv1D emb+conv1d+lin0"): {"scale": 4.0},
    ("increlora", "EmbConv1D emb"): {"alpha": 1e5},
    ("loldu", "Conv2d"): {"alpha": 0.1},
    ("loldu", "Conv2dGroups2"): {"alpha": 0.01},
    ("loldu", "MLP"): {"alpha": 0.1},
    ("loldu", "MLP2"): {"alpha": 0.1},
    ("lorac", "Conv2dGroups2"): {"alpha": 0.01},
    ("mhr", "EmbConv1D conv1d"): {"alpha": 20.0},
    ("mhr", "EmbConv1D emb"): {"alpha": 2000.0},
    ("mhr", "EmbConv1D emb+conv1d+lin0"): {"alpha": 20.0},
    ("mhr", "MHA mha"): {"alpha": 20.0},
    ("mhr", "MHA mha+lin0"): {"alpha": 20.0},
    ("mhr", "MLP_LayerNorm lin0"): {"alpha": 20.0},
    ("nola", "EmbConv1D emb"): {"alpha": 200.0},
    ("pego", "EmbConv1D emb"): {"alpha": 200.0},
    ("pego", "EmbConv1D emb+conv1d+lin0"): {"alpha": 8.0},
    ("petalface", "Conv2dGroups2"): {"scale": 0.01},
    ("petalface", "EmbConv1D emb"): {"scale": 30.0},
    ("poly", "EmbConv1D conv1d"): {"alpha": 20.0},
    ("poly", "EmbConv1D emb"): {"alpha": 2000.0},
    ("poly", "EmbConv1D emb+conv1d+lin0"): {"alpha": 20.0},
    ("poly", "MHA mha"): {"alpha": 20.0},
    ("poly", "MHA mha+lin0"): {"alpha": 20.0},
    ("poly", "MLP_LayerNorm lin0"): {"alpha": 20.0},
    ("randlora", "EmbConv1D emb"): {"alpha": 200.0},
    ("randlora", "EmbConv1D emb+conv1d+lin0"): {"alpha": 20.0},
    ("snell", "EmbConv1D emb"): {"coefficient": 100.0},
    ("snell", "EmbConv1D emb+conv1d+lin0"): {"coefficient": 3.0},
    ("snell", "MLP_LayerNorm lin0"): {"coefficient": 3.0},
    ("snella", "EmbConv1D emb"): {"coefficient": 100.0},
    ("triadaptlora", "EmbConv1D emb"): {"alpha": 10000.0},
    ("triadaptlora", "MLP_LayerNorm lin0"): {"alpha": 1000.0},
}

# Fields for the tests that use a config's defaults, on one layer of 256 x 256.
DEFAULTS: dict[str, dict[str, object]] = {
    "snella": {"total_steps": 100},
    "triadaptlora": {"total_steps": 1000},
    "mos": {"rank": 2},  # it shares vectors between layers, and one layer has none to share
}


def _no_growth(rank: int) -> str:
    return "a weight of rank 1 has no rank to grow to" if rank < 2 else ""


def _no_spread(model: str, modules: list[str]) -> str:
    single = model in {"Conv1d", "Conv2d1x1"} or (model, modules) == ("EmbConv1D", ["conv1d"])
    return "the basis of a layer with one feature has no spread to divide by" if single else ""


def _no_kernel(model: str, modules: list[str]) -> str:
    kernels = model != "EmbConv1D" and set(modules) <= set(
        CONVOLUTIONS
    )  # the conv1d there is transformers' linear layer
    return "" if kernels else "it is defined on convolution kernels alone"


def _no_square_kernel(modules: list[str]) -> str:
    return "" if modules == ["conv2d"] else "it is defined on square kernels of two dimensions alone"


def _no_transform(model: str, modules: list[str]) -> str:
    if set(modules) & {*CONVOLUTIONS, "emb"}:
        return "it transforms the input features of linear layers alone"
    return "a transform of lin0's 10 inputs has more numbers than its weight" if modules == ["mha", "lin0"] else ""


# Rows that cannot be, and why.
NO_ROW: dict[str, Callable[[int, str, list[str]], str]] = {
    "increlora": lambda rank, model, modules: _no_growth(rank),
    "triadaptlora": lambda rank, model, modules: _no_growth(rank),
    "convlora": lambda rank, model, modules: _no_kernel(model, modules),
    "convdora": lambda rank, model, modules: _no_kernel(model, modules),
    "randlora": lambda rank, model, modules: _no_spread(model, modules),
    "lorac": lambda rank, model, modules: _no_square_kernel(modules),
    "dorac": lambda rank, model, modules: _no_square_kernel(modules),
    "tlora": lambda rank, model, modules: _no_transform(model, modules),
}

# Tests of PEFT's that do not apply to a method, and why.
WIDE = "what trains stays in float32 at least: a step of 1e-3 is lost on a number near 10 in half precision"
NO_SCALE = "three steps at a rate of 0.5 through two layers diverge, and the transform has no scale to lower"
OTHER_BASE = "the test loads the adapter onto other random weights, which the method notices and refuses"
NO_TEST: dict[tuple[str, str], str] = {
    (
        "mos",
        "test_from_the_start[training_layer_indexing",
    ): "the test counts tensors, and one pool serves any number of layers",
    (
        "convdora",
        "test_only_params_are_updated[rwconvdora Conv2d1x1",
    ): "a weight of one number has only a sign for a direction, so that nothing but its magnitude moves",
    (
        "salt",
        "test_only_params_are_updated[rwsalt EmbConv1D emb-",
    ): "its steps there are below the 1e-4 that the test can see, and it has no scale to raise",
    ("tlora", "test_parameters_after_loading_model[rwtlora MLP lin0+lin1"): NO_SCALE,
    ("tlora", "test_parameters_after_loading_model[rwtlora MLP2 lin0+lin1"): NO_SCALE,
    ("svfit", "test_no_autocast"): WIDE,
    ("loldu", "test_no_autocast"): WIDE,
    ("svfit", "test_loading_model_requires_grad_set_correctly"): OTHER_BASE,
    ("svfit", "test_loading_model_with_modules_to_save_requires_grad_set_correctly"): OTHER_BASE,
    ("loldu", "test_loading_model_requires_grad_set_correctly"): OTHER_BASE,
    ("loldu", "test_loading_model_with_modules_to_save_requires_grad_set_correctly"): OTHER_BASE,
    ("svfit", "test_adapter_dtype_autocast[False-False-"): WIDE,
    ("svfit", "test_adapter_dtype_autocast[True-False-"): WIDE,
    ("loldu", "test_adapter_dtype_autocast[False-False-"): WIDE,
    ("loldu", "test_adapter_dtype_autocast[True-False-"): WIDE,
}
# Tests of PEFT's that no method passes on one of the models, and why.
NO_TEST_ON: dict[tuple[str, str], str] = {
    (
        "Conv2dGroups2",
        "test_safe_merge",
    ): "inputs up to 57 600 summed over 12 800 features in float32: forward and merged differ by "
    "1e-6 to 3e-6 of the output where 1e-6 is asked (in float64 by 4e-15); PEFT asks 1e-3 of its own methods there",
}


def settings(method: type[Method], rank: int, model: str, modules: str = "") -> dict[str, object]:
    """The fields of a method's config on a small model."""
    name = method.__name__.lower()
    names = {spec.name: spec.default for spec in fields(method)}
    values = dict(method.tiny) | ({"rank": rank} if isinstance(names.get("rank"), int) else {})
    values |= FIELDS[name](rank, model) if name in FIELDS else {}
    values |= GENTLE.get((name, model), GENTLE.get((name, f"{model} {modules}"), {}))
    plain = {CONFIGS[name].renamed[key]: value for key, value in values.items()}
    plain |= {"scheduled": False} if method.scheduled else {}
    return plain | {f"default_{name}": float(method.input_values[1]) for name in method.inputs}


def refused(name: str, rank: int, model: str, modules: list[str]) -> str:
    """Why a method has no row on some modules of a model, empty if it has."""
    return NO_ROW[name](rank, model, modules) if name in NO_ROW else ""


def known() -> dict[str, type[Method]]:
    """The methods that PEFT can run; those that start from data it cannot."""
    return {name: method for name, method in methods().items() if name in CONFIGS}


def on_linear() -> dict[str, type[Method]]:
    """Those that take linear layers, which some of PEFT's tests fix."""
    return {name: method for name, method in known().items() if not refused(name, 2, "MLP", ["lin0"])}


def rows() -> list[tuple[str, str, type[RankwiseConfig], dict[str, object]]]:
    """PEFT's TEST_CASES: a name, a model, a config class and its arguments."""
    found = []
    for name, method in known().items():
        for model, modules, rank in MODELS:
            if not refused(name, rank, model, modules):
                label = f"rw{name} {model} {'+'.join(modules)}"
                values = {"target_modules": modules, **settings(method, rank, model, "+".join(modules))}
                found.append((label, model, CONFIGS[name], values))
    for name, method in on_linear().items():
        saved = {"target_modules": ["lin0"], "modules_to_save": ["lin1"], **settings(method, 2, "MLP")}
        found.append((f"rw{name} MLP lin0 saving lin1", "MLP", CONFIGS[name], saved))
    return found


def left_out() -> list[str]:
    """The rows that cannot be, each with its reason."""
    return [
        f"rw{name} {model} {'+'.join(modules)}: {why}"
        for name in known()
        for model, modules, rank in MODELS
        if (why := refused(name, rank, model, modules))
    ]


def classes() -> list[type[RankwiseConfig]]:
    """PEFT's ALL_PEFT_CONFIG_CLASSES: config classes that are used with their defaults."""
    return [
        make_dataclass(
            found.__name__, [(key, object, value) for key, value in DEFAULTS.get(name, {}).items()], bases=(found,)
        )
        for name, found in CONFIGS.items()
        if name in on_linear()
    ]


def active_rows() -> list[tuple[str, str, type[RankwiseConfig], dict[str, object], dict[str, object]]]:
    """PEFT's MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES: two configs on one model, on the same layer and on different ones."""
    found = []
    for name, method in on_linear().items():
        shared = {"init_weights": False, **settings(method, 2, "MLP")}
        for label, second in (("same", "lin0"), ("different", "lin1")):
            first = {"target_modules": ["lin0"], **shared}
            other = {"target_modules": [second], **shared, "seed": 1}
            found.append((f"rw{name} {label}", f"rw{name}", CONFIGS[name], first, other))
    return found


def mixed_rows() -> list[tuple[str, RankwiseConfig, RankwiseConfig]]:
    """PEFT's MIXED_ADAPTER_TEST_CASES: two configs whose adapters share a batch."""
    found = []
    for name, method in on_linear().items():
        one = CONFIGS[name](target_modules=["lin0"], init_weights=False, **settings(method, 2, "MLP"))
        two = CONFIGS[name](target_modules=["lin0", "lin1"], init_weights=False, seed=1, **settings(method, 2, "MLP"))
        found.append((f"rw{name}", one, two))
    return found
