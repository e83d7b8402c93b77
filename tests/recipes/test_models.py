# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from rankwise.recipes.errors import ModelError
from rankwise.recipes.models import Source, chosen_dtype, find_model, load_model


def test_a_folder_is_loaded_in_the_asked_dtype(tiny_model):
    model, tokenizer = load_model(str(tiny_model), torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert tokenizer.pad_token == "<|pad|>"


def test_a_gguf_file_is_found_by_itself_and_in_its_folder(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert find_model(str(file)) == find_model(str(tmp_path)) == Source(str(tmp_path), "model.gguf")


def test_another_name_is_taken_for_the_hub():
    assert find_model("some/model") == Source("some/model")


def test_the_default_dtype_follows_the_device():
    assert chosen_dtype("auto") == (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    assert chosen_dtype("float16") == torch.float16


@pytest.mark.parametrize("name", ["./nowhere", "/a/b/c", "model.gguf", "~/nowhere"])
def test_a_path_that_is_not_there_is_not_taken_for_the_hub(name):
    with pytest.raises(ModelError, match="there is no file or folder"):
        find_model(name)


def test_files_and_folders_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"neither config.json nor a GGUF file"):
        find_model(str(tmp_path))
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=r"several GGUF files \(a.gguf, b.gguf\)"):
        find_model(str(tmp_path))
    other = tmp_path / "model.bin"
    other.write_bytes(b"")
    with pytest.raises(ModelError, match="a file must be GGUF"):
        find_model(str(other))


def test_a_broken_folder_is_told_apart_from_a_missing_one(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(tmp_path), torch.float32)
