"""Where a cell of the coarse map looks in the image, in pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Geometry:
    """Cell (i, j) looks at `size` x `size` pixels, whose top left pixel is (i * stride + offset, j * stride + offset).

    All three in pixels. A negative offset, or a patch that ends behind the image, looks at zeros outside the image.
    """

    stride: int
    offset: int
    size: int

    def __post_init__(self) -> None:
        if self.stride < 1 or self.size < 1:
            raise ValueError(f"stride and size must be at least 1 pixel, got {self}")

    def extended(self, before: int, after: int) -> "Geometry":
        """The same cells looking `before` pixels further to the top and left and `after` to the bottom and right."""
        return Geometry(self.stride, self.offset - before, self.size + before + after)

    def boxes(self, cells: Tensor, map_width: int) -> Tensor:
        """Where patches lie: flat cells (...) -> (..., 4) top, left, bottom, right in pixels, the last two excluded."""
        corner = torch.stack([cells // map_width, cells % map_width], dim=-1) * self.stride + self.offset
        return torch.cat([corner, corner + self.size], dim=-1)

    def check_map(self, coarse_map: Tensor, height: int, width: int) -> None:
        """Raise ValueError unless these are maps of images of height x width pixels, in which each patch begins."""
        if coarse_map.ndim != 4:
            raise ValueError(f"the coarse layers must make a map (B, D, s1, s2), got {tuple(coarse_map.shape)}")
        if self.size > min(height, width):
            raise ValueError(f"patches of {self.size}x{self.size} pixels are larger than the image of {height}x{width}")
        for count, pixels in zip(coarse_map.shape[2:], (height, width), strict=True):
            last = (count - 1) * self.stride + self.offset
            if last >= pixels or self.offset + self.size <= 0:
                raise ValueError(
                    f"{self} doesn't fit: the coarse layers make {count} cells of {pixels} pixels, and "
                    f"the last cell's patch would begin at pixel {last}, outside the image"
                )


# Modules that map each position on its own: they change neither what a cell sees nor how many cells there are.
_POINTWISE = (
    *(nn.BatchNorm2d, nn.LocalResponseNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
)
_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def receptive_field(layers: nn.Module) -> Geometry:
    """What one output cell of a sequence of convolutions and pools sees, and how far apart neighbours lie.

    Raises ValueError for a module whose field can't be read off, such as a custom forward or a global pool.
    """
    stride, offset, size = 1, 0, 1
    for layer in flatten(layers):
        if isinstance(layer, _WINDOWED):
            kernel, step, padding, dilation = _window(layer)
            size += dilation * (kernel - 1) * stride
            offset -= padding * stride
            stride *= step
        elif not isinstance(layer, _POINTWISE):
            raise ValueError(
                f"what a cell sees can't be read off {type(layer).__name__}: use a sequence of convolutions and pools, "
                "or give geometry=Geometry(stride, offset, size)"
            )
    return Geometry(stride, offset, size)


def output_size(layers: nn.Module, size: int) -> int:
    """How many cells a side a sequence of convolutions and pools makes of `size` pixels a side (0: too few pixels)."""
    for layer in flatten(layers):
        if isinstance(layer, _WINDOWED):
            kernel, step, padding, dilation = _window(layer)
            size = (size + 2 * padding - dilation * (kernel - 1) - 1) // step + 1
            if size < 1:
                return 0  # at once, since the padding of a later layer would seem to make up for it
        elif isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            size = _square(layer.output_size, layer)
        elif not isinstance(layer, (*_POINTWISE, nn.Flatten)):
            raise ValueError(
                f"the output size of {type(layer).__name__} can't be worked out: use a sequence of convolutions and "
                "pools, or give geometry=Geometry(stride, offset, size)"
            )
    return size


def covered_size(layers: nn.Module, size: int) -> int:
    """How many of `size` positions a side reach the output of a sequence of convolutions and pools (no global pool).

    Strides may leave the last ones out: the paper's top layers see 22 of 23 cells a side.
    """
    field = receptive_field(layers)
    return min(size, (output_size(layers, size) - 1) * field.stride + field.offset + field.size)


def derive_geometry(coarse: nn.Module, fine: nn.Module) -> Geometry:
    """Where the fine layers should look: the coarse cell's field, extended to the size that they map to one vector.

    The extension's smaller half comes before and its larger half after the field. For the paper's layers: a field
    of 11 pixels, extended by 1 and 2 to 14 (section 4.1).
    """
    field = receptive_field(coarse)
    for extension in range(3 * field.size + 1):
        if output_size(fine, field.size + extension) == 1:
            return field.extended(extension // 2, extension - extension // 2)
    raise ValueError(
        f"a coarse cell sees {field.size} pixels, but the fine layers map no patch of {field.size}..{4 * field.size} "
        "pixels to one vector: change them, or give geometry=Geometry(stride, offset, size)"
    )


def flatten(layers: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested sequences in the order in which they run; any other module as a whole."""
    if isinstance(layers, nn.Sequential) and type(layers).forward is nn.Sequential.forward:
        for layer in layers:
            yield from flatten(layer)
    else:
        yield layers


def _window(layer: nn.Module) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and dilation of a square convolution or pool."""
    if isinstance(layer.padding, str) or getattr(layer, "ceil_mode", False):
        raise ValueError(f"padding by name and ceil_mode are not supported: {layer}; give geometry=...")
    step = layer.stride if layer.stride is not None else layer.kernel_size
    values = (layer.kernel_size, step, layer.padding, getattr(layer, "dilation", 1))
    kernel, stride, padding, dilation = (_square(value, layer) for value in values)
    return kernel, stride, padding, dilation


def _square(value: object, layer: nn.Module) -> int:
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) != 1 or not isinstance(side := sides.pop(), int):
        raise ValueError(f"only square windows are supported, got {layer}; give geometry=...")
    return side
