# SPDX-License-Identifier: Apache-2.0
"""What `import rankwise` costs, what it leaves alone, and what it offers."""

import subprocess
import sys

import rankwise

BUDGET = 0.2  # of the processor time that importing torch takes, so that the speed of the machine does not count

# Frozen: a collection that walks all of torch's objects falls into one import or another by chance.
TIMED_IMPORT = """
import gc, time
begin = time.process_time()
import torch
gc.freeze()
start = time.process_time()
import rankwise
print((time.process_time() - start) / (start - begin))
"""

LEAN_IMPORT = """
import sys
import rankwise
import torch
heavy = {"transformers", "peft", "datasets", "accelerate", "diffusers", "torchao", "bitsandbytes", "matplotlib"}
print(sorted(heavy & set(sys.modules)), torch.cuda.is_initialized())
"""

PUBLIC = [
    "Adaptation",
    "Adapter",
    "Bat",
    "Bone",
    "CPDoRA",
    "CPLoRA",
    "CheckpointError",
    "ConvDoRA",
    "ConvLoRA",
    "DiffoRA",
    "DoRA",
    "DoRAC",
    "EVA",
    "FLoRA",
    "Factored",
    "Hydra",
    "IncreLoRA",
    "LoLDU",
    "LoRA",
    "LoRAC",
    "MHR",
    "Method",
    "MethodError",
    "MoS",
    "NOLA",
    "PEGO",
    "PETALface",
    "Poly",
    "RandLoRA",
    "RankwiseError",
    "SALT",
    "SNELL",
    "SNELLA",
    "SVFit",
    "StateError",
    "TLoRA",
    "Target",
    "TargetError",
    "TriAdaptLoRA",
    "adapt",
    "adaptations",
    "load",
    "methods",
    "register",
]


def run(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_costs_little_beyond_torch():
    assert any(float(run(TIMED_IMPORT)) < BUDGET for _ in range(3))


def test_importing_loads_no_extra_and_leaves_the_gpu_alone():
    assert run(LEAN_IMPORT) == "[] False"


def test_public_names_are_the_agreed_ones():
    assert sorted(rankwise.__all__) == PUBLIC


def test_every_public_name_exists():
    missing = [name for name in rankwise.__all__ if not hasattr(rankwise, name)]
    assert missing == []
