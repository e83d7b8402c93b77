"""What an adapter costs: time and memory of forward + backward, over the frozen model's own, beside PEFT's.

    python benchmarks/adapter_tax.py [--methods lora dora] [--rounds 15] [--threads 2] [--write docs/benchmarks.md]

The model is of Llama's type (hidden 576, MLP 1536, 6 layers, 9 heads, 3 key-value heads), batch 4 x 128, float32. The
yardstick is the same model frozen, with gradients flowing back to its first layer, which no adapter can do without.
Each ratio is the median over rounds in which the frozen and the adapted model alternate, in one process, with these
two models alone alive and both warmed. The arithmetic limit counts multiplications: a rank-r product costs
3 r (in + out) per token where the frozen layer costs 2 in out.
"""

import argparse
import gc
import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from report import environment, replace_section, table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaModel

import rankwise

HIDDEN, LAYERS, BATCH, LENGTH, RANK = 576, 6, 4, 128, 16
CONTEXTS: list = []  # entered for the life of their model; a dropped one would close itself
FIELDS = {  # the same rank, spelled in the fields of these methods
    "hydra": {"rank_parallel": RANK // 2, "rank_sequential": RANK // 2},
    "increlora": {"rank": RANK // 2, "target_rank": RANK},
    "petalface": {"rank": RANK // 2},
    "mos": {"rank": 7},  # the most that its banks hold on six layers
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Cost:
    """Time and peak memory of one step over those of the frozen model."""

    time: float
    memory: float


def llama() -> nn.Module:
    """The model, with weights that depend on nothing but a fixed seed."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=HIDDEN,
        intermediate_size=1536,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
    )
    return LlamaModel(config).requires_grad_(False).train()


def step(model: nn.Module, x: Tensor, parameters: list[nn.Parameter]) -> None:
    """One forward and backward pass; gradients are dropped."""
    model(inputs_embeds=x, use_cache=False).last_hidden_state.square().mean().backward()
    for parameter in parameters:
        parameter.grad = None
    x.grad = None


def cost(adapted: Callable[[nn.Module], nn.Module], rounds: int) -> Cost:
    """Compare a frozen model with an adapted one."""
    gc.collect()
    x = torch.randn(BATCH, LENGTH, HIDDEN, generator=torch.Generator().manual_seed(1)).requires_grad_()
    models = {"frozen": llama(), "adapted": adapted(llama())}
    trained = {name: [p for p in model.parameters() if p.requires_grad] for name, model in models.items()}
    for _ in range(3):
        for name, model in models.items():
            step(model, x, trained[name])
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            step(model, x, trained[name])
            seconds[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(seconds["frozen"], seconds["adapted"], strict=True)]
    peaks = {name: _peak(model, x) for name, model in models.items()}
    return Cost(statistics.median(ratios), peaks["adapted"] / peaks["frozen"])


def limit(rank: int = RANK) -> float:
    """The ratio of multiplications with a rank-r product on every linear layer."""
    model = llama()
    layers = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    base = sum(2 * weight.numel() for weight in layers)
    attention = LAYERS * 3 * 2 * LENGTH * HIDDEN  # scores and values, forward and twice backward, for each token
    return 1 + sum(3 * rank * sum(weight.shape) for weight in layers) / (base + attention)


def ours(name: str) -> Callable[[nn.Module], nn.Module]:
    """The model with a rankwise method on all linear layers, moved away from its start."""

    def put(model: nn.Module) -> nn.Module:
        kind = rankwise.methods()[name]
        fields = FIELDS.get(name, {"rank": RANK} if "rank" in kind().to_dict() else {})
        adaptation = rankwise.adapt(model, kind.from_fields(fields), targets=PROJECTIONS)
        optimizer = torch.optim.SGD(adaptation.parameters(), lr=1e-3)
        if kind.scheduled:
            adaptation.attach(optimizer)
        if kind.inputs:
            context = adaptation.context(**{name: torch.linspace(0.2, 0.8, BATCH) for name in kind.inputs})
            context.__enter__()
            CONTEXTS.append(context)
        with torch.no_grad():
            for parameter in adaptation.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return model

    return put


def theirs(name: str) -> Callable[[nn.Module], nn.Module] | None:
    """The model with PEFT's method of the same name, None if it has none."""
    import peft  # noqa: PLC0415 - the peer, an extra

    if name not in ("lora", "dora"):
        return None

    def put(model: nn.Module) -> nn.Module:
        config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=PROJECTIONS, use_dora=name == "dora")
        adapted = peft.get_peft_model(model, config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return adapted

    return put


class _Live(TorchDispatchMode):
    """Counts the bytes of storages that are alive, and their peak, from the first operation on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.untyped_storage() not in self.seen:
                storage = leaf.untyped_storage()
                self.seen.add(storage)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage.nbytes())
        return output

    def _freed(self, size: int) -> None:
        self.now -= size


def _peak(model: nn.Module, x: Tensor) -> int:
    """Peak bytes of tensors in one step, the model's own included."""
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    with _Live() as live:
        step(model, x, [p for p in model.parameters() if p.requires_grad])
    return own + live.peak


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(rankwise.methods()))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", help="put the table into this Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bound = limit()
    rows = []
    for name in options.methods:
        mine = cost(ours(name), options.rounds)
        peer = theirs(name)
        other = None if peer is None else cost(peer, options.rounds)
        rows.append(
            [
                name,
                f"{mine.time:.3f}",
                f"{bound:.3f}",
                "-" if other is None else f"{other.time:.3f}",
                f"{mine.memory:.3f}",
                "-" if other is None else f"{other.memory:.3f}",
            ]
        )
        print(rows[-1], flush=True)
    heads = ["method", "time", f"limit of a rank-{RANK} product", "PEFT time", "memory", "PEFT memory"]
    text = f"{table(heads, rows)}\n\n{environment(options.threads)}"
    print(text)
    if options.write:
        replace_section(options.write, "adapter tax", text)


if __name__ == "__main__":
    main()
