"""The paper's three boxes on Cluttered MNIST (section 4.1): coarse, fine and top layers, layer for layer.

Each is an `nn.Sequential`, so that what a cell sees can be read off the modules (see `dcnlib.core.geometry`).
"""

from torch import nn

from dcnlib.core.passes import GlobalMaxPool


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int = 0,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution and batch normalisation; the norm's shift makes a bias of the convolution idle."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class CoarseLayers(nn.Sequential):
    """Cheap, on the whole image: (B, C, H, W) -> (B, D, s1, s2); 100x100 pixels make 23x23 cells.

    Two convolutions of stride 2: a cell sees 11x11 pixels, and neighbours lie 4 pixels apart.
    """

    def __init__(self, *, in_channels: int = 1, hidden: int = 12, out_channels: int = 24) -> None:
        super().__init__(
            conv_norm(in_channels, hidden, 7, stride=2),
            nn.ReLU(inplace=True),
            conv_norm(hidden, out_channels, 3, stride=2),
            nn.ReLU(inplace=True),
        )


class FineLayers(nn.Sequential):
    """Expensive, on a patch: (N, C, 14, 14) -> (N, D, 1, 1). On a whole image of 100x100 pixels: (N, D, 22, 22).

    Five 3x3 convolutions with zero padding in all but the first and last, max-pooling after the second and fourth.
    """

    def __init__(self, *, in_channels: int = 1, channels: int = 24) -> None:
        super().__init__(
            conv_norm(in_channels, channels, 3),
            nn.ReLU(inplace=True),
            conv_norm(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            conv_norm(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            conv_norm(channels, channels, 3),
            nn.ReLU(inplace=True),
        )


class TopLayers(nn.Sequential):
    """From a map of coarse or fine vectors to class scores: (B, D, s1, s2) -> (B, L)."""

    def __init__(self, *, in_channels: int = 24, hidden: int = 96, classes: int = 10) -> None:
        super().__init__(
            conv_norm(in_channels, hidden, 4, stride=2),
            nn.ReLU(inplace=True),
            GlobalMaxPool(),
            nn.Linear(hidden, classes),
        )


class ScoreLayers(nn.Sequential):
    """Of the rivals that learn where to look: a score for each cell of the coarse map, (B, D, s1, s2) -> (B, s1, s2).

    It sees the 5x5 cells around it.
    """

    def __init__(self, *, in_channels: int = 24, hidden: int = 24) -> None:
        super().__init__(
            conv_norm(in_channels, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, 3, padding=1, bias=False),  # the choice depends on differences of scores alone
            nn.Flatten(1, 2),
        )
