# SPDX-License-Identifier: Apache-2.0
"""Which module of PEFT's would hold the adapter of a weight, and which weights no module of PEFT's can hold.

PEFT wraps layers (`target_modules`) or single parameters of a module (`target_parameters`, one wrapper inside the
other when several parameters of one module are adapted). An attention module is wrapped as a whole: its input
projections and its output projection, with one rank for both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from rankwise.core.select import clean
from rankwise.core.targets import ConvTarget, ConvTransposeTarget, EmbeddingTarget, ParameterTarget, Target
from rankwise.errors import TargetError
from rankwise.integrations.peft.forms import Form

INNER = "base_layer."


@dataclass(frozen=True)
class Holder:
    """Where PEFT keeps the adapter of one weight.

    Attributes:
        target: the name of the weight.
        key: what the keys of its tensors begin with, up to and without "lora_A".
        module: the name that PEFT's lists and patterns use for it.
        parameter: whether that is a name of `target_parameters`.
        form: how its tensors are stored.
        transposed: whether PEFT reads a stack of parameters as [*batch, in, out].
        attention: the attention module that is wrapped as a whole, "" for others.
        output: whether it is the output projection of that module.
    """

    target: str
    key: str
    module: str
    parameter: bool = False
    form: Form = "linear"
    transposed: bool = False
    attention: str = ""
    output: bool = False


def holders(model: nn.Module, targets: Iterable[Target]) -> list[Holder]:
    """The holders of adapted weights.

    Raises:
        TargetError: if PEFT cannot hold an adapter of one of them, or would hold it without ever applying it.
    """
    targets = list(targets)
    paths = {id(module): clean(path) for path, module in model.named_modules()}
    fused = _inside_encoder_layers(model)
    return [_holder(target, paths, fused, targets) for target in targets]


def layer_holder(path: str, target: Target) -> Holder:
    """The holder of a layer's weight.

    Raises:
        TargetError: if PEFT would compute another function of the layer's input.
    """
    if isinstance(target, ConvTransposeTarget):
        raise _cannot(target, "PEFT has no adapter for transposed convolutions")
    if isinstance(target, ConvTarget):
        layer = target.module
        if any(d > 1 and k > 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)):
            raise _cannot(target, f"PEFT runs its factor without the layer's dilation={layer.dilation}")
        if layer.padding_mode != "zeros" and layer.padding != "valid" and any(layer.padding):
            raise _cannot(target, f"PEFT pads with zeros, the layer with padding_mode={layer.padding_mode!r}")
        return Holder(target.name, f"{path}.", path, form="conv")
    return Holder(target.name, f"{path}.", path, form="embedding" if isinstance(target, EmbeddingTarget) else "linear")


def attention_holders(path: str, in_proj: str, out_proj: str) -> list[Holder]:
    """The two holders of an attention module that PEFT wraps as a whole."""
    return [
        Holder(in_proj, f"{path}.", path, attention=path),
        Holder(out_proj, f"{path}.{INNER}out_proj.", path, attention=path, output=True),
    ]


def parameter_holder(path: str, module: nn.Module, attr: str, adapted: Iterable[str]) -> Holder:
    """The holder of one parameter of a module of which `adapted` are adapted; the last one is the outermost."""
    adapted = set(adapted)
    order = [name for name in module._parameters if name in adapted]
    depth = len(order) - 1 - order.index(attr)
    parameter = module._parameters[attr]
    transposed = parameter is not None and parameter.ndim == 3 and bool(getattr(module, "is_transposed", False))
    name = f"{path}.{attr}"
    return Holder(name, f"{path}.{INNER * depth}", name, parameter=True, form="parameter", transposed=transposed)


def _holder(target: Target, paths: dict[int, str], fused: set[int], all_targets: list[Target]) -> Holder:
    path = paths.get(id(target.module), "")
    if id(target.module) in fused:
        raise _cannot(
            target, "nn.TransformerEncoderLayer reads its weights around PEFT's adapters whenever gradients are off"
        )
    if not path:
        raise _cannot(target, "PEFT cannot wrap the model itself, only modules inside it")
    if not isinstance(target, ParameterTarget):
        return layer_holder(path, target)
    if target.ties:
        raise _cannot(target, "PEFT adapts the users of a tied weight one by one and merges into it once for each")
    host = target.host
    if isinstance(host, nn.MultiheadAttention) and host._qkv_same_embed_dim:
        owner = paths[id(host)]
        pair = attention_holders(owner, f"{owner}.in_proj_weight", f"{owner}.out_proj")
        return next(one for one in pair if one.target == target.name)
    if host is not target.module:
        raise _cannot(target, f"{type(host).__name__} reads it around PEFT's adapter")
    if len(target.shape) > 3:
        raise _cannot(target, f"PEFT adapts parameters of 2 or 3 dimensions, this one has {len(target.shape)}")
    return parameter_holder(path, host, target.attr, [t.attr for t in all_targets if t.module is host])


def _inside_encoder_layers(model: nn.Module) -> set[int]:
    layers = [m for m in model.modules() if isinstance(m, nn.TransformerEncoderLayer)]
    return {id(part) for layer in layers for part in layer.modules()}


def _cannot(target: Target, why: str) -> TargetError:
    return TargetError(
        f"PEFT cannot hold the adapter of {target.name!r}: {why}. Leave it out of targets, or merge() the "
        "adapter and save "
        "the model."
    )
