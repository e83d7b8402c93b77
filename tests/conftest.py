# SPDX-License-Identifier: Apache-2.0
"""What tests in several folders share: a small whole language model, and pages of a real browser."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# Time says nothing about an example here: the first one compiles or imports, and a machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama of 2 layers with a tokenizer of bytes and a chat template."""
    import torch  # noqa: PLC0415 - most tests need neither
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    fast.chat_template = TEMPLATE
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=len(fast),
            max_position_embeddings=512,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
        model = LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 40 pairs that a model of bytes can learn: a letter and the one after it."""
    letters = "abcdefghijklmnopqrst"
    rows = [{"prompt": f"{a}{n}", "completion": f"{chr(ord(a) + 1)}{n}"} for a in letters for n in (1, 2)]
    path = tmp_path_factory.mktemp("tiny-data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def browser():
    """A running Chromium or Chrome."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - few tests need it

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    with sync_playwright() as tool:
        running = tool.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def tab(browser):
    """A page of the browser; a message of an error, or a request beyond the file itself, fails the test."""
    problems = []
    page = browser.new_page()
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith("file:") or problems.append(f"asked for {asked.url}"))
    yield page
    page.close()
    assert problems == []
