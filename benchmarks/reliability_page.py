"""Measure the reliability figures and write docs/reliability.md: ours beside the best known one, row by row.

    python benchmarks/reliability_page.py [--full]

Without --full the quick sizes run (200 kills, 2,000 mutated headers); with it the long ones (1,000 and 20,000). The
figures beside ours were measured on the named libraries, or read in their sources; see the last column.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from reliability.faults import FAULTS
from reliability.kill import kills
from reliability.malformed import Folder, load_all, mutated_headers, mutated_json, named_cases
from reliability.merging import disabled_differs, merge_error, unmerge_differences
from reliability.mistakes import mistakes, silent
from reliability.resume import unequal
from reliability.room import commit_calls, refused_for_room
from reliability.tied import tied
from report import environment, table

from rankwise import methods
from rankwise.testing.grid import EMPTY, FEATURES, tiny
from rankwise.testing.kinds import KINDS
from reliability import golden

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
HEAD = """# Reliability

What can go wrong with an adapter, as figures. `python benchmarks/reliability_page.py` measures them and writes this
page; the same measurements are tests (`tests/reliability`, and the long sizes under `make test-all`).

"""


def rows(root: Path, full: bool) -> list[list[str]]:
    """All rows of the table."""
    return [*_commits(root, full), *_damage(root, full), *_exactness(root), *_suite(root)]


def _commits(root: Path, full: bool) -> list[list[str]]:
    killed = kills(root / "kill", 1000 if full else 200)
    failed, whole = refused_for_room(root / "room", 50)
    calls = commit_calls(root / "calls")
    stops = 10 if full else 3
    wrong = {name: unequal(tiny(kind), root / "resume" / name, stops) for name, kind in methods().items()}
    exact = sum(stops - len(found) for found in wrong.values())
    return [
        [
            "SIGKILL during a save",
            f"{killed.kills} kills: {killed.mixed} mixed, {killed.strays} strays after the next save, "
            f"{killed.wrong_mode} wrong modes",
            "safetensors 0.8: file whole, strays left, mode 0600; Trainer 5.23: 8 of 12 resumes refused",
        ],
        ["order of a commit", "strace missing" if calls is None else ", ".join(calls), "none of ten syncs the folder"],
        [
            "no room on disk",
            f"{failed} of 50 limits refused, {whole} of 50 old checkpoints whole",
            "safetensors: whole",
        ],
        [
            "resume to the bit",
            f"{exact} of {stops * len(wrong)} ({len(wrong)} methods x {stops} random steps)",
            "Trainer with LoRA: 12 of 12; with GaLore: fails to load",
        ],
    ]


def _damage(root: Path, full: bool) -> list[list[str]]:
    good = Folder(root / "damage")
    named = load_all(good, named_cases(good))
    headers = load_all(good, mutated_headers(good, 20_000 if full else 2_000), check_model=False)
    texts = load_all(good, mutated_json(good, 5_000 if full else 500), check_model=False)
    passed = silent(root / "mistakes")
    count = len(mistakes(root / "count"))
    return [
        [
            "damaged checkpoints refused",
            f"{named.cases - len(named.accepted)} of {named.cases} named; "
            f"{headers.cases - len(headers.accepted):,} of {headers.cases:,} mutated headers; "
            f"{texts.cases - len(texts.accepted)} of {texts.cases} mutated JSON (the others changed white space)",
            "safetensors: 29 of 38; 19,952 of 20,000",
        ],
        ["crashes among these", str(len(named.crashed) + len(headers.crashed) + len(texts.crashed)), "0"],
        ["traces of a refused load on the model", f"{len(named.traces)} of {named.cases}", "PEFT leaves layers behind"],
        ["mistakes that pass in silence", f"{len(passed)} of {count}", "PEFT: 11 of 19"],
    ]


def _exactness(root: Path) -> list[list[str]]:
    kinds = [tiny(kind) for kind in methods().values()]
    free = [method for method in kinds if not method.inputs]
    worst = {
        name: max((merge_error(method, dtype) for method in kinds), key=lambda merged: merged.ulp)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16))
    }
    outputs = max(merge_error(method, torch.float32).output for method in kinds)
    changed = sum(unmerge_differences(method, torch.bfloat16, 100) for method in kinds)
    pair = tied(root / "tied")
    return [
        [
            "entry error of a merge, ulp",
            ", ".join(f"{name} {merged.ulp:.3f}" for name, merged in worst.items()),
            "PEFT: fp16 0.502, bf16 1.04, fp32 up to thousands where base and delta cancel",
        ],
        ["output error of a merge, fp32, whole network", f"{outputs:.1e}", "PEFT, single layers: 4.3e-7"],
        ["share of a delta that rounding eats", "in every MergeReport, marked above 5 %", "nobody reports it"],
        [
            "100 merges and unmerges, bf16",
            f"{changed} of {100 * len(kinds)} cycles changed a bit ({len(kinds)} methods)",
            "PEFT: 10 % of entries differ after one",
        ],
        [
            "disabled or removed against the base",
            f"{sum(disabled_differs(method) for method in free)} of {len(free)} methods differ in a bit",
            "0.0 for plain LoRA, 0.13 and 0.23 with biases",
        ],
        [
            "tied embedding and head",
            f"one side alone refused: {pair.one_side_refused}; merged {pair.merge_error:.0e}, "
            f"saved and loaded by transformers {pair.reload_error:.0e}",
            "PEFT: 0.88 (head only), 11 (both), with a warning",
        ],
    ]


def _suite(root: Path) -> list[list[str]]:
    folders = sorted(path.parent for path in golden.GOLDEN.glob("*/*/adapter.json"))
    cells = len(KINDS) * len(FEATURES)
    whole = sum(len(KINDS) * len(FEATURES) for _ in methods())
    return [
        [
            "contract checks for each method",
            f"{cells} ({len(KINDS)} kinds of weight x {len(FEATURES)} features; {whole} in all, "
            f"{len({one.reason for one in EMPTY})} reasons for empty cells)",
            "scikit-learn: 47 to 90",
        ],
        [
            "two processes against one, DDP and FSDP2",
            "1e-12 in fp64, replicas bit-equal: `tests/contract/two_processes.py`, every method and kind",
            "hand-made LoRA: 5e-16; PEFT after sharding: 0.10",
        ],
        ["planted faults that turn a test red", f"{len(FAULTS)}, each a test of `make test-all`", "nobody plants any"],
        [
            "golden checkpoints",
            f"{len(folders)} folders, outputs off by at most {max(golden.error(folder) for folder in folders):.0e}",
            "Lightning: 114 old versions",
        ],
        [
            "pickle, eval, import by name in a checkpoint's path",
            "none; `make check` looks",
            "PEFT: two holes by config",
        ],
        ["another base", "refused with both fingerprints shown, unless asked for", "nobody checks the base"],
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the long sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        text = table(["", "rankwise", "best known elsewhere"], rows(Path(root), options.full))
    PAGE.write_text(f"{HEAD}{text}\n\n{environment(1)}\n")
    print(text)


if __name__ == "__main__":
    main()
