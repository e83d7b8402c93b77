"""What an adapter costs: time and memory of forward + backward, over the frozen model's own, beside PEFT's.

    python benchmarks/adapter_tax.py [--methods lora dora] [--rounds 15] [--threads 2] [--write docs/benchmarks.md]

The model is of Llama's type (hidden 576, MLP 1536, 6 layers, 9 heads, 3 key-value heads), batch 4 x 128, float32. For
methods of convolutions it is a stack of six residual 3x3 convolutions of 64 channels, batch 4, maps of 28 x 28. The
yardstick is the same model frozen, with gradients flowing back to its first layer, which no adapter can do without.
Each ratio is the median over rounds in which the frozen and the adapted model alternate, in one process, with these
two models alone alive and both warmed. The arithmetic limit counts multiplications: a rank-r product costs
3 r (in + out) per token where the frozen layer costs 2 in out.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from report import environment, replace_section, table
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

import rankwise
from rankwise import (
    EVA,
    MHR,
    NOLA,
    PEGO,
    SALT,
    SNELL,
    SNELLA,
    Bat,
    Bone,
    ConvDoRA,
    ConvLoRA,
    CPDoRA,
    CPLoRA,
    DiffoRA,
    DoRA,
    DoRAC,
    FLoRA,
    Hydra,
    IncreLoRA,
    LoLDU,
    LoRA,
    LoRAC,
    Method,
    MoS,
    PETALface,
    Poly,
    RandLoRA,
    SVFit,
    TLoRA,
    TriAdaptLoRA,
)
from rankwise.bench.cost import Step, peak_bytes

HIDDEN, LAYERS, BATCH, LENGTH, RANK = 576, 6, 4, 128, 16
CHANNELS, SIDE = 64, 28
CONTEXTS: list = []  # entered for the life of their model; a dropped one would close itself
LINEAR: list[Method] = [
    LoRA(rank=RANK),
    DoRA(rank=RANK),
    CPLoRA(rank=RANK),
    CPDoRA(rank=RANK),
    FLoRA(rank=RANK),
    Hydra(rank_parallel=RANK // 2, rank_sequential=RANK // 2),
    MoS(rank=7),  # the most that its banks hold on six layers
    PETALface(rank=RANK // 2),
    IncreLoRA(rank=RANK // 2, target_rank=RANK),
    TriAdaptLoRA(rank=RANK // 2, target_rank=RANK, max_rank=RANK, total_steps=1000),
    DiffoRA(rank=RANK),
    EVA(rank=RANK, rho=1.0),
    PEGO(rank=RANK // 4, members=4),
    Poly(rank=RANK, skills=4, tasks=3),
    MHR(rank=RANK, skills=4, tasks=3),
    SVFit(rank=RANK),
    SVFit(),
    LoLDU(rank=RANK),
    LoLDU(),
    Bone(rank=2 * RANK),
    Bat(rank=64),
    RandLoRA(rank=32),
    NOLA(rank=8, k=64),
    SALT(rank=RANK),
    SALT(rank=RANK, relu=False),
    TLoRA(rank=RANK),
    TLoRA(rank=3, residual="ring"),
    SNELL(rank=RANK),
    SNELLA(rank=RANK, total_steps=1000),
]
CONVOLUTION: list[Method] = [
    LoRA(rank=4),
    CPLoRA(rank=16),
    CPDoRA(rank=16),
    ConvLoRA(rank=4),
    ConvDoRA(rank=4),
    LoRAC(rank=4),
    DoRAC(rank=4),
    FLoRA(rank=16),
]
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Convolutions(nn.Module):
    """Residual 3x3 convolutions of one width."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LAYERS)])

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the input's size."""
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


class Decoder(nn.Module):
    """A model of Llama's type from its input embeddings to its last hidden states."""

    def __init__(self) -> None:
        super().__init__()
        config = LlamaConfig(
            vocab_size=32,
            hidden_size=HIDDEN,
            intermediate_size=1536,
            num_hidden_layers=LAYERS,
            num_attention_heads=9,
            num_key_value_heads=3,
        )
        self.llama = LlamaModel(config)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states [batch, length, hidden]."""
        return self.llama(inputs_embeds=x, use_cache=False).last_hidden_state


@dataclass(frozen=True)
class Cost:
    """Time and peak memory of one step over those of the frozen model."""

    time: float
    memory: float


@dataclass(frozen=True)
class Yardstick:
    """A frozen model, its input, and which of its layers are adapted."""

    kind: type[nn.Module]
    shape: tuple[int, ...]
    targets: tuple[str, ...] | str

    def model(self) -> nn.Module:
        """The model, with weights that depend on nothing but a fixed seed."""
        torch.manual_seed(0)
        return self.kind().requires_grad_(False).train()

    def inputs(self) -> Tensor:
        """A batch, whose gradient is wanted too."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


TRANSFORMER = Yardstick(Decoder, (BATCH, LENGTH, HIDDEN), tuple(PROJECTIONS))
CONVOLUTIONS = Yardstick(Convolutions, (BATCH, CHANNELS, SIDE, SIDE), r"layers\..*")


def step(model: nn.Module, x: Tensor, parameters: list[nn.Parameter]) -> None:
    """One forward and backward pass; gradients are dropped."""
    model(x).square().mean().backward()
    for parameter in parameters:
        parameter.grad = None
    x.grad = None


def cost(yardstick: Yardstick, adapted: Callable[[nn.Module], nn.Module], rounds: int) -> Cost:
    """Compare a frozen model with an adapted one."""
    gc.collect()
    x = yardstick.inputs()
    models = {"frozen": yardstick.model(), "adapted": adapted(yardstick.model())}
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
    """The ratio of multiplications with a rank-r product on every linear layer of the transformer."""
    layers = [module.weight for module in TRANSFORMER.model().modules() if isinstance(module, nn.Linear)]
    base = sum(2 * weight.numel() for weight in layers)
    attention = LAYERS * 3 * 2 * LENGTH * HIDDEN  # scores and values, forward and twice backward, for each token
    return 1 + sum(3 * rank * sum(weight.shape) for weight in layers) / (base + attention)


def ours(method: Method, yardstick: Yardstick) -> Callable[[nn.Module], nn.Module]:
    """The model with a rankwise method, moved away from its start."""

    def put(model: nn.Module) -> nn.Module:
        batches = [yardstick.inputs().detach()] if method.calibrated else None
        adaptation = rankwise.adapt(model, method, yardstick.targets, calibration=batches)
        optimizer = torch.optim.SGD(adaptation.parameters(), lr=1e-3)
        if method.scheduled:
            adaptation.attach(optimizer)
        if method.inputs:
            values = torch.tensor(method.input_values)[torch.arange(BATCH) % len(method.input_values)]
            context = adaptation.context(**dict.fromkeys(method.inputs, values))
            context.__enter__()
            CONTEXTS.append(context)
        with torch.no_grad():
            for parameter in adaptation.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return model

    return put


def theirs(method: Method, yardstick: Yardstick) -> Callable[[nn.Module], nn.Module] | None:
    """The model with PEFT's method of the same name and rank, None if it has none."""
    import peft  # noqa: PLC0415 - the peer, an extra

    modules = r".*layers\..*" if yardstick.targets == CONVOLUTIONS.targets else PROJECTIONS
    configs: dict[type[Method], Callable[[], peft.PeftConfig]] = {
        LoRA: lambda: peft.LoraConfig(r=method.rank, lora_alpha=method.rank, target_modules=modules),
        DoRA: lambda: peft.LoraConfig(r=method.rank, lora_alpha=method.rank, target_modules=modules, use_dora=True),
        Bone: lambda: peft.MissConfig(r=method.rank, target_modules=modules),
        Bat: lambda: peft.MissConfig(r=method.rank, target_modules=modules, init_weights="bat"),
        RandLoRA: lambda: peft.RandLoraConfig(r=method.rank, target_modules=modules),
    }
    if type(method) not in configs:
        return None

    def put(model: nn.Module) -> nn.Module:
        adapted = peft.get_peft_model(model, configs[type(method)]())
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.01)
        return adapted

    return put


def label(method: Method) -> str:
    """The method with the fields that are not at their default."""
    given = {f.name: getattr(method, f.name) for f in fields(method) if getattr(method, f.name) != f.default}
    return f"{type(method).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _peak(model: nn.Module, x: Tensor) -> int:
    """Peak bytes of tensors in one step, the model's own included."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return peak_bytes(Step(lambda: step(model, x, trained), lambda: [*model.parameters(), *model.buffers(), x]))


def rows(methods: list[Method], yardstick: Yardstick, rounds: int) -> Iterator[list[str]]:
    """One row of the table for each method: time and memory, ours and PEFT's."""
    if methods:
        cost(yardstick, ours(methods[0], yardstick), rounds)  # the first one of a process comes out high
    for method in methods:
        mine, peer = cost(yardstick, ours(method, yardstick), rounds), theirs(method, yardstick)
        CONTEXTS.clear()
        other = None if peer is None else cost(yardstick, peer, rounds)
        pairs = [(mine.time, other and other.time), (mine.memory, other and other.memory)]
        row = [label(method), *("-" if value is None else f"{value:.3f}" for pair in pairs for value in pair)]
        print(row, flush=True)
        yield row


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", help="names of methods; all if left out")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", help="put the tables into this Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    asked = {name.lower() for name in options.methods or rankwise.methods()}
    for name, methods, yardstick in (
        ("adapter tax", LINEAR, TRANSFORMER),
        ("adapter tax of convolutions", CONVOLUTION, CONVOLUTIONS),
    ):
        chosen = [method for method in methods if type(method).__name__.lower() in asked]
        lines = list(rows(chosen, yardstick, options.rounds))
        if yardstick is TRANSFORMER:
            lines.insert(0, [f"limit of a rank-{RANK} product", f"{limit():.3f}", "-", "-", "-"])
        heads = ["method", "time", "PEFT time", "memory", "PEFT memory"]
        text = f"{table(heads, lines)}\n\n{environment(options.threads)}"
        print(text)
        if options.write:
            replace_section(options.write, name, text)


if __name__ == "__main__":
    main()
