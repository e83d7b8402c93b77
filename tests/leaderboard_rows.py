# SPDX-License-Identifier: Apache-2.0
"""Made-up results for the tests of the leaderboard page: two tasks, one of them a perplexity, and two budgets."""

from dataclasses import replace

from rankwise.bench.rows import Question, Row

LORA = Row(
    task="fashion",
    budget="small",
    budget_parameters=100,
    method="LoRA",
    settings="LoRA(rank=2, alpha=4)",
    parameters=100,
    bytes=2048,
    rate=0.002,
    rate_at_edge=False,
    quality=80.0,
    quality_std=1.0,
    retention=90.0,
    retention_std=0.5,
    seeds=3,
    step_time=1.0,
    memory=1.0,
)
BONE = replace(LORA, method="Bone", parameters=50, quality=81.5, retention=88.0, memory=None)
DORA = replace(LORA, method="DoRA", parameters=120, quality=82.0, quality_std=0.7, retention=91.0, rate_at_edge=True)
LOLDU = replace(
    LORA, method="LoLDU", parameters=500, quality=None, quality_std=None, retention=None, reason="above the budget"
)
BASE = replace(LORA, method="not adapted", parameters=0, quality=40.0, quality_std=None, seeds=1)
FULL = replace(LORA, method="full fine-tuning", parameters=9000, quality=85.0)
FASHION = (LORA, LOLDU, BONE, DORA, BASE, FULL)
MEDIUM = tuple(
    replace(LORA, budget="medium", budget_parameters=400, method=method, quality=quality, memory=memory)
    for method, quality, memory in [
        ("LoRA", 80.0, 1.0),
        ("Bone", 81.0, None),
        ("DoRA", 82.0, 1.2),
        ("Hydra", 83.0, 0.9),
    ]
)
LANGUAGE = tuple(
    replace(LORA, task="language", method=method, quality=quality, quality_std=0.5, retention=quality + 1)
    for method, quality in [("LoRA", 12.0), ("DoRA", 10.0), ("Bone", 14.0), ("not adapted", 15.0)]
)
ROWS = (*FASHION, *MEDIUM, *LANGUAGE)
QUESTIONS = (
    Question("fashion", "accuracy on clothes (%)", "accuracy on digits (%)", True, "A network is adapted to clothes."),
    Question("language", "perplexity on novels", "perplexity on news", False, "A language model is adapted to novels."),
)
