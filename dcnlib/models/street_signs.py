"""The task street-signs, and its three boxes: colour photographs of any size, yes or no for each category of signs.

Everything is convolutional, and the top layers end in a global max-pool: what was trained on small windows takes whole
photographs. The top layers look at each cell alone, so that most of what they cost is paid where the network looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.core.geometry import derive_geometry
from dcnlib.core.passes import GlobalMaxPool
from dcnlib.data.pictures import Picture
from dcnlib.data.preparation import Fit, Prepared, inverted, levels, size_text
from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.images import WINDOW, SignImages, load_street_signs, project_sign_images
from dcnlib.data.street_signs.signs import CATEGORIES, HALVED, PHOTOGRAPH, SIGN_SPLITS, halved
from dcnlib.models.cluttered_mnist import conv_norm
from dcnlib.models.task import Task, made
from dcnlib.utils.checks import ImageShape, check_whole

VECTOR = 48  # length of coarse and fine vectors
LEAST_SIDE = 34  # of a picture in pixels: that of a patch


class CoarseSignLayers(nn.Sequential):
    """Cheap, on the whole image: (B, 3, H, W) -> (B, D, s1, s2); 400x680 pixels make 47x82 cells.

    All pixels count: each block of 2x2 becomes one vector. Then three times a 3x3 convolution of each channel for
    itself and a 1x1 convolution of all channels, which together cost about an eighth of a 3x3 convolution of all
    (MobileNet, arXiv 1704.04861). A cell sees 30x30 pixels, and neighbours lie 8 pixels apart.
    """

    def __init__(self, *, channels: tuple[int, int, int] = (16, 40, 80), out_channels: int = VECTOR) -> None:
        first, second, third = channels
        super().__init__(
            conv_norm(3, first, 2, stride=2),
            nn.ReLU(inplace=True),
            *_separable(first, second, stride=2),
            *_separable(second, third, stride=2),
            *_separable(third, out_channels),
        )


def _separable(in_channels: int, out_channels: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    """A 3x3 convolution in two: of each channel for itself, and of all channels at one place."""
    return (
        conv_norm(in_channels, in_channels, 3, stride=stride, groups=in_channels),
        nn.ReLU(inplace=True),
        conv_norm(in_channels, out_channels, 1),
        nn.ReLU(inplace=True),
    )


class FineSignLayers(nn.Sequential):
    """Expensive, on a patch: (N, 3, 34, 34) -> (N, D, 1, 1). Five 3x3 convolutions, three pools, and one of 1x1.

    frame: pixels of zeros around what they are given. With that of `fine_on_whole_images` and the same weights, they
    make in each cell of a whole image the vector of its patch.
    """

    def __init__(
        self, *, channels: tuple[int, int, int] = (16, 32, 64), out_channels: int = VECTOR, frame: int = 0
    ) -> None:
        first, second, third = channels
        super().__init__(
            nn.ZeroPad2d(frame) if frame else nn.Identity(),
            conv_norm(3, first, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(first, second, 3),
            nn.ReLU(inplace=True),
            conv_norm(second, second, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(second, third, 3),
            nn.ReLU(inplace=True),
            conv_norm(third, third, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(third, out_channels, 1),
            nn.ReLU(inplace=True),
        )


class SignTopLayers(nn.Sequential):
    """From a map of coarse or fine vectors to yes and no for each category: (B, D, s1, s2) -> (B, 4, 2)."""

    def __init__(self, *, in_channels: int = VECTOR, hidden: int = 64, positions: int = len(CATEGORIES)) -> None:
        super().__init__(
            conv_norm(in_channels, hidden, 1),
            nn.ReLU(inplace=True),
            GlobalMaxPool(),
            nn.Linear(hidden, 2 * positions),
            nn.Unflatten(1, (positions, 2)),
        )


def fine_on_whole_images() -> FineSignLayers:
    """The fine layers of the fine model, in a frame of zeros, so that they make the cells of the coarse map."""
    return FineSignLayers(frame=-derive_geometry(CoarseSignLayers(), FineSignLayers()).offsets[0])


@dataclass(frozen=True)
class StreetSignsTask(Task):
    """Which categories of signs does a street show? Photographs at half their size or windows of them, in colour and of
    any size; for each of four categories no or yes."""

    window: int = WINDOW
    """Side in pixels of the windows of halved photographs to train and measure on; 0 for whole photographs."""

    name: ClassVar[str] = "street-signs"
    kinds: ClassVar[tuple[str, ...]] = ("coarse", "fine", "dcn")
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = SIGN_SPLITS
    smoke_counts: ClassVar[Mapping[str, int]] = {"train": 16, "validation": 8}
    positions: ClassVar[int] = len(CATEGORIES)

    def __post_init__(self) -> None:
        check_whole("window", self.window, least=0, most=min(HALVED))

    @property
    def classes(self) -> tuple[str, ...]:
        return "no", "yes"

    @property
    def image_shape(self) -> ImageShape:
        return (3, self.window, self.window) if self.window else (3, *HALVED)

    @property
    def box_shape(self) -> None:
        """The networks take images of any size."""

    def load(self, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any) -> SignImages:
        signs = load_street_signs(split, source=source or "gtsdb", root=root)
        return project_sign_images(signs, **{"window": self.window, **options})

    def smoke(self, split: str) -> SignImages:
        return project_sign_images(draw_streets(split, self.smoke_counts[split]), window=self.window or WINDOW)

    def preprocess(self, picture: Picture, *, invert: bool | None = None) -> Prepared:
        """In colour, at half its size if it is as large as the photographs that the networks know: exactly what the
        loader makes of a photograph. Others are shrunk to their longer side, and smaller ones stay as they are.

        Raises ValueError for a picture that is, then, less than LEAST_SIDE pixels wide or high."""
        picture = inverted(picture, "as asked") if invert else picture
        height, width = picture.size
        if picture.size == PHOTOGRAPH:
            pixels = torch.from_numpy(halved(Image.fromarray(levels(picture)))).permute(2, 0, 1) / 255
        else:
            pixels = picture.pixels.expand(3, -1, -1)
            if (factor := max(HALVED) / max(picture.size)) < 1:
                size = tuple(max(1, round(factor * side)) for side in picture.size)
                pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        size, notes = (pixels.shape[1], pixels.shape[2]), picture.notes
        if min(size) < LEAST_SIDE:
            raise ValueError(
                f"{picture.name} has {size_text(picture.size)} pixels, of which a network sees {size_text(size)}: it "
                f"needs at least {LEAST_SIDE} a side"
            )
        if size != picture.size:
            notes = (*notes, f"shrunk from {size_text(picture.size)} to {size_text(size)} pixels")
        return Prepared(pixels, Fit(picture.size, (size[0] / height, size[1] / width)), notes)

    def answer(self, logits: Tensor) -> str:
        found = [category for category, there in zip(CATEGORIES, logits.argmax(-1).tolist(), strict=True) if there]
        return ", ".join(found) or "no sign"

    def boxes(self, *names: str) -> list[nn.Module]:
        return made(
            {
                "top": SignTopLayers,
                "coarse": CoarseSignLayers,
                "fine": FineSignLayers,
                "fine on images": fine_on_whole_images,
            },
            names,
        )
