# SPDX-License-Identifier: Apache-2.0
"""Exact combinatorics of the hulls of highest weight modules' weights: faces, weights, and all hulls at once.

    Cartan            a generalized Cartan matrix: types, Weyl order, degrees, roots
    HighestWeight     the faces, generators, inequalities and weights of one module's hull
    UniversalWeyl     one cone whose slices are the hulls of all parabolic Verma modules

Reference: Dhillon, Khare, Faces of highest weight modules and the universal Weyl polyhedron,
https://arxiv.org/abs/1611.00114.
"""

from rankwise.symmetry.weyl.cartan import Cartan
from rankwise.symmetry.weyl.classification import CartanType, Component
from rankwise.symmetry.weyl.faces import Face, FaceLattice, StandardFace
from rankwise.symmetry.weyl.highest_weight import HighestWeight
from rankwise.symmetry.weyl.hull import Inequality
from rankwise.symmetry.weyl.localization import TangentCone
from rankwise.symmetry.weyl.universal import UniversalFace, UniversalWeyl

__all__ = [
    "Cartan",
    "CartanType",
    "Component",
    "Face",
    "FaceLattice",
    "HighestWeight",
    "Inequality",
    "StandardFace",
    "TangentCone",
    "UniversalFace",
    "UniversalWeyl",
]
