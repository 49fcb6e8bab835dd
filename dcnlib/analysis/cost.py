"""What a model costs: multiplications, part by part, counted by torch's own counter while the modules run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.core.budget import Plan
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.policies import FirstLook, Policy, resolve_policy
from dcnlib.core.selection import check_k
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.utils.checks import ImageShape, checked_image_shape
from dcnlib.utils.modules import evaluation_mode, uncompiled


@dataclass(frozen=True)
class Multiplications:
    """Multiplications of convolutions and matrix products for one image; normalisation and pooling are not counted,
    nor the operations that multiply without being such a product (`nn.Bilinear`, distances).

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
    model: nn.Module,
    image_shape: ImageShape | None = None,
    k: int | None = None,
    policy: str | Policy | None = None,
) -> Multiplications:
    """Count the multiplications of `model` on one image of `image_shape` (C, H, W), by default the model's own.

    `k` and `policy` override a Dynamic Capacity Network's. With several scales, what is computed between them on their
    canvas counts too.
    Raises ValueError if no image shape is known, TypeError for a model that can't be taken apart.
    """
    model = uncompiled(model)
    image = _image_of(model, image_shape)
    with evaluation_mode(model):
        return take_apart(model, image, k, policy)


def patch_network(model: nn.Module) -> DynamicCapacityNetwork:
    """The network that chooses patches in a model. Raises TypeError for one that chooses none."""
    model = uncompiled(model)
    network = model.network if isinstance(model, MultiScaleNetwork) else model
    if not isinstance(network, DynamicCapacityNetwork):
        raise TypeError(f"a {type(network).__name__} chooses no patches, of which it could take more or fewer")
    return network


@torch.no_grad()
def count_rounds(
    model: nn.Module,
    rounds: Sequence[int],
    image_shape: ImageShape | None = None,
    *,
    anew: bool = False,
    policy: str | Policy | None = None,
) -> tuple[int, ...]:
    """Multiplications of `adaptive` for an image that is sure at first sight, after the first round, after the next...

    `anew` and `policy` are those of the call.
    Products that are computed and thrown away aren't counted, as in `Multiplications`. Raises TypeError for a model
    that chooses no patches.
    """
    model, network = uncompiled(model), patch_network(model)
    image = _image_of(model, image_shape)
    if isinstance(model, MultiScaleNetwork):
        image = model.pyramid.pack(image)
    with evaluation_mode(model):
        discarded = FirstLook(network, image, network.coarse(image)).passes.discarded
        plans = [Plan(0.0, tuple(rounds[:last]), anew) for last in range(len(rounds) + 1)]
        return tuple(_count(network.follow, image, plan, policy) - plan.max_k * discarded for plan in plans)


@singledispatch
def take_apart(model: nn.Module, image: Tensor, k: int | None, policy: str | Policy | None) -> Multiplications:
    """Count the parts of a model in eval mode on one image (1, C, H, W). `take_apart.register` adds a kind of model."""
    known = sorted(kind.__name__ for kind in take_apart.registry if kind is not object)
    raise TypeError(f"can't take {type(model).__name__} apart: give one of {', '.join(known)}")


@take_apart.register
def _(model: MultiScaleNetwork, image: Tensor, k: int | None, policy: str | Policy | None) -> Multiplications:
    return take_apart(model.network, model.pyramid.pack(image), k, policy)


@take_apart.register
def _(model: SingleCapacityNetwork, image: Tensor, k: int | None, policy: str | Policy | None) -> Multiplications:
    return Multiplications(_count(model.layers, image), _count(model.top, model.layers(image)))


@take_apart.register
def _(model: SoftAttentionNetwork, image: Tensor, k: int | None, policy: str | Policy | None) -> Multiplications:
    layers = _count(model.coarse, image) + _count(model.fine, image)
    return Multiplications(layers, _count(model.top, model.fine(image)), _count(model.scorer, model.coarse(image)))


@take_apart.register(RecurrentAttentionModel)
@take_apart.register(DrawClassifier)
def _(
    model: RecurrentAttentionModel | DrawClassifier, image: Tensor, k: int | None, policy: str | Policy | None
) -> Multiplications:
    classifier = _count(model.classifier, image.new_zeros(1, model.classifier.in_features))
    totals = [classifier, *(_count(model, image, glimpses=number + 1) for number in range(model.glimpses))]
    return Multiplications(0, classifier, glimpses=tuple(after - before for before, after in pairwise(totals)))


@take_apart.register
def _(model: DynamicCapacityNetwork, image: Tensor, k: int | None, policy: str | Policy | None) -> Multiplications:
    k = model.k if k is None else k
    coarse_map = model.coarse(image)
    _, depth, *map_shape = coarse_map.shape
    check_k(k, map_shape[0] * map_shape[1])
    coarse, top = _count(model.coarse, image), _count(model.top, coarse_map)
    if k == 0:
        return Multiplications(coarse, top)
    first = FirstLook(model, image, coarse_map)
    start = _count(FirstLook, model, image, coarse_map)
    choice = _count(resolve_policy(model.policy if policy is None else policy), first)
    # A policy that asks for no prediction only needs what the second pass starts from.
    first_pass = top if first.predicted else start
    per_patch = _count(model.fine, image.new_zeros(1, image.shape[1], *model.geometry.sizes))
    cells = torch.arange(k, device=image.device)[None]
    second_pass = _count(first.passes.refined, cells, image.new_zeros(1, k, depth))
    discarded = k * first.passes.discarded
    saliency = start + choice - first_pass
    return Multiplications(coarse, first_pass, saliency, per_patch, second_pass - discarded, k, discarded)


def _image_of(model: nn.Module, image_shape: ImageShape | None) -> Tensor:
    """One image (1, C, H, W) of a shape, by default the model's own. Raises ValueError if no shape is known."""
    shape = image_shape if image_shape is not None else getattr(model, "image_shape", None)
    if shape is None:
        raise ValueError("the model has no image_shape of its own: give image_shape=(C, H, W)")
    return next(model.parameters()).new_zeros(1, *checked_image_shape(shape))


def _count(function: Callable[..., object], *arguments: object, **options: object) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along

    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which does attention and the layers around it in one step
    try:
        with counter:
            # Per-module counts aren't needed, and the hooks that keep them reject the saliency's autograd.grad.
            counter.mod_tracker.__exit__(None, None, None)
            function(*arguments, **options)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() // 2  # a multiplication and an addition each


# Shapes in, floating-point operations out, of what torch's counter doesn't know.


def _bag_flops(table: torch.Size, indices: torch.Size, *_: object, **__: Any) -> int:
    """A weighted sum of rows of a table."""
    return 2 * indices[0] * table[1]


def _vector_flops(matrix: torch.Size, *_: object, **__: Any) -> int:
    """A matrix times a vector, or a vector times another."""
    return 2 * matrix.numel()


def _added_vector_flops(_added: torch.Size, matrix: torch.Size, *_: object, **__: Any) -> int:
    return 2 * matrix.numel()


def _recurrent_flops(steps: torch.Size, by_input: torch.Size, by_state: torch.Size, *_: object, **__: Any) -> int:
    """One layer, in one direction, of a recurrent network: steps (T, B, C) or (B, T, C), and its two matrices."""
    return 2 * steps[0] * steps[1] * (by_input.numel() + by_state.numel())


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: Any) -> int:
    """Scaled dot products (..., S, E) with (..., T, E), and the sums of values (..., T, V) that they weight."""
    return 2 * query[:-1].numel() * key[-2] * (query[-1] + value[-1])


_FORMULAS = {
    torch.ops.aten._embedding_bag_forward_only: _bag_flops,
    torch.ops.aten.mv: _vector_flops,
    torch.ops.aten.dot: _vector_flops,
    torch.ops.aten.addmv: _added_vector_flops,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
