# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, fields

import pytest

import rankwise
from rankwise import LoRA, MethodError
from rankwise.core.method import Method
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.recipe import TuneRecipe, read_recipe, recipe_text, settings, with_total_steps, with_whole_paths


def test_a_recipe_survives_its_file(tmp_path):
    recipe = TuneRecipe.from_mapping(
        {"rank": 4, "init": "pissa", "targets": "q_proj,v_proj", "learning_rate": "3e-5", "steps": 7, "model": "a/b"}
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(recipe))
    assert TuneRecipe.from_mapping(read_recipe(path)) == recipe
    assert recipe.method == LoRA(rank=4, alpha=32, init="pissa")
    assert recipe.targets == ("q_proj", "v_proj")
    assert recipe.learning_rate == 3e-5


def test_the_file_is_flat_and_names_every_setting():
    assert set(TuneRecipe().to_mapping()) == settings().keys() | LoRA().to_dict().keys()


def test_every_registered_method_survives_the_file_and_clashes_with_no_setting():
    for name, kind in rankwise.methods().items():
        recipe = TuneRecipe.from_mapping({"method": name})
        assert TuneRecipe.from_mapping(recipe.to_mapping()) == recipe
        assert recipe.method == (kind() if kind is not LoRA else LoRA(rank=16, alpha=32))
        assert not {spec.name for spec in fields(kind)} & settings().keys()


def test_values_on_top_keep_the_others():
    recipe = TuneRecipe.from_mapping({"rank": 4, "epochs": 3}).updated({"alpha": "8"})
    assert recipe.method == LoRA(rank=4, alpha=8) and recipe.epochs == 3


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("attention", "attention"),
        ("q_proj", ("q_proj",)),
        ("self_attn.q_proj, v_proj", ("self_attn.q_proj", "v_proj")),
        (r"model\.layers\.[0-3]\..*", r"model\.layers\.[0-3]\..*"),
    ],
)
def test_plain_names_are_suffixes_and_the_rest_is_a_pattern(text, targets):
    assert TuneRecipe.from_mapping({"targets": text}).targets == targets


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rat": 1}, "Did you mean learning_rate"),
        ({"rnak": 1}, "Did you mean rank"),
        ({"rank": "x"}, "rank must be an integer, got 'x'"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"max_length": 7}, "max_length must be at least 8"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"warmup": 1}, "warmup must be in"),
        ({"learning_rate": "inf"}, "learning_rate must be above 0 and finite"),
        ({"learning_rate": "nan"}, "learning_rate must be above 0 and finite"),
        ({"dtype": "int8"}, "dtype must be one of auto, bfloat16, float16, float32, got 'int8'"),
    ],
)
def test_mistakes_name_the_setting_and_what_is_allowed(values, words):
    with pytest.raises(RecipeError, match=words):
        TuneRecipe.from_mapping(values)


def test_a_method_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(MethodError, match="Did you mean lora"):
        TuneRecipe.from_mapping({"method": "lroa"})


def test_the_method_judges_its_own_fields():
    with pytest.raises(MethodError, match="rank must be at least 1"):
        TuneRecipe.from_mapping({"rank": 0})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"rank: [1", "line 1 is not YAML"),
        (b"- rank", "must be one list of `name: value` lines"),
        (b"1: 2", "must be one list of `name: value` lines"),
        (b"", "must be one list of `name: value` lines"),
        (b"model: \xff", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, words):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        read_recipe(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere.yaml: No such file"):
        read_recipe(tmp_path / "nowhere.yaml")


def test_local_paths_are_named_from_the_root_and_other_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "stdlib", "smollm2"):
        (tmp_path / name).write_text("")
    assert with_whole_paths(TuneRecipe(data="rows.jsonl")).data == str(tmp_path / "rows.jsonl")
    assert with_whole_paths(TuneRecipe()) == TuneRecipe()
    assert with_whole_paths(TuneRecipe(model="a/b", data="c/d")) == TuneRecipe(model="a/b", data="c/d")


def test_a_schedule_learns_the_number_of_steps_unless_it_is_set():
    @dataclass(frozen=True)
    class Growing(Method):
        total_steps: int | None = None

    assert with_total_steps(Growing(), 9) == Growing(total_steps=9)
    assert with_total_steps(Growing(total_steps=4), 9) == Growing(total_steps=4)
    assert with_total_steps(LoRA(), 9) == LoRA()
