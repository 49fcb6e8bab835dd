"""From scores of cells to the k cells that are looked at (section 3.1)."""

import numpy as np
import torch
from torch import Tensor

from dcnlib.utils.tracing import traced_for


def select_patches(scores: Tensor, k: int) -> Tensor:
    """The k cells of highest score: (B, s1, s2) -> (B, k) flat indices i * s2 + j, highest first.

    The order is stable: ties go to the lower index. Raises TypeError or ValueError unless scores are a tensor and k is
    0..s1 * s2.
    """
    if not isinstance(scores, Tensor):
        raise TypeError(f"scores must be a torch.Tensor, got {type(scores).__name__}")
    flat = scores.flatten(1)
    check_k(k, cells := flat.shape[1])
    if traced_for() == "onnx":
        return flat.topk(k, dim=1).indices  # which gives ties to the lower index there
    if flat.dtype != torch.float32:
        return flat.sort(dim=1, descending=True, stable=True).indices[:, :k]
    # Much faster: the k largest of whole numbers that hold the score's bits (in an order-preserving form, where -0 is 0
    # and NaN the largest) and, below them, the index counted from the end.
    bits = flat.view(torch.int32)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bits = torch.where(flat == 0, 0, torch.where(flat.isnan(), 0x7FFFFFFF, bits))
    from_end = cells - 1 - torch.arange(cells, device=flat.device)
    return cells - 1 - (((bits.long() << 32) | from_end).topk(k, dim=1).values & 0xFFFFFFFF)


def check_k(k: int, cells: int | None = None) -> None:
    """Raise TypeError or ValueError unless k is a whole number from 0 to the number of cells (if that is known)."""
    if not isinstance(k, int | np.integer) or isinstance(k, bool):
        raise TypeError(f"k, the number of patches, must be an int, got {k!r}")
    if k < 0 or (cells is not None and k > cells):
        raise ValueError(f"k, the number of patches, must be 0..{'cells' if cells is None else cells}, got {k}")


def check_ks(k: Tensor, batch: int) -> None:
    """Raise TypeError or ValueError unless this is a k for each image: whole numbers of shape (B,)."""
    if k.ndim == 0:
        raise TypeError(f"k must be an int, or a tensor of one for each of {batch} images, got {k!r}")
    if k.is_floating_point() or k.is_complex() or k.dtype == torch.bool:
        raise TypeError(f"k, the number of patches of each image, must be whole numbers, got {k.dtype}")
    if k.shape != (batch,):
        raise ValueError(f"k must be one number or one for each of {batch} images, got shape {tuple(k.shape)}")


def most_of(k: int | Tensor, cells: int) -> int:
    """The most patches that any image gets. Raises ValueError unless all are 0..cells. Waits for the device of a k for
    each image."""
    if not isinstance(k, Tensor):
        check_k(k, cells)
        return k
    low, high = (int(value) for value in torch.aminmax(k))
    check_k(low, cells)
    check_k(high, cells)
    return high


def check_cells(cells: Tensor, count: int) -> None:
    """Raise ValueError unless all cells are on a map of `count` cells. Waits for the device. Who runs an exported graph
    looks at its cells before."""
    if traced_for():
        return
    if cells.numel() > 0 and not (cells.min() >= 0 and cells.max() < count):
        raise ValueError(f"cells must be 0..{count - 1}, got {cells.min().item()}..{cells.max().item()}")
