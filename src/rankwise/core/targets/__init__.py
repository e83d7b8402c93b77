# SPDX-License-Identifier: Apache-2.0
"""The kinds of weight that adapters can sit on."""

from rankwise.core.targets.base import Target
from rankwise.core.targets.conv import ConvTarget, ConvTransposeTarget
from rankwise.core.targets.embedding import EmbeddingTarget
from rankwise.core.targets.linear import LinearTarget
from rankwise.core.targets.parameter import ParameterTarget

__all__ = ["ConvTarget", "ConvTransposeTarget", "EmbeddingTarget", "LinearTarget", "ParameterTarget", "Target"]
