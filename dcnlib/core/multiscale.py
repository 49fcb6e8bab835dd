"""An image at several scales on one canvas, so that a network looks at all of them without knowing (section 4.2).

The scales lie side by side, wide enough apart that neither a cell's field nor its patch reaches two of them. Whatever
looks at an image then looks at a canvas: coarse and fine layers, the choice of cells, patches and hints. The k patches
are the most salient ones of all scales together.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.core.dcn import Attention, DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.policies import center_cells, coarse_norm, random_cells
from dcnlib.utils.checks import ImageShape, check_images


class Box(NamedTuple):
    """Where a scale lies on the canvas in pixels, or on its map in cells; bottom and right are excluded."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(self, canvas: Tensor) -> Tensor:
        """What a canvas or a map (B, D, H, W) holds there, a view."""
        return canvas[:, :, self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Pyramid:
    """An image of `height` x `width` pixels at `scales` scales, each half as large as the one before, and their cells.

    field: what a cell of the layers sees, without padding of their own (`receptive_field(coarse)`). patch: where it
    looks (`dcn.geometry`); both have one stride. The image as it is lies at the canvas' top left, the others below
    each other to its right. One scale alone is the image itself.

    Raises ValueError if the sides can't be halved that often or a scale holds no whole cell.
    """

    height: int
    width: int
    scales: int
    field: Geometry
    patch: Geometry

    def __post_init__(self) -> None:
        if self.scales < 1:
            raise ValueError(f"scales must be at least 1, got {self.scales}")
        if self.field.stride != self.patch.stride or self.field.offset != 0:
            raise ValueError(f"field and patch must have one stride, and the field offset 0, got {self}")
        smallest = 2 ** (self.scales - 1)
        if self.height % smallest or self.width % smallest or min(self.height, self.width) < smallest * self.field.size:
            raise ValueError(
                f"images of {self.height}x{self.width} pixels can't be seen at {self.scales} scales: each must be half "
                f"as large as the one before, and the last hold a field of {self.field.size} pixels"
            )

    @property
    def frames(self) -> list[Box]:
        """Where each scale lies on the canvas, in pixels."""
        frames, top, left = [], 0, 0
        for scale in range(self.scales):
            height, width = self.height >> scale, self.width >> scale
            frames.append(Box(top, left, top + height, left + width))
            if scale == 0:
                left = self._beyond(width)
            else:
                top += self._beyond(height)
        return frames

    @property
    def regions(self) -> list[Box]:
        """Where each scale's cells lie on the canvas' map: those whose field is in the scale's frame."""
        stride, size = self.field.stride, self.field.size
        return [
            Box(top // stride, left // stride, (bottom - size) // stride + 1, (right - size) // stride + 1)
            for top, left, bottom, right in self.frames
        ]

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Height and width of the canvas in pixels."""
        return max(frame.bottom for frame in self.frames), max(frame.right for frame in self.frames)

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the canvas' map."""
        rows, columns = ((size - self.field.size) // self.field.stride + 1 for size in self.canvas_shape)
        return rows, columns

    def pack(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) on canvases, each scale the mean of 2x2 pixels of the one before, zeros between them."""
        if self.scales == 1:
            return images
        height, width = self.canvas_shape
        canvas = images.new_zeros(*images.shape[:2], height, width)
        # Added up, not written into place: torch.compile with frozen weights fails on a canvas that is written to.
        for top, left, bottom, right in self.frames:
            canvas = canvas + F.pad(images, (left, width - right, top, height - bottom))
            images = F.avg_pool2d(images, 2)
        return canvas

    def locate(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Which scale flat cells (...) of the canvas' map belong to, and where in the image their patches lie.

        Scales (...) are 0 for the image as it is, -1 for a cell between the scales. Boxes (..., 4) are top, left,
        bottom, right in pixels of the image as it is, the last two excluded; zeros for a cell between the scales.
        """
        columns = self.map_shape[1]
        row, column = cells // columns, cells % columns
        scales, boxes = torch.full_like(cells, -1), cells.new_zeros(*cells.shape, 4)
        on_canvas = self.patch.boxes(cells, columns)
        for scale, (frame, region) in enumerate(zip(self.frames, self.regions, strict=True)):
            here = (region.top <= row) & (row < region.bottom) & (region.left <= column) & (column < region.right)
            corner = cells.new_tensor([frame.top, frame.left, frame.top, frame.left])
            scales = torch.where(here, scale, scales)
            boxes = torch.where(here[..., None], (on_canvas - corner) << scale, boxes)
        return scales, boxes

    def _beyond(self, size: int) -> int:
        """Where the next scale may begin, behind one of `size` pixels that begins on a cell: no patch reaches both."""
        stride, patch = self.patch.stride, self.patch
        last_patch_ends = (size - self.field.size) // stride * stride + patch.offset + patch.size
        begin = max(size - patch.offset, last_patch_ends)  # a patch of the next scale begins `offset` from its frame
        return -(-begin // stride) * stride


class MultiScaleNetwork(nn.Module):
    """A network of canvases as a network of images: it packs them and passes everything else on.

    network: a `DynamicCapacityNetwork` or `SingleCapacityNetwork` for canvases, whose top layers read the map scale by
    scale (`pyramid.regions`). images (B, C, H, W) floating point in [0, 1] -> logits (B, L) or (B, P, L).

    Raises ValueError for a policy that knows nothing of the top layers, and so can't tell the cells of a scale from
    those between the scales. A policy of your own should score the latter lowest: `pyramid.regions`.
    """

    def __init__(self, network: DynamicCapacityNetwork | SingleCapacityNetwork, pyramid: Pyramid) -> None:
        super().__init__()
        policy = getattr(network, "policy", None)
        if pyramid.scales > 1 and policy in (random_cells, center_cells, coarse_norm):
            raise ValueError(
                f"the policy {policy.__name__} would choose cells between the scales: at {pyramid.scales} scales, use "
                "entropy-gradient or class-score-gradient"
            )
        self.network = network
        self.pyramid = pyramid

    @property
    def image_shape(self) -> ImageShape | None:
        """Of the images, not of the canvas; None if the network takes any number of channels."""
        if self.network.image_shape is None:
            return None
        return self.network.image_shape[0], self.pyramid.height, self.pyramid.width

    def forward(self, images: Tensor, **options: Any) -> Tensor:
        """Class scores; `k` and `cells`, on the canvas' map, are options of a Dynamic Capacity Network."""
        return self.network(self._pack(images), **options)

    def attend(self, images: Tensor, **options: Any) -> Attention:
        """As forward, but with every intermediate; maps and cells are those of the canvas, see `pyramid.locate`."""
        if not isinstance(self.network, DynamicCapacityNetwork):
            raise TypeError(f"a {type(self.network).__name__} chooses no patches to attend to")
        return self.network.attend(self._pack(images), **options)

    def patch_boxes(self, look: Attention) -> Tensor:
        """Where the patches of a look lie in its images, whatever their scale: (B, k, 4) in pixels of the image as it
        is."""
        return self.pyramid.locate(look.cells)[1]

    def loss(self, images: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's loss, and its named parts: the contract that `fit` trains by."""
        return self.network.loss(self._pack(images), labels, **options)

    def _pack(self, images: Tensor) -> Tensor:
        check_images(self, images, self.image_shape)
        if images.shape[2:] != (self.pyramid.height, self.pyramid.width):
            raise ValueError(
                f"this model takes images of {self.pyramid.height}x{self.pyramid.width} pixels, got "
                f"{tuple(images.shape[2:])}"
            )
        return self.pyramid.pack(images)
