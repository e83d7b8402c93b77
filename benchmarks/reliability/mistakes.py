"""Row 7: mistakes that change results. Each must end in an error that names what is wrong; none may pass in silence."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from rankwise import Factored, LoRA, Method, RankwiseError, Target, adapt, load
from rankwise.adapters.lora import LoRAAdapter
from reliability.malformed import Folder
from reliability.models import net, perturb, tokens


@dataclass(frozen=True)
class Scheduled(LoRA):
    """A LoRA that claims to change over training, for the mistakes around `attach`."""

    scheduled: ClassVar[bool] = True

    def adapter(self, target: Target) -> Factored:
        """The same adapter as LoRA's."""
        return LoRAAdapter(target, self)


def mistakes(folder: Path) -> dict[str, Callable[[], object]]:
    """Each mistake by its name, as a call that must raise a RankwiseError."""
    return _of_targets() | _of_files(folder) | _of_state(folder) | _of_training()


def silent(folder: Path) -> dict[str, str]:
    """The mistakes that did not end in a RankwiseError, with what happened instead."""
    passed = {}
    for name, make in mistakes(folder).items():
        try:
            make()
        except RankwiseError:
            continue
        except Exception as error:
            passed[name] = f"{type(error).__name__}: {error}"
        else:
            passed[name] = "silent"
    return passed


def _of_targets() -> dict[str, Callable[[], object]]:
    return {
        "no target matches": lambda: adapt(net(), LoRA(rank=2), targets=["query"]),
        "one of two targets is misspelt": lambda: adapt(net(), LoRA(rank=2), targets=["fc", "owt"]),
        "a rank for a target that does not exist": lambda: adapt(net(), LoRA(rank=2), ranks={"fcc": 1}),
        "rank above the layer": lambda: adapt(net(), LoRA(rank=500)),
        "alpha of zero": lambda: LoRA(alpha=0.0),
        "a misspelt field": lambda: Method.from_dict({"method": "lora", "alhpa": 3.0}),
        "an adapter name with a path": lambda: adapt(net(), LoRA(rank=2), name="../x"),
        "one of two tied weights": _one_side_of_a_tie,
    }


def _of_files(folder: Path) -> dict[str, Callable[[], object]]:
    good = Folder(folder / "files")

    def loading(damage: Callable[[], tuple[bytes, bytes]]) -> Callable[[], object]:
        def run() -> object:
            good.write(*damage())
            return load(net(), good.folder)

        return run

    renamed = loading(lambda: good.saved_tensors(lambda t: [t.update({"x." + k: t.pop(k)}) for k in list(t)]))
    return {
        "a file without one matching key": renamed,
        "a file with a missing key": loading(lambda: good.saved_tensors(lambda t: t.pop("fc:left"))),
        "a file with an extra key": loading(lambda: good.saved_tensors(lambda t: t.update(extra=torch.zeros(1)))),
        "a file without tensors": loading(lambda: good.saved_tensors(lambda t: t.clear())),
        "a tensor of another shape": loading(
            lambda: good.saved_tensors(lambda t: t.update({"fc:left": torch.ones(1)}))
        ),
        "NaN in the file": loading(lambda: good.saved_tensors(lambda t: t["fc:left"].fill_(float("nan")))),
        "another base": lambda: _on_another_base(folder / "base"),
    }


def _of_state(folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "NaN merged into the base": _nan_merged,
        "the same name twice": lambda: [adapt(model := net(), LoRA(rank=2)), adapt(model, LoRA(rank=2))],
        "merged twice": lambda: [(a := adapt(net(), LoRA(rank=2))).merge(), a.merge()],
        "adapted after a data-parallel wrapper": lambda: adapt(nn.DataParallel(net()), LoRA(rank=2)),
        "an unknown adapter in a mixed batch": lambda: adapt(net(), LoRA(rank=2)).context(adapters=["nobody"]),
        "a context for another batch size": _other_batch_size,
    }


def _of_training() -> dict[str, Callable[[], object]]:
    return {
        "the optimizer was made before the adapter": _optimizer_first,
        "the optimizer lacks one of the tensors": _optimizer_incomplete,
        "attach was forgotten": lambda: [adapt(model := net(), Scheduled(rank=2)), model(tokens())],
        "a layer is never called": lambda: _first_step(lambda model, ids: model.fc(model.embed(ids))),
        "all gradients are exactly zero": lambda: _first_step(lambda model, ids: model(ids) * 0),
        "the graph is cut": lambda: _first_step(
            lambda model, ids: model.out(model(ids).detach()[..., :1].expand(-1, -1, 5))
        ),
    }


def _one_side_of_a_tie() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embed"].weight  # type: ignore[assignment]
    adapt(model, LoRA(rank=2), targets=["embed"])


def _on_another_base(folder: Path) -> None:
    adapt(net(seed=0), LoRA(rank=2)).save(folder)
    load(net(seed=1), folder)


def _nan_merged() -> None:
    adaptation = adapt(net(), LoRA(rank=2))
    next(adaptation.parameters()).data.fill_(float("nan"))
    adaptation.merge()


def _other_batch_size() -> None:
    model = net()
    with adapt(model, LoRA(rank=2)).context(adapters=["default", None]):
        model(tokens(examples=3))


def _optimizer_first() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    adapt(model, LoRA(rank=2)).attach(optimizer)


def _optimizer_incomplete() -> None:
    adaptation = adapt(net(), LoRA(rank=2))
    adaptation.attach(torch.optim.SGD(list(adaptation.parameters())[:-1], lr=0.1))


def _first_step(forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
    model = net()
    adaptation = adapt(model, LoRA(rank=2))
    perturb(adaptation.parameters())
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.1)
    adaptation.attach(optimizer)
    forward(model, tokens()).sum().backward()
    optimizer.step()
