"""Where a cell of the coarse map looks in the image, in pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import product
from operator import index
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from dcnlib.utils.modules import runs_as

Pair = tuple[int, int]  # down and across
MOST_TRIALS = 2500  # of shapes of a patch


@dataclass(frozen=True)
class Geometry:
    """Cell (i, j) looks at `size` x `size` pixels, whose top left pixel is (i * stride + offset, j * stride + offset).

    All three in pixels; each one number, or a pair (down, across) if the two differ. A negative offset, or a patch that
    ends behind the image, looks at zeros outside the image.
    """

    stride: int | Pair
    offset: int | Pair
    size: int | Pair

    def __post_init__(self) -> None:
        """A pair of equal numbers becomes one number, so that a square geometry is always written in one way."""
        for field in fields(self):
            down, across = _pair(getattr(self, field.name), field.name)
            object.__setattr__(self, field.name, down if down == across else (down, across))
        if min(*self.strides, *self.sizes) < 1:
            raise ValueError(f"stride and size must be at least 1 pixel, got {self}")

    @property
    def strides(self) -> Pair:
        """Pixels from a cell to the next, down and across."""
        return _pair(self.stride, "stride")

    @property
    def offsets(self) -> Pair:
        """Where the first cell's patch begins, in pixels from the image's top and left."""
        return _pair(self.offset, "offset")

    @property
    def sizes(self) -> Pair:
        """Height and width of a patch in pixels."""
        return _pair(self.size, "size")

    def extended(self, before: int | Pair, after: int | Pair) -> "Geometry":
        """The same cells looking `before` pixels further to the top and left and `after` to the bottom and right."""
        before, after = _pair(before, "before"), _pair(after, "after")
        offset = (self.offsets[0] - before[0], self.offsets[1] - before[1])
        size = (self.sizes[0] + before[0] + after[0], self.sizes[1] + before[1] + after[1])
        return Geometry(self.stride, offset, size)

    def boxes(self, cells: Tensor, map_width: int) -> Tensor:
        """Where patches lie: flat cells (...) -> (..., 4) top, left, bottom, right in pixels, the last two excluded."""
        (down, across), (top, left), (height, width) = self.strides, self.offsets, self.sizes
        y, x = cells // map_width * down + top, cells % map_width * across + left
        return torch.stack([y, x, y + height, x + width], dim=-1)

    def check_map(self, coarse_map: Tensor, height: int, width: int) -> None:
        """Raise ValueError unless these are maps of images of height x width pixels, in which each patch begins."""
        if coarse_map.ndim != 4:
            raise ValueError(f"the coarse layers must make a map (B, D, s1, s2), got {tuple(coarse_map.shape)}")
        high, wide = self.sizes
        if high > height or wide > width:
            raise ValueError(f"patches of {high}x{wide} pixels are larger than the image of {height}x{width}")
        sides = zip(coarse_map.shape[2:], (height, width), self.strides, self.offsets, self.sizes, strict=True)
        for count, pixels, stride, offset, size in sides:
            last = (count - 1) * stride + offset
            if last >= pixels or offset + size <= 0:
                raise ValueError(
                    f"{self} doesn't fit: the coarse layers make {count} cells of {pixels} pixels, and "
                    f"the last cell's patch would begin at pixel {last}, outside the image"
                )


class CannotReadOff(ValueError):
    """What a module does can't be told from its attributes; it has to be measured, or given."""


# Modules that map each position on its own: they change neither what a cell sees nor how many cells there are.
_POINTWISE = (
    *(nn.BatchNorm2d, nn.LocalResponseNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid),
)
_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def receptive_field(layers: nn.Module) -> Geometry:
    """What one output cell of a sequence of convolutions and pools sees, and how far apart neighbours lie.

    Raises ValueError for a module whose field can't be read off, such as a custom forward or a global pool;
    `dcnlib.core.measuring.measure_field` finds that of any.
    """
    axes = []
    for axis in (0, 1):
        stride, offset, size = 1, 0, 1
        for layer in flatten(layers):
            if runs_as(layer, *_WINDOWED):
                kernel, step, (before, _), dilation = _window(layer, axis)
                size += dilation * (kernel - 1) * stride
                offset -= before * stride
                stride *= step
            elif not runs_as(layer, *_POINTWISE):
                raise CannotReadOff(
                    f"what a cell sees can't be read off {type(layer).__name__}: use a sequence of convolutions and "
                    "pools, or give geometry=Geometry(stride, offset, size)"
                )
        axes.append((stride, offset, size))
    down, across = axes
    return Geometry(*zip(down, across, strict=True))


def output_size(layers: nn.Module, size: int, axis: int = 0) -> int:
    """How many cells a side a sequence of convolutions and pools makes of `size` pixels a side (0: too few pixels).

    axis: 0 for the height, 1 for the width.
    """
    for layer in flatten(layers):
        if runs_as(layer, *_WINDOWED):
            kernel, step, (before, after), dilation = _window(layer, axis)
            size = (size + before + after - dilation * (kernel - 1) - 1) // step + 1
            if size < 1:
                return 0  # at once, since the padding of a later layer would seem to make up for it
        elif runs_as(layer, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d):
            wanted: Any = layer.output_size
            side = wanted[axis] if isinstance(wanted, tuple) else wanted
            size = size if side is None else side
        elif not runs_as(layer, *_POINTWISE, nn.Flatten):
            raise CannotReadOff(
                f"the output size of {type(layer).__name__} can't be worked out: use a sequence of convolutions and "
                "pools, or give geometry=Geometry(stride, offset, size)"
            )
    return size


def covered_size(layers: nn.Module, size: int, axis: int = 0) -> int:
    """How many of `size` positions a side reach the output of a sequence of convolutions and pools (no global pool).

    Strides may leave the last ones out: the paper's top layers see 22 of 23 cells a side.
    """
    field = receptive_field(layers)
    last = (output_size(layers, size, axis) - 1) * field.strides[axis] + field.offsets[axis]
    return min(size, last + field.sizes[axis])


def derive_geometry(coarse: nn.Module, fine: nn.Module) -> Geometry:
    """Where the fine layers should look: the coarse cell's field, extended to the size that they map to one vector.

    The extension's smaller half comes before and its larger half after the field. For the paper's layers: a field
    of 11 pixels, extended by 1 and 2 to 14 (section 4.1).

    Raises ValueError for modules that can't be read off; `dcnlib.core.measuring.find_geometry` takes any.
    """
    return extended_to_one_vector(
        receptive_field(coarse), lambda height, width: (output_size(fine, height), output_size(fine, width, axis=1))
    )


def extended_to_one_vector(field: Geometry, made_of: Callable[[int, int], Pair]) -> Geometry:
    """A field extended, down and across, to the smallest patch that fine layers map to one vector.

    made_of: height and width of a patch -> rows and columns of the map that they make of it. Raises ValueError if no
    patch up to four times the field makes one vector.
    """
    extension = _equal_extension(field, made_of) or _any_extension(field, made_of)
    if extension is None:
        high, wide = field.sizes
        least, most = _told((high, wide)), _told((4 * high, 4 * wide))
        raise ValueError(
            f"a coarse cell sees {least} pixels, but the fine layers map no patch of {least}..{most} pixels that was "
            "tried to one vector: change them, or give geometry=Geometry(stride, offset, size)"
        )
    down, across = extension
    return field.extended((down // 2, across // 2), (down - down // 2, across - across // 2))


def _equal_extension(field: Geometry, made_of: Callable[[int, int], Pair]) -> Pair | None:
    """Of each axis the least extension that makes one row, or column, of patches that grow equally down and across."""
    high, wide = field.sizes
    extensions: dict[int, int] = {}
    for extension in range(3 * max(high, wide) + 1):
        for axis, count in enumerate(made_of(high + extension, wide + extension)):
            if count == 1:
                extensions.setdefault(axis, extension)
        if len(extensions) == 2:
            return extensions[0], extensions[1]
    return None


def _any_extension(field: Geometry, made_of: Callable[[int, int], Pair]) -> Pair | None:
    """The smallest patch that makes one vector, for layers that take no patch but of one shape, such as linear ones."""
    high, wide = field.sizes
    shapes = sorted(product(range(3 * high + 1), range(3 * wide + 1)), key=lambda pair: (sum(pair), pair))
    return next((pair for pair in shapes[:MOST_TRIALS] if made_of(high + pair[0], wide + pair[1]) == (1, 1)), None)


def flatten(layers: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested sequences in the order in which they run; any other module as a whole."""
    if isinstance(layers, nn.Sequential) and runs_as(layers, nn.Sequential):
        for layer in layers:
            yield from flatten(layer)
    else:
        yield layers


def _window(layer: Any, axis: int) -> tuple[int, int, Pair, int]:
    """Kernel, stride, padding before and after, and dilation of a convolution or pool, down or across."""
    if getattr(layer, "ceil_mode", False):
        raise CannotReadOff(f"ceil_mode is not supported: {layer}; give geometry=...")
    step = layer.stride if layer.stride is not None else layer.kernel_size
    named = isinstance(layer.padding, str)
    values = (layer.kernel_size, step, 0 if named else layer.padding, getattr(layer, "dilation", 1))
    kernel, stride, padding, dilation = (_pair(value, f"a side of {layer}")[axis] for value in values)
    if named and layer.padding == "same":
        missing = dilation * (kernel - 1)
        return kernel, stride, (missing // 2, missing - missing // 2), dilation
    return kernel, stride, (padding, padding), dilation


def _pair(value: object, what: str) -> Pair:
    """One whole number for both directions, or one for each. Raises TypeError, saying what it is, for anything else."""
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, SupportsIndex) for side in sides):
        raise TypeError(f"{what} must be a whole number or a pair of them (down, across), got {value!r}")
    return index(sides[0]), index(sides[1])


def _told(sizes: Pair) -> str:
    return f"{sizes[0]}" if sizes[0] == sizes[1] else f"{sizes[0]}x{sizes[1]}"
