# SPDX-License-Identifier: Apache-2.0
import math
from fractions import Fraction
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl import Cartan, Face, HighestWeight

INF = math.inf
GOLDEN = [  # type, lam, integrable nodes, faces by dimension
    ("A2", (1, 1), None, (6, 6, 1)),
    ("A3", (1, 1, 1), None, (24, 36, 14, 1)),
    ("A4", (1, 1, 1, 1), None, (120, 240, 150, 30, 1)),
    ("A3", (1, 0, 1), None, (12, 24, 14, 1)),
    ("B3", (0, 1, 0), None, (12, 24, 14, 1)),
    ("C3", (2, 0, 0), None, (6, 12, 8, 1)),
    ("D4", (0, 1, 0, 0), None, (24, 96, 96, 24, 1)),
    ("F4", (1, 0, 0, 0), None, (24, 96, 96, 24, 1)),
    ("G2", (0, 1), None, (6, 6, 1)),
    ("E6", (0, 1, 0, 0, 0, 0), None, (72, 720, 2160, 2160, 702, 54, 1)),
    ("E7", (1, 0, 0, 0, 0, 0, 0), None, (126, 2016, 10080, 20160, 16128, 4788, 632, 1)),
    ("E8", (0, 0, 0, 0, 0, 0, 0, 1), None, (240, 6720, 60480, 241920, 483840, 483840, 207360, 19440, 1)),
    ("E6", (1, 0, 0, 0, 0, 0), None, (27, 216, 720, 1080, 648, 99, 1)),
    ("E7", (0, 0, 0, 0, 0, 0, 1), None, (56, 756, 4032, 10080, 12096, 6048, 702, 1)),
    ("B4", (0, 0, 0, 1), None, (16, 32, 24, 8, 1)),
    ("D4", (1, 0, 0, 0), None, (8, 24, 32, 16, 1)),
    ("A2", (0, 3), (0,), (1, 2, 1)),
    ("A3", (1, 0, 2), (0, 1), (3, 9, 7, 1)),
    ("C3", (0, 1, 7), (0, 2), (2, 5, 4, 1)),
    ("A2~", (1, 0, 0), (0, 1), (3, 9, 7, 1)),
    ("A2~", (0, 0, 1), (0, 1), (1, 6, 6, 1)),
    ("A1~", (1, 0), None, (INF, INF, 1)),
]
SMALL = ["A1", "A2", "B2", "G2", "A3", "B3", "A1~", "A2^(2)", "A2~", "D3^(2)"]
matrices = st.sampled_from([Cartan.of(*names.split("x")) for names in [*SMALL, "A2xA1", "A1xA1xA1", "D4", "D4~"]])


@st.composite
def modules(draw):
    """A module with small numbers over any of the matrices."""
    cartan = draw(matrices)
    lam = draw(st.lists(st.sampled_from([0, 0, 1, 2, -1, Fraction(1, 2)]), min_size=cartan.rank, max_size=cartan.rank))
    possible = [i for i, label in enumerate(lam) if isinstance(label, int) and label >= 0]
    nodes = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    return HighestWeight(cartan, lam, nodes)


def alternating(counts):
    return sum((-1) ** size * count for size, count in enumerate(counts))


@pytest.mark.parametrize(("name", "lam", "nodes", "counts"), GOLDEN)
def test_known_face_counts(name, lam, nodes, counts):
    assert HighestWeight(Cartan.of(name), lam, nodes).f_vector() == counts


def test_the_reflected_numbering_of_e6_gives_the_same():
    assert HighestWeight(Cartan.of("E6"), (0, 0, 0, 0, 0, 1)).f_vector() == GOLDEN[12][3]


@pytest.mark.parametrize("rank", range(1, 9))
def test_permutohedra_count_ordered_set_partitions(rank):
    def stirling(n, k):
        terms = [(-1) ** (k - i) * math.comb(k, i) * i**n for i in range(k + 1)]
        return sum(terms) // math.factorial(k)

    counts = HighestWeight(Cartan.of(f"A{rank}"), (1,) * rank).f_vector()
    n = rank + 1
    assert counts == tuple(math.factorial(n - k) * stirling(n, n - k) for k in range(n))


def test_euler_holds_for_all_zero_one_weights_of_e8():
    cartan = Cartan.of("E8")
    found = {lam: HighestWeight(cartan, lam).f_vector() for lam in product((0, 1), repeat=8)}
    assert all(alternating(counts) == 1 for counts in found.values())
    assert found[(1,) * 8][0] == 696_729_600
    assert found[(0,) * 8] == (1, 0, 0, 0, 0, 0, 0, 0, 0)
    simple = found[(1,) * 8]
    assert 2 * simple[1] == 8 * simple[0]  # eight edges at each vertex


@settings(deadline=None)
@given(modules())
def test_eulers_relation(module):
    counts = module.f_vector()
    if INF not in counts:
        assert alternating(counts) == (1 if module.is_bounded else 0)


@settings(deadline=None)
@given(modules(), st.integers(min_value=0))
def test_sets_between_the_least_and_the_largest_name_one_face(module, bits):
    rank = module.cartan.rank
    nodes = [i for i in range(rank) if bits >> i & 1]
    least, most = module.j_min(nodes), module.j_max(nodes)
    assert module.j_min(least) == least
    assert set(least) <= set(nodes) <= set(most)
    for inner in range(1 << rank):
        between = {i for i in range(rank) if inner >> i & 1}
        same = module.j_min(between) == least
        assert same == (set(least) <= between <= set(most))
        assert same == (module.face(between) == module.face(nodes))


@settings(deadline=None)
@given(modules())
def test_counts_depend_on_the_active_nodes_only(module):
    zero_one = [int(i in module.active) for i in range(module.cartan.rank)]
    assert HighestWeight(module.cartan, zero_one, module.integrable).f_vector() == module.f_vector()


@pytest.mark.parametrize(("name", "turn"), [("A4", [3, 2, 1, 0]), ("D4", [2, 1, 3, 0]), ("E6", [5, 1, 4, 3, 2, 0])])
def test_counts_do_not_change_under_a_symmetry_of_the_diagram(name, turn):
    cartan = Cartan.of(name)
    for bits in range(1 << cartan.rank):
        lam = [bits >> i & 1 for i in range(cartan.rank)]
        turned = [lam[turn[i]] for i in range(cartan.rank)]
        assert HighestWeight(cartan, lam).f_vector() == HighestWeight(cartan, turned).f_vector()


@settings(deadline=None)
@given(modules(), modules())
def test_the_f_polynomial_of_a_product_is_the_product(first, second):
    counts = first.f_vector(), second.f_vector()
    if INF in counts[0] + counts[1]:
        return
    rows = [[*row, *(0,) * second.cartan.rank] for row in first.cartan.rows]
    rows += [[*(0,) * first.cartan.rank, *row] for row in second.cartan.rows]
    nodes = [*first.integrable, *(first.cartan.rank + i for i in second.integrable)]
    both = HighestWeight(Cartan(rows), [*first.lam, *second.lam], nodes)
    assert list(both.f_vector()) == np.convolve(*counts).tolist()


@pytest.mark.parametrize("rank", range(1, 8))
def test_h_vectors_of_regular_weights_are_eulerian_numbers(rank):
    counts = HighestWeight(Cartan.of(f"A{rank}"), (1,) * rank).f_vector()
    # sum of f_k (t - 1)^k = sum of h_k t^k for a simple polytope
    h = sum((np.poly1d([1, -1]) ** k * count for k, count in enumerate(counts)), np.poly1d([0]))
    n = rank + 1
    euler = [sum((-1) ** j * math.comb(n + 1, j) * (k + 1 - j) ** n for j in range(k + 1)) for k in range(n)]
    assert np.round(h.coeffs[::-1]).astype(int).tolist() == euler


@settings(deadline=None)
@given(modules())
def test_faces_are_listed_as_often_as_they_are_counted(module):
    counts = module.f_vector()
    if INF in counts or sum(counts) > 400:
        return
    faces = list(module.faces())
    assert len(set(faces)) == len(faces)
    assert tuple(sum(face.dimension == k for face in faces) for k in range(len(counts))) == counts
    assert [len(face.word) for face in faces] == sorted(len(face.word) for face in faces)
    assert all(module.face(face.nodes, face.word) == face for face in faces)
    assert {face.nodes for face in faces} == {face.nodes for face in module.standard_faces()}
    assert sum(face.count for face in module.standard_faces()) == sum(counts)


def test_endless_faces_are_lazy_and_bounded_by_the_length_of_their_words():
    module = HighestWeight(Cartan.of("A2~"), (1, 1, 1))
    assert len(list(islice(module.faces(), 1000))) == 1000
    lengths = [len(face.word) for face in module.faces(0, max_length=5)]
    # Bott's formula: (1 + q)(1 + q + q^2) / ((1 - q)(1 - q^2))
    assert [lengths.count(k) for k in range(6)] == [1, 3, 6, 9, 12, 15]
    half = HighestWeight(Cartan.of("A1~"), (1, 0))
    assert [face.word for face in half.faces(0, max_length=3)] == [(), (0,), (1, 0), (0, 1, 0)]


def test_words_of_a_hyperbolic_group_do_not_overflow():
    # For A = (2 -3; -3 2), lam = (1, 1) each reflection subtracts the next of 1, 4, 11, 29, ...: x' = 3 x - x before.
    module = HighestWeight(Cartan([[2, -3], [-3, 2]]), (1, 1))
    expected, step, before = [0, 0], 1, -1
    for length in range(120):
        expected[length % 2] += step
        step, before = 3 * step - before, step
    found = list(module.vertices(max_length=120))
    assert len(found) == 1 + 2 * 120
    assert {tuple(expected), tuple(expected[::-1])} == set(found[-2:])
    assert max(expected) > 2**150
    assert all(module.contains_weight(vertex) for vertex in found[-2:])


def test_a_word_need_not_be_reduced():
    module = HighestWeight(Cartan.of("A3"), (1, 0, 0))
    assert module.face([0, 1], [2, 2, 0, 1, 0]) == module.face([0, 1], [1])
    assert module.face([2], [1, 2]) == Face(())
    assert module.face([0, 2]) == Face((0,))


def test_the_face_lattice_of_a_cube():
    lattice = HighestWeight(Cartan.of("B3"), (0, 0, 1)).face_lattice()
    sizes = [face.dimension for face in lattice.faces]
    assert [sizes.count(k) for k in range(4)] == [8, 12, 6, 1]
    assert len(lattice.covers) == len(set(lattice.covers)) == 12 * 2 + 6 * 4 + 6
    assert all(sizes[inner] + 1 == sizes[outer] for inner, outer in lattice.covers)


@settings(deadline=None)
@given(modules())
def test_the_lattice_holds_what_contains_says(module):
    counts = module.f_vector()
    if INF in counts or sum(counts) > 60:
        return
    lattice = module.face_lattice()
    covers = set(lattice.covers)
    for i, inner in enumerate(lattice.faces):
        for j, outer in enumerate(lattice.faces):
            if inner.dimension + 1 == outer.dimension:
                assert ((i, j) in covers) == module.contains(outer, inner)


def test_a_lattice_that_is_too_large_says_how_large():
    with pytest.raises(CapacityError, match="13,606,376,641 faces, more than most=100,000"):
        HighestWeight(Cartan.of("E8"), (1,) * 8).face_lattice()
    with pytest.raises(CapacityError, match="infinitely many faces"):
        HighestWeight(Cartan.of("A1~"), (1, 0)).face_lattice()


@pytest.mark.parametrize(
    ("lam", "nodes", "said"),
    [
        ((1, 1), None, r"The weight \(1, 1\) has 2 numbers; A3 has 3 nodes"),
        ((1, 0.5, 1), None, r"lam\[1\] = 0.5 must be an integer or a fractions.Fraction"),
        ((1, True, 1), None, r"lam\[1\] = True"),
        ((1, -2, 1), [0, 1], r"Node 1 cannot be integrable: lam\[1\] = -2 .* subset of \[0, 2\]"),
        ((1, Fraction(1, 2), 1), [1], r"lam\[1\] = 1/2"),
        ((1, 1, 1), [3], "3 is no node"),
    ],
)
def test_weights_and_integrable_nodes_that_do_not_fit_are_refused(lam, nodes, said):
    with pytest.raises(SymmetryError, match=said):
        HighestWeight(Cartan.of("A3"), lam, nodes)


def test_words_move_faces_by_integrable_nodes_only():
    module = HighestWeight(Cartan.of("A3"), (1, 0, -1))
    assert module.integrable == (0, 1)
    with pytest.raises(SymmetryError, match=r"2 in the word is no integrable node; .* \(0, 1\)"):
        module.face([0], [2])
    with pytest.raises(SymmetryError, match="no integrable node"):
        module.contains(module.face([0]), Face((0,), (2,)))


def test_a_node_that_is_not_integrable_is_active_even_at_zero():
    module = HighestWeight(Cartan.of("A2"), (0, 0), [0])
    assert module.active == (1,)
    assert module.f_vector() == (1, 2, 1)
    assert HighestWeight(Cartan.of("A2"), (0, 0)).f_vector() == (1, 0, 0)
