# SPDX-License-Identifier: Apache-2.0
"""A language model and sequences, both random and tiny."""

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rankwise.recipes.encode import IGNORED, Encoded

VOCABULARY, PAD = 50, 0


def random_llama(layers: int = 3, seed: int = 0) -> LlamaForCausalLM:
    """A Llama with tied tables and random weights of a size that makes every layer matter."""
    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=layers,
        num_attention_heads=3,
        num_key_value_heads=1,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def random_items(count: int, seed: int) -> list[Encoded]:
    """Sequences of 5 to 12 tokens of which the last few are learned; each learned token is the one before it plus 1."""
    source, items = random.Random(seed), []
    for _ in range(count):
        question = [source.randrange(1, VOCABULARY) for _ in range(source.randrange(3, 8))]
        answer = [(question[-1] + k) % VOCABULARY for k in range(1, source.randrange(3, 6))]
        items.append(Encoded(question + answer, [IGNORED] * len(question) + answer))
    return items


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and a template that writes the turns one after the other."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}<|end|>{% endfor %}"
    return fast
