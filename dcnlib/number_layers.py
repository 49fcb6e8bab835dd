"""The three boxes for house numbers (section 4.2), in sizes of our own: 64x128 grey pixels, five positions of digits.

Coarse and fine layers are `nn.Sequential` without padding, so that a fine vector is the same whether the fine layers
see its patch alone or the whole image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcnlib.house_numbers import FRAME, NO_DIGIT, POSITIONS
from dcnlib.layers import conv_norm
from dcnlib.patches import derive_geometry, receptive_field
from dcnlib.scales import Box, Pyramid


class CoarseNumberLayers(nn.Sequential):
    """Cheap, on the whole image: (B, C, H, W) -> (B, D, s1, s2); 64x128 pixels make 14x30 cells.

    Two convolutions of stride 2: a cell sees 12x12 pixels, and neighbours lie 4 pixels apart. Every pixel is seen.
    """

    def __init__(self, *, in_channels: int = 1, hidden: int = 12, out_channels: int = 32) -> None:
        super().__init__(
            conv_norm(in_channels, hidden, 6, stride=2),
            nn.ReLU(inplace=True),
            conv_norm(hidden, out_channels, 4, stride=2),
            nn.ReLU(inplace=True),
        )


class FineNumberLayers(nn.Sequential):
    """Expensive, on a patch: (N, C, 22, 22) -> (N, D, 1, 1). Four 3x3 convolutions, pools after the first and third."""

    def __init__(self, *, in_channels: int = 1, channels: Sequence[int] = (16, 32, 64), out_channels: int = 32) -> None:
        first, second, third = channels
        super().__init__(
            conv_norm(in_channels, first, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(first, second, 3),
            nn.ReLU(inplace=True),
            conv_norm(second, third, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(third, out_channels, 3),
            nn.ReLU(inplace=True),
        )


class NumberTopLayers(nn.Module):
    """From a map of coarse or fine vectors to class scores by position: (B, D, s1, s2) -> (B, P, L).

    regions: where each scale's cells lie on the map. Two convolutions of stride 2 read each of them, with weights of
    its own, and two linear layers read all that together. No pool over places: which digit comes first must be seen.
    """

    def __init__(
        self,
        regions: Sequence[Box],
        *,
        in_channels: int = 32,
        channels: tuple[int, int] = (32, 64),
        hidden: int = 128,
        positions: int = POSITIONS,
        classes: int = NO_DIGIT + 1,
    ) -> None:
        super().__init__()
        first, second = channels
        self.regions = tuple(regions)
        self.scales = nn.ModuleList(
            nn.Sequential(
                conv_norm(in_channels, first, 3, stride=2, padding=1),
                nn.ReLU(inplace=True),
                conv_norm(first, second, 3, stride=2, padding=1),
                nn.ReLU(inplace=True),
                nn.Flatten(),
            )
            for _ in self.regions
        )
        places = sum(_quarter(box.bottom - box.top) * _quarter(box.right - box.left) for box in self.regions)
        self.read = nn.Sequential(
            nn.Linear(second * places, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, positions * classes),
            nn.Unflatten(1, (positions, classes)),
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        by_scale = [layers(box.cut(feature_map)) for box, layers in zip(self.regions, self.scales, strict=True)]
        return self.read(torch.cat(by_scale, dim=1))


def _quarter(cells: int) -> int:
    """How many places a side two convolutions of 3x3, stride 2, padding 1 make of so many cells."""
    return -(-cells // 4)


def number_pyramid(scales: int) -> Pyramid:
    """House number images at 1, 2 or 3 scales, for the layers above."""
    coarse = CoarseNumberLayers()
    return Pyramid(*FRAME, scales, receptive_field(coarse), derive_geometry(coarse, FineNumberLayers()))


def fine_on_whole_images() -> nn.Sequential:
    """The fine layers of the fine model: on images in a frame of zeros, so that they make the cells of the coarse map.

    With the same weights, they make in each cell the vector of its patch.
    """
    return nn.Sequential(nn.ZeroPad2d(-number_pyramid(1).patch.offset), FineNumberLayers())
