# SPDX-License-Identifier: Apache-2.0
"""The adapter that trains only the diagonal of a decomposition of the frozen weight.

    W = W0 + left diag(d) right,   d = 0 at the start

`left` [out, r] and `right` [r, in] come from W0 and never change, so they are computed again from the base instead of
saved. In their place a checkpoint holds the `probe`, one number for each component,

    probe_j = (a . left_j) (right_j . b),   a, b Gaussian and fixed by the seed.

Loading compares it with what the present base gives: sum_j d_j^2 (probe_j - saved_j)^2 estimates, without bias, the
squared change of the delta's components, and signs of singular vectors cancel in it. What trains stays in float32 at
least, because a step of 1e-3 is lost on a number near 10 in half precision. Does not choose the decomposition.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.adapter import Factored
from rankwise.core.targets import Target
from rankwise.errors import CheckpointError

ALLOWED = 0.1


class Diagonal(Factored):
    """A trainable diagonal between two frozen factors.

    Attributes:
        left: [*batch, out, r], not saved.
        right: [*batch, r, in], not saved.
        probe: [*batch, r], saved in place of the two.
    """

    left: Tensor
    right: Tensor
    probe: Tensor

    def __init__(self, target: Target, left: Tensor, right: Tensor) -> None:
        super().__init__(target)
        self.register_buffer("left", left.to(target.compute_dtype), persistent=False)
        self.register_buffer("right", right.to(target.compute_dtype), persistent=False)
        self.register_buffer("probe", self._probed())

    @abstractmethod
    def diagonal(self) -> Float[Tensor, "*batch r"]:
        """d, exactly zero at the start."""

    def factors(self) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r in"]]:
        """(left diag(d), right)."""
        return self.left * self.diagonal()[..., None, :], self.right

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * left (d * (right x)).

        With d between the two products the backward pass needs neither the layer's input nor a gradient of the shape of
        `left`: 4 products of out x r or r x in a token and direction instead of 5, and r saved numbers a token.
        """
        bottleneck = self.target.down(x, self.right.to(base.dtype), base)
        weighed = self.target.weighed(bottleneck, scale * self.diagonal(), batch_dim=0)
        return base + self.target.up(weighed, self.left.to(base.dtype))

    def restored(self) -> None:
        """Compare the frozen factors that this base gives with those of the base the adapter was trained on.

        Raises:
            CheckpointError: if the delta would be another one.
        """
        weights = self.diagonal().detach().double()
        weights = torch.where((weights == 0).all(-1, keepdim=True), 1.0, weights)  # untrained: all count alike
        self.require_same("the frozen directions", weights * self._probed(), weights * self.probe)

    def require_same(self, what: str, present: Float[Tensor, "*batch r"], saved: Float[Tensor, "*batch r"]) -> None:
        """Refuse to go on with a base that gives something else than the saved tensors were trained with.

        Raises:
            CheckpointError: if the two differ by more than ALLOWED of the saved norm in any matrix of a stack.
        """
        norm = torch.linalg.vector_norm(saved.double(), dim=-1)
        error = torch.linalg.vector_norm(present.double() - saved.double(), dim=-1)
        if not bool((error <= ALLOWED * norm).all()):
            raise CheckpointError(
                f"{self.target.name!r}: {what} of this base differ by {float((error / norm).max()):.0%} from those the "
                f"adapter was trained with (at most {ALLOWED:.0%} is allowed), so its numbers would mean another "
                "function. Load it on the weights it was trained on, in the same dtype; if singular values are "
                "repeated, on the same machine, or convert the adapter to LoRA before saving it."
            )

    def _probed(self) -> Float[Tensor, "*batch r"]:
        generator, device = self.target.generator(), self.left.device
        a = torch.randn(self.left.shape[-2], generator=generator).to(device, torch.float64)
        b = torch.randn(self.right.shape[-1], generator=generator).to(device, torch.float64)
        return ((a @ self.left.double()) * (self.right.double() @ b)).to(self.target.compute_dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Diagonal":
        """Move and cast, except that what is saved never becomes narrower than float32."""
        frozen = (self.left, self.right)

        def moved(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            narrow = new.is_floating_point() and new.dtype.itemsize < 4
            return tensor.to(new.device) if narrow and not any(tensor is one for one in frozen) else new

        return super()._apply(moved, recurse)
