"""Row 11: weights that two layers share, in a transformers model that is saved and loaded again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rankwise import LoRA, TargetError, adapt
from reliability.models import perturb


@dataclass(frozen=True)
class Tied:
    """What happened to a tied model."""

    one_side_refused: bool
    merge_error: float
    reload_error: float


def tied(folder: Path) -> Tied:
    """Adapt the embedding and the head of a tied Llama, merge, save with transformers, load, compare."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - an extra

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(12).view(2, 6)
    refused = False
    try:
        adapt(model, LoRA(rank=2), targets=["lm_head"])
    except TargetError:
        refused = True
    adaptation = adapt(model, LoRA(rank=2), targets=["lm_head", "embed_tokens", "q_proj"])
    perturb(adaptation.parameters())
    with torch.no_grad():
        expected = model(ids).logits
        adaptation.merge()
        merged = model(ids).logits
        adaptation.remove()
        model.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits
    norm = expected.norm()
    return Tied(refused, float((merged - expected).norm() / norm), float((loaded - expected).norm() / norm))
