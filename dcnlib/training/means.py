"""Running means of a model's weights, which often answer better than the weights of any one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dcnlib.utils.weights import plain_name

Weights = dict[str, Tensor]


@torch.no_grad()
def update_means(means: Weights, model: nn.Module, decay: float, step: int) -> None:
    """Take a model's weights after training step number `step`, from 1, into their running means.

    mean = d * mean + (1 - d) * weights. d is `decay`, and less in the first steps, (step - 1) / step, which makes a
    plain mean of all steps until there are 1 / (1 - decay) of them, so that the initial weights leave no trace.
    Statistics of batch norm are averaged like weights; whole numbers, such as counts of steps, are the model's own.
    Means of half precision's weights are kept in float32: a step's share would be lost in half precision's rounding.
    """
    d = min(decay, (step - 1) / step)
    for name, weights in model.state_dict().items():
        mean = means[plain_name(name)]
        if weights.is_floating_point():
            mean.lerp_(weights.to(mean), 1 - d)
        else:
            mean.copy_(weights)


@contextmanager
def in_place_of_weights(means: Weights, model: nn.Module) -> Iterator[None]:
    """Let a model answer with the means, if there are any, and give it its own weights back afterwards."""
    if not means:
        yield
        return
    own = {name: weights.clone() for name, weights in model.state_dict().items()}
    kept = as_weights(means, model)
    model.load_state_dict({name: kept[plain_name(name)] for name in own})
    try:
        yield
    finally:
        model.load_state_dict(own)


def first_means(model: nn.Module) -> Weights:
    """Where means begin: a copy of a model's weights, on its device, in float32 at least, under their plain names."""
    return {plain_name(name): _precise(weights.detach()).clone() for name, weights in model.state_dict().items()}


def as_weights(means: Weights, model: nn.Module) -> Weights:
    """Means in the precision of the weights whose place they take. Raises KeyError for means of another model."""
    own = {plain_name(name): weights for name, weights in model.state_dict().items()}
    return {name: mean.to(own[name].dtype) for name, mean in means.items()}


def _precise(weights: Tensor) -> Tensor:
    return weights.to(torch.promote_types(weights.dtype, torch.float32)) if weights.is_floating_point() else weights
