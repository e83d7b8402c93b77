"""Row 5: damaged checkpoints. Each is refused with a CheckpointError, in under a second, and the model is untouched."""

import json
import random
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from rankwise import CheckpointError, LoRA, adapt, load
from rankwise.core.checkpoint import seal
from rankwise.core.files import digest
from rankwise.core.tensor_file import to_bytes
from reliability.models import net, perturb
from reliability.snapshot import same, snapshot


@dataclass
class Outcome:
    """What loading damaged checkpoints came to; the lists name the cases that went wrong."""

    cases: int
    accepted: list[str]
    crashed: list[str]
    slow: list[str]
    traces: list[str]


class Folder:
    """A good checkpoint to damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        adaptation = adapt(net(), LoRA(rank=2), targets=["fc", "out", "conv"])
        perturb(adaptation.parameters())
        adaptation.save(folder)
        self.json = (folder / "adapter.json").read_bytes()
        self.tensors = (folder / "adapter.safetensors").read_bytes()

    def write(self, described: bytes, tensors: bytes | None) -> None:
        """Put damaged files into the folder."""
        (self.folder / "adapter.json").write_bytes(described)
        path = self.folder / "adapter.safetensors"
        path.unlink(missing_ok=True)
        if tensors is not None:
            path.write_bytes(tensors)

    def described(self, **changes: object) -> bytes:
        """The JSON with some keys changed; a value of ... drops the key."""
        parsed = {key: value for key, value in (json.loads(self.json) | changes).items() if value is not ...}
        sealed = {"seal": seal(parsed)} if "seal" in parsed and "seal" not in changes else {}
        return json.dumps(parsed | sealed).encode()

    def with_tensors(self, content: bytes) -> tuple[bytes, bytes]:
        """Other tensors, with a JSON whose digest fits them, so that only the tensors are at fault."""
        return self.described(digest=digest(content)), content

    def header(self, change: Callable[[dict], None], data: bytes | None = None) -> tuple[bytes, bytes]:
        """The tensor file with a changed header."""
        length = struct.unpack("<Q", self.tensors[:8])[0]
        parsed = json.loads(self.tensors[8 : 8 + length])
        change(parsed)
        return self.raw_header(json.dumps(parsed).encode(), data)

    def raw_header(self, header: bytes, data: bytes | None = None, length: int | None = None) -> tuple[bytes, bytes]:
        """The tensor file with other header bytes."""
        size = struct.unpack("<Q", self.tensors[:8])[0]
        body = self.tensors[8 + size :] if data is None else data
        return self.with_tensors(struct.pack("<Q", len(header) if length is None else length) + header + body)

    def saved_tensors(self, change: Callable[[dict], None]) -> tuple[bytes, bytes]:
        """The tensor file with changed tensors, correctly written."""
        import safetensors.torch  # noqa: PLC0415

        tensors = safetensors.torch.load(self.tensors)
        change(tensors)
        return self.with_tensors(to_bytes(tensors))


def named_cases(good: Folder) -> Iterator[tuple[str, bytes, bytes | None]]:
    """The damaged folders, each with a name."""
    for name, value in _json_cases(good).items():
        yield f"json: {name}", value, good.tensors
    for name, (described, tensors) in _tensor_cases(good).items():
        yield f"tensors: {name}", described, tensors
    yield "tensor file missing", good.json, None
    yield (
        "tensor file of another save",
        good.json,
        good.saved_tensors(lambda t: t.update({"fc:left": t["fc:left"] + 1}))[1],
    )


def _json_cases(good: Folder) -> dict[str, bytes]:
    parsed = json.loads(good.json)
    first = next(iter(parsed["targets"]))
    target = parsed["targets"][first]
    method = parsed["method"]

    def one(**changes: object) -> bytes:
        return good.described(targets=parsed["targets"] | {first: target | changes})

    cases = {
        "empty": b"",
        "cut off": good.json[: len(good.json) // 2],
        "not JSON": b"PK\x03\x04",
        "a list": b"[]",
        "a number": b"7",
        "not UTF-8": good.json.replace(b"lora", b"l\xffra"),
        "nested too deep": b"[" * 100_000,
        "a key twice": good.json.replace(b'"seed"', b'"seed": 1, "seed"'),
        "newer format": good.described(format=99),
        "format as text": good.described(format="1"),
        "format true": good.described(format=True),
        "unknown key": good.described(auto_mapping={"module": "os"}),
        "unknown method": good.described(method=method | {"method": "lroa"}),
        "method is a path": good.described(method=method | {"method": "../../os"}),
        "method without a name": good.described(method={"rank": 2}),
        "method as text": good.described(method="lora"),
        "unknown field": good.described(method=method | {"rnak": 2}),
        "rank as text": good.described(method=method | {"rank": "2"}),
        "rank zero": good.described(method=method | {"rank": 0}),
        "rank negative": good.described(method=method | {"rank": -1}),
        "rank too large": good.described(method=method | {"rank": 4000}),
        "rank other than the tensors'": good.described(method=method | {"rank": 3}),
        "alpha NaN": good.described(method=method | {"alpha": float("nan")}),
        "unknown dtype": good.described(dtype="float8"),
        "scale as text": good.described(scale="1"),
        "scale infinite": good.described(scale=float("inf")),
        "seed as text": good.described(seed="0"),
        "ranks a list": good.described(ranks=[1]),
        "ranks negative": good.described(ranks={first: -2}),
        "ranks of no target": good.described(ranks={"nowhere": 2}),
        "no targets": good.described(targets={}),
        "targets a list": good.described(targets=[first]),
        "target a number": good.described(targets=parsed["targets"] | {first: 3}),
        "target not in the model": good.described(targets=parsed["targets"] | {"layers.99.q_proj": target}),
        "target a path": good.described(targets=parsed["targets"] | {"../../etc": target}),
        "target of another shape": one(shape=[5, 5]),
        "target of another base": one(sample=[value + 1 for value in target["sample"]]),
        "target sample cut": one(sample=target["sample"][:3]),
        "target sample text": one(sample=["x"] * 16),
        "target sample NaN": one(sample=[float("nan")] * 16),
        "target unknown key": one(path="/etc/passwd"),
        "digest of nothing": good.described(digest=""),
        "seal of nothing": good.described(seal=""),
        "alpha changed by hand": good.json.replace(b'"alpha": 16.0', b'"alpha": 17.0'),
        "digest as number": good.described(digest=3),
    }
    return cases | {f"without {key}": good.described(**{key: ...}) for key in parsed}


def _tensor_cases(good: Folder) -> dict[str, tuple[bytes, bytes]]:
    key = "fc:left"

    def offsets(begin: int, end: int) -> tuple[bytes, bytes]:
        return good.header(lambda h: h[key].update(data_offsets=[begin, end]))

    def twice(header: bytes) -> bytes:
        return header.replace(b"{", b'{"fc:left":{"dtype":"F64","shape":[6,2],"data_offsets":[0,96]},', 1)

    length = struct.unpack("<Q", good.tensors[:8])[0]
    header = good.tensors[8 : 8 + length]
    return {
        "empty": good.with_tensors(b""),
        "seven bytes": good.with_tensors(b"1234567"),
        "header cut": good.with_tensors(good.tensors[:40]),
        "data cut": good.with_tensors(good.tensors[:-8]),
        "data too long": good.with_tensors(good.tensors + b"12345678"),
        "one bit of the data": (good.json, good.tensors[:-1] + bytes([good.tensors[-1] ^ 1])),
        "header length huge": good.raw_header(header, length=2**62),
        "header length over the cap": good.raw_header(b"{" + b" " * 1_100_000 + b"}"),
        "header leads with a blank": good.raw_header(b" " + header),
        "header not JSON": good.raw_header(b"{nonsense"),
        "header a list": good.raw_header(b"[]"),
        "a name twice": good.raw_header(twice(header)),
        "a name empty": good.header(lambda h: h.update({"": h.pop(key)})),
        "a name with NUL": good.header(lambda h: h.update({"fc\0:left": h.pop(key)})),
        "a name with a path": good.header(lambda h: h.update({"../../x": h.pop(key)})),
        "offsets reversed": offsets(96, 0),
        "offsets beyond the end": offsets(0, 10**9),
        "offsets negative": offsets(-8, 88),
        "offsets overlap": good.header(lambda h: [v.update(data_offsets=[0, 96]) for v in h.values() if "shape" in v]),
        "shape negative": good.header(lambda h: h[key].update(shape=[-6, -2])),
        "shape huge": good.header(lambda h: h[key].update(shape=[2**40, 2**40])),
        "dtype unknown": good.header(lambda h: h[key].update(dtype="F31")),
        "dtype integer": good.header(lambda h: h[key].update(dtype="I64")),
        "unknown field": good.header(lambda h: h[key].update(zip="deflate")),
        "a tensor missing": good.saved_tensors(lambda t: t.pop(key)),
        "a tensor too many": good.saved_tensors(lambda t: t.update(extra=torch.zeros(2))),
        "all tensors renamed": good.saved_tensors(lambda t: [t.update({"base." + k: t.pop(k)}) for k in list(t)]),
        "keys as torch.compile writes them": good.saved_tensors(
            lambda t: [t.update({"_orig_mod." + k: t.pop(k)}) for k in list(t)]
        ),
        "a tensor transposed": good.saved_tensors(lambda t: t.update({key: t[key].t().contiguous()})),
        "a tensor empty": good.saved_tensors(lambda t: t.update({key: torch.zeros(0)})),
        "NaN": good.saved_tensors(lambda t: t[key].fill_(float("nan"))),
        "infinity": good.saved_tensors(lambda t: t[key].fill_(float("inf"))),
        "no tensors at all": good.saved_tensors(lambda t: t.clear()),
    }


def load_all(good: Folder, cases: Iterator[tuple[str, bytes, bytes | None]], check_model: bool = True) -> Outcome:
    """Load every case onto a fresh base."""
    outcome = Outcome(0, [], [], [], [])
    model = net()
    before = snapshot(model)
    for name, described, tensors in cases:
        good.write(described, tensors)
        outcome.cases += 1
        start = time.perf_counter()
        try:
            load(model, good.folder)
        except CheckpointError:
            pass
        except Exception as error:
            outcome.crashed.append(f"{name}: {type(error).__name__}: {error}")
        else:
            outcome.accepted.append(name)
            model = net()
            before = snapshot(model)
            continue
        if time.perf_counter() - start > 1:
            outcome.slow.append(name)
        if check_model and not same(before, snapshot(model)):
            outcome.traces.append(name)
    return outcome


def mutated_headers(good: Folder, count: int, seed: int = 0) -> Iterator[tuple[str, bytes, bytes | None]]:
    """Random changes of one to four header bytes; the digest is made to fit, so that it cannot be what refuses."""
    choose = random.Random(seed)
    length = struct.unpack("<Q", good.tensors[:8])[0]
    for index in range(count):
        content = bytearray(good.tensors)
        for _ in range(choose.randint(1, 4)):
            content[choose.randrange(8 + length)] = choose.randrange(256)
        if bytes(content) != good.tensors:
            yield f"header {index}", *good.with_tensors(bytes(content))


def mutated_json(good: Folder, count: int, seed: int = 0) -> Iterator[tuple[str, bytes, bytes | None]]:
    """Random changes of one to four bytes of adapter.json."""
    choose = random.Random(seed)
    for index in range(count):
        content = bytearray(good.json)
        for _ in range(choose.randint(1, 4)):
            content[choose.randrange(len(content))] = choose.randrange(256)
        yield f"json {index}", bytes(content), good.tensors
