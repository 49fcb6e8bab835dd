"""What every model asks of its images: shapes and dtypes in forward, values where a look at them may cost time.

And what every data set asks of the indices of a batch.
"""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.utils.tracing import traced_for

ImageShape = tuple[int, int, int]
Indices = Sequence[int] | np.ndarray | Tensor
# A batch-norm layer that sees one value a channel has no variance to divide by.
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


# More is a slip, or a record that wants the machine's memory or time: what a recurrent model may be asked for.
MOST_UNITS, MOST_LOOKS = 4096, 1000


def check_images(model: nn.Module, images: Tensor, image_shape: ImageShape | None) -> None:
    """Raise TypeError or ValueError unless images are a non-empty (B, C, H, W) floating-point batch of `image_shape`.

    Looks at shapes and dtypes only, so it neither waits for a GPU nor breaks a compiled graph.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor, got {type(images).__name__}")
    if images.ndim != 4:
        hint = "; add a batch dimension with images.unsqueeze(0)" if images.ndim == 3 else ""
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(images.shape)}{hint}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}; use images.float() / 255")
    dtype = next((parameter.dtype for parameter in model.parameters()), images.dtype)
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(f"the model's weights are {dtype}, the images {images.dtype}; use images.to({dtype})")
    if images.numel() == 0:
        raise ValueError(f"images must not be empty, got shape {tuple(images.shape)}")
    if image_shape is not None and tuple(images.shape[1:]) != tuple(image_shape):
        raise ValueError(f"this model takes images of shape {tuple(image_shape)}, got {tuple(images.shape[1:])}")
    if any(part.training and isinstance(part, _BATCH_NORMS) for part in model.modules()) and images.shape[0] == 1:
        raise ValueError(
            "batch normalisation can't train on a batch of one image: make batches of at least 2, or put the model "
            "into eval mode, in Python model.eval()"
        )


def checked_image_shape(image_shape: Sequence[int]) -> ImageShape:
    """The shape of an image as a tuple of ints, whatever it came as. Raises TypeError or ValueError unless it is three
    positive whole numbers, (C, H, W)."""
    refused = f"image_shape must be three positive whole numbers (channels, height, width), got {image_shape!r}"
    try:
        sizes = [index(size) for size in image_shape]
    except TypeError as error:
        raise TypeError(refused) from error
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(refused)
    channels, height, width = sizes
    return channels, height, width


def check_values(images: Tensor) -> None:
    """Raise ValueError unless all values are numbers in [0, 1]. Waits for the device. Who runs an exported graph looks
    at its images before."""
    if traced_for():
        return
    low, high = (value.item() for value in torch.aminmax(images))
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise ValueError(f"image values must be in [0, 1], got {low:g}..{high:g}")


def check_labels(labels: Tensor, shape: Sequence[int]) -> None:
    """Raise TypeError or ValueError unless labels are int64 of a shape: (B,), or (B, P) for sequences."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor, got {type(labels).__name__}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}")
    if labels.shape != tuple(shape):
        raise ValueError(f"{shape[0]} images need labels of shape {tuple(shape)}, got {tuple(labels.shape)}")


def check_label_range(labels: Tensor, classes: int) -> None:
    """Raise TypeError or ValueError unless labels are int64 in 0..classes-1. Waits for the device that they are on."""
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}")
    low, high = (int(value) for value in torch.aminmax(labels))
    if not 0 <= low <= high < classes:
        raise ValueError(f"labels must be in 0..{classes - 1}, as the model has {classes} classes, got {low}..{high}")


def check_whole(name: str, value: int, *, least: int = 1, most: int | None = None) -> None:
    """Raise TypeError or ValueError unless a number of things is an int, at least `least` and, if that is given, at
    most `most`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")


def is_scalar(index: object) -> TypeGuard[SupportsIndex]:
    """Whether an index is a number of numpy, or an array or a tensor without dimensions."""
    return getattr(index, "ndim", None) == 0


def checked_indices(indices: Indices, count: int) -> np.ndarray:
    """A batch's indices as an array (B,). Raise TypeError, ValueError or IndexError unless all are in 0..count-1."""
    picked = np.asarray(indices)
    if picked.size == 0:
        picked = picked.astype(int)
    if not np.issubdtype(picked.dtype, np.integer):
        raise TypeError(f"indices must be integers, got {picked.dtype}: {indices!r:.100}")
    if picked.ndim != 1:
        raise ValueError(f"indices must be one-dimensional, got shape {picked.shape}")
    if len(picked) and not (picked.min() >= 0 and picked.max() < count):
        raise IndexError(f"indices must be 0..{count - 1}, got {picked.min()}..{picked.max()}")
    return picked
