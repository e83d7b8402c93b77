# SPDX-License-Identifier: Apache-2.0
# torchao's and bitsandbytes' layers are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""The kinds of target in the contract grid, each as a small model and an input.

Sizes are 3 to 8 and everything a layer can turn round (out and in, stride, padding, groups, batch first or second)
differs from its transpose, so that a wrong layout shows. float64, except where the kind is about another dtype.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rankwise.testing import layers

EXAMPLES = 3  # examples in a batch


@dataclass(frozen=True)
class Kind:
    """One kind of target.

    Attributes:
        name: short name, for test ids and columns.
        layer: builds one layer; its values are overwritten.
        shape: shape of an input batch of `EXAMPLES` examples.
        leaves: the adapted weights inside the layer, "" for the layer's own.
        call: runs the layer and gives one tensor.
        batch_dim: the dimension of the input that counts examples.
        dtype: dtype of the base and of the input.
        entries: number of table entries if the input is indices, 0 for a floating input.
        quantize: replaces the layers' weights by quantized ones.
        package: what must be installed, None if nothing.
    """

    name: str
    layer: Callable[[], nn.Module]
    shape: tuple[int, ...]
    leaves: tuple[str, ...] = ("",)
    call: Callable[[nn.Module, Tensor], Tensor] = field(default=layers.plain)
    batch_dim: int = 0
    dtype: torch.dtype = torch.float64
    entries: int = 0
    quantize: Callable[[nn.Module], None] | None = None
    package: str | None = None

    @property
    def available(self) -> bool:
        """Whether the package that the kind needs is installed."""
        return self.package is None or importlib.util.find_spec(self.package) is not None

    @property
    def quantized(self) -> bool:
        """Whether the base is quantized."""
        return self.quantize is not None

    @property
    def targets(self) -> list[str]:
        """The names of the adapted weights."""
        return [f"{unit}.{leaf}" if leaf else unit for unit in ("late", "early") for leaf in self.leaves]

    def model(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A fresh base; the same values at every call."""
        generator = torch.Generator().manual_seed(7)
        pair = layers.Pair(self.layer, self.call).to(dtype or self.dtype)
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
        if self.quantize is not None:
            self.quantize(pair)
        return pair

    def inputs(self, seed: int = 1, dtype: torch.dtype | None = None) -> Tensor:
        """A batch of inputs."""
        generator = torch.Generator().manual_seed(seed)
        if self.entries:
            return torch.randint(self.entries, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator).to(dtype or self.dtype)


def _torchao_int8(pair: nn.Module) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415 - optional extra

    quantize_(pair, Int8WeightOnlyConfig())
    for layer in pair.children():
        del layer.__dict__["extra_repr"]  # a closure for printing, which cannot be pickled


def _bitsandbytes_4bit(pair: nn.Module) -> None:
    from bitsandbytes.nn.modules import Linear4bit, Params4bit  # noqa: PLC0415 - optional extra

    for name, layer in list(pair.named_children()):
        assert isinstance(layer, nn.Linear)
        quantized = Linear4bit(layer.in_features, layer.out_features, compute_dtype=torch.float32, quant_type="nf4")
        quantized.weight = Params4bit(layer.weight.detach(), quant_type="nf4")  # type: ignore[call-arg]
        quantized.bias = layer.bias
        quantized.support_avx512bf16_for_cpu = False  # bitsandbytes' bfloat16 kernel takes multiples of 32 rows only
        setattr(pair, name, quantized.to("cpu"))


def _conv1d() -> nn.Module:
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415 - optional extra

    return Conv1D(5, 6)


def _encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, dim_feedforward=6, dropout=0.0, activation="gelu", batch_first=True)


KINDS: tuple[Kind, ...] = (
    Kind("linear", lambda: nn.Linear(6, 5), (3, 2, 6)),
    Kind("linear-no-bias", lambda: nn.Linear(6, 5, bias=False), (3, 2, 6)),
    Kind("hf-conv1d", _conv1d, (3, 2, 6), package="transformers"),
    Kind("conv1d", lambda: nn.Conv1d(4, 5, 3, padding=1), (3, 4, 7)),
    Kind(
        "conv2d",
        lambda: nn.Conv2d(4, 5, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1), padding_mode="reflect"),
        (3, 4, 6, 5),
    ),
    Kind("conv2d-square", lambda: nn.Conv2d(3, 4, 2, stride=2, padding=1), (3, 3, 4, 3)),
    Kind("conv3d", lambda: nn.Conv3d(3, 4, (2, 1, 2), stride=(2, 1, 1), padding=1), (3, 3, 3, 2, 3)),
    Kind("conv-grouped", lambda: nn.Conv2d(6, 4, 3, padding=1, groups=2), (3, 6, 4, 3)),
    Kind("conv-depthwise", lambda: nn.Conv1d(6, 6, 3, padding="same", groups=6), (3, 6, 5)),
    Kind(
        "conv-transpose2d",
        lambda: nn.ConvTranspose2d(4, 5, (2, 3), stride=2, padding=1, output_padding=1),
        (3, 4, 3, 2),
    ),
    Kind("conv-transpose-grouped", lambda: nn.ConvTranspose1d(4, 6, 2, stride=2, groups=2), (3, 4, 3)),
    Kind("embedding", lambda: nn.Embedding(7, 5, padding_idx=2), (3, 6), entries=7),
    Kind(
        "mha-in-proj",
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        (3, 4, 8),
        ("in_proj_weight",),
        layers.self_attention,
    ),
    Kind(
        "mha-separate-qkv",
        lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=5),
        (4, 3, 8),
        ("q_proj_weight", "k_proj_weight", "v_proj_weight"),
        layers.cross_attention,
        batch_dim=1,
    ),
    Kind(
        "mha-out-proj",
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        (3, 4, 8),
        ("out_proj",),
        layers.self_attention,
    ),
    Kind("encoder-layer", _encoder_layer, (3, 4, 8), ("linear1", "linear2")),
    Kind(
        "lstm",
        lambda: nn.LSTM(6, 4, batch_first=True),
        (3, 4, 6),
        ("weight_ih_l0", "weight_hh_l0"),
        layers.recurrent,
    ),
    Kind("gru", lambda: nn.GRU(6, 4), (4, 3, 6), ("weight_ih_l0", "weight_hh_l0"), layers.recurrent, batch_dim=1),
    Kind("raw-matrix", lambda: layers.RawMatrix(5, 6), (3, 2, 6), ("matrix",)),
    Kind("experts-3d", lambda: layers.Experts(3, 5, 6), (3, 2, 6), ("up_proj",)),
    Kind("tied-embedding-head", lambda: layers.TiedHead(7, 5), (3, 4), ("table", "scores"), entries=7),
    Kind("linear-bf16", lambda: nn.Linear(6, 5), (3, 2, 6), dtype=torch.bfloat16),
    Kind("linear-fp16", lambda: nn.Linear(6, 5), (3, 2, 6), dtype=torch.float16),
    Kind(
        "torchao-int8",
        lambda: nn.Linear(6, 5),
        (3, 2, 6),
        dtype=torch.float32,
        quantize=_torchao_int8,
        package="torchao",
    ),
    Kind(
        "bnb-4bit",
        lambda: nn.Linear(8, 6),
        (3, 2, 8),
        dtype=torch.float32,
        quantize=_bitsandbytes_4bit,
        package="bitsandbytes",
    ),
)
