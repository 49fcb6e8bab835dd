"""Exported models."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from hostile import mutations
from hostile.kinds.kind import Kind, digest

from dcnlib.inference import formats
from dcnlib.inference.exported import load_exported

ABOUT = {
    "part": "whole",
    "k": None,
    "image_shape": [1, 100, 100],
    "inputs": {"images": {"dtype": "float32", "shape": ["batch", 1, 100, 100]}},
    "outputs": {"logits": {"dtype": "float32", "shape": ["batch", 10]}},
    "name": "tiny",
    "model": {"kind": "coarse"},
    "record": {"name": "tiny", "data": {"train": {"name": "digits", "source": "embedded", "split": "train"}}},
}


@cache
def good_graph() -> bytes:
    """A network in ONNX: the means of four quarters of an image, and ten scores of them."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.RandomState(0).rand(4, 10).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[50, 50], strides=[50, 50]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 100, 100])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "tiny", [images], [logits], [numpy_helper.from_array(weights, "weights")])
    opset = helper.make_opsetid("", formats.OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@cache
def good_export(suffix: str) -> bytes:
    """The file that ends in `suffix`, of an export of the network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        if suffix == ".onnx":
            formats.write_onnx(path.with_suffix(suffix), good_graph(), ABOUT)
        else:
            formats.write_openvino(path.with_suffix(".xml"), good_graph(), ABOUT)
        return path.with_suffix(suffix).read_bytes()


def signed(content: bytes, body: bytes, about: dict[str, Any]) -> bytes:
    """Such a body and account as an export like the good one, whose digest is right."""
    from onnx import ModelProto

    plain = content == good_export(".onnx")
    whole = hashlib.sha256(body + (b"" if plain else good_export(".bin"))).hexdigest()
    account = json.dumps({"format": formats.FORMAT_VERSION, **about, "bytes": len(body), "sha256": whole})
    if not plain:
        return body + f"<!-- {account.replace('--', '-')} -->\n".encode()
    tail = ModelProto()
    tail.metadata_props.add(key=formats.ACCOUNT, value=account)
    return body + tail.SerializeToString()


def _body(content: bytes) -> bytes:
    return good_graph() if content == good_export(".onnx") else content[: content.rindex(b"<!-- {")]


def other_account(random: Random, content: bytes) -> bytes:
    """The export says something else of itself."""
    about = json.loads(mutations.json_tree(random, json.dumps(ABOUT).encode()))
    return signed(content, _body(content), about)


def other_body(random: Random, content: bytes) -> bytes:
    """The export's graph is another one, of which it gives the digest."""
    return signed(content, mutations.any_bytes(random, _body(content)), ABOUT)


def export_beside(suffix: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"model{suffix}").write_bytes(good_export(suffix)) and None


def read_export(path: Path) -> str:
    trained = load_exported(path.with_suffix(".xml") if path.suffix == ".bin" else path)
    trained.check_unseen("validation", trained.source)
    images = torch.rand(2, 1, 100, 100, generator=torch.Generator().manual_seed(0))
    return digest(trained.model(images).numpy().round(3))


KINDS = (
    Kind("onnx", "model.onnx", lambda: [good_export(".onnx")], read_export, (other_account, other_body), whole=True),
    Kind(
        "openvino",
        "model.xml",
        lambda: [good_export(".xml")],
        read_export,
        (other_account, other_body),
        whole=True,
        beside=export_beside(".bin"),
    ),
    Kind(
        "openvino weights",
        "model.bin",
        lambda: [good_export(".bin")],
        read_export,
        whole=True,
        beside=export_beside(".xml"),
    ),
)
