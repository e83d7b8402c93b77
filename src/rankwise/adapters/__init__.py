# SPDX-License-Identifier: Apache-2.0
"""One file a method; importing this package registers all of them."""

from rankwise.adapters.cplora import CPLoRA
from rankwise.adapters.dora import DoRA
from rankwise.adapters.hydra import Hydra
from rankwise.adapters.increlora import IncreLoRA
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.lora import LoRA
from rankwise.adapters.mos import MoS
from rankwise.adapters.petalface import PETALface
from rankwise.adapters.svfit import SVFit

__all__ = ["CPLoRA", "DoRA", "Hydra", "IncreLoRA", "LoLDU", "LoRA", "MoS", "PETALface", "SVFit"]
