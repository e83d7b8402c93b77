# SPDX-License-Identifier: Apache-2.0
"""What a new adapter starts from when PEFT asks for something else than the method's own start.

`init_weights=False` asks for a start away from the base function, `low_cpu_mem_usage` for tensors without values,
because saved ones will take their place.
"""

from zlib import crc32

import torch
from torch import nn

SPREAD = 0.05  # standard deviation of what init_weights=False adds to a trainable tensor


def scatter(module: nn.Module, seed: str) -> None:
    """Add normal noise to every trainable tensor, the same for the same seed."""
    generator = torch.Generator().manual_seed(crc32(seed.encode()))
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * SPREAD
            parameter.add_(noise.to(parameter))


def makes_meta_tensors(asked: bool) -> bool:
    """Whether PEFT wants tensors without values: it says so, or it patches every new parameter."""
    probe = nn.Module()
    probe.register_parameter("probe", nn.Parameter(torch.empty(0)))
    return asked or probe._parameters["probe"].is_meta  # type: ignore[union-attr]


def empty(module: nn.Module) -> None:
    """Take the values of all parameters away."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
