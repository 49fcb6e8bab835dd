"""Patches cut from images, and vectors taken from and put into maps, for all images at once."""

import torch
from torch import Tensor

from dcnlib.core.geometry import Geometry


def gather_cells(feature_map: Tensor, cells: Tensor) -> Tensor:
    """The vectors at flat cells: (B, D, s1, s2), (B, k) -> (B, k, D). Without a copy of the map."""
    index = cells[:, None, :].expand(-1, feature_map.shape[1], -1)
    return feature_map.flatten(2).gather(2, index).transpose(1, 2).contiguous()


def replace_cells(feature_map: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
    """A new map with the vectors (B, k, D) at flat cells (B, k), and its own everywhere else. Shape (B, D, s1, s2)."""
    if cells.shape[1] == 0:
        return feature_map.clone()
    own = feature_map.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)  # the one copy
    index = cells[:, :, None].expand(-1, -1, own.shape[3])
    replaced = own.flatten(1, 2).scatter_(1, index, vectors.to(own.dtype))
    return replaced.unflatten(1, feature_map.shape[2:]).permute(0, 3, 1, 2)


def extract_patches(images: Tensor, cells: Tensor, geometry: Geometry, map_shape: tuple[int, int]) -> Tensor:
    """Cut the patches that cells look at, for all images at once; zeros outside the image.

    images (B, C, H, W), cells (B, k) flat indices into a map of `map_shape` cells -> (B, k, C, p, q), of the geometry's
    p x q pixels. Only these pixels are read: no copy of the images is made.
    """
    batch, channels, height, width = images.shape
    (down, across), (top, left), (high, wide) = geometry.strides, geometry.offsets, geometry.sizes
    k = cells.shape[1]
    cells = cells[:, :, None, None]
    y = cells // map_shape[1] * down + torch.arange(top, top + high, device=images.device)[:, None]  # (B, k, p, 1)
    x = cells % map_shape[1] * across + torch.arange(left, left + wide, device=images.device)  # (B, k, 1, q)
    # A pixel outside the image is fetched from the nearest place inside, and made zero then.
    row, column = y.clamp(0, height - 1), x.clamp(0, width - 1)
    pixels = (row * width + column).view(batch, 1, k * high * wide).expand(-1, channels, -1)
    outside = ((y != row) | (x != column)).view(batch, 1, k * high * wide)
    patches = images.flatten(2).gather(2, pixels).masked_fill_(outside, 0)
    return patches.view(batch, channels, k, high, wide).transpose(1, 2)
