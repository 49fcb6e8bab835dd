"""Patches cut from images, and vectors taken from and put into maps, for all images at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dcnlib.core.geometry import Geometry


def gather_cells(feature_map: Tensor, cells: Tensor) -> Tensor:
    """The vectors at flat cells: (B, D, s1, s2), (B, k) -> (B, k, D)."""
    vectors = feature_map.permute(0, 2, 3, 1).flatten(1, 2)  # (B, s1 * s2, D)
    return vectors.gather(1, cells[:, :, None].expand(-1, -1, vectors.shape[2]))


def replace_cells(feature_map: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
    """The map with the vectors (B, k, D) at flat cells (B, k), and its own everywhere else. Shape (B, D, s1, s2)."""
    if cells.shape[1] == 0:
        return feature_map
    own = feature_map.permute(0, 2, 3, 1).flatten(1, 2)  # (B, s1 * s2, D)
    index = cells[:, :, None].expand(-1, -1, own.shape[2])
    replaced = own.scatter(1, index, vectors.to(own.dtype))
    return replaced.unflatten(1, feature_map.shape[2:]).permute(0, 3, 1, 2)


def extract_patches(images: Tensor, cells: Tensor, geometry: Geometry, map_shape: tuple[int, int]) -> Tensor:
    """Cut the patches that cells look at, for all images at once.

    images (B, C, H, W), cells (B, k) flat indices into a map of `map_shape` cells -> (B, k, C, p, p).
    """
    rows, columns = map_shape
    stride, offset, size = geometry.stride, geometry.offset, geometry.size
    # Pad (or, with negative numbers, crop) so that the windows of size p at this stride are exactly the cells.
    below = (rows - 1) * stride + offset + size - images.shape[2]
    right = (columns - 1) * stride + offset + size - images.shape[3]
    padded = F.pad(images, (-offset, right, -offset, below))
    windows = padded.unfold(2, size, stride).unfold(3, size, stride)  # (B, C, s1, s2, p, p), a view
    batch = torch.arange(len(images), device=images.device)[:, None]
    return windows[batch, :, cells // columns, cells % columns]  # (B, k, C, p, p)
