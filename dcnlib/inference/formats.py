"""The files that trained models are exported to, and how a file tells what it is.

A file ends with an account of itself in JSON, with the number and the SHA-256 of the bytes before it, and of the
weights beside it if there are any: one that is cut off or damaged is told from a whole one before a runtime sees it.
ONNX reads the account as the model's metadata `dcnlib`, OpenVINO as a comment. A pt2 archive holds it as a member.
"""

import hashlib
import importlib.util
import io
import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from dcnlib.utils.files import atomic_write
from dcnlib.utils.records import Record

if TYPE_CHECKING:  # whoever reads files doesn't wait for it
    from torch.export import ExportedProgram

Format = Literal["onnx", "openvino", "pt2"]
OPSET = 20
FORMAT_VERSION = 1  # of the account; a reader takes no other
ACCOUNT = "dcnlib"
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
_BEGIN, _MOST_BETWEEN = b'{"format": ', 32  # the account's first bytes; how many may lie before them, after the body
_AFTER = {".onnx": "", ".xml": " -->\n"}
_PACKAGES = {"onnx": ("onnx", "onnxscript"), "openvino": ("openvino",), "onnxruntime": ("onnxruntime",)}


def check_packages(*names: str) -> None:
    """Raise ModuleNotFoundError, saying which extra brings them, where formats or runtimes lack their packages."""
    needed = dict.fromkeys(package for name in names for package in _PACKAGES.get(name, ()))
    if missing := [package for package in needed if importlib.util.find_spec(package) is None]:
        raise ModuleNotFoundError(
            f"{names[0]} needs {' and '.join(missing)}: install dcnlib's extra for it, pip install 'dcnlib[export]'"
        )


def to_onnx(program: "ExportedProgram", inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """A program of ONNX's operations as a model of that format."""
    names = {"input_names": list(inputs), "output_names": list(outputs)}
    exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, **names)  # type: ignore
    assert exported is not None
    return exported.model_proto.SerializeToString()


@cache
def openvino_core() -> Any:
    """OpenVINO itself, one for the process and for its whole life. Each gives the thread that first compiles in it a
    stack for signals; when several end in any order, that thread is left with one that is gone, and its next signal
    ends the process."""
    import openvino

    return openvino.Core()


def write_onnx(path: Path, graph: bytes, about: Record) -> None:
    """Write an ONNX file. Parts of such a file, one after another, are one: the account is the last."""
    from onnx import ModelProto

    tail = ModelProto()
    tail.metadata_props.add(key=ACCOUNT, value=_signed(about, graph))
    atomic_write(path, lambda file: file.write(graph + tail.SerializeToString()))


def write_openvino(path: Path, graph: bytes, about: Record) -> None:
    """Write an ONNX graph as OpenVINO's XML, and its weights beside it."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.xml"
        openvino.save_model(openvino_core().read_model(graph), written, compress_to_fp16=False)
        body, weights = written.read_bytes(), written.with_suffix(".bin").read_bytes()
    comment = f"<!-- {_signed(about, body, weights)}{_AFTER['.xml']}".encode()
    atomic_write(path.with_suffix(".bin"), lambda file: file.write(weights))
    atomic_write(path, lambda file: file.write(body + comment))


def write_pt2(path: Path, program: "ExportedProgram", about: Record) -> None:
    """Write a program for `torch.export.load`."""
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={ACCOUNT: json.dumps(about, allow_nan=False)})
    atomic_write(path, lambda file: file.write(archive.getvalue()))


def read_account(content: bytes, path: Path, weights: bytes = b"") -> Record:
    """What an ONNX or OpenVINO file says of itself. Raises ValueError unless it is of dcnlib, and whole."""
    begin = content.rfind(_BEGIN)
    if begin < 0:
        raise ValueError(f"{path} is cut off, or no model that dcnlib exported: it has no account of itself at its end")
    try:
        text = content[begin:].decode("ascii")
        about, end = json.JSONDecoder().raw_decode(text)
        size, digest, version = about["bytes"], about["sha256"], about["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is cut off or damaged: its account of itself can't be read ({error!r})") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} is an export of version {version}, and this dcnlib reads version {FORMAT_VERSION}: export the "
            "model again"
        )
    whole = isinstance(size, int) and 0 <= begin - size <= _MOST_BETWEEN and text[end:] == _AFTER[path.suffix]
    if not whole or _digest(content[:size], weights) != digest:
        beside = ", or the weights beside it are those of another" if path.suffix == ".xml" else ""
        raise ValueError(f"{path} is damaged: it isn't what was written{beside}")
    return about


def _signed(about: Record, body: bytes, weights: bytes = b"") -> str:
    signed = {"format": FORMAT_VERSION, **about, "bytes": len(body), "sha256": _digest(body, weights)}
    return json.dumps(signed, allow_nan=False).replace("--", "-\\u002d")  # which no comment of XML may hold


def _digest(body: bytes, weights: bytes) -> str:
    return hashlib.sha256(body + weights).hexdigest()
