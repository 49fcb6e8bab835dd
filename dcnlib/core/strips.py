"""Coarse layers on a large image, strip by strip: what lies between image and map then takes the room of one strip.

A cell's vector depends on its field alone, so that a strip which holds the fields of some rows of cells makes these
rows as the whole image does. Layers that mix the map as a whole, or whose steps depend on its size, are found out by a
trial.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcnlib.core.geometry import Geometry
from dcnlib.core.measuring import field_of

Layers = Callable[[Tensor], Tensor]

# In pixels of one image. Up to the first it is looked at as a whole, and beyond in strips of about the second.
LARGE, STRIP = 2**21, 2**20


@dataclass(frozen=True)
class Strips:
    """How layers are to be run on large images: by the field of a cell, or as a whole if they don't allow strips."""

    field: Geometry | None

    @classmethod
    def of(cls, layers: nn.Module, images: Tensor) -> "Strips":
        """How these layers, in eval mode, are to be run on images (B, C, H, W), of which only channels, type and device
        count: tried on a small image of noise that grows lighter from top to bottom, as a whole and in strips."""
        channels = images.shape[1]
        try:
            field = field_of(layers, (channels, *images.shape[2:]))
        except ValueError:
            return cls(None)
        (down, across), (high, wide) = field.strides, field.sizes
        height, width = 3 * high + 16 * down, wide + 4 * across
        if height > images.shape[2] or width > images.shape[3]:
            return cls(None)
        noise = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
        image = (noise * torch.linspace(0, 1, height)[:, None]).to(images)
        with torch.no_grad():
            whole, strips = layers(image.clone()), in_strips(lambda strip: layers(strip.clone()), image, field, rows=3)
        alike = whole.shape == strips.shape and torch.allclose(strips, whole, rtol=1e-3, atol=1e-4 * _largest(whole))
        return cls(field if alike else None)


def in_strips(layers: Layers, images: Tensor, field: Geometry, rows: int) -> Tensor:
    """The map (B, D, s1, s2) of images (B, C, H, W), so many rows of cells at a time. field: what a cell sees."""
    height, stride, offset, size = images.shape[2], field.strides[0], field.offsets[0], field.sizes[0]

    def strip(made: int, end: int) -> Tensor:
        # From a multiple of the stride on, so that cells lie where they do on the whole image.
        begin = max(0, (made * stride + offset) // stride)
        return layers(images[:, :, begin * stride : end])[:, :, made - begin :]

    # Where the strips end, but for the last: behind it is no room for another cell, but for padding.
    ends: list[int] = []
    while (end := max(0, ((len(ends) + 1) * rows - 1) * stride + offset) + size) + stride <= height:
        ends.append(end)
    # The last one first, for it tells how many rows there are. So the map lies in one piece before the others are made,
    # and what they leave behind is used again: small pieces kept between would hold that memory apart.
    made = len(ends) * rows
    last = strip(made, height)
    feature_map = last.new_empty(*last.shape[:2], made + last.shape[2], last.shape[3])
    feature_map[:, :, made:] = last
    for number, end in enumerate(ends):
        feature_map[:, :, number * rows : (number + 1) * rows] = strip(number * rows, end)[:, :, :rows]
    return feature_map


def rows_at_once(field: Geometry, width: int) -> int:
    """Rows of cells whose strip has about `STRIP` pixels, or four fields if that is more."""
    pixels = max(STRIP // width, 4 * field.sizes[0])
    return max(1, (pixels - field.sizes[0]) // field.strides[0])


def _largest(feature_map: Tensor) -> float:
    return float(feature_map.abs().max())
