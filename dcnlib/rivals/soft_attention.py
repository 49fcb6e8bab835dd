"""A control: soft attention, which pays for fine vectors everywhere and only weighs them."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcnlib.core.network import CheckedNetwork, check_logits, no_boxes, try_module
from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import ImageShape, check_values
from dcnlib.utils.modules import evaluation_mode


@dataclass(frozen=True)
class SoftLook:
    """How soft attention weighed each image of a batch, and what it answered."""

    weights: Tensor  # (B, s1, s2), which sum to the number of cells
    boxes: Tensor  # (B, 0, 4), none: it looks everywhere
    logits: Tensor  # (B, L), before the softmax


class SoftAttentionNetwork(CheckedNetwork):
    """The fine model, top(fine), with its map weighed cell by cell by a softmax over learned scores.

    coarse: images (B, C, H, W) -> (B, D, s1, s2). scorer: coarse map -> scores (B, s1, s2), such as `ScoreLayers`.
    fine: the whole image -> (B, D, s1, s2); where the coarse map is larger, as by a row and a column in the paper's
    layers, its last scores are left out. Cell (i, j) of both should look at about the same place, as there:
    the middles of their fields are 1.5 pixels apart. top: fine map -> class scores (B, L).

    The weights are the softmax times the number of cells: equal ones make this the fine model exactly.
    images (B, C, H, W) floating point in [0, 1] -> logits (B, L).
    """

    def __init__(
        self,
        *,
        coarse: nn.Module,
        scorer: nn.Module,
        fine: nn.Module,
        top: nn.Module,
        image_shape: ImageShape | None = None,
    ) -> None:
        super().__init__(image_shape)
        self.coarse = coarse
        self.scorer = scorer
        self.fine = fine
        self.top = top
        if image_shape is not None:
            self._count_cells(image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, L) of images (B, C, H, W)."""
        return self._weigh(images)[1]

    def attend(self, images: Tensor) -> SoftLook:
        """As forward, but with the weights, and with a check of the images' values."""
        weights, logits = self._weigh(images)
        check_values(images)
        return SoftLook(weights, no_boxes(images), logits)

    def look(self, images: Tensor) -> SoftLook:
        """What `attend` was called before this release."""
        warnings.warn("soft.look is now soft.attend", DeprecationWarning, stacklevel=2)
        return self.attend(images)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats, and its named parts: the contract that `fit` trains by."""
        self._check_images(images)
        loss = cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    def _weigh(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self._check_images(images)
        fine_map = self.fine(images)  # (B, D, s1, s2)
        rows, columns = fine_map.shape[2:]
        scores = self.scorer(self.coarse(images))[:, :rows, :columns]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).flatten(1)
        weights = rows * columns * scores.softmax(1).unflatten(1, (rows, columns))
        return weights, self.top(weights[:, None].to(fine_map.dtype) * fine_map)

    @torch.no_grad()
    def _check_fit(self, image_shape: ImageShape) -> int:
        """Send one black image through the four, in eval mode, and see that they fit."""
        with evaluation_mode(self):
            black = next(self.parameters(), torch.zeros(())).new_zeros(1, *image_shape)
            coarse_map = try_module("coarse layers", self.coarse, black)
            scores = try_module("scorer", self.scorer, coarse_map)
            fine_map = try_module("fine layers", self.fine, black)
            rows, columns = fine_map.shape[2:]
            if scores.ndim != 3 or scores.shape[1] < rows or scores.shape[2] < columns:
                raise ValueError(
                    f"the scorer must score at least the {rows}x{columns} cells of the fine map, (B, s1, s2), "
                    f"got {tuple(scores.shape)}"
                )
            check_logits(try_module("top layers", self.top, fine_map))
        return rows * columns
