"""The three boxes for house numbers (section 4.2), in sizes of our own: 64x128 grey pixels, five positions of digits.

Coarse and fine layers are `nn.Sequential` without padding, so that a fine vector is the same whether the fine layers
see its patch alone or the whole image.
"""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn

from dcnlib.core.geometry import derive_geometry, receptive_field
from dcnlib.core.multiscale import Box, Pyramid
from dcnlib.data.house_numbers.numbers import FRAME, NO_DIGIT, POSITIONS
from dcnlib.models.cluttered_mnist import conv_norm


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

    regions: where each scale's cells lie on the map. Two convolutions, with weights of their own for each region, make
    places of them, half as many down the map as across it. From there on all places are alike, S together:

    - *what* each place shows: a score for each digit, by one linear layer;
    - *where* the number stands: how well each place holds its first, second, ... digit, by two linear layers that see
      all places at once, `summary` numbers of each; they also score that there is no such digit.

    A digit's score at a position is log mean_s exp(what[s] + where[s]): it takes one place that shows this digit and
    holds that position. So what a digit looks like is learned once for all positions and places. The order of digits
    would be lost in a max over places alone, as on Cluttered MNIST.
    """

    def __init__(
        self,
        regions: Sequence[Box],
        *,
        in_channels: int = 32,
        channels: tuple[int, int] = (32, 64),
        summary: int = 8,
        hidden: int = 64,
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
                conv_norm(first, second, 3, stride=(2, 1), padding=1),
                nn.ReLU(inplace=True),
                nn.Flatten(2),
            )
            for _ in self.regions
        )
        places = sum(_halved(box.bottom - box.top, 2) * _halved(box.right - box.left, 1) for box in self.regions)
        self.what = nn.Linear(second, classes - 1)
        self.summarise = nn.Linear(second, summary)
        self.where = nn.Sequential(
            nn.Linear(summary * places, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, positions * (places + 1)),
            nn.Unflatten(1, (positions, places + 1)),
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        by_scale = [layers(box.cut(feature_map)) for box, layers in zip(self.regions, self.scales, strict=True)]
        places = torch.cat(by_scale, dim=2).transpose(1, 2)  # (B, S, channels)
        what = self.what(places)  # (B, S, L - 1)
        where = self.where(self.summarise(places).flatten(1))  # (B, P, S + 1)
        digits = torch.logsumexp(what[:, None] + where[:, :, :-1, None], dim=2) - log(what.shape[1])  # (B, P, L - 1)
        return torch.cat([digits, where[:, :, -1:]], dim=2)


def _halved(cells: int, times: int) -> int:
    """How many places a side so many convolutions of 3x3, stride 2, padding 1 make of so many cells."""
    return -(-cells // 2**times)


def number_pyramid(scales: int) -> Pyramid:
    """House number images at 1, 2 or 3 scales, for the layers above."""
    coarse = CoarseNumberLayers()
    return Pyramid(*FRAME, scales, receptive_field(coarse), derive_geometry(coarse, FineNumberLayers()))


def fine_on_whole_images() -> nn.Sequential:
    """The fine layers of the fine model: on images in a frame of zeros, so that they make the cells of the coarse map.

    With the same weights, they make in each cell the vector of its patch.
    """
    return nn.Sequential(nn.ZeroPad2d(-number_pyramid(1).patch.offsets[0]), FineNumberLayers())
