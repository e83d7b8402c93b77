# SPDX-License-Identifier: Apache-2.0
"""Equivariant products by multiplying functions on the sphere: O(L^3) where Clebsch-Gordan contraction takes O(L^6).

    GauntTensorProduct        fully connected, learned; for e3nn's FullyConnectedTensorProduct
    GauntElementwiseProduct   channel by channel: the feature interaction; for ElementwiseTensorProduct
    GauntFullProduct          every channel with every channel, no weights; for FullTensorProduct
    GauntConvolution          features with a filter of spherical harmonics of edges
    RotatedConvolution        the same with the edge turned to the polar axis, where the filter is sparse
    GauntManyBody             powers of a function: the many-body interaction

With complete=True the spherical Poisson bracket adds the antisymmetric paths, and the products span what Clebsch-Gordan
products span. Reference: Luo et al., Enabling efficient equivariant operations in the Fourier basis via Gaunt tensor
products, https://arxiv.org/abs/2401.10216.
"""

from rankwise.symmetry.gaunt.channel_product import GauntElementwiseProduct, GauntFullProduct
from rankwise.symmetry.gaunt.coefficients import bracket_tensor, coupling_tensor, gaunt_tensor
from rankwise.symmetry.gaunt.convolution import GauntConvolution, RotatedConvolution
from rankwise.symmetry.gaunt.dense import DenseGrid
from rankwise.symmetry.gaunt.fourier import Fourier
from rankwise.symmetry.gaunt.fused import FusedGrid
from rankwise.symmetry.gaunt.harmonics import spherical_harmonics
from rankwise.symmetry.gaunt.irreps import Irreps
from rankwise.symmetry.gaunt.many_body import GauntManyBody
from rankwise.symmetry.gaunt.planner import Choice, plan
from rankwise.symmetry.gaunt.rotations import rotation_matrix
from rankwise.symmetry.gaunt.separable import SeparableGrid
from rankwise.symmetry.gaunt.tensor_product import GauntTensorProduct

__all__ = [
    "Choice",
    "DenseGrid",
    "Fourier",
    "FusedGrid",
    "GauntConvolution",
    "GauntElementwiseProduct",
    "GauntFullProduct",
    "GauntManyBody",
    "GauntTensorProduct",
    "Irreps",
    "RotatedConvolution",
    "SeparableGrid",
    "bracket_tensor",
    "coupling_tensor",
    "gaunt_tensor",
    "plan",
    "rotation_matrix",
    "spherical_harmonics",
]
