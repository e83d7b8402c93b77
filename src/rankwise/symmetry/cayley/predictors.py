# SPDX-License-Identifier: Apache-2.0
"""What guides a beam search: a guess of how far states are from the goal.

A predictor of states is any callable, numpy [states, n] -> [states]; `Hamming` is the one that needs no training.
A torch module is called with an int64 tensor on its own device. `NeighborScores` marks a predictor of the kind known
as Q: it sees a state and guesses the distances of all its neighbors at once, [states, n] -> [states, generators].
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError

if TYPE_CHECKING:
    import torch

Predictor = Union[Callable[[NDArray[np.int64]], NDArray[np.floating]], "torch.nn.Module"]


@dataclass(frozen=True)
class Hamming:
    """The number of entries in which a state differs from the goal.

    Args:
        goal: the state to reach, [n] or [n, k].
    """

    goal: NDArray[np.int64]

    def __call__(self, states: NDArray[np.int64]) -> NDArray[np.floating]:
        """Differences of states [states, ...], [states]."""
        return (states != self.goal).reshape(len(states), -1).sum(axis=1).astype(np.float64)


@dataclass(frozen=True)
class NeighborScores:
    """A predictor that scores all neighbors of a state at once, in the order of the generators.

    Args:
        predictor: [states, n] -> [states, generators].
    """

    predictor: Predictor


def predicted(predictor: Predictor, states: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Scores of states by a callable or a torch module, as float64 of the given shape.

    Raises:
        SymmetryError: if the predictor returns another shape, or scores that are not numbers.
    """
    if not len(states):
        return np.zeros(shape)
    torch: Any = sys.modules.get("torch")  # whoever gives a module has imported it; nobody else need wait for it
    if torch is not None and isinstance(predictor, torch.nn.Module):
        network: Any = predictor
        tensor = next(network.parameters(), torch.empty(0))
        with torch.no_grad():
            given = network(torch.from_numpy(states).to(tensor.device)).double().cpu().numpy()
    else:
        given = np.asarray(predictor(states), dtype=np.float64)
    if given.size != np.prod(shape) or given.shape[:1] != shape[:1]:
        raise SymmetryError(
            f"The predictor must give scores of shape {shape} for {len(states)} states, gave {given.shape}."
        )
    if np.isnan(given).any():
        raise SymmetryError("The predictor gave scores that are not numbers (NaN); a beam cannot be ordered by them.")
    return given.reshape(shape)
