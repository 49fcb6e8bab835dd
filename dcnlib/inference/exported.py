"""Exported models at work: a file in its runtime, under the contract of every model here.

Reading a file executes nothing of it: its graph is made of the runtime's own operations. A file that is cut off,
damaged, of another version or no export of this library is refused before a runtime sees it; and one that says of
itself what isn't so, before it answers.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.core.network import no_boxes
from dcnlib.data.pictures import MOST_PIXELS
from dcnlib.inference.formats import check_packages, openvino_core, read_account
from dcnlib.models.pretrained import Trained
from dcnlib.models.specs import spec_from_record
from dcnlib.training.run import check_run_record
from dcnlib.utils.checks import ImageShape, check_images, check_values
from dcnlib.utils.files import read_file, user_path
from dcnlib.utils.records import Record, check_parts

RUNTIMES = {".onnx": "onnxruntime", ".xml": "openvino"}  # what runs a file, by how its name ends
ACCOUNT_PARTS: dict[str, Any] = {
    "part": str,
    "k": int | None,
    "inputs": dict,
    "outputs": dict,
    "model": dict,
    "name": str,
    "record": dict,
}
MOST_BYTES = 200_000_000  # of a file
# The key, in any way that ONNX may write one, of where a tensor's values lie if not in the file.
_ELSEWHERE = re.compile(rb"(\x0a|\x8a\x80{0,8}\x00)(\x08|\x88\x80{0,8}\x00)location")
Call = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]  # inputs by name -> outputs in the file's order


@dataclass(frozen=True)
class ExportedLook:
    """What a file holds of a look at a batch; see `Attention`."""

    logits: Tensor  # (B, L) or (B, P, L), before the softmax
    boxes: Tensor  # (B, k, 4), or (B, 0, 4) where the file tells none
    cells: Tensor | None = None
    coarse_logits: Tensor | None = None
    entropy: Tensor | None = None
    saliency: Tensor | None = None


class ExportedNetwork(nn.Module):
    """What `export_model` wrote, as a model: images (B, C, H, W) -> logits. It runs on the CPU, and can't be trained.

    about: the account that the file gives of itself. k, in calls, may only be the file's own.
    """

    def __init__(self, call: Call, about: Record) -> None:
        super().__init__()
        self.call, self.about = call, about
        channels, height, width = about["image_shape"]
        self.image_shape: ImageShape = (channels, height, width)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A file in its runtime, after it has answered once. See `open_export`; raises ValueError for a part of a
        model, too, and for one that makes no logits."""
        call, about = open_export(path)
        if about["part"] != "whole":
            raise ValueError(f"{path} is the part {about['part']} of a model: only the whole answers")
        check_parts(about, {"image_shape": list}, user_path(path), needed=("image_shape",))
        shape = about["image_shape"]
        sizes = len(shape) == 3 and all(isinstance(size, int) and size > 0 for size in shape)
        if not sizes or math.prod(shape) > MOST_PIXELS:
            raise ValueError(f"{path} takes images of {shape}, which is no shape of ours")
        known = {field.name for field in fields(ExportedLook)}
        if not {"logits"} <= about["outputs"].keys() <= known:
            told = f"has {', '.join(about['outputs'])} for outputs"
            raise ValueError(f"{path} {told}: to answer, it needs logits, and nothing else than {', '.join(known)}")
        network = cls(call, about)
        logits = network(torch.zeros(1, *shape))
        if logits.ndim not in (2, 3) or len(logits) != 1 or not logits.isfinite().all():
            raise ValueError(
                f"{path} answers one image with {tuple(logits.shape)} scores, or with none that are finite"
            )
        return network

    def forward(self, images: Tensor, k: int | None = None) -> Tensor:
        """Class scores (B, L) or (B, P, L). Raises TypeError or ValueError for images that aren't the model's."""
        return self._answer(images, k)["logits"]

    def attend(self, images: Tensor, k: int | None = None) -> ExportedLook:
        """All that the file holds of a look, with a check of the images' values."""
        answer = self._answer(images, k)
        check_values(images)
        return ExportedLook(**{"boxes": no_boxes(images.cpu()), **answer})

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # it has no state of its own, and a runtime's can't be copied

    def _answer(self, images: Tensor, k: int | None) -> dict[str, Tensor]:
        check_images(self, images, self.image_shape)
        if k is not None and k != self.about["k"]:
            raise ValueError(
                f"this file was exported with k = {self.about['k']}, not {k}: export the model with that k"
            )
        results = self.call({"images": images.detach().cpu().float().numpy()})
        return {name: torch.from_numpy(result) for name, result in zip(self.about["outputs"], results, strict=True)}


def open_export(path: str | Path) -> tuple[Call, Record]:
    """What runs a file, and the account that the file gives of itself.

    The runtime, ONNX Runtime for .onnx and OpenVINO for .xml, computes in as many threads as torch does now. Raises
    FileNotFoundError, ValueError for a file that isn't whole or of another version, and ModuleNotFoundError, which
    names the extra, for a missing runtime.
    """
    path = user_path(path)
    if path.suffix not in RUNTIMES:
        raise ValueError(
            f"exported models that run here end in {' or '.join(RUNTIMES)}, got {path}"
            + (": torch.export.load reads it, but may execute what is in it" if path.suffix == ".pt2" else "")
        )
    if not path.is_file():
        raise FileNotFoundError(f"no exported model at {path}")
    check_packages(runtime := RUNTIMES[path.suffix])
    content, weights = read_file(path, MOST_BYTES), b""
    if path.suffix == ".xml":
        beside = path.with_suffix(".bin")
        if not beside.is_file():
            raise FileNotFoundError(f"{path} needs its weights beside it, {beside.name}")
        weights = read_file(beside, MOST_BYTES)
    about = read_account(content, path, weights)
    if _ELSEWHERE.search(content) if path.suffix == ".onnx" else not content.startswith(b"<"):
        raise ValueError(f"{path} takes weights from other files, or is none of its format: no export of this library")
    check_parts(about, ACCOUNT_PARTS, path, needed=("part", "inputs", "outputs"))
    outputs = list(about["outputs"])
    start = _in_onnxruntime if runtime == "onnxruntime" else _in_openvino
    try:
        call = start(content, weights, outputs)
    except Exception as error:  # each runtime has kinds of its own
        raise ValueError(f"{runtime} can't read {path}: {error}") from error

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return call(inputs)
        except Exception as error:
            raise ValueError(f"{runtime} can't run {path}: {error}") from error

    return run, about


def load_exported(path: str | Path) -> Trained:
    """An exported model of this library as a `Trained` one, for all that asks a trained model: see `ExportedNetwork`.

    Raises ValueError for one of a network that has no task here, too.
    """
    network = ExportedNetwork.load(path)
    about = network.about
    if "model" not in about:
        raise ValueError(f"{path} is the export of a network without a task: use ExportedNetwork.load in Python")
    check_run_record(about.get("record", {}), user_path(path))
    try:
        spec = spec_from_record(about["model"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} describes no model of this library: {error}") from error
    if tuple(spec.task.image_shape) != network.image_shape:
        raise ValueError(f"{path} takes images of {network.image_shape}, and its task's are {spec.task.image_shape}")
    return Trained(about.get("name", Path(path).stem), network.eval(), spec, about.get("record", {}))


def _in_onnxruntime(content: bytes, weights: bytes, outputs: list[str]) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(outputs, dict(inputs))


def _in_openvino(content: bytes, weights: bytes, outputs: list[str]) -> Call:
    core = openvino_core()
    model = core.read_model(content, weights)
    # In float32 also where the processor has something faster, which would answer differently.
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        results = request.infer(dict(inputs))
        return [np.array(results[name]) for name in outputs]  # its own memory is used again

    return call
