# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import Irreps
from symmetry.gaunt.peer import o3

blocks = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6), st.sampled_from("eoy")), min_size=1, max_size=6)


@given(blocks)
def test_the_notation_is_read_as_e3nn_reads_it(parts):
    text = " + ".join(f"{mul}x{degree}{letter}" for mul, degree, letter in parts)
    ours, theirs = Irreps.of(text), o3.Irreps(text)
    assert str(ours) == str(theirs)
    assert ours.dim == theirs.dim
    assert ours.degree == theirs.lmax
    assert [place for _, place in ours.slices()] == theirs.slices()
    assert Irreps.of(theirs) == Irreps.of(ours) == ours


def test_types_are_parity_times_that_of_the_harmonics():
    assert [block.type for block in Irreps.of("0e+1o+2e+0o+1e+2o")] == [1, 1, 1, -1, -1, -1]
    assert str(Irreps.functions(2, mul=3)) == "3x0e+3x1o+3x2e"
    assert Irreps.of("2x0e+0x1o") == Irreps.of("2x0e")


@pytest.mark.parametrize("text", ["1x", "2x1", "x1o", "1x1z", "1x-1o", "0e++1o", "1.5x0e"])
def test_what_is_no_irrep_is_named(text):
    with pytest.raises(SymmetryError, match="is no irrep"):
        Irreps.of(text)
