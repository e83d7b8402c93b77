# SPDX-License-Identifier: Apache-2.0
import pytest

import rankwise
from rankwise import LoRA
from rankwise.cli import main
from rankwise.cli.docs import attribute_texts, first_paragraph
from rankwise.cli.methods import parameters
from rankwise.testing.grid import EMPTY
from rankwise.testing.table import contract_table


def test_every_method_is_listed_with_its_formula(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert "W = W0 + (alpha / rank) left right" in said
    assert all(f" {name} " in said for name in rankwise.methods())


def test_parameters_are_those_of_the_layer(capsys):
    assert parameters(LoRA, 30, 50) == f"{8 * (30 + 50)}"
    assert parameters(LoRA, 3, 3) == "-"  # a rank of 8 does not fit
    assert main(["methods", "--layer", "300x500"]) == 0
    assert "6,400" in capsys.readouterr().out


@pytest.mark.parametrize("layer", ["300", "0x5", "axb", "3x4x5"])
def test_a_layer_is_two_positive_numbers(layer, capsys):
    assert main(["methods", "--layer", layer]) == 2
    assert f"--layer must be OUTxIN, two positive integers such as 576x1536, got '{layer}'" in capsys.readouterr().err


def test_the_feature_table_names_the_reason_of_every_hole(capsys):
    assert main(["methods", "--table"]) == 0
    said = capsys.readouterr().out
    assert contract_table() in said
    holes = said.partition("Empty cells\n")[2]
    assert all(one.reason in holes for one in EMPTY)


def test_texts_come_from_the_docstring():
    class Thing:
        """A thing,
        of two lines.

        More.

        Attributes:
            rank: the rank,
                as it is called.
            alpha: the scale.

        Raises:
            other: not a field.
        """

    assert first_paragraph(Thing) == "A thing, of two lines."
    assert attribute_texts(Thing) == {"rank": "the rank, as it is called.", "alpha": "the scale."}
    assert attribute_texts(int) == {}


@pytest.mark.parametrize("name", sorted(rankwise.methods()))
def test_every_field_of_every_method_is_described(name):
    kind = rankwise.methods()[name]
    assert attribute_texts(kind).keys() >= kind().to_dict().keys() - {"method"}
    assert first_paragraph(kind)
