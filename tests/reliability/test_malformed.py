"""Rows 5 and 6: a damaged checkpoint is refused, quickly, by one kind of error, and leaves no trace on the model."""

import pytest
from reliability.malformed import Folder, load_all, mutated_headers, mutated_json, named_cases


def test_every_named_damage_is_refused_and_leaves_the_model_untouched(tmp_path):
    good = Folder(tmp_path / "adapter")
    outcome = load_all(good, named_cases(good))
    assert outcome.cases >= 60
    assert (outcome.accepted, outcome.crashed, outcome.slow, outcome.traces) == ([], [], [], [])


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_mutated_header_is_accepted_or_crashes(tmp_path, count):
    good = Folder(tmp_path / "adapter")
    outcome = load_all(good, mutated_headers(good, count), check_model=False)
    assert (outcome.accepted, outcome.crashed, outcome.slow) == ([], [], [])


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_mutated_json_is_refused_unless_only_its_layout_changed(tmp_path, count):
    good = Folder(tmp_path / "adapter")
    cases = list(mutated_json(good, count))
    outcome = load_all(good, iter(cases), check_model=False)
    assert (outcome.crashed, outcome.slow) == ([], [])
    texts = {name: content for name, content, _ in cases}
    assert all(texts[name].split() == good.json.split() for name in outcome.accepted)
