"""The 24 columns of PEFT's feature table, measured for every method of rankwise.

    python benchmarks/feature_table.py [--methods lora,dora] [--write docs/benchmarks.md]

A cell is "Y" if it works, "-" if it is refused with an error, "X" if it is accepted and wrong, "?" if it is not
measured. A layer kind works if the output moves, every trainable tensor gets a gradient, and merging reproduces the
output and changes the weights that were named. Measured on two layers in float64 (linear ones, or convolutions where a
method takes nothing else) with rankwise's own interface, but for what only PEFT's has: `2lora` and `mixB` are measured
both through rankwise and through `peft.get_peft_model`, and both must hold (for EVA, whose data PEFT has no place for,
in rankwise alone).

Not measured: ds (DeepSpeed needs several GPUs). fsdp is one process of FSDP2 that trains and saves; the contract tests
run two.
"""

import argparse
import copy
import os
import re
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import peft
import torch
from report import replace_section
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import rankwise
from rankwise import (
    ConvDoRA,
    ConvLoRA,
    CPDoRA,
    CPLoRA,
    DoRA,
    DoRAC,
    LoRA,
    LoRAC,
    Method,
    RankwiseError,
    adapt,
    methods,
)
from rankwise.integrations.peft import register
from rankwise.testing.grid import Cell, reason, registered_name, tiny
from rankwise.testing.kinds import KINDS, Kind
from rankwise.testing.trial import adapted, for_all, fresh, given, loss, near, perturb

LAYERS = {
    "lin": "linear",
    "c1d": "conv1d",
    "c2d": "conv2d",
    "c3d": "conv3d",
    "emb": "embedding",
    "mhaI": "mha-in-proj",
    "mhaO": "mha-out-proj",
    "tfC1D": "hf-conv1d",
    "p3d": "experts-3d",
    "lstm": "lstm",
}
KIND = {kind.name: kind for kind in KINDS}
CONFIGS = register()
OWN_RANK: dict[str, tuple[dict[str, float], int]] = {  # fields, and the rank of one layer, where that is not 1 beside 2
    "increlora": ({"target_rank": 4}, 2),
    "mos": ({}, 3),
    "eva": ({"rho": 1.0}, 1),  # no redistribution, which would deal the rank out again
    "snell": ({}, 4),
    "snella": ({}, 4),
    "triadaptlora": ({"target_rank": 4}, 2),
}
DECOMPOSED: dict[type[Method], type[Method]] = {LoRA: DoRA, CPLoRA: CPDoRA, ConvLoRA: ConvDoRA, LoRAC: DoRAC}


def _bitsandbytes_8bit(pair: nn.Module) -> None:
    from bitsandbytes.nn import Int8Params, Linear8bitLt  # noqa: PLC0415 - only here

    for name, layer in list(pair.named_children()):
        quantized = Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False)
        quantized.weight = Int8Params(layer.weight.detach(), requires_grad=False, has_fp16_weights=False)
        quantized.bias = layer.bias
        setattr(pair, name, quantized.to("cpu"))


INT8 = replace(KIND["bnb-4bit"], name="bnb-8bit", quantize=_bitsandbytes_8bit)


def layer(method: Method, kind: Kind) -> None:
    """A layer kind: it moves, learns and merges."""
    cell = Cell(method, kind, "merge")
    x, base = kind.inputs(), kind.model()
    adaptation = adapted(cell)
    model = adaptation.model
    with given(adaptation, for_all(method)):
        output = kind_output(model, x)
        assert not torch.allclose(output, kind_output(base, x)), "the output did not move"
        loss(output).backward()
        assert all(p.grad is not None for p in adaptation.parameters()), "a tensor without gradient"
        if kind.quantized:
            return
        model.eval()
        output = kind_output(model, x)
        adaptation.merge()
        assert (kind_output(model, x) - output).abs().max() <= 1e-3 * output.abs().max(), "merged differs"
    for name, target in adaptation.targets.items():
        assert not torch.equal(target.parameter(), target.stored()), f"{name} did not change"


def kind_output(model: nn.Module, x: Tensor) -> Tensor:
    """The output of a kind's model."""
    return model(x)


def home(method: Method) -> Kind:
    """The kind on which columns that are not about kinds are measured: linear, else the first that the method takes."""
    kinds = [KIND["linear"], KIND["conv2d-square"]]
    return next(kind for kind in kinds if reason(registered_name(method), kind.name, "start") is None)


def merging(method: Method) -> None:
    """Unmerging gives the original bits back."""
    adaptation = adapted(Cell(method, home(method), "unmerge"))
    before = {name: target.parameter().clone() for name, target in adaptation.targets.items()}
    with given(adaptation, for_all(method)):
        adaptation.merge()
    adaptation.unmerge()
    assert all(torch.equal(target.parameter(), before[name]) for name, target in adaptation.targets.items())


def several(method: Method) -> None:
    """Two active adapters add up, and merge into what they computed."""
    kind = home(method)
    x, base = kind.inputs(), kind.model()
    first = adapted(Cell(method, kind, "sum"), name="one")
    second = adapted(Cell(method, kind, "sum"), first.model, name="two", seed=1)
    first.model.eval()
    with given(first, for_all(method)):
        both = first.model(x)
        with second.disabled():
            assert not torch.allclose(first.model(x), both)
        first.merge()
        second.merge()
        near(first.model(x), both)
    assert not torch.allclose(base(x), both)


def mixed(method: Method) -> None:
    """Each row of a batch with its own adapter, in rankwise and in PEFT."""
    kind = home(method)
    x, base = kind.inputs(), kind.model()
    first = adapted(Cell(method, kind, "mixed"), name="one")
    second = adapted(Cell(method, kind, "mixed"), first.model, name="two", seed=1)
    model = first.model.eval()
    with given(first, for_all(method)):
        with second.disabled():
            alone = model(x)
        with first.disabled():
            other = model(x)
    with given(first, for_all(method), ["one", None, "two"]):
        near(model(x), torch.stack([alone[0], base(x)[1], other[2]]))
    if method.calibrated:  # PEFT has no place for its data
        return
    inside = in_peft(method)
    inside.add_adapter("two", replace(inside.peft_config["default"], seed=1))
    alone = inside(x)
    inside.set_adapter("two")
    other = inside(x)
    near(inside(x, adapter_names=["default", "__base__", "two"]), torch.stack([alone[0], base(x)[1], other[2]]))


def converting(method: Method) -> None:
    """The best LoRA of full rank is exact, and PEFT's own conversion takes the adapter too where it has no bias."""
    kind = home(method)
    x, adaptation = kind.inputs(), adapted(Cell(method, kind, "convert"))
    model = adaptation.model.eval()
    with given(adaptation, for_all(method)):
        output = model(x)
        conversion = adaptation.convert(LoRA(rank=5, bias=True))
    assert max(conversion.relative_error.values()) < 1e-6
    near(model(x), output)
    if method.calibrated:
        return
    inside = in_peft(method)
    if inside.supports_lora_conversion():
        peft.convert_to_lora(inside, rank=5)


def swapping(method: Method) -> None:
    """Another adapter's saved tensors in place of the present ones under torch.compile, without compiling again."""
    kind = home(method)
    x, first, second = kind.inputs(), adapted(Cell(method, kind, "save")), adapted(Cell(method, kind, "save"), seed=0)
    perturb(second, 5)
    runs = 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        nonlocal runs
        runs += 1
        return graph.forward

    torch._dynamo.reset()
    first.model.eval(), second.model.eval()
    compiled = torch.compile(first.model, backend=backend)
    with torch.no_grad(), given(first, for_all(method)), given(second, for_all(method)):
        compiled(x)
        before = runs
        for name, adapter in first.adapters.items():
            adapter.load_state_dict(second.adapters[name].state_dict())
        if first.shared is not None:
            first.shared.load_state_dict(second.shared.state_dict())
        near(compiled(x), second.model(x))
    assert runs == before, "compiled again"


def compiling(method: Method) -> None:
    """One graph, forward and backward, with the values of the plain run."""
    kind = home(method)
    x, adaptation = kind.inputs(), adapted(Cell(method, kind, "compile"))
    torch._dynamo.reset()
    with given(adaptation, for_all(method)):
        output = torch.compile(adaptation.model.eval(), backend="eager", fullgraph=True)(x)
        near(output, adaptation.model(x))
    loss(output).backward()
    assert all(p.grad is not None for p in adaptation.parameters())


def magnitudes(method: Method) -> None:
    """DoRA's decomposition of a low-rank change, the only change it is defined for."""
    decomposed = DECOMPOSED.get(type(method), type(method))
    if decomposed not in DECOMPOSED.values():
        raise rankwise.MethodError("DoRA's decomposition is a method of its own here, for LoRA's change and kernels'")
    layer(tiny(decomposed), home(method))


def ranks(method: Method) -> None:
    """A rank of its own for one layer, that shows in the shapes or, where they do not depend on it, in the function."""
    changes, rank = OWN_RANK.get(registered_name(method), ({}, 2 if getattr(method, "rank", 0) == 1 else 1))
    method, kind = replace(method, **changes), home(method)
    batches = [kind.inputs(seed) for seed in (50, 51)] if method.calibrated else None
    chosen = (None, {"late": rank})
    plain, own = (adapt(kind.model(), method, kind.targets, ranks=one, calibration=batches) for one in chosen)
    perturb(plain), perturb(own)
    before, after = ([*one.adapters["late"].parameters()] for one in (plain, own))
    if [p.shape for p in before] == [p.shape for p in after]:
        deltas = [one.adapters["late"].delta() for one in (plain, own)]
        assert not torch.allclose(*deltas), "the rank did not change"


def sharding(method: Method) -> None:
    """FSDP2 in one process: train a step, save, load onto a plain base."""
    kind = home(method)
    x, adaptation = kind.inputs(dtype=torch.float32), fresh(Cell(method, kind, "fsdp2"), kind.model(torch.float32))
    perturb(adaptation)
    fully_shard(adaptation.model, mesh=init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.SGD(list(adaptation.parameters()), lr=0.01)
    adaptation.attach(optimizer)
    with given(adaptation, for_all(method)):
        loss(adaptation.model(x)).backward()
        optimizer.step()
        trained = adaptation.model.eval()(x)
    with tempfile.TemporaryDirectory() as folder:
        adaptation.save(folder)
        again = rankwise.load(kind.model(torch.float32), folder)
    with given(again, for_all(method)):
        near(again.model.eval()(x), trained)


def keeping(method: Method) -> None:
    """Saved and loaded, the outputs are the same to the last bit."""
    kind = home(method)
    x, adaptation = kind.inputs(), adapted(Cell(method, kind, "save"))
    with tempfile.TemporaryDirectory() as folder:
        adaptation.save(folder)
        again = rankwise.load(kind.model(), folder)
    with given(adaptation, for_all(method)), given(again, for_all(method)):
        assert torch.equal(again.model.eval()(x), adaptation.model.eval()(x))


def in_peft(method: Method) -> peft.PeftModel:
    """A method inside PEFT, on the same two layers."""
    config = CONFIGS[registered_name(method)]
    fields = {config.renamed[key]: value for key, value in method.to_dict().items() if key != "method"}
    inputs = {f"default_{name}": method.input_values[1] for name in method.inputs}
    made = config(target_modules=["late", "early"], init_weights=False, scheduled=False, **fields, **inputs)
    return peft.get_peft_model(home(method).model(), made).eval()


def cells() -> dict[str, Callable[[Method], None] | None]:
    """The columns in PEFT's order; None for what is not measured."""
    found: dict[str, Callable[[Method], None] | None] = {
        short: lambda method, kind=KIND[name]: layer(method, kind) for short, name in LAYERS.items()
    }
    found |= {"mrg": merging, "mult": several, "mixB": mixed}
    for short, kind in (("b8", INT8), ("b4", KIND["bnb-4bit"]), ("ao8", KIND["torchao-int8"])):
        found[short] = lambda method, kind=kind: layer(method, kind)
    found |= {"2lora": converting, "hot": swapping, "cmpT": compiling, "dora": magnitudes, "rkp": ranks}
    return found | {"fsdp": sharding, "ds": None, "s/l": keeping}


def measure(method: Method, check: Callable[[Method], None] | None) -> tuple[str, str]:
    """The entry of a cell, and what was said where it is not Y."""
    if check is None:
        return "?", "not measured"
    try:
        with torch.random.fork_rng(), nullcontext():
            check(copy.deepcopy(method))
    except RankwiseError as error:
        return "-", str(error)
    except Exception as error:
        return "X", f"{type(error).__name__}: {error}"
    return "Y", ""


def explained(name: str, found: dict[str, tuple[str, str]]) -> list[str]:
    """A line for each thing that was said about cells that are not Y, with all columns it was said about."""
    columns: dict[str, list[str]] = {}
    for column, (entry, said) in found.items():
        if entry in "-X":
            columns.setdefault(re.sub("'late[^']*'", "the layer", said), []).append(column)
    return [f"- {name}, {', '.join(where)}: {said}" for said, where in columns.items()]


def main() -> None:
    """Measure, print the table and every cell that is not Y with its reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", help="comma-separated names; all if left out")
    parser.add_argument("--write", type=Path, help="a page whose section to replace")
    arguments = parser.parse_args()
    chosen = arguments.methods.split(",") if arguments.methods else list(methods())
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "RANK": "0", "WORLD_SIZE": "1"}
    torch.distributed.init_process_group("gloo")
    warnings.simplefilter("ignore")
    columns = cells()
    rows, reasons = [], []
    for name in chosen:
        found = {column: measure(tiny(methods()[name]), check) for column, check in columns.items()}
        share = sum(entry == "Y" for entry, _ in found.values()) / len(found)
        rows.append([name, *(entry for entry, _ in found.values()), f"{share:.0%}"])
        reasons += explained(name, found)
        print(" ".join(rows[-1]), flush=True)
    torch.distributed.destroy_process_group()
    head = ["method", *columns, "%"]
    lines = [" | ".join(row).join(("| ", " |")) for row in (head, ["---"] * len(head), *rows)]
    text = "\n".join([*lines, "", *reasons])
    print(text)
    if arguments.write is not None:
        replace_section(arguments.write, "Feature table", text)


if __name__ == "__main__":
    main()
