"""Patches cut from images, and vectors taken from and put into maps, for all images at once."""

import torch
from torch import Tensor

from dcnlib.core.geometry import Geometry


def gather_cells(feature_map: Tensor, cells: Tensor) -> Tensor:
    """The vectors at flat cells: (B, D, s1, s2), (B, k) -> (B, k, D)."""
    vectors = feature_map.permute(0, 2, 3, 1).flatten(1, 2)  # (B, s1 * s2, D)
    return vectors.gather(1, cells[:, :, None].expand(-1, -1, vectors.shape[2]))


def replace_cells(feature_map: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
    """A new map with the vectors (B, k, D) at flat cells (B, k), and its own everywhere else. Shape (B, D, s1, s2)."""
    if cells.shape[1] == 0:
        return feature_map.clone()
    own = feature_map.permute(0, 2, 3, 1).flatten(1, 2)  # (B, s1 * s2, D)
    index = cells[:, :, None].expand(-1, -1, own.shape[2])
    replaced = own.scatter(1, index, vectors.to(own.dtype))
    return replaced.unflatten(1, feature_map.shape[2:]).permute(0, 3, 1, 2)


def extract_patches(images: Tensor, cells: Tensor, geometry: Geometry, map_shape: tuple[int, int]) -> Tensor:
    """Cut the patches that cells look at, for all images at once; zeros outside the image.

    images (B, C, H, W), cells (B, k) flat indices into a map of `map_shape` cells -> (B, k, C, p, p).
    """
    batch, channels, height, width = images.shape
    k, size = cells.shape[1], geometry.size
    steps = torch.arange(geometry.offset, geometry.offset + size, device=images.device)
    cells = cells[:, :, None, None]
    y = cells // map_shape[1] * geometry.stride + steps[:, None]  # (B, k, p, 1)
    x = cells % map_shape[1] * geometry.stride + steps  # (B, k, 1, p)
    # A pixel outside the image is fetched from the nearest place inside, and made zero then.
    row, column = y.clamp(0, height - 1), x.clamp(0, width - 1)
    pixels = (row * width + column).view(batch, 1, k * size * size).expand(-1, channels, -1)
    outside = ((y != row) | (x != column)).view(batch, 1, k * size * size)
    patches = images.flatten(2).gather(2, pixels).masked_fill_(outside, 0)
    return patches.view(batch, channels, k, size, size).transpose(1, 2)
