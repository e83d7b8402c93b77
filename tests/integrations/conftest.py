# SPDX-License-Identifier: Apache-2.0
"""Imports the large packages before rankwise does.

Under jaxtyping's import hook everything that a module of rankwise imports for the first time is compiled again, which
takes minutes for transformers and repeats the warnings of its compilation.
"""

import datasets  # noqa: F401
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer  # noqa: F401
