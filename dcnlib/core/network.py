"""What all networks check, and the single-capacity models that a DCN is compared with (section 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import ImageShape, check_images, check_values, checked_image_shape
from dcnlib.utils.modules import evaluation_mode, without_numbers

Look = TypeVar("Look", bound=Callable[..., Any])


class CheckedNetwork(nn.Module):
    """Checks images at each call, and at the first one, or when it is built, that the parts fit each other."""

    def __init__(self, image_shape: ImageShape | None) -> None:
        super().__init__()
        self.image_shape = None if image_shape is None else checked_image_shape(image_shape)
        self._tried: dict[ImageShape, int] = {}  # cells of the map, by the shapes that the parts are known to fit
        self._in_place: set[str] = set()  # parts that write into what they are given

    def _check_images(self, images: Tensor) -> None:
        check_images(self, images, self.image_shape)
        if not self._tried and not torch.compiler.is_compiling():
            channels, height, width = images.shape[1:]
            self._count_cells((channels, height, width))

    def _count_cells(self, image_shape: ImageShape) -> int:
        """The number of cells of the map of an image. Raises ValueError if the parts don't fit each other for it."""
        if image_shape not in self._tried:
            self._tried[image_shape] = self._check_fit(image_shape)
        return self._tried[image_shape]

    def _check_fit(self, image_shape: ImageShape) -> int:
        """Send the shape of an image through the parts, see `_try`, and give the number of cells of its map.

        Raises ValueError if the parts don't fit each other.
        """
        raise NotImplementedError

    def _try(self, part: str, *shape: int, like: Tensor | None = None) -> Tensor:
        """What a part makes of zeros in eval mode, and with the random numbers of after left as they were.

        On the meta device, where there are shapes and no numbers, so that it costs nothing at any size; a part that
        can't be had there, or fails, is tried on numbers. like: has the zeros' type, by default the weights'. Raises
        ValueError, naming the part, if it doesn't take them.
        """
        module, weights = self.get_submodule(part), next(self.parameters(), torch.zeros(()))
        dtype = (weights if like is None else like).dtype
        name = part if part in ("layers", "scorer") else f"{part} layers"
        generators = torch.random.fork_rng([weights.device] if weights.is_cuda else [])
        with torch.inference_mode(False), torch.no_grad(), generators:
            try:
                with torch.device("meta"):
                    zeros = torch.zeros(shape, dtype=dtype)
                    output = try_module(name, without_numbers(module), zeros)
            except Exception:  # whatever it is: with numbers it works, or says in its own words why not
                zeros = torch.zeros(shape, dtype=dtype, device=weights.device)
                with evaluation_mode(module):
                    output = try_module(name, module, zeros)
        if zeros._version:
            self._in_place.add(part)
        return output

    def _own(self, part: str, given: Tensor) -> Tensor:
        """What a part is given that others need too: a copy if it writes into it, or may do so for all that is known.

        That is told by one image in eval mode, so what training mode does, such as dropout, isn't known.
        """
        unknown = self.training or not self._tried
        return given.clone() if unknown or part in self._in_place else given


def explained(look: Look) -> Look:
    """A method of images that, if it fails on a shape of image that the parts weren't tried on, says which part it is.

    So images of many sizes cost no check beforehand.
    """

    @wraps(look)
    def explaining(self: CheckedNetwork, images: Tensor, *arguments: Any, **options: Any) -> Any:
        try:
            return look(self, images, *arguments, **options)
        except (RuntimeError, ValueError, IndexError):
            if not torch.compiler.is_compiling():
                channels, height, width = images.shape[1:]
                self._count_cells((channels, height, width))
            raise

    return cast(Look, explaining)


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
        if self.image_shape is not None:
            self._count_cells(self.image_shape)

    def forward(self, images: Tensor) -> Tensor:
        self._check_images(images)
        return self._answer(images)

    def attend(self, images: Tensor) -> WholeLook:
        """As forward, but with the boxes of its patches, of which there are none, and with a check of the values."""
        logits = self(images)
        check_values(images)
        return WholeLook(logits, no_boxes(images))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats of labels (B,) or (B, P), and its named parts: the contract that `fit` trains by."""
        loss = cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    @explained
    def _answer(self, images: Tensor) -> Tensor:
        feature_map = self.layers(self._own("layers", images))
        return self.top(self._own("top", feature_map))

    def _check_fit(self, image_shape: ImageShape) -> int:
        feature_map = self._try("layers", 1, *image_shape)
        check_logits(self._try("top", *feature_map.shape, like=feature_map))
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
