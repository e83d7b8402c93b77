# SPDX-License-Identifier: Apache-2.0
"""One file a method; importing this package registers all of them."""

from rankwise.adapters.lora import LoRA

__all__ = ["LoRA"]
