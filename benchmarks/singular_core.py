# SPDX-License-Identifier: Apache-2.0
"""What a low-rank core between the singular vectors adds to trained singular values: digits turned by a quarter.

    python benchmarks/singular_core.py [--seeds 3]

The task, the training and the choice of the learning rate are those of `digits_transfer.py`.
"""

from digits_transfer import RATES, transferred
from turned_digits import main

from rankwise import LoRA, Method
from rankwise.adapters.salt import SALT
from rankwise.adapters.svfit import SVFit

METHODS: dict[str, Method | None] = {
    "head alone": None,
    "SVFit()": SVFit(),
    "SALT(rank=64, tail_rank=0)": SALT(rank=64, tail_rank=0),
    "SALT(rank=32, tail_rank=4)": SALT(rank=32, tail_rank=4),
    'SALT(rank=32, tail_rank=4, init="sam")': SALT(rank=32, tail_rank=4, init="sam"),
    "SALT(rank=32, tail_rank=4, relu=False)": SALT(rank=32, tail_rank=4, relu=False),
    "LoRA(rank=1)": LoRA(rank=1, alpha=1),
    "LoRA(rank=4)": LoRA(rank=4, alpha=4),
}


if __name__ == "__main__":
    main(METHODS, RATES, transferred, seeds=3)
