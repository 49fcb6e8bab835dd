"""A control: soft attention, which pays for fine vectors everywhere and only weighs them."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcnlib.core.network import CheckedNetwork, check_logits, explained, no_boxes
from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import ImageShape, check_values


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
        if self.image_shape is not None:
            self._count_cells(self.image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, L) of images (B, C, H, W)."""
        self._check_images(images)
        return self._weigh(images)[1]

    def attend(self, images: Tensor) -> SoftLook:
        """As forward, but with the weights, and with a check of the images' values."""
        self._check_images(images)
        check_values(images)
        weights, logits = self._weigh(images)
        return SoftLook(weights, no_boxes(images), logits)

    def look(self, images: Tensor) -> SoftLook:
        """What `attend` was called before this release."""
        warnings.warn("soft.look is now soft.attend", DeprecationWarning, stacklevel=2)
        return self.attend(images)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats, and its named parts: the contract that `fit` trains by."""
        loss = cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    @explained
    def _weigh(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine_map = self.fine(self._own("fine", images))  # (B, D, s1, s2)
        rows, columns = fine_map.shape[2:]
        scores = self.scorer(self._own("scorer", self.coarse(self._own("coarse", images))))[:, :rows, :columns]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).flatten(1)
        weights = rows * columns * scores.softmax(1).unflatten(1, (rows, columns))
        return weights, self.top(weights[:, None].to(fine_map.dtype) * fine_map)

    def _check_fit(self, image_shape: ImageShape) -> int:
        coarse_map = self._try("coarse", 1, *image_shape)
        scores = self._try("scorer", *coarse_map.shape, like=coarse_map)
        fine_map = self._try("fine", 1, *image_shape)
        rows, columns = fine_map.shape[2:]
        if scores.ndim != 3 or scores.shape[1] < rows or scores.shape[2] < columns:
            raise ValueError(
                f"the scorer must score at least the {rows}x{columns} cells of the fine map, (B, s1, s2), "
                f"got {tuple(scores.shape)}"
            )
        check_logits(self._try("top", *fine_map.shape, like=fine_map))
        return rows * columns
