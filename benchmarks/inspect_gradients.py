"""Gradient spectra of data: do they tell clean text from corrupted text, and what does the factor route save?

    python benchmarks/inspect_gradients.py [--texts FOLDER] [--threads 2] [--write docs/inspect/data.md]
    python benchmarks/inspect_gradients.py --only speed [--lengths 64 128 256] [--examples 2]

Claim. Language models over characters (2 layers, width 32, 4 heads, of two families) learn the first four fifths of
each text of a folder. Examples come from the last fifths: 32 characters of prompt, 64 of response. The same prompts get
corrupted responses of the same length: the response's characters shuffled, characters drawn at random, an 8-gram
repeated, one character repeated. The numbers are means over examples and layers; p is Wilcoxon's on pairs of the same
prompt, clean against corrupted. The last table varies the length of clean responses alone.

Speed. SmolLM2-135M, all 30 layers, q, k, v and o: singular values of each gradient from its factors, against those of
the dense gradient in float64, and against the decomposition with vectors in float32 of the published script. Norms and
effective ranks of the first two may differ by 1e-6: the factor route takes roots of a Gram matrix's eigenvalues, which
loses singular values below 1e-8 of the largest, where float32 gradients have rounding only.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from report import environment, replace_section, table
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rankwise.inspect.data.comparison import DataComparison, compare_data
from rankwise.inspect.data.examples import DataSet
from rankwise.inspect.data.gradient_spectra import gradient_spectrum
from rankwise.inspect.data.means import NUCLEAR, RANK, READINGS, set_mean
from rankwise.inspect.data.projections import ROLES, find_projections
from rankwise.inspect.data.quality import MeasuredData, example_gradients, measure_data, response_loss
from rankwise.inspect.side_by_side import side_by_side
from rankwise.linalg.spectrum import effective_rank
from rankwise.recipes.encode import IGNORED, Encoded

LETTERS, PROMPT, RESPONSE, CONTEXT = 128, 32, 64, 128
LENGTHS = (4, 8, 16, 32, 64, 96)
Corruption = Callable[[list[int], random.Random], list[int]]
CORRUPTIONS: dict[str, Corruption] = {
    "clean": lambda ids, source: ids,
    "shuffled": lambda ids, source: source.sample(ids, len(ids)),
    "random": lambda ids, source: [source.randrange(32, 127) for _ in ids],
    "8-gram repeated": lambda ids, source: [ids[i % 8] for i in range(len(ids))],
    "one character": lambda ids, source: [ids[0]] * len(ids),
}


def read_texts(folder: Path) -> tuple[Tensor, list[list[int]]]:
    """Characters to learn, and the held-out end of each text."""
    learned, held = [], []
    for path in sorted(folder.iterdir()):
        ids = [code for code in path.read_bytes() if code < LETTERS]
        cut = len(ids) * 4 // 5
        learned += ids[:cut]
        held.append(ids[cut:])
    return torch.tensor(learned), held


def gpt2() -> PreTrainedModel:
    """Layer norms and learned positions."""
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": LETTERS, "n_positions": CONTEXT}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=None, eos_token_id=None))


def llama() -> PreTrainedModel:
    """Root mean square norms, rotary positions and gated layers."""
    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=LETTERS, bos_token_id=None, eos_token_id=None))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {"GPT-2": gpt2, "Llama": llama}


def trained(family: str, text: Tensor, steps: int, seed: int = 0) -> PreTrainedModel:
    """A small character model after some steps on a text."""
    torch.manual_seed(seed)
    model, generator = FAMILIES[family](), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        starts = torch.randint(len(text) - CONTEXT - 1, (8,), generator=generator)
        batch = torch.stack([text[start : start + CONTEXT + 1] for start in starts])
        loss = F.cross_entropy(model(input_ids=batch[:, :-1]).logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def data(held: Sequence[list[int]], name: str, count: int, response: int = RESPONSE, seed: int = 0) -> DataSet:
    """Held-out examples under one corruption; the prompts of all corruptions and lengths are the same."""
    places, noise = random.Random(seed), random.Random(seed + 1)
    long = [ids for ids in held if len(ids) > 2 * CONTEXT]
    items = {}
    for number in range(count):
        ids = places.choice(long)
        start = places.randrange(len(ids) - 2 * CONTEXT)
        prompt, clean = ids[start : start + PROMPT], ids[start + PROMPT : start + PROMPT + response]
        answer = CORRUPTIONS[name](clean, noise)
        items[str(number)] = Encoded(prompt + answer, [IGNORED] * PROMPT + answer)
    return DataSet(name, items)


def compared(model: PreTrainedModel, held: Sequence[list[int]], count: int) -> dict[str, DataComparison]:
    """Clean text against each corruption at the same length, by pairs of the same prompt."""
    measured = {name: measure_data(model, data(held, name, count)) for name in CORRUPTIONS}
    pairs = [(one.id, one.id) for one in measured["clean"].examples]
    return {name: compare_data(measured["clean"], other, pairs) for name, other in measured.items() if name != "clean"}


def by_length(
    model: PreTrainedModel, held: Sequence[list[int]], count: int, lengths: Sequence[int]
) -> list[MeasuredData]:
    """Clean text with responses of each length."""
    return [measure_data(model, data(held, "clean", count, response)) for response in lengths]


def claim_rows(found: dict[str, DataComparison]) -> list[list[str]]:
    """A row for clean text and one for each corruption."""
    clean = found["shuffled"].first.examples
    columns = [(reading, role) for reading in (NUCLEAR, RANK) for role in ROLES]
    rows = [["clean", *(f"**{set_mean(clean, READINGS[reading], role):.3g}**" for reading, role in columns)]]
    for name, comparison in found.items():
        known = {(one.reading, one.projection): one for one in comparison.differences}
        rows.append([name, *(f"{known[key].second:.3g} ({known[key].p:.0e})" for key in columns)])
    return rows


def claim_tables(folder: Path, steps: int, count: int) -> str:
    """Train each family, measure and write the tables."""
    text, held = read_texts(folder)
    models = {family: trained(family, text, steps) for family in FAMILIES}
    told = (
        f"{count} examples of each kind, {PROMPT} characters of prompt and {RESPONSE} of response, {len(text):,} "
        f"characters learned in {steps} steps. N is the nuclear norm, R the effective rank, in parentheses p against "
        "clean."
    )
    for family, model in models.items():
        rows = claim_rows(compared(model, held, count))
        told += f"\n\n{table([family, *(f'N {role}' for role in ROLES), *(f'R {role}' for role in ROLES)], rows)}"
    columns = [(name, role) for name in READINGS for role in "qv"]
    effect = [
        [
            str(one.examples[0].response),
            *(f"{set_mean(one.examples, READINGS[name], role):.3g}" for name, role in columns),
        ]
        for one in by_length(models["GPT-2"], held, count, LENGTHS)
    ]
    heads = ["L", *(f"{name}, {role}" for name, role in columns)]
    return f"{told}\n\nClean text at other lengths of the response, GPT-2:\n\n{table(heads, effect)}"


def seconds(call: Callable[[], object]) -> float:
    """Median seconds of three calls after one to warm up."""
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def speed_row(model: PreTrainedModel, items: Sequence[Encoded]) -> list[str]:
    """Seconds an example of each route, and the largest relative difference between their numbers."""
    places = find_projections(model)
    paths = [one.path for layer in places.values() for one in layer.values()]
    weights = [model.get_submodule(path).weight.requires_grad_() for path in paths]
    spent = {name: 0.0 for name in ("pass", "factors", "dense pass", "dense", "published")}
    apart = 0.0
    for item in items:
        gradients = [one for layer in example_gradients(model, item, places)[1].values() for one in layer.values()]
        dense = [one.dense() for one in gradients]
        narrow = [one.float() for one in dense]
        spent["pass"] += seconds(lambda item=item: example_gradients(model, item, places))
        spent["dense pass"] += seconds(lambda item=item: torch.autograd.grad(response_loss(model, item), weights))
        spent["factors"] += seconds(lambda gradients=gradients: list(side_by_side(gradient_spectrum, gradients)))
        spent["dense"] += seconds(lambda dense=dense: [torch.linalg.svdvals(one) for one in dense])
        spent["published"] += seconds(
            lambda narrow=narrow: [torch.linalg.svd(one, full_matrices=False) for one in narrow]
        )
        for factors, matrix in zip(gradients, dense, strict=True):
            ours, theirs = gradient_spectrum(factors), torch.linalg.svdvals(matrix)
            for read in (torch.sum, torch.linalg.vector_norm, effective_rank):
                apart = max(apart, float((read(ours) - read(theirs)).abs() / read(theirs)))
    assert apart < 1e-6, apart
    spent = {name: value / len(items) for name, value in spent.items()}
    ratio, all_in = spent["dense"] / spent["factors"], spent["dense"] + spent["dense pass"]
    cells = [f"{spent[name]:.2f}" for name in ("factors", "dense", "published")]
    whole = [f"{spent['pass'] + spent['factors']:.2f}", f"{all_in:.2f}"]
    times = [f"**{ratio:.1f}**", f"{all_in / (spent['pass'] + spent['factors']):.1f}"]
    return [str(len(items[0].input_ids)), *cells, times[0], *whole, times[1], f"{apart:.0e}"]


def speed_table(folder: Path, lengths: Sequence[int], examples: int) -> str:
    """Both routes on SmolLM2 at some lengths."""
    from rankwise.recipes.models import load_model  # noqa: PLC0415 - not needed for the claim

    model, tokenizer = load_model("smollm2", torch.float32)
    text = "".join(path.read_text(errors="ignore") for path in sorted(folder.iterdir()))
    ids = tokenizer(text[:100_000])["input_ids"]
    rows = []
    for length in lengths:
        parts = [ids[n * length : (n + 1) * length] for n in range(examples)]
        rows.append(
            speed_row(model, [Encoded(part, [IGNORED] * (length // 2) + part[length // 2 :]) for part in parts])
        )
        print(rows[-1], flush=True)
    heads = ["tokens", "from factors", "dense", "dense with vectors, float32", "times"]
    heads += ["with the model's pass", "dense with its pass", "times", "largest relative difference"]
    return f"Seconds for one example, 120 gradients.\n\n{table(heads, rows)}"


def main() -> None:
    """Measure, print, and write into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--texts", type=Path, default=Path("/usr/share/common-licenses"), help="a folder of plain texts"
    )
    parser.add_argument("--only", choices=["claim", "speed"])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--count", type=int, default=30, help="examples of each kind in the claim")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--examples", type=int, default=2, help="examples of each length in the speed table")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write", help="page with the markers <!-- claim --> and <!-- speed -->")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    texts = {}
    if asked.only != "speed":
        texts["claim"] = claim_tables(asked.texts, asked.steps, asked.count)
    if asked.only != "claim":
        texts["speed"] = speed_table(asked.texts, asked.lengths, asked.examples)
    for name, text in texts.items():
        told = f"{text}\n\n{environment(asked.threads)}"
        print(told)
        if asked.write:
            replace_section(asked.write, name, told)


if __name__ == "__main__":
    main()
