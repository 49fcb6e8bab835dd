"""What a cell of any layers sees, found by trying: a pixel that is no number makes none of every cell that sees it.

NaN goes through whatever is computed from it: convolutions with any weights, zeros included, rectifiers that are shut,
pools that another pixel wins. So nothing hides a pixel, as dead units and lost maxima hide it from a gradient. Each
trial is one small image whose first or last rows (or columns) are NaN; bisection finds the first and the last row that
a few cells in the middle see, and their differences are the stride.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dcnlib.core.geometry import CannotReadOff, Geometry, Pair, derive_geometry, extended_to_one_vector, receptive_field
from dcnlib.utils.checks import ImageShape, checked_image_shape
from dcnlib.utils.modules import uncompiled, without_numbers

LONGEST, WIDEST = 4096, 512  # sides of the largest images that are tried, in pixels, along and across
_PERIODS = (1, 2, 4, 8)  # after how many cells the steps may repeat, as behind a map that was enlarged


def find_geometry(coarse: nn.Module, fine: nn.Module, image_shape: ImageShape | None = None) -> Geometry:
    """Where fine layers should look: `derive_geometry`, with what can't be read off the modules measured.

    image_shape: (C, H, W); without it the number of channels is that of the first convolution. Raises ValueError for
    layers whose cells see no patch of the image.
    """
    try:
        return derive_geometry(coarse, fine)
    except CannotReadOff:
        field = field_of(coarse, image_shape)
        channels = _channels(coarse, image_shape)
        return extended_to_one_vector(field, lambda height, width: _made_of(fine, channels, height, width))


def field_of(layers: nn.Module, image_shape: ImageShape | None = None) -> Geometry:
    """What a cell sees: read off if that can be done, else measured."""
    try:
        return receptive_field(layers)
    except CannotReadOff:
        return measure_field(layers, image_shape)


def measure_field(layers: nn.Module, image_shape: ImageShape | None = None) -> Geometry:
    """What one output cell of any layers sees, (1, C, H, W) -> (1, D, s1, s2), and how far apart neighbours lie.

    In eval mode, of a copy, on the CPU. What the layers compute of the map as a whole (squeeze-and-excitation, the
    statistics of group and instance norm, pools that end in a fixed number of cells) is left out, since through it
    every cell knows something of every pixel. Where neighbours see the same, as behind a map that was enlarged, the
    field is what any of them sees from its place.

    image_shape: (C, H, W), the only one tried if the layers take no other; without it the number of channels is that of
    the first convolution. Raises ValueError, saying why, for layers whose cells don't step evenly or all see the whole
    image, and for some that don't run on small images.
    """
    channels = _channels(layers, image_shape)
    try:
        own = copy.deepcopy(uncompiled(layers)).to("cpu", torch.float64).eval()
    except Exception as error:
        raise ValueError(f"a {type(layers).__name__} can't be copied to be measured ({error}); {_GIVE}") from error
    down, across = (_measure(own, axis, channels, image_shape) for axis in (0, 1))
    return Geometry(*zip(down, across, strict=True))


_GIVE = "give geometry=Geometry(stride, offset, size)"


class _TooSmall(Exception):
    """The image holds too few cells whose whole field lies in it."""


class _Local(TorchFunctionMode):
    """Lets what layers compute of a map as a whole be a number, whatever the map holds."""

    NORMS = ("group_norm", "instance_norm")
    POOLS = ("adaptive_avg_pool2d", "adaptive_max_pool2d")
    REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "std", "var", "norm", "logsumexp", "avg_pool2d", "max_pool2d")

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        given = args[0] if args else kwargs.get("input")
        if name in self.NORMS or (name == "batch_norm" and kwargs.get("training")):
            return given
        if name == "layer_norm" and len(args[1] if len(args) > 1 else kwargs["normalized_shape"]) > 1:
            return given
        result = function(*args, **kwargs)
        if name in self.POOLS or (name in self.REDUCTIONS and _of_all(name, given, result)):
            return torch.utils._pytree.tree_map_only(Tensor, _numbers, result)
        return result


def _of_all(name: str, given: Any, result: Any) -> bool:
    """Whether something is NaN everywhere, which was made of what is so only in places."""
    if not (isinstance(given, Tensor) and isinstance(result, Tensor) and result.is_floating_point()):
        return False
    if name.endswith("pool2d") and result.shape[-2:] != (1, 1):
        return False
    return bool(result.isnan().all()) and not bool(given.isnan().all())


def _numbers(tensor: Tensor) -> Tensor:
    return tensor.nan_to_num() if tensor.is_floating_point() else tensor


class _Trial:
    """Layers on one image, of which some rows (axis 0) or columns (axis 1) are NaN."""

    def __init__(self, layers: nn.Module, axis: int, channels: int, height: int, width: int) -> None:
        self.layers, self.axis = layers, axis
        self.image = torch.rand(
            (1, channels, height, width), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        self.pixels = (height, width)[axis]
        seen = self._run(self.image)
        if seen.any():
            raise ValueError(f"the layers make NaN of an image of numbers; {_GIVE}")
        self.cells = len(seen)

    def seen_by(self, begin: int, end: int) -> Tensor:
        """Which cells (n,) see any of the rows or columns begin..end - 1."""
        image = self.image.clone()
        image.narrow(2 + self.axis, begin, end - begin).fill_(torch.nan)
        return self._run(image)

    def _run(self, image: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng([]), _Local():
            feature_map = self.layers(image)
        if not isinstance(feature_map, Tensor) or feature_map.ndim != 4:
            made = tuple(feature_map.shape) if isinstance(feature_map, Tensor) else type(feature_map).__name__
            raise ValueError(f"the layers must make a map (B, D, s1, s2), got {made}")
        return feature_map[0].isnan().any(0).any(1 - self.axis)


class _Search:
    """The first row that each cell sees, by bisection; every trial narrows it down for all cells.

    seen: n -> which cells see any of the first n rows.
    """

    def __init__(self, seen: Callable[[int], Tensor], cells: int, pixels: int) -> None:
        self.seen = seen
        self.least, self.most = torch.zeros(cells, dtype=torch.int64), torch.full((cells,), pixels)

    def of(self, cell: int) -> int:
        """The number of rows before the first that this cell sees; all of them if it sees none."""
        while self.least[cell] < self.most[cell]:
            rows = int(self.least[cell] + self.most[cell]) // 2
            seen = self.seen(rows + 1)
            self.most = torch.where(seen, self.most.clamp(max=rows), self.most)
            self.least = torch.where(seen, self.least, self.least.clamp(min=rows + 1))
        return int(self.least[cell])


def _measure(layers: nn.Module, axis: int, channels: int, image_shape: ImageShape | None) -> tuple[int, int, int]:
    """Stride, offset and size down (axis 0) or across (axis 1), on images as small as will do."""
    error: Exception | None = None
    for height, width in _shapes(axis, image_shape):
        try:
            trial = _Trial(layers, axis, channels, height, width)
            return _step(trial)
        except _TooSmall as small:
            error = small
            if trial.pixels >= LONGEST // 8 and trial.seen_by(0, 1).all():
                break
        except (RuntimeError, IndexError) as failure:  # too few pixels for these layers, if nothing else
            error = failure
    if isinstance(error, _TooSmall):
        raise ValueError(
            "every cell sees the whole image, through something that isn't one of the usual global operations, or sees "
            f"more than {LONGEST // 8} pixels a side, so there is no patch for it to look at; {_GIVE}"
        )
    raise ValueError(f"the layers run on no image that was tried, up to {WIDEST} pixels a side ({error}); {_GIVE}")


def _shapes(axis: int, image_shape: ImageShape | None) -> Iterator[Pair]:
    """Heights and widths to try, the smallest first: long along the axis, and narrow across it."""
    narrow = 8
    while narrow <= WIDEST:
        along = max(64, 2 * narrow)
        while along <= LONGEST:
            yield (along, narrow) if axis == 0 else (narrow, along)
            along *= 2
        narrow *= 4
    if image_shape is not None:
        yield image_shape[1:]


def _step(trial: _Trial) -> tuple[int, int, int]:
    """Stride, offset and size from some cells in the middle. Raises _TooSmall if they reach over the border."""
    pixels = trial.pixels
    firsts = _Search(lambda rows: trial.seen_by(0, rows), trial.cells, pixels)
    lasts = _Search(lambda rows: trial.seen_by(pixels - rows, pixels), trial.cells, pixels)
    seen = []
    for period in _PERIODS:
        count = period + max(period, 3)
        begin = (trial.cells - count) // 2
        if begin < 0:
            raise _TooSmall
        middle = slice(begin, begin + count)
        if trial.seen_by(0, 1)[middle].any() or trial.seen_by(pixels - 1, pixels)[middle].any():
            raise _TooSmall
        # Of each cell its place, the first row that it sees, and the one after the last.
        seen = [(cell, firsts.of(cell), pixels - lasts.of(cell)) for cell in range(begin, begin + count)]
        if any(first >= end for _, first, end in seen):
            raise ValueError(
                "no cell sees a pixel by itself, only through pools of the whole image, or the layers hide NaN; "
                + _GIVE
            )
        steps = {(far[1] - near[1], far[2] - near[2]) for near, far in zip(seen, seen[period:], strict=False)}
        step = next(iter(steps))
        if len(steps) == 1 and step[0] == step[1] > 0 and step[0] % period == 0:
            stride = step[0] // period
            offset = min(first - cell * stride for cell, first, _ in seen)
            return stride, offset, max(end - cell * stride for cell, _, end in seen) - offset
    raise ValueError(
        "the cells don't step evenly: those in the middle see "
        + ", ".join(f"{first}..{end - 1}" for _, first, end in seen[:6])
        + f" of {pixels} pixels; {_GIVE}"
    )


def _channels(layers: nn.Module, image_shape: ImageShape | None) -> int:
    """Channels of the images that layers take."""
    if image_shape is not None:
        return checked_image_shape(image_shape)[0]
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
    raise ValueError(
        f"what a cell of a {type(layers).__name__} sees has to be measured: give image_shape=(C, H, W) for that, or "
        "geometry=Geometry(stride, offset, size)"
    )


def _made_of(fine: nn.Module, channels: int, height: int, width: int) -> Pair:
    """Rows and columns of the map that fine layers make of a patch; 1 and 1 for a vector, 0 if they don't take it."""
    try:
        with torch.inference_mode(False), torch.no_grad(), torch.device("meta"):
            dtype = next((parameter.dtype for parameter in fine.parameters()), torch.float32)
            made = without_numbers(fine)(torch.zeros(1, channels, height, width, dtype=dtype))
    except (RuntimeError, ValueError, IndexError):
        return 0, 0
    rows, columns = made.shape[2:] if made.ndim == 4 else (1, 1)
    return rows, columns
