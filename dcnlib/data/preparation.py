"""What makes a picture an image that a network knows: grey, light on black, of the right size; and the way back.

Each step tells what it did, so that an answer can be read with it in mind. Which steps a task takes stands in the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dcnlib.data.pictures import Picture, check_pixels, read_picture
from dcnlib.utils.checks import ImageShape


@dataclass(frozen=True)
class Fit:
    """Where a picture's pixels went in an image: p to scale * p + offset, each down and across.

    size: height and width of the picture in pixels.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[int, int] = (0, 0)

    def to_picture(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) of top, left, bottom, right in pixels of the image, as float64 in those of the picture.

        They end where the picture does; one that lies wholly beside it has no area.
        """
        pairs = self.scale, self.offset, self.size
        scale, offset, end = (torch.tensor(pair, dtype=torch.float64).repeat(2) for pair in pairs)
        return ((boxes.cpu().double() - offset) / scale).clamp(min=0).minimum(end)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image (C, H, W) as a task's networks know it, where the picture's pixels went, and what was done to it."""

    image: Tensor
    fit: Fit
    notes: tuple[str, ...] = ()


def to_grey(picture: Picture) -> Picture:
    """The picture in grey. Colours are mixed in 8 bits as Pillow does it, which made the data sets of photographs."""
    if len(picture.pixels) == 1:
        return picture
    grey = Image.fromarray(levels(picture)).convert("L")
    return replace(picture, pixels=torch.from_numpy(np.asarray(grey, dtype=np.float32) / np.float32(255))[None])


def levels(picture: Picture) -> np.ndarray:
    """The picture in 8 bits: (H, W) or (H, W, 3) uint8, exactly what a file of 8 bits held."""
    pixels = (picture.pixels * 255).round().to(torch.uint8).numpy()
    return pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2)


def on_light_ground(picture: Picture) -> bool:
    """Whether the picture shows dark on light: whether the median of its outermost pixels is above 1/2."""
    grey = to_grey(picture).pixels[0]
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(border.numpy()) > 0.5)


def inverted(picture: Picture, why: str) -> Picture:
    """Light where the picture is dark, and the other way round. One of 8 bits becomes exactly what its negative is."""
    negative = (255 - 255 * picture.pixels) / 255  # 1 - v / 255 is not always the float that (255 - v) / 255 is
    return replace(picture, pixels=negative, notes=(*picture.notes, f"inverted {why}"))


def light_on_dark(picture: Picture, invert: bool | None = None) -> Picture:
    """The picture, inverted if it shows dark on light, as networks that saw light on black only need it.

    invert: True or False overrides what the picture's border says.
    """
    if invert is None:
        return inverted(picture, "as it shows dark on light") if on_light_ground(picture) else picture
    return inverted(picture, "as asked") if invert else picture


def fitted(picture: Picture, image_shape: ImageShape) -> Prepared:
    """The whole picture in the middle of `image_shape` (C, H, W), on black: grey for C = 1, else in colour.

    A larger picture is shrunk to fit and keeps its aspect, a smaller one stays as it is.
    """
    channels, *room = image_shape
    pixels = _in_channels(picture, channels)
    factor = min(1.0, *(most / side for most, side in zip(room, picture.size, strict=True)))
    height, width = (max(1, round(factor * side)) for side in picture.size)
    notes = picture.notes
    if factor < 1:
        pixels = F.interpolate(pixels[None], (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
        notes = (*notes, f"shrunk from {size_text(picture.size)} to {size_text((height, width))} pixels")
    if [height, width] != room:
        notes = (*notes, f"set in the middle of {size_text(room)} pixels")
    top, left = (room[0] - height) // 2, (room[1] - width) // 2
    image = torch.zeros(image_shape)
    image[:, top : top + height, left : left + width] = pixels
    scale = height / picture.size[0], width / picture.size[1]
    return Prepared(image, Fit(picture.size, scale, (top, left)), notes)


def resized(picture: Picture, image_shape: ImageShape) -> Prepared:
    """The whole picture at the height and width of `image_shape` (C, H, W), without regard to its aspect: grey for
    C = 1, else in colour, and in 8 bits, as data sets keep it."""
    channels, height, width = image_shape
    pixels, notes = _at_size(_in_channels(picture, channels), picture, (height, width))
    scale = height / picture.size[0], width / picture.size[1]
    return Prepared(_in_8_bits(pixels), Fit(picture.size, scale), notes)


def enlarged(picture: Picture, image_shape: ImageShape) -> Prepared:
    """The picture as it is, grey or in colour as `image_shape` (C, H, W) says and in 8 bits, but enlarged if it is
    smaller than H x W until that fits into it.

    Raises TooManyPixels for a strip so long and narrow that it would then have more than MOST_PIXELS."""
    channels, *room = image_shape
    factor = max(1.0, *(least / side for least, side in zip(room, picture.size, strict=True)))
    size = (max(room[0], round(factor * picture.size[0])), max(room[1], round(factor * picture.size[1])))
    check_pixels(f"{picture.name}, enlarged to {size_text(room)} or more,", *size)
    pixels, notes = _in_channels(picture, channels), picture.notes
    if factor > 1:
        pixels, notes = _at_size(pixels, picture, size)
    scale = pixels.shape[1] / picture.size[0], pixels.shape[2] / picture.size[1]
    return Prepared(_in_8_bits(pixels), Fit(picture.size, scale), notes)


def window_of(pixels: Tensor, size: tuple[int, int], place: tuple[float, float]) -> tuple[Tensor, tuple[int, int]]:
    """A window of a height and width in pixels (C, H, W), and its top and left. place: how far down and across it lies,
    each from 0 to 1, where it ends at the other border."""
    sides = pixels.shape[1:]
    top, left = (int(part * (side - least + 1 - 1e-6)) for part, side, least in zip(place, sides, size, strict=True))
    return pixels[:, top : top + size[0], left : left + size[1]], (top, left)


def _in_channels(picture: Picture, channels: int) -> Tensor:
    """The picture's pixels, in grey for one channel and else in three."""
    if channels not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels, the image must have {channels}")
    return (to_grey(picture) if channels == 1 else picture).pixels.expand(channels, -1, -1)


def _at_size(pixels: Tensor, picture: Picture, size: tuple[int, int]) -> tuple[Tensor, tuple[str, ...]]:
    """A picture's pixels (C, H, W) at another size, and its notes with what was done."""
    if picture.size == size:
        return pixels, picture.notes
    pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    return pixels, (*picture.notes, f"resized from {size_text(picture.size)} to {size_text(size)} pixels")


def _in_8_bits(pixels: Tensor) -> Tensor:
    return (pixels * 255).round() / 255


def unlike(*figures: tuple[float, float, float, str]) -> tuple[str, ...]:
    """A note of the figures of an image that lie outside what all training images have, if any do.

    Each is its value, the least and the most of the training images, and a text with a place for each of the three.
    """
    told = [text.format(value, least, most) for value, least, most, text in figures if not least <= value <= most]
    return ("unlike all training images: " + ", ".join(told),) if told else ()


def read_upload(name: str, content: bytes, image_shape: ImageShape) -> Tensor:
    """What the explorer made of a file until it shared `read_picture` with everything else."""
    return fitted(light_on_dark(read_picture(content, name=name)), image_shape).image


def size_text(size: Sequence[int]) -> str:
    """A height and width as people say them: 200x100 is wider than high."""
    return f"{size[1]}x{size[0]}"
