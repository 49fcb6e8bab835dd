"""Attacks on who reads exported models."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hostile.attacks.attack import Attack, content, huge
from hostile.attacks.runs import plain_pickle
from hostile.kinds import KINDS
from hostile.kinds.exports import ABOUT, good_export, good_graph, signed


def changed_export(**changes: object) -> Callable[[Path], None]:
    return content(lambda: signed(good_export(".onnx"), good_graph(), {**ABOUT, **changes}))


def foreign_weights(path: Path) -> None:
    """The network's weights are the bytes of a file that isn't the sender's."""
    from onnx import StringStringEntryProto, TensorProto, load_from_string

    (path.parent / "secret").write_bytes(np.ones(40, np.float32).tobytes())
    model = load_from_string(good_graph())
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.append(StringStringEntryProto(key="location", value="secret"))
    path.write_bytes(signed(good_export(".onnx"), model.SerializeToString(), ABOUT))


def executing_program(path: Path) -> Path:
    """A file for torch.export.load, which would unpickle it."""
    plain_pickle(other := path.with_suffix(".pt2"))
    return other


def attacks() -> Iterator[Attack]:
    onnx = KINDS["onnx"]
    yield Attack("a pt2 file that executes", onnx, executing_program)
    yield Attack("an export of 50 GB", onnx, huge)
    yield Attack("an export with weights of 50 GB", KINDS["openvino weights"], huge)
    yield Attack("an export with weights from elsewhere", onnx, foreign_weights)
    for name, changes in {
        "of another task": {"model": {"kind": "coarse", "data": "house-numbers"}},
        "of no model": {"model": {"kind": "os.system"}},
        "without a task": {"model": 5},
        "of a later version": {"format": 2},
        "of a part": {"part": "first"},
        "of images of a terabyte": {"image_shape": [1, 500_000, 500_000]},
        "of images without a shape": {"image_shape": None},
        "of outputs that it hasn't": {"outputs": {"logits": {}, "boxes": {}}},
        "of no outputs": {"outputs": {}},
        "of strange outputs": {"outputs": {"logits": {}, "forward": {}}},
        "of data that is none": {"record": {"data": {"train": {"parts": [5]}}}},
    }.items():
        yield Attack(f"an export {name}", onnx, changed_export(**changes))
