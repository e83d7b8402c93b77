# SPDX-License-Identifier: Apache-2.0
"""Weights that are read without their layer being called.

The projections of `nn.MultiheadAttention` (its `out_proj` too: the attention reads that weight and never calls the
layer), the linear layers that `nn.TransformerEncoderLayer` hands to its fused kernel, the matrices of `nn.LSTM`,
`nn.GRU` and `nn.RNN`, stacks of expert matrices, any raw parameter, and tables that are tied to another layer. Reading
the attribute gives the base weight plus the delta, computed once in each forward of the module that reads it.
"""

from torch import nn

from rankwise.core.targets.base import UncalledTarget
from rankwise.errors import TargetError


class ParameterTarget(UncalledTarget):
    """A weight that a module reads as an attribute, [out, in] or a stack [*batch, out, in].

    Args:
        name: path of the weight.
        module: the module that holds it.
        attr: its attribute name.
        host: the module whose forward reads it.
        ties: further (module, attribute) pairs that hold the very same parameter.

    Raises:
        TargetError: if the parameter has fewer than two dimensions.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        attr: str,
        host: nn.Module | None = None,
        ties: tuple[tuple[nn.Module, str], ...] = (),
    ) -> None:
        shape = tuple(module._parameters[attr].shape)  # type: ignore[union-attr]
        if len(shape) < 2:
            raise TargetError(
                f"{name!r} has shape {list(shape)}; a delta of low rank needs a matrix [out, in] or a stack of them "
                "[*batch, out, in]. Leave it out of targets."
            )
        super().__init__(name, module, attr, shape)
        self.host = host or module
        self.ties = ties
        self.bias_attr, self.bias_channels = _bias_of(module, attr)

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """[*batch, out, in]: the parameter's own shape."""
        return self.shape


def _bias_of(module: nn.Module, attr: str) -> tuple[str | None, slice]:
    """The attribute that holds the bias of a weight, and which of its entries belong to it."""
    if isinstance(module, nn.MultiheadAttention):
        size = module.embed_dim
        part = {"in_proj_weight": slice(None)} | {
            f"{p}_proj_weight": slice(i * size, (i + 1) * size) for i, p in enumerate("qkv")
        }
        return "in_proj_bias", part[attr]
    if isinstance(module, nn.RNNBase):
        return (attr.replace("weight", "bias") if attr.startswith(("weight_ih", "weight_hh")) else None), slice(None)
    return ("bias" if attr == "weight" else None), slice(None)
