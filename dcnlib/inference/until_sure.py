"""Looking until sure, made fast: a first glance at all images, and one closer look at those in doubt.

`dcn.adaptive` looks in rounds of few patches, which spares patches. But a round is a call, and on few images it takes
nearly as long as on many. Here there is one round, made of two networks that are compiled or run elsewhere as wholes.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dcnlib.core.budget import check_threshold
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.saliency import entropy
from dcnlib.inference.compile import compile_for_inference
from dcnlib.inference.exported import ExportedNetwork
from dcnlib.inference.formats import SUFFIXES, Format
from dcnlib.utils.modules import uncompiled

NAMES = "glance", "closer"  # of exported files
Call = Callable[[Tensor], Tensor]


class UntilSure:
    """images (B, C, H, W) -> logits, as `dcn.adaptive(images, entropy_below, rounds=(k,))` answers.

    glance: images to the logits of the first prediction. closer: images to those with k patches; it gets the images
    that are in doubt, and may be any way of computing them.
    """

    def __init__(self, glance: Call, closer: Call, entropy_below: float) -> None:
        self.glance, self.closer = glance, closer
        self.entropy_below = check_threshold(entropy_below)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        logits = self.glance(images)
        unsure = ~(entropy(logits) < self.entropy_below)
        if unsure.any():
            logits[unsure] = self.closer(images[unsure])
        return logits


class InSizes:
    """A function of batches of certain sizes, as one of batches of any: cut into the largest, and the rest filled up.

    calls: the function for batches of each size.
    """

    def __init__(self, calls: Mapping[int, Call]) -> None:
        self.calls = dict(sorted(calls.items()))

    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self._of_rest(piece) for piece in images.split(max(self.calls))])

    def _of_rest(self, images: Tensor) -> Tensor:
        size = next(size for size in self.calls if size >= len(images))
        filled = images.new_zeros(size, *images.shape[1:]).contiguous(memory_format=torch.channels_last)
        filled[: len(images)] = images
        return self.calls[size](filled)[: len(images)]


def compile_until_sure(model: DynamicCapacityNetwork, images: Tensor, entropy_below: float, k: int) -> UntilSure:
    """Both networks under torch.compile, for batches like `images`. Of these, at most a quarter is expected to be in
    doubt: more take several calls. See `compile_for_inference`."""
    sizes = [size for size in (1, 4, 16) if size == 1 or size <= len(images) // 4]
    glance, closer = _both(model, k)
    look = {size: compile_for_inference(closer, images[:size]) for size in sizes}
    return UntilSure(compile_for_inference(glance, images), InSizes(look), entropy_below)


def export_until_sure(model: DynamicCapacityNetwork, folder: Path, to: Format, k: int) -> None:
    """Write both networks into a folder, for `load_until_sure`. See `export_model`."""
    from dcnlib.inference.export import export_model  # brings what traces graphs

    for name, network in zip(NAMES, _both(model, k), strict=True):
        export_model(network, folder / f"{name}{SUFFIXES[to]}", to, outputs=["logits"])


def load_until_sure(folder: Path, to: Format, entropy_below: float) -> UntilSure:
    """Both networks in their runtime, with as many threads as torch has now. See `ExportedNetwork`."""
    glance, closer = (ExportedNetwork.load(folder / f"{name}{SUFFIXES[to]}") for name in NAMES)
    return UntilSure(glance, closer, entropy_below)


def _both(model: DynamicCapacityNetwork, k: int) -> tuple[SingleCapacityNetwork, DynamicCapacityNetwork]:
    """The network of the first prediction alone, and the whole with k patches, sharing the model's layers."""
    closer = copy.copy(uncompiled(model))
    closer.k = k
    return SingleCapacityNetwork(layers=model.coarse, top=model.top, image_shape=model.image_shape), closer
