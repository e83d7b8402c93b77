# SPDX-License-Identifier: Apache-2.0
"""How far two computations of the same number may be apart, by dtype.

The float32 and half-precision values are those of `torch.testing.assert_close`; float64 leaves room for sums of a few
thousand terms in another order.
"""

import torch
from torch import Tensor

TOLERANCE: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-10, 1e-12),
    torch.float32: (1.3e-6, 1e-5),
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
}


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> None:
    """Raise unless two tensors agree to the tolerance of their dtype (or of `dtype`, for numbers computed in it).

    Raises:
        AssertionError: if they do not.
    """
    rtol, atol = TOLERANCE[dtype or actual.dtype]
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=rtol, atol=atol, check_device=False)
