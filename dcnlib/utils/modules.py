"""Modes of modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode and give every submodule its own mode back afterwards."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def frozen_parts(model: nn.Module) -> set[nn.Module]:
    """The parts of a model that its owner put in eval mode for good, so that training must leave them there.

    In a model in training mode that is every part in eval mode. One that is in eval mode as a whole, as trained models
    are, says less: of it, those parts whose parameters are all frozen too.
    """
    evaluating = [part for part in model.modules() if not part.training]
    if model.training:
        return set(evaluating)
    frozen = [part for part in evaluating if _is_frozen(part)]
    return {inner for part in frozen for inner in part.modules() if not inner.training}


def train_keeping_frozen(model: nn.Module) -> None:
    """Put a model in training mode, but for its `frozen_parts`."""
    frozen = frozen_parts(model)
    model.train()
    for part in frozen:
        part.training = False


def uncompiled(model: nn.Module) -> nn.Module:
    """The model itself, where torch.compile wraps it."""
    return getattr(model, "_orig_mod", model)


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
