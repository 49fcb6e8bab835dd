"""What a model costs: multiplications, part by part, counted by torch's own counter while the modules run."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.passes import passes_through
from dcnlib.core.policies import entropy_gradient
from dcnlib.core.selection import check_k
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.utils.checks import ImageShape
from dcnlib.utils.modules import evaluation_mode


@dataclass(frozen=True)
class Multiplications:
    """Multiplications of convolutions and matrix products for one image; normalisation and pooling are not counted.

    layers: the bottom layers on the whole image (coarse ones in a DCN, both in soft attention). top: the first pass
    through the top layers.
    A DCN adds saliency (what the policy needs beyond that pass; soft attention its scores), fine_per_patch for each of
    k patches, and the second pass through the top layers. discarded, not in the total, are products that the second
    pass's quick form computes and throws away, for the sake of one large matrix product.
    RAM and DRAW have glimpses instead of layers: what each step costs, choosing where to look included. Their top is
    the classifier.
    """

    layers: int
    top: int
    saliency: int = 0
    fine_per_patch: int = 0
    second_pass: int = 0
    k: int = 0
    discarded: int = 0
    glimpses: tuple[int, ...] = ()

    @property
    def fine(self) -> int:
        return self.k * self.fine_per_patch

    @property
    def total(self) -> int:
        return self.layers + self.top + self.saliency + self.fine + self.second_pass + sum(self.glimpses)


@torch.no_grad()
def count_multiplications(
    model: nn.Module, image_shape: ImageShape | None = None, k: int | None = None
) -> Multiplications:
    """Count the multiplications of `model` on one image of `image_shape` (C, H, W), by default the model's own.

    `k` overrides a Dynamic Capacity Network's number of patches. With several scales, what is computed between them on
    their canvas counts too.
    Raises ValueError if no image shape is known, TypeError for a model that can't be taken apart.
    """
    shape = image_shape if image_shape is not None else getattr(model, "image_shape", None)
    if shape is None:
        raise ValueError("the model has no image_shape of its own: give image_shape=(C, H, W)")
    image = next(model.parameters()).new_zeros(1, *shape)
    if isinstance(model, MultiScaleNetwork):
        canvas = model.pyramid.pack(image)
        return count_multiplications(model.network, (canvas.shape[1], canvas.shape[2], canvas.shape[3]), k)
    with evaluation_mode(model):
        if isinstance(model, SingleCapacityNetwork):
            feature_map = model.layers(image)
            return Multiplications(_count(model.layers, image), _count(model.top, feature_map))
        if isinstance(model, SoftAttentionNetwork):
            coarse_map, fine_map = model.coarse(image), model.fine(image)
            scoring = _count(model.scorer, coarse_map)
            return Multiplications(
                _count(model.coarse, image) + _count(model.fine, image), _count(model.top, fine_map), scoring
            )
        if isinstance(model, DynamicCapacityNetwork):
            return _count_dcn(model, image, model.k if k is None else k)
        if isinstance(model, RecurrentAttentionModel | DrawClassifier):
            return _count_glimpses(model, image)
    raise TypeError(
        f"can't take {type(model).__name__} apart: give a SingleCapacityNetwork, a DynamicCapacityNetwork, a "
        "RecurrentAttentionModel, a DrawClassifier or a SoftAttentionNetwork"
    )


def _count_glimpses(model: RecurrentAttentionModel | DrawClassifier, image: torch.Tensor) -> Multiplications:
    classifier = _count(model.classifier, image.new_zeros(1, model.classifier.in_features))
    totals = [classifier, *(_count(model, image, glimpses=number + 1) for number in range(model.glimpses))]
    return Multiplications(0, classifier, glimpses=tuple(after - before for before, after in pairwise(totals)))


def _count_dcn(model: DynamicCapacityNetwork, image: torch.Tensor, k: int) -> Multiplications:
    coarse_map = model.coarse(image)
    _, depth, *map_shape = coarse_map.shape
    check_k(k, map_shape[0] * map_shape[1])
    coarse, top = _count(model.coarse, image), _count(model.top, coarse_map)
    if k == 0:
        return Multiplications(coarse, top)
    passes = passes_through(model.top, coarse_map)
    start = _count(passes_through, model.top, coarse_map)
    if model.policy is entropy_gradient:
        first_pass, policy = top, start + _count(passes.attention) - top
    else:  # any other policy only needs what the second pass starts from
        first_pass, policy = start, _count(model.policy, model, image, coarse_map)
    size = model.geometry.size
    per_patch = _count(model.fine, image.new_zeros(1, image.shape[1], size, size))
    cells = torch.arange(k, device=image.device)[None]
    second_pass = _count(passes.refined, cells, image.new_zeros(1, k, depth))
    discarded = k * passes.discarded
    return Multiplications(coarse, first_pass, policy, per_patch, second_pass - discarded, k, discarded)


def _count(function: Callable[..., object], *arguments: object, **options: object) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._embedding_bag_forward_only: _bag_flops})
    with counter:
        # Per-module counts aren't needed, and the hooks that keep them reject the saliency's autograd.grad.
        counter.mod_tracker.__exit__(None, None, None)
        function(*arguments, **options)
    return counter.get_total_flops() // 2  # a multiplication and an addition each


def _bag_flops(table: torch.Size, indices: torch.Size, *_: object, **__: Any) -> int:
    """Of a weighted sum of rows of a table, which torch's counter doesn't know."""
    return 2 * indices[0] * table[1]
