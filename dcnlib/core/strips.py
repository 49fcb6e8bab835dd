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
    height = images.shape[2]
    stride, offset, size = field.strides[0], field.offsets[0], field.sizes[0]
    made, strips = 0, []
    while True:
        # From a multiple of the stride on, so that cells lie where they do on the whole image.
        begin = max(0, (made * stride + offset) // stride)
        end = max(0, (made + rows - 1) * stride + offset) + size
        last = end + stride > height  # no room for another cell behind these, but for padding
        strip = layers(images[:, :, begin * stride : height if last else end])[:, :, made - begin :]
        strips.append(strip if last else strip[:, :, :rows])
        if last:
            return torch.cat(strips, dim=2)
        made += rows


def rows_at_once(field: Geometry, width: int) -> int:
    """Rows of cells whose strip has about `STRIP` pixels, or four fields if that is more."""
    pixels = max(STRIP // width, 4 * field.sizes[0])
    return max(1, (pixels - field.sizes[0]) // field.strides[0])


def _largest(feature_map: Tensor) -> float:
    return float(feature_map.abs().max())
