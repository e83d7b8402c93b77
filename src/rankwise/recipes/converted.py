# SPDX-License-Identifier: Apache-2.0
"""Turn a saved adapter of any method into the closest LoRA of a given rank (Eckart and Young, 1936)."""

from pathlib import Path

import torch

from rankwise.adapters.lora import LoRA
from rankwise.integrations.peft import export_peft
from rankwise.recipes.folder import new_folder
from rankwise.recipes.tuned import open_adapter


def convert(folder: Path, out: Path, model: str | None, rank: int, *, peft: bool) -> dict[str, float]:
    """Write the closest LoRA.

    Args:
        folder: a saved adapter.
        out: the folder to make; must not exist or be empty.
        model: the base model; None takes the one in the recipe beside the adapter.
        rank: the rank, lowered where a layer is smaller.
        peft: write the layout of Hugging Face PEFT instead of this library's own.

    Returns:
        For each target ||delta - left right|| / ||delta||.

    Raises:
        RankwiseError: if the adapter or its base cannot be loaded, the method changes what a LoRA cannot hold, or `out`
            cannot be written.
    """
    lora = LoRA(rank=rank, alpha=float(rank))
    new_folder(out)
    try:
        _, adaptation = open_adapter(folder, model, torch.float32)
        conversion = adaptation.convert(lora)
    except BaseException:
        out.rmdir()  # still empty
        raise
    if peft:
        export_peft(conversion.adaptation, out)
    else:
        conversion.adaptation.save(out)
    return conversion.relative_error
