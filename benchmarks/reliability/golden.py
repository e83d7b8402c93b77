"""Row 18: golden checkpoints, one small folder for each method and release, with the outputs they must give for ever.

    PYTHONPATH=benchmarks python -m reliability.golden     # writes the folders of this release that are missing

tests/golden/base.safetensors holds the base's weights, so that no random number generator is involved. A release adds
tests/golden/<version>/<method>/; old folders stay and must load in every later release.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch

from rankwise import Adaptation, adapt, load, methods
from rankwise.testing.grid import tiny
from reliability.models import Net, net, perturb, tokens

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
TARGETS = ["fc", "out", "attn"]


def base() -> Net:
    """The base model of the golden checkpoints."""
    model = Net()
    model.load_state_dict(safetensors.torch.load_file(GOLDEN / "base.safetensors"))
    return model.eval()


def inputs_of(adaptation: Adaptation) -> AbstractContextManager:
    """The context a method needs, one fixed number for each of its inputs."""
    names = adaptation.method.inputs
    return adaptation.context(**dict.fromkeys(names, 0.25)) if names else nullcontext()


def outputs(model: Net, adaptation: Adaptation) -> torch.Tensor:
    """What the adapted model gives for the fixed batch."""
    with inputs_of(adaptation), torch.no_grad():
        return model(tokens())


def error(folder: Path) -> float:
    """How far a golden checkpoint's outputs are from those it was saved with, at most."""
    model = base()
    adaptation = load(model, folder)
    expected = torch.tensor(json.loads((folder / "outputs.json").read_text()), dtype=torch.float64)
    return float((outputs(model, adaptation) - expected).abs().max())


def write() -> None:
    """Write what is missing; an existing folder is never touched."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    if not (GOLDEN / "base.safetensors").exists():
        safetensors.torch.save_file(net().state_dict(), GOLDEN / "base.safetensors")
    for name, kind in methods().items():
        folder = GOLDEN / version("rankwise") / name
        if folder.exists():
            continue
        model = base()
        adaptation = adapt(model, tiny(kind), targets=TARGETS)
        perturb(adaptation.parameters())
        adaptation.save(folder)
        (folder / "outputs.json").write_text(json.dumps(outputs(model, adaptation).tolist()))


if __name__ == "__main__":
    write()
