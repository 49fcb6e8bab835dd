"""The attention of DRAW as a classifier (Gregor et al. 2015, sections 3.2, 3.3 and 4.1, arXiv 1502.04623).

It only reads: a grid of Gaussian filters, placed and sized by the recurrent encoder's last state, is all that it sees
of an image at each step. Everything is differentiable, so it learns from the cross-entropy alone.
"""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import (
    MOST_LOOKS,
    MOST_UNITS,
    ImageShape,
    check_images,
    check_values,
    check_whole,
    checked_image_shape,
)


class Window(NamedTuple):
    """Where and how the filters lie, for each image (B,). Pixels count from 1, as in the paper."""

    center_y: Tensor  # g_Y, in pixels
    center_x: Tensor  # g_X
    stride: Tensor  # delta, from filter to filter in pixels
    variance: Tensor  # sigma^2, of each filter in pixels^2
    intensity: Tensor  # gamma


def filter_bank(center: Tensor, stride: Tensor, variance: Tensor, count: int, length: int) -> Tensor:
    """`count` Gaussian filters along `length` pixels (equations 19, 25 and 26): three of (B,) -> (B, count, length).

    F[i, a] = exp(-(a - mu_i)^2 / (2 sigma^2)) / Z with Z such that each filter sums to 1. That is a softmax over the
    pixels, which can't divide by zero, however far outside the image a filter lies.
    """
    i = torch.arange(1, count + 1, device=center.device)
    a = torch.arange(1, length + 1, device=center.device)
    mu = center[:, None] + (i - count / 2 - 0.5) * stride[:, None]  # (B, count)
    return torch.softmax(-(a - mu[..., None]).square() / (2 * variance[:, None, None]), dim=-1)


class WindowNetwork(nn.Module):
    """The window from the encoder's state (equations 21 to 24): (B, hidden) -> `Window` for images of one size.

    The paper leaves the five numbers free. Here the centre stays within a pixel of the image and the logarithms of the
    sizes within bounds, so that no state, however extreme, makes an infinite value or gradient. Zeros stand for a
    window on the whole image with filters that just overlap.
    """

    BOUND_STRIDE, BOUND_VARIANCE, BOUND_INTENSITY = 3.0, 5.0, 4.0  # of the logarithms, around their initial values

    def __init__(self, *, hidden: int, count: int, height: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, 5)
        nn.init.zeros_(self.linear.bias)
        self.height, self.width = height, width
        self.whole_stride = (max(height, width) - 1) / (count - 1)

    def forward(self, state: Tensor) -> Window:
        # In float32 at least, without autocast and with half precision's weights too: bfloat16 knows places in the
        # middle of an image to a quarter of a pixel at best.
        with torch.autocast(state.device.type, enabled=False):
            parameters = self.linear(state.to(self.linear.weight.dtype))
            return self.window(parameters.to(torch.promote_types(parameters.dtype, torch.float32)))

    def window(self, parameters: Tensor) -> Window:
        """(B, 5) numbers of any size -> the window they stand for."""
        y, x, log_variance, log_stride, log_intensity = parameters.unbind(-1)
        return Window(
            center_y=(self.height + 1) / 2 * (torch.tanh(y) + 1),
            center_x=(self.width + 1) / 2 * (torch.tanh(x) + 1),
            stride=self.whole_stride * _bounded(log_stride, self.BOUND_STRIDE).exp(),
            variance=(self.whole_stride / 2) ** 2 * _bounded(log_variance, self.BOUND_VARIANCE).exp(),
            intensity=_bounded(log_intensity, self.BOUND_INTENSITY).exp(),
        )


def _bounded(value: Tensor, bound: float) -> Tensor:
    """The value itself near zero, and never beyond the bound on either side."""
    return bound * torch.tanh(value / bound)


def read(images: Tensor, window: Window, count: int) -> Tensor:
    """gamma F_Y x F_X^T (equation 27): images (B, C, H, W) -> (B, C, count, count), in the images' precision."""
    rows = filter_bank(window.center_y, window.stride, window.variance, count, images.shape[2])  # F_Y  (B, count, H)
    columns = filter_bank(window.center_x, window.stride, window.variance, count, images.shape[3])  # F_X
    glimpse = rows[:, None] @ images.to(rows.dtype) @ columns[:, None].transpose(2, 3)
    return (window.intensity[:, None, None, None] * glimpse).to(images.dtype)


@dataclass(frozen=True)
class DrawLook:
    """Where DRAW's attention read each image of a batch, and what it saw there. Pixels from the top left corner."""

    centers: Tensor  # (B, T, 2) y, x in pixels
    boxes: Tensor  # (B, T, 4) top, left, bottom, right of the grid of filters in pixels; may reach beyond the image
    sigmas: Tensor  # (B, T) of the filters, in pixels
    glimpses: Tensor  # (B, T, C, size, size), each times its intensity
    logits: Tensor  # (B, L), before the softmax


class DrawClassifier(nn.Module):
    """Reads an image (C, H, W) `glimpses` times through glimpse_size x glimpse_size filters, and classifies.

    images (B, C, H, W) floating point in [0, 1] -> logits (B, L). The defaults are the paper's for 100x100 pixels.
    """

    def __init__(
        self,
        *,
        image_shape: ImageShape,
        classes: int = 10,
        glimpses: int = 8,
        glimpse_size: int = 12,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        check_whole("glimpses", glimpses, most=MOST_LOOKS)
        check_whole("glimpse_size", glimpse_size, least=2)
        check_whole("hidden", hidden, most=MOST_UNITS)
        self.image_shape = channels, height, width = checked_image_shape(image_shape)
        self.glimpses, self.glimpse_size = glimpses, glimpse_size
        self.window_network = WindowNetwork(hidden=hidden, count=glimpse_size, height=height, width=width)
        self.encoder = nn.LSTMCell(channels * glimpse_size**2, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: Tensor, *, glimpses: int | None = None) -> Tensor:
        """Class scores (B, L). `glimpses` overrides the model's number."""
        return self._read_all(images, glimpses)[0]

    def attend(self, images: Tensor, *, glimpses: int | None = None) -> DrawLook:
        """As forward, but with where and what it read, in pixels, and with a check of the images' values."""
        logits, windows, seen = self._read_all(images, glimpses)
        check_values(images)
        y, x, stride, variance, _ = (torch.stack(steps, dim=1) for steps in zip(*windows, strict=True))
        centers = torch.stack([y, x], dim=2) - 0.5  # the middle of pixel 1 lies half a pixel from the edge
        half = self.glimpse_size / 2 * stride[..., None]
        boxes = torch.cat([centers - half, centers + half], dim=2)
        return DrawLook(centers, boxes, variance.sqrt(), torch.stack(seen, dim=1), logits)

    def look(self, images: Tensor, *, glimpses: int | None = None) -> DrawLook:
        """What `attend` was called before this release."""
        warnings.warn("draw.look is now draw.attend", DeprecationWarning, stacklevel=2)
        return self.attend(images, glimpses=glimpses)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats, and its named parts: the contract that `fit` trains by."""
        check_images(self, images, self.image_shape)
        loss = cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    def _read_all(self, images: Tensor, glimpses: int | None) -> tuple[Tensor, list[Window], list[Tensor]]:
        check_images(self, images, self.image_shape)
        glimpses = self.glimpses if glimpses is None else glimpses
        check_whole("glimpses", glimpses)
        hidden = cell = images.new_zeros(images.shape[0], self.encoder.hidden_size)
        windows, seen = [], []
        for _ in range(glimpses):
            windows.append(self.window_network(hidden))
            seen.append(read(images, windows[-1], self.glimpse_size))  # r_t
            hidden, cell = self.encoder(seen[-1].flatten(1), (hidden, cell))
        return self.classifier(hidden), windows, seen
