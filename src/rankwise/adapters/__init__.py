# SPDX-License-Identifier: Apache-2.0
"""One file a method; importing this package registers all of them."""

from rankwise.adapters.bat import Bat
from rankwise.adapters.bone import Bone
from rankwise.adapters.convdora import ConvDoRA
from rankwise.adapters.convlora import ConvLoRA
from rankwise.adapters.cpdora import CPDoRA
from rankwise.adapters.cplora import CPLoRA
from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.dora import DoRA
from rankwise.adapters.dorac import DoRAC
from rankwise.adapters.eva import EVA
from rankwise.adapters.flora import FLoRA
from rankwise.adapters.hydra import Hydra
from rankwise.adapters.increlora import IncreLoRA
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.lora import LoRA
from rankwise.adapters.lorac import LoRAC
from rankwise.adapters.mhr import MHR
from rankwise.adapters.mos import MoS
from rankwise.adapters.nola import NOLA
from rankwise.adapters.pego import PEGO
from rankwise.adapters.petalface import PETALface
from rankwise.adapters.poly import Poly
from rankwise.adapters.randlora import RandLoRA
from rankwise.adapters.salt import SALT
from rankwise.adapters.snell import SNELL
from rankwise.adapters.snella import SNELLA
from rankwise.adapters.svfit import SVFit
from rankwise.adapters.tlora import TLoRA
from rankwise.adapters.triadaptlora import TriAdaptLoRA

__all__ = [
    "EVA",
    "MHR",
    "NOLA",
    "PEGO",
    "SALT",
    "SNELL",
    "SNELLA",
    "Bat",
    "Bone",
    "CPDoRA",
    "CPLoRA",
    "ConvDoRA",
    "ConvLoRA",
    "DiffoRA",
    "DoRA",
    "DoRAC",
    "FLoRA",
    "Hydra",
    "IncreLoRA",
    "LoLDU",
    "LoRA",
    "LoRAC",
    "MoS",
    "PETALface",
    "Poly",
    "RandLoRA",
    "SVFit",
    "TLoRA",
    "TriAdaptLoRA",
]
