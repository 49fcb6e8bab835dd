"""Exported graphs in int8: weights and activations of the convolutions and products, in ranges seen on example images.

What lies between them, the entropy, the saliency and the choice of patches among it, stays in float32.
"""

import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dcnlib.models.tasks import Task

QUANTISED = ["Conv", "Gemm", "MatMul"]  # the operations that int8 makes faster
MOST_IMAGES, MOST_VALUES = 256, 2**26  # that ranges are taken from


def quantise(graph: bytes, images: Tensor) -> bytes:
    """An ONNX graph of `images` alone, in int8: one scale for each channel of the weights, for the activations those of
    the ranges that `images` (N, C, H, W) fill.

    Needs the packages of `dcnlib[export]`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, np.ndarray]] = ({"images": part.numpy()} for part in images.split(16))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    before = logging.root.level
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, done = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "done"))
        whole.write_bytes(graph)
        try:
            logging.root.setLevel(logging.ERROR)  # it advises what has been done
            quant_pre_process(whole, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                done,
                Examples(),
                op_types_to_quantize=QUANTISED,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.root.setLevel(before)
        return done.read_bytes()


def calibration_images(task: Task, *, source: str | None = None, root: str | Path | None = None) -> Tensor:
    """What ranges are taken from: training images of a task, (N, C, H, W). Those few that are always at hand, or else
    some that are evenly spread over the training split of a `source`, from the folder `root`.

    Raises FileNotFoundError where that split isn't at hand either.
    """
    data = task.smoke("train") if task.smoke_counts else None
    if data is None or data[0][0].shape != task.image_shape:
        data = task.load("train", source=source, root=root)
    count = min(len(data), MOST_IMAGES, max(1, MOST_VALUES // math.prod(task.image_shape)))
    return torch.stack([data[int(index)][0] for index in np.linspace(0, len(data) - 1, count).round()])
