# SPDX-License-Identifier: Apache-2.0
"""EVA's start on SmolLM2-135M, against PEFT's `initialize_lora_eva_weights`, with the same batches.

    python benchmarks/eva_speed.py [--batches 4] [--examples 4] [--tokens 64] [--rank 16] [--layers 30]

Both get the same list of batches of the standard library's docstrings and all linear layers of the decoder (without
the output head, whose cost would be the same for both), with rho = 2 and tau = 0.99, and run one after the other on one
thread. Times are the processor's, which other processes on the machine hardly change. The exact directions are those of
a float64 decomposition of all inputs of a layer, for four layers. Compared are the spaces of the k leading directions,
for the k up to the smaller of both ranks at which the spectrum has its largest gap: the sine of the largest angle
between them.
"""

import argparse
import time
from collections.abc import Callable

import peft
import torch
from peft.tuners.lora.eva import initialize_lora_eva_weights
from report import environment, table
from torch import Tensor, nn

from rankwise import adapt
from rankwise.adapters.eva import EVA
from rankwise.recipes.models import load_model
from rankwise.recipes.stdlib_pairs import stdlib_pairs

LEAVES = ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"]


def batches(tokenizer: Callable, count: int, examples: int, tokens: int) -> list[dict[str, Tensor]]:
    """Batches of text without padding."""
    text = "\n".join(text for dialog in stdlib_pairs()[0] for _, text in dialog.messages)
    ids = tokenizer(text, return_tensors="pt")["input_ids"][0][: count * examples * tokens]
    shaped = ids.reshape(count, examples, tokens)
    return [{"input_ids": one, "attention_mask": torch.ones_like(one)} for one in shaped]


def exact(model: nn.Module, names: list[str], data: list[dict[str, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Singular values and directions of all inputs of some layers."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, x, __, rows=found[name]: rows.append(x[0].flatten(0, 1))
        )
        for name in names
    ]
    with torch.no_grad():
        for one in data:
            model(**one)
    for hook in hooks:
        hook.remove()
    rows = {name: torch.cat(parts).double() for name, parts in found.items()}
    return {name: torch.linalg.svd(x - x.mean(0), full_matrices=False)[1:] for name, x in rows.items()}


def sine(first: Tensor, second: Tensor) -> float:
    """The sine of the largest angle between the spaces of two sets of orthonormal rows."""
    first, second = (torch.linalg.qr(one.detach().double().t())[0].t() for one in (first, second))
    return float(torch.linalg.matrix_norm(first - first @ second.t() @ second, 2))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batches", 4), ("examples", 4), ("tokens", 64), ("rank", 16), ("layers", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole, tokenizer = load_model("smollm2", torch.float32)
    model = whole.get_decoder()
    data = batches(tokenizer, options.batches, options.examples, options.tokens)
    del model.layers[options.layers :]
    depth = len(model.layers)
    names = [f"layers.{i * (depth - 1) // 3}.{leaf}" for i, leaf in enumerate(LEAVES)]
    truth, passes = exact(model.eval(), names, data), []
    model.register_forward_hook(lambda *_: passes.append(1))
    start = time.process_time()
    adaptation = adapt(model, EVA(rank=options.rank), calibration=data)
    seconds = time.process_time() - start
    ours = {name: one.right.detach() for name, one in adaptation.adapters.items()}
    print(f"rankwise: {seconds:.1f} s, {len(passes)} forward passes, {len(ours)} adapters", flush=True)
    adaptation.remove()
    passes.clear()

    config = peft.LoraConfig(
        r=options.rank, target_modules="all-linear", init_lora_weights="eva", eva_config=peft.EvaConfig(rho=2.0)
    )
    other = peft.get_peft_model(model, config, low_cpu_mem_usage=True)
    start = time.process_time()
    initialize_lora_eva_weights(other, data, show_progress_bar=False)
    peft_seconds = time.process_time() - start
    print(f"PEFT: {peft_seconds:.1f} s, {len(passes)} forward passes; ratio {peft_seconds / seconds:.1f}")
    rows = []
    for name, (values, directions) in truth.items():
        layer = other.base_model.model.get_submodule(name)
        a = layer.lora_A["default"].weight if hasattr(layer, "lora_A") else torch.empty(0, layer.in_features)
        ranks = len(ours.get(name, ())), len(a)
        gaps = values[: min(ranks)] / values[1 : min(ranks) + 1]
        if not len(gaps):
            continue
        k = int(gaps.argmax()) + 1
        errors = [sine(ours[name][:k], directions[:k]), sine(a[:k], directions[:k]), sine(ours[name][:k], a[:k])]
        rows.append([name, f"{ranks[0]} / {ranks[1]}", f"{k} ({gaps.max():.2f})", *(f"{one:.1e}" for one in errors)])
    print(table(["layer", "ranks", "k (gap)", "rankwise to exact", "PEFT to exact", "rankwise to PEFT"], rows))
    print(environment(1))


if __name__ == "__main__":
    main()
