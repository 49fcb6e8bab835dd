"""An image at several scales on one canvas, so that a network looks at all of them without knowing (section 4.2).

The scales lie side by side, wide enough apart that neither a cell's field nor its patch reaches two of them. Whatever
looks at an image then looks at a canvas: coarse and fine layers, the choice of cells, patches and hints. The k patches
are the most salient ones of all scales together.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.core.budget import AdaptiveAttention
from dcnlib.core.dcn import Attention, DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.policies import Policy, center_cells, coarse_norm, random_cells, resolve_policy
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
        if self.field.strides != self.patch.strides or self.field.offsets != (0, 0):
            raise ValueError(f"field and patch must have one stride, and the field offset 0, got {self}")
        smallest = 2 ** (self.scales - 1)
        sides = zip((self.height, self.width), self.field.sizes, strict=True)
        if any(side % smallest or side < smallest * field for side, field in sides):
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
                left = self._beyond(width, axis=1)
            else:
                top += self._beyond(height, axis=0)
        return frames

    @property
    def regions(self) -> list[Box]:
        """Where each scale's cells lie on the canvas' map: those whose field is in the scale's frame."""
        (down, across), (high, wide) = self.field.strides, self.field.sizes
        return [
            Box(top // down, left // across, (bottom - high) // down + 1, (right - wide) // across + 1)
            for top, left, bottom, right in self.frames
        ]

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """Height and width of the canvas in pixels."""
        return max(frame.bottom for frame in self.frames), max(frame.right for frame in self.frames)

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the canvas' map."""
        sides = zip(self.canvas_shape, self.field.sizes, self.field.strides, strict=True)
        rows, columns = ((side - field) // stride + 1 for side, field, stride in sides)
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
        return self.locate_boxes(self.patch.boxes(cells, self.map_shape[1]))

    def locate_boxes(self, on_canvas: Tensor) -> tuple[Tensor, Tensor]:
        """As `locate`, from where patches lie on the canvas, (..., 4) in its pixels."""
        row, column = ((on_canvas[..., side] - self.patch.offsets[side]) // self.patch.strides[side] for side in (0, 1))
        scales, boxes = torch.full_like(row, -1), torch.zeros_like(on_canvas)
        for scale, (frame, region) in enumerate(zip(self.frames, self.regions, strict=True)):
            here = (region.top <= row) & (row < region.bottom) & (region.left <= column) & (column < region.right)
            corner = on_canvas.new_tensor([frame.top, frame.left, frame.top, frame.left])
            scales = torch.where(here, scale, scales)
            boxes = torch.where(here[..., None], (on_canvas - corner) << scale, boxes)
        return scales, boxes

    def _beyond(self, side: int, axis: int) -> int:
        """Where the next scale may begin, behind one of `side` pixels that begins on a cell: no patch reaches both."""
        stride, offset, patch = self.patch.strides[axis], self.patch.offsets[axis], self.patch.sizes[axis]
        last_patch_ends = (side - self.field.sizes[axis]) // stride * stride + offset + patch
        begin = max(side - offset, last_patch_ends)  # a patch of the next scale begins `offset` from its frame
        return -(-begin // stride) * stride


class MultiScaleNetwork(nn.Module):
    """A network of canvases as a network of images: it packs them and passes everything else on.

    network: a `DynamicCapacityNetwork` or `SingleCapacityNetwork` for canvases, whose top layers read the map scale by
    scale (`pyramid.regions`). images (B, C, H, W) floating point in [0, 1] -> logits (B, L) or (B, P, L).

    Raises ValueError for a policy, here or at a call, that knows nothing of the top layers, and so can't tell the cells
    of a scale from those between the scales. A policy of your own should score the latter lowest: `pyramid.regions`.
    """

    def __init__(self, network: DynamicCapacityNetwork | SingleCapacityNetwork, pyramid: Pyramid) -> None:
        super().__init__()
        self.network = network
        self.pyramid = pyramid
        self._check_policy(getattr(network, "policy", None))

    @property
    def image_shape(self) -> ImageShape | None:
        """Of the images, not of the canvas; None if the network takes any number of channels."""
        if self.network.image_shape is None:
            return None
        return self.network.image_shape[0], self.pyramid.height, self.pyramid.width

    @property
    def entropy_below(self) -> float | None:
        """The threshold that was calibrated for `adaptive`: the network's."""
        return self.network.entropy_below if isinstance(self.network, DynamicCapacityNetwork) else None

    @entropy_below.setter
    def entropy_below(self, nats: float | None) -> None:
        self.network.entropy_below = nats

    @property
    def max_k(self) -> int | None:
        """The most patches that it was calibrated for: the network's."""
        return self.network.max_k if isinstance(self.network, DynamicCapacityNetwork) else None

    @max_k.setter
    def max_k(self, most: int | None) -> None:
        self.network.max_k = most

    def forward(self, images: Tensor, **options: Any) -> Tensor:
        """Class scores; `k`, `cells`, on the canvas' map, and `policy` are options of a Dynamic Capacity Network."""
        self._check_policy(options.get("policy"))
        return self.network(self._pack(images), **options)

    def attend(self, images: Tensor, **options: Any) -> Any:
        """The network's look, with every intermediate. Maps and cells are those of the canvas, boxes those of the image
        as it is, whatever a patch's scale; see `pyramid.locate`."""
        self._check_policy(options.get("policy"))
        look = self.network.attend(self._pack(images), **options)
        return replace(look, boxes=self.pyramid.locate_boxes(look.boxes)[1])

    def refine(self, images: Tensor, coarse_map: Tensor, cells: Tensor) -> Tensor:
        """Class scores from images, the canvas' coarse map and cells of it; see `DynamicCapacityNetwork.refine`."""
        if not isinstance(self.network, DynamicCapacityNetwork):
            raise TypeError(f"a {type(self.network).__name__} has no coarse map to refine")
        return self.network.refine(self._pack(images), coarse_map, cells)

    def sweep(self, images: Tensor, ks: Sequence[int], **options: Any) -> dict[int, Tensor]:
        """Class scores with each of several numbers of patches; see `DynamicCapacityNetwork.sweep`."""
        if not isinstance(self.network, DynamicCapacityNetwork):
            raise TypeError(f"a {type(self.network).__name__} chooses no patches, whose number could vary")
        self._check_policy(options.get("policy"))
        return self.network.sweep(self._pack(images), ks, **options)

    def adaptive(self, images: Tensor, entropy_below: float | None = None, **options: Any) -> AdaptiveAttention:
        """Look until sure, see `DynamicCapacityNetwork.adaptive`; boxes are those of the image as it is."""
        if not isinstance(self.network, DynamicCapacityNetwork):
            raise TypeError(f"a {type(self.network).__name__} chooses no patches, of which it could take more")
        self._check_policy(options.get("policy"))
        look = self.network.adaptive(self._pack(images), entropy_below, **options)
        return replace(look, boxes=self.pyramid.locate_boxes(look.boxes)[1])

    def patch_boxes(self, look: Attention) -> Tensor:
        """The boxes of a look, as they were asked for before this release."""
        warnings.warn("model.patch_boxes(look) is now look.boxes", DeprecationWarning, stacklevel=2)
        return look.boxes

    def loss(self, images: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's loss, and its named parts: the contract that `fit` trains by."""
        return self.network.loss(self._pack(images), labels, **options)

    def _check_policy(self, policy: str | Policy | None) -> None:
        if self.pyramid.scales == 1 or policy is None:
            return
        if (chosen := resolve_policy(policy)) in (random_cells, center_cells, coarse_norm):
            raise ValueError(
                f"the policy {chosen.__name__} would choose cells between the scales: at {self.pyramid.scales} scales, "
                "use entropy-gradient or class-score-gradient"
            )

    def _pack(self, images: Tensor) -> Tensor:
        check_images(self, images, self.image_shape)
        if images.shape[2:] != (self.pyramid.height, self.pyramid.width):
            raise ValueError(
                f"this model takes images of {self.pyramid.height}x{self.pyramid.width} pixels, got "
                f"{tuple(images.shape[2:])}"
            )
        return self.pyramid.pack(images)
