"""Row 18: golden checkpoints, one small folder for each method and release, with the outputs they must give for ever.

    PYTHONPATH=benchmarks python -m reliability.golden     # writes the folders of this release that are missing

tests/golden/base.safetensors and kernels.safetensors hold the bases' weights, so that no random number generator is
involved. A release adds tests/golden/<version>/<method>/; old folders stay and must load in every later release.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from rankwise import Adaptation, Method, load, methods
from rankwise.testing.grid import tiny
from reliability.models import Net, adapted, fitting, perturb, tokens

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
TARGETS = ["fc", "out", "attn", "first", "second"]


def base(name: str) -> tuple[nn.Module, list[str]]:
    """The base model of a method's golden checkpoints, with its saved weights, and the targets in it."""
    model, targets = fitting(methods()[name])
    model.load_state_dict(safetensors.torch.load_file(_weights(model)))
    return model.eval(), [target for target in targets if target in TARGETS]


def inputs_of(adaptation: Adaptation) -> AbstractContextManager:
    """The context a method needs, one fixed number for each of its inputs."""
    names, tasks = adaptation.method.inputs, adaptation.method.input_values
    value = 0.25 if tasks == Method.input_values else tasks[1]
    return adaptation.context(**dict.fromkeys(names, value)) if names else nullcontext()


def outputs(model: nn.Module, adaptation: Adaptation) -> torch.Tensor:
    """What the adapted model gives for the fixed batch."""
    with inputs_of(adaptation), torch.no_grad():
        return model(tokens())


def error(folder: Path) -> float:
    """How far a golden checkpoint's outputs are from those it was saved with, at most."""
    model, _ = base(folder.name)
    adaptation = load(model, folder)
    expected = torch.tensor(json.loads((folder / "outputs.json").read_text()), dtype=torch.float64)
    return float((outputs(model, adaptation) - expected).abs().max())


def write() -> None:
    """Write what is missing; an existing folder is never touched."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for model in (fitting(kind)[0] for kind in methods().values()):
        if not _weights(model).exists():
            safetensors.torch.save_file(model.state_dict(), _weights(model))
    for name, kind in methods().items():
        folder = GOLDEN / version("rankwise") / name
        if folder.exists():
            continue
        model, targets = base(name)
        adaptation = adapted(model, tiny(kind), targets)
        perturb(adaptation.parameters())
        adaptation.save(folder)
        (folder / "outputs.json").write_text(json.dumps(outputs(model, adaptation).tolist()))


def _weights(model: nn.Module) -> Path:
    return GOLDEN / ("base.safetensors" if isinstance(model, Net) else "kernels.safetensors")


if __name__ == "__main__":
    write()
