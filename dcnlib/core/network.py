"""What all networks check, and the single-capacity models that a DCN is compared with (section 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import ImageShape, check_images, check_values
from dcnlib.utils.modules import evaluation_mode


class CheckedNetwork(nn.Module):
    """Checks images at each call, and that the parts fit each other once for each shape of image."""

    def __init__(self, image_shape: ImageShape | None) -> None:
        super().__init__()
        self.image_shape = image_shape
        self._cells: dict[ImageShape, int] = {}  # of the map, by the shapes that the parts are known to fit

    def _check_images(self, images: Tensor) -> None:
        check_images(self, images, self.image_shape)
        channels, height, width = images.shape[1:]
        self._count_cells((channels, height, width))

    def _count_cells(self, image_shape: ImageShape) -> int:
        """The number of cells of the map of an image. Raises ValueError if the parts don't fit each other for it."""
        if image_shape not in self._cells:
            self._cells[image_shape] = self._check_fit(image_shape)
        return self._cells[image_shape]

    def _check_fit(self, image_shape: ImageShape) -> int:
        raise NotImplementedError


@dataclass(frozen=True)
class WholeLook:
    """What a model makes of a batch that sees each image as a whole, and chooses no patches."""

    logits: Tensor  # (B, L) or (B, P, L), before the softmax
    boxes: Tensor  # (B, 0, 4), none


def no_boxes(images: Tensor) -> Tensor:
    """Where a model that sees images (B, C, H, W) as a whole looked more closely: nowhere, (B, 0, 4)."""
    return torch.empty(images.shape[0], 0, 4, dtype=torch.int64, device=images.device)


class SingleCapacityNetwork(CheckedNetwork):
    """One kind of layers on the whole image: the coarse model top(coarse), or the fine model top(fine).

    images (B, C, H, W) floating point in [0, 1] -> logits (B, L), or (B, P, L) for P positions of a sequence.
    """

    def __init__(self, *, layers: nn.Module, top: nn.Module, image_shape: ImageShape | None = None) -> None:
        super().__init__(image_shape)
        self.layers = layers
        self.top = top
        if image_shape is not None:
            self._count_cells(image_shape)

    def forward(self, images: Tensor) -> Tensor:
        self._check_images(images)
        return self.top(self.layers(images))

    def attend(self, images: Tensor) -> WholeLook:
        """As forward, but with the boxes of its patches, of which there are none, and with a check of the values."""
        logits = self(images)
        check_values(images)
        return WholeLook(logits, no_boxes(images))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats of labels (B,) or (B, P), and its named parts: the contract that `fit` trains by."""
        self._check_images(images)
        loss = cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    @torch.no_grad()
    def _check_fit(self, image_shape: ImageShape) -> int:
        """Send one black image through the two, in eval mode, and see that they fit."""
        with evaluation_mode(self):
            black = next(self.parameters(), torch.zeros(())).new_zeros(1, *image_shape)
            feature_map = try_module("layers", self.layers, black)
            check_logits(try_module("top layers", self.top, feature_map))
        return feature_map[0, 0].numel()


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless these are class scores, (B, L) or (B, P, L)."""
    if logits.ndim not in (2, 3):
        raise ValueError(f"the top layers must make class scores (B, L) or (B, P, L), got {tuple(logits.shape)}")


def try_module(what: str, module: Callable[[Tensor], Any], probe: Tensor) -> Tensor:
    """What a part of a network makes of a tensor. Raises ValueError, naming the part, if it doesn't take it."""
    try:
        output = module(probe)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"the {what} don't take an input of shape {tuple(probe.shape)}: {error}") from error
    if not isinstance(output, Tensor):
        raise ValueError(f"the {what} must return a tensor, got {type(output).__name__}")
    return output
