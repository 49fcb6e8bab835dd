"""Trained models as files that other runtimes run: ONNX, OpenVINO's, and PyTorch's pt2.

All that a model does is traced into forward operations, the saliency's gradient too, with a dynamic batch. The file
tells what it is: task, classes, preprocessing, which record and weights it comes from, and by which versions.
"""

import copy
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.selection import check_k
from dcnlib.inference.compile import fold_norms
from dcnlib.inference.exported import RUNTIMES, open_export
from dcnlib.inference.formats import (
    OPSET,
    SUFFIXES,
    Format,
    check_packages,
    to_onnx,
    write_onnx,
    write_openvino,
    write_pt2,
)
from dcnlib.inference.quantised import quantise
from dcnlib.inference.tracing import DYNAMIC, Looked, Refined, trace
from dcnlib.models.pretrained import Source, Trained, load_trained
from dcnlib.utils.checks import ImageShape, check_images, check_values, checked_image_shape
from dcnlib.utils.files import user_path
from dcnlib.utils.modules import uncompiled
from dcnlib.utils.records import Record, versions_of
from dcnlib.utils.weights import digest_of, weights_of

Part = Literal["whole", "first", "refine"]
# What a look may hold that a file answers with, in this order.
OUTPUTS = ("logits", "boxes", "cells", "coarse_logits", "entropy", "saliency")
FIRST_OUTPUTS = ("coarse_map", "cells", "boxes", "coarse_logits", "entropy", "saliency")
IMAGES, PATCHES = 3, 5  # of the example that is traced: unlike each other, and more than one, as `trace` wants them


def export_model(
    source: Source | nn.Module,
    path: str | Path,
    to: Format,
    *,
    k: int | None = None,
    part: Part = "whole",
    outputs: Sequence[str] | None = None,
    image_shape: ImageShape | None = None,
    calibration: Tensor | None = None,
) -> Record:
    """Write a trained model to a file for other runtimes; returns the account that the file gives of itself.

    source: what `load_trained` takes, or a network of one's own. path: ends as the format's files do, see `SUFFIXES`.
    k: patches an image, instead of the model's own number. outputs: of `OUTPUTS`, by default all that the model has.
    image_shape: (C, H, W), for a network that doesn't know its own. The example that is traced is drawn from a
    generator of its own.

    part: "whole" maps images (B, C, H, W) to the outputs. Where k varies from call to call, two files do it together:
    "first" maps images to what is known before a patch is chosen, see `FIRST_OUTPUTS`, with all cells in the policy's
    order; "refine" maps images, coarse_map and cells (B, k), of any k from 1, to logits. For k = 0 the logits are
    coarse_logits.

    calibration: images (N, C, H, W) like those to come. With them, an ONNX or OpenVINO file computes its convolutions
    and products in int8, in the ranges that these images fill: faster where the processor has such instructions, and
    no longer the very same answers.

    Any other file for ONNX Runtime or OpenVINO is run once on the example, and taken away again if it answers
    differently.

    Raises ValueError for what the model doesn't have or can't do elsewhere, and ModuleNotFoundError, which names the
    extra, for a missing package.
    """
    path = user_path(path)
    _check_choice("to", to, Format)
    _check_choice("part", part, Part)
    if path.suffix != SUFFIXES[to]:
        raise ValueError(f"a file of format {to} ends in {SUFFIXES[to]}, got {path}")
    if to != "pt2":
        check_packages(RUNTIMES[path.suffix], "onnx", *(() if calibration is None else ("onnxruntime",)))
    if calibration is not None and (to == "pt2" or part == "refine"):
        raise ValueError("int8 is for ONNX and OpenVINO files, and for the parts whole and first")
    trained = None if isinstance(source, nn.Module) else load_trained(source)
    model: Any = source if trained is None else trained.model
    model = uncompiled(model)
    shape = image_shape if image_shape is not None else getattr(model, "image_shape", None)
    if shape is None and trained is not None:  # of one that takes any, what it was trained on
        shape = trained.task.image_shape
    if shape is None:
        raise ValueError("the network doesn't know its images: give image_shape=(channels, height, width)")
    shape = checked_image_shape(shape)
    network = model.network if isinstance(model, MultiScaleNetwork) else model
    if not isinstance(network, DynamicCapacityNetwork) and (k is not None or part != "whole"):
        raise ValueError(f"a {type(network).__name__} chooses no patches: it has neither k nor parts")
    if k is not None:
        check_k(k)  # whether there are so many cells, the look at an example says
        k = int(k)

    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    if calibration is not None:
        check_images(model, calibration, shape)
        check_values(calibration)
    graph, inputs, names = _graph_of(model, torch.Size(shape), k, part, outputs)
    with torch.no_grad():
        results = graph(*inputs.values())
    fold_norms(model)
    target: Any = "torch" if to == "pt2" else "onnx"
    program = trace(graph, inputs, target)
    about = {
        "part": part,
        "k": k if k is not None or part != "whole" else getattr(network, "k", None),
        "image_shape": list(shape),
        "inputs": {name: _described(tensor, DYNAMIC[name]) for name, tensor in inputs.items()},
        "outputs": {name: _described(tensor, ("batch",)) for name, tensor in zip(names, results, strict=True)},
        "weights": digest_of(weights_of(model)),
        **({} if trained is None else _of_trained(trained)),
        "precision": "float32" if calibration is None else "int8",
        "opset": None if to == "pt2" else OPSET,
        "versions": versions_of(("dcnlib", "torch", *(("onnx", "onnxscript") if to != "pt2" else ()))),
    }
    if to == "pt2":
        write_pt2(path, program, about)
    else:
        write = write_onnx if to == "onnx" else write_openvino
        written = to_onnx(program, list(inputs), names)
        if calibration is None:
            write(path, written, about)
            _check_written(path, inputs, dict(zip(names, results, strict=True)))
        else:
            write(path, quantise(written, calibration), about)
    return about


def _check_written(path: Path, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError, and take the file away, if its runtime answers otherwise than the model."""
    call, _ = open_export(path)
    found = call({name: tensor.numpy() for name, tensor in inputs.items()})
    for (name, wanted), value in zip(expected.items(), found, strict=True):
        # Cells of nearly equal saliency may change places.
        if wanted.is_floating_point() and not torch.allclose(torch.from_numpy(value), wanted, rtol=1e-3, atol=1e-3):
            for file in {path, path.with_suffix(".bin") if path.suffix == ".xml" else path}:
                file.unlink()
            raise ValueError(f"{RUNTIMES[path.suffix]} doesn't compute this model rightly, its {name} are others")


def _graph_of(
    model: Any, shape: torch.Size, k: int | None, part: Part, outputs: Sequence[str] | None
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """The graph of a part, an example of its inputs, and the names of its outputs."""
    images = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {} if k is None else {"k": k}
    with torch.no_grad():
        look = model.attend(images, **options)
    if part == "refine":
        if k is not None or outputs is not None:
            raise ValueError(
                "the part refine takes as many cells as it is given, and makes logits: leave k and outputs"
            )
        cells = torch.arange(PATCHES).repeat(IMAGES, 1)
        return Refined(model), {"images": images, "coarse_map": look.coarse_map, "cells": cells}, ["logits"]
    of_part = OUTPUTS if part == "whole" else FIRST_OUTPUTS
    had = [name for name in of_part if hasattr(look, name) and getattr(look, name).numel() > 0]
    if strange := [name for name in outputs or () if name not in had]:
        raise ValueError(f"outputs of this part of the model are {', '.join(had)}, got {', '.join(strange)}")
    names = [name for name in had if outputs is None or name in outputs]
    if not names:
        raise ValueError(f"give at least one of the outputs {', '.join(had)}")
    if part == "first":
        if k is not None:
            raise ValueError("the part first orders all cells: leave k out")
        options = {"k": look.saliency[0].numel()}
    return Looked(model, names, options), {"images": images}, names


def _of_trained(trained: Trained) -> Record:
    """What an account says of a trained model, beside its graph."""
    record = {key: trained.record[key] for key in ("name", "data") if key in trained.record}
    return {
        "name": trained.name,
        "model": trained.spec.describe(),
        "task": trained.task.name,
        "classes": list(trained.task.classes),
        "about": inspect.getdoc(type(trained.task)),
        "preprocessing": inspect.getdoc(trained.task.preprocess),
        "record": record,
        "record_sha256": hashlib.sha256(json.dumps(trained.record, sort_keys=True).encode()).hexdigest(),
    }


def _described(tensor: Tensor, varying: Sequence[str]) -> Mapping[str, Any]:
    """Type and shape, where what varies has a name."""
    shape = [*varying, *tensor.shape[len(varying) :]]
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}


def _check_choice(name: str, value: str, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}, got {value!r}")
