"""What a model costs: multiplications, part by part, counted by torch's own counter while the modules run."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dcnlib.attention import check_k, entropy_gradient, evaluation_mode
from dcnlib.dcn import DynamicCapacityNetwork, ImageShape, SingleCapacityNetwork


@dataclass(frozen=True)
class Multiplications:
    """Multiplications of convolutions and matrix products for one image; normalisation and pooling are not counted.

    layers: the bottom layers on the whole image (coarse ones in a DCN). top: the first pass through the top layers.
    A DCN adds saliency (what the policy needs beyond that pass), fine_per_patch for each of k patches, and the second
    pass through the top layers.
    """

    layers: int
    top: int
    saliency: int = 0
    fine_per_patch: int = 0
    second_pass: int = 0
    k: int = 0

    @property
    def fine(self) -> int:
        return self.k * self.fine_per_patch

    @property
    def total(self) -> int:
        return self.layers + self.top + self.saliency + self.fine + self.second_pass


@torch.no_grad()
def count_multiplications(
    model: nn.Module, image_shape: ImageShape | None = None, k: int | None = None
) -> Multiplications:
    """Count the multiplications of `model` on one image of `image_shape` (C, H, W), by default the model's own.

    `k` overrides a Dynamic Capacity Network's number of patches.
    Raises ValueError if no image shape is known, TypeError for a model that can't be taken apart.
    """
    shape = image_shape if image_shape is not None else getattr(model, "image_shape", None)
    if shape is None:
        raise ValueError("the model has no image_shape of its own: give image_shape=(C, H, W)")
    image = next(model.parameters()).new_zeros(1, *shape)
    with evaluation_mode(model):
        if isinstance(model, SingleCapacityNetwork):
            feature_map = model.layers(image)
            return Multiplications(_count(model.layers, image), _count(model.top, feature_map))
        if isinstance(model, DynamicCapacityNetwork):
            return _count_dcn(model, image, model.k if k is None else k)
    raise TypeError(
        f"can't take {type(model).__name__} apart: give a SingleCapacityNetwork or a DynamicCapacityNetwork"
    )


def _count_dcn(model: DynamicCapacityNetwork, image: torch.Tensor, k: int) -> Multiplications:
    coarse_map = model.coarse(image)
    check_k(k, coarse_map.shape[2] * coarse_map.shape[3])
    coarse, top = _count(model.coarse, image), _count(model.top, coarse_map)
    if k == 0:
        return Multiplications(coarse, top)
    policy = _count(model.policy, model, image, coarse_map)
    # Only the entropy gradient's policy runs the top layers on the coarse map before the second pass.
    first_pass = top if model.policy is entropy_gradient else 0
    size = model.geometry.size
    per_patch = _count(model.fine, image.new_zeros(1, image.shape[1], size, size))
    return Multiplications(coarse, first_pass, policy - first_pass, per_patch, top, k)


def _count(function: object, *arguments: object) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        # Per-module counts aren't needed, and the hooks that keep them reject the saliency's autograd.grad.
        counter.mod_tracker.__exit__(None, None, None)
        function(*arguments)  # type: ignore[operator]
    return counter.get_total_flops() // 2  # a multiplication and an addition each
