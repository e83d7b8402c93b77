"""Save, load, merge and convert an adapter of SmolLM2-135M, against PEFT, in one process.

    python benchmarks/load_save.py [--rank 16] [--rounds 7] [--write docs/benchmarks.md]

Both libraries hold a LoRA of the same rank on all linear layers of the same model. Each number is a median over rounds
in which the two alternate. Saving includes the fsync that makes rankwise's checkpoint safe against a crash; PEFT has
none. PEFT has no conversion of an adapter to another rank but `convert_to_lora` of other methods, so that row stands
alone.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peft
import torch
from report import environment, replace_section, table
from torch import nn

import rankwise
from rankwise.recipes.models import load_model


def timed(call: Callable[[], object]) -> float:
    """Seconds one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Ours:
    """rankwise's half."""

    def __init__(self, model: nn.Module, rank: int, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.adaptation = rankwise.adapt(model, rankwise.LoRA(rank=rank))
        with torch.no_grad():
            for parameter in self.adaptation.parameters():
                parameter.normal_(std=0.01)

    def save(self) -> None:
        """Write the adapter over the old one."""
        self.adaptation.save(self.folder)

    def load(self) -> None:
        """Read it back as a second adapter."""
        rankwise.load(self.model, self.folder, name="again")

    def forget(self) -> None:
        """Take the second adapter off."""
        rankwise.adaptations(self.model)["again"].remove()

    def merge(self) -> None:
        """Put the delta into the weights."""
        self.adaptation.merge()

    def unmerge(self) -> None:
        """Take it out."""
        self.adaptation.unmerge()


class Theirs:
    """PEFT's half."""

    def __init__(self, model: nn.Module, rank: int, folder: Path) -> None:
        self.folder = folder
        self.model = peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules="all-linear"))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.01)

    def save(self) -> None:
        """Write the adapter over the old one."""
        self.model.save_pretrained(self.folder, save_embedding_layers=False)

    def load(self) -> None:
        """Read it back as a second adapter."""
        self.model.load_adapter(self.folder, adapter_name="again")

    def forget(self) -> None:
        """Take the second adapter off."""
        self.model.delete_adapter("again")

    def merge(self) -> None:
        """Put the delta into the weights, with the check for NaN that rankwise always does."""
        self.model.merge_adapter(safe_merge=True)

    def unmerge(self) -> None:
        """Take it out."""
        self.model.unmerge_adapter()


def compare(rank: int, rounds: int) -> list[list[str]]:
    """The rows of the table."""
    root = Path(tempfile.mkdtemp())
    sides = {
        "rankwise": Ours(load_model("smollm2", torch.float32)[0], rank, root / "rankwise"),
        "PEFT": Theirs(load_model("smollm2", torch.float32)[0], rank, root / "peft"),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            for action in ("save", "load", "forget", "merge", "unmerge"):
                seconds.setdefault((name, action), []).append(timed(getattr(side, action)))
    shutil.rmtree(root)
    rows = []
    for action in ("save", "load", "merge", "unmerge"):
        mine, other = (statistics.median(seconds[name, action][1:]) for name in sides)
        rows.append([action, f"{mine * 1000:.0f} ms", f"{other * 1000:.0f} ms", f"{mine / other:.2f}"])
    convert = timed(lambda: sides["rankwise"].adaptation.convert(rankwise.LoRA(rank=rank // 2)))
    return [*rows, [f"convert to rank {rank // 2}", f"{convert * 1000:.0f} ms", "-", "-"]]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", help="put the table into this Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(2)
    heads = ["", "rankwise", "PEFT", "ratio"]
    text = f"{table(heads, compare(options.rank, options.rounds))}\n\n{environment(2)}"
    print(text)
    if options.write:
        replace_section(options.write, "load and save", text)


if __name__ == "__main__":
    main()
