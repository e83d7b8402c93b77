"""Small models that the measurements adapt."""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn

from rankwise import Adaptation, Method, adapt
from rankwise.testing.grid import reason

M = TypeVar("M", bound=nn.Module)

# The kind of each weight of `Net` in the contract grid.
KINDS = {
    "embed": "embedding",
    "fc": "linear",
    "conv": "conv-grouped",
    "attn": "mha-in-proj",
    "rnn": "lstm",
    "out": "linear",
}


class Net(nn.Module):
    """Embedding, linear, convolution, attention and recurrence in one forward pass."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 8, padding_idx=0)
        self.fc = nn.Linear(8, 6)
        self.conv = nn.Conv1d(6, 6, 3, padding=1, groups=2)
        self.attn = nn.MultiheadAttention(6, 2, batch_first=True)
        self.rnn = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Linear(5, 4)
        self.to(dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, length] to outputs [batch, length, 4]."""
        x = self.fc(self.embed(ids))
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.attn(x, x, x, need_weights=False)[0]
        return self.out(self.rnn(x)[0])


class Kernels(nn.Module):
    """Two convolutions with square kernels, for the methods that are defined on nothing else."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.first, self.second = nn.Conv2d(2, 4, 2), nn.Conv2d(4, 3, 2)
        self.to(dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, length] to outputs [batch, 3, length - 2, 2]."""
        x = self.embed(ids).unflatten(-1, (2, 4)).transpose(1, 2)
        return self.second(torch.tanh(self.first(x)))


def net(seed: int = 0, dtype: torch.dtype = torch.float64) -> Net:
    """A `Net` whose weights depend on the seed alone."""
    return _drawn(Net(dtype), seed)


def fitting(method: type[Method], dtype: torch.dtype = torch.float64) -> tuple[nn.Module, list[str]]:
    """A model and the names of all its weights that a method is defined on."""
    name = method.__name__.lower()
    named = [target for target, kind in KINDS.items() if reason(name, kind, "start") is None]
    if "fc" not in named:
        return _drawn(Kernels(dtype), 0), ["first", "second"]
    if name == "tlora":
        named.remove("out")  # 5 x 4, smaller than a transform of its inputs
    return net(dtype=dtype), named


def _drawn(model: M, seed: int) -> M:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def adapted(model: nn.Module, method: Method, targets: list[str]) -> Adaptation:
    """The method on a model, with batches of `tokens` where it starts from data."""
    batches = [tokens(seed=seed) for seed in (50, 51)] if method.calibrated else None
    return adapt(model, method, targets, calibration=batches)


def tokens(examples: int = 3, length: int = 5, seed: int = 0) -> torch.Tensor:
    """A batch of token ids."""
    return torch.randint(0, 13, (examples, length), generator=torch.Generator().manual_seed(seed))


def perturb(parameters: Iterable[nn.Parameter], scale: float = 0.3, seed: int = 1) -> None:
    """Move trainable tensors away from their start, where zeros hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(
                torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter), alpha=scale
            )
