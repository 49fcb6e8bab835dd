"""Attacks on who reads weights, checkpoints and records."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from hostile.attacks.attack import Attack, Trap, content, huge
from hostile.kinds import KINDS
from hostile.kinds.runs import good_records


def executing_checkpoint(path: Path) -> None:
    torch.save({"model": Trap()}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def checkpoint_bomb(path: Path) -> None:
    """The good checkpoint with its first tensor's bytes replaced by 1.5 GB of zeros."""
    with zipfile.ZipFile(path) as good:
        names = {info.filename: good.read(info) for info in good.infolist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, data in names.items():
            with packed.open(name, "w") as unpacked:
                for _ in range(150 if name.endswith("/data/0") else 1):
                    unpacked.write(bytes(10_000_000) if name.endswith("/data/0") else data)
    path.write_bytes(file.getvalue())


def packed_checkpoint(path: Path) -> None:
    """The good checkpoint, packed: harmless, and yet what bombs are made of."""
    with zipfile.ZipFile(path) as good:
        members = {info.filename: good.read(info) for info in good.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)


def weights_file(header: bytes, size: int | None = None) -> Callable[[Path], None]:
    return content(lambda: (len(header) if size is None else size).to_bytes(8, "little") + header + bytes(64))


def empty_tensors(count: int) -> bytes:
    """What a weights file says of so many tensors without values."""
    one = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(one % number for number in range(count)) + "}").encode()


def changed_record(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(json.dumps(json.loads(good_records()[0]) | changes))

    return write


def changed_model(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        record = json.loads(good_records()[2])  # of RAM
        record["model"] |= changes
        path.write_text(json.dumps(record))

    return write


def attacks() -> Iterator[Attack]:
    weights, checkpoint, run, promoted = (KINDS[name] for name in ("weights", "checkpoint", "run", "promoted run"))
    for kind in (weights, checkpoint, run, promoted, KINDS["job"]):
        yield Attack(f"{kind.name} of 50 GB", kind, huge)
    yield Attack("a checkpoint that executes", checkpoint, executing_checkpoint)
    yield Attack("a pickle called checkpoint", checkpoint, plain_pickle)
    yield Attack("a checkpoint of 1.5 GB in 1.5 MB", checkpoint, checkpoint_bomb, heavy=True)
    yield Attack("a packed checkpoint", checkpoint, packed_checkpoint)
    yield Attack("a pickle called weights", weights, plain_pickle)
    yield Attack("weights with a header of 2^63", weights, weights_file(b"{}", 2**63))
    yield Attack("weights with a deep header", weights, weights_file(b"[" * 1_000_000))
    yield Attack(
        "weights of 10^12 numbers",
        weights,
        weights_file(b'{"linear.weight":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'),
    )
    yield Attack(
        "weights whose size overflows",
        weights,
        weights_file(b'{"linear.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    )
    yield Attack("weights of a million empty tensors", weights, weights_file(empty_tensors(1_000_000)))
    for name, text in {
        "deep": b'{"a":' * 200_000,
        "deep lists": b"[" * 200_000 + b"]" * 200_000,
        "10^7 lists": b"[" + b"[]," * 10_000_000 + b"[]]",
        "a number beyond all": b'{"name": "x", "test": {"error": 1e999}}',
        "an endless number": b'{"name": ' + b"1" * 1_000_000 + b"}",
        "no UTF-8": b'{"name": "\xff\xfe"}',
        "another encoding": '{"name": "x"}'.encode("utf-16"),
        "nothing": b"",
        "a list": b"[]",
    }.items():
        yield Attack(f"a record: {name}", run, content(lambda text=text: text))
    for name in (
        "../../X",
        "/tmp/X",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        ".X",
        "X\0",
        "X\nY",
        "CON/..",
        None,
        5,
        ["X"],
        "X" * 5000,
    ):
        yield Attack(f"promoted: {name!r:.20}", promoted, changed_record(name=name))
    for changes in (
        {"hidden": 10**9},
        {"hidden": 100_000},
        {"glimpses": 10**9},
        {"rollouts": 10**12},
        {"hidden": "256"},
        {"kind": ["ram"]},
        {"kind": {}},
        {"data": ["x"]},
        {"data": "house-numbers", "scales": 10**9},
        {"task": "x"},
        {"build": 1},
    ):
        yield Attack(
            f"a record: model {changes}",
            run,
            changed_model(**changes),
        )
    for model in (None, [], "dcn", 5, {"kind": "dcn", "k": 10**30}, {"kind": "dcn", "policy": "os.system"}):
        yield Attack(f"a record: model = {model}", run, changed_record(model=model))
