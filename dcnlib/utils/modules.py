"""Modes of modules, whether they run as their class of torch does, and copies of them without their numbers."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


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


def without_numbers(module: nn.Module) -> nn.Module:
    """A copy of a module on the meta device, in eval mode: it tells shapes, and neither computes nor holds anything.

    Under `torch.device("meta")`, so that what it makes by itself lies there too.
    """
    held = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): _without_numbers(tensor) for tensor in held}).eval()


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


def uncompiled(model: Model) -> Model:
    """The model itself, where torch.compile wraps it. What is set on a copy of the wrapper is set on the model."""
    return getattr(model, "_orig_mod", model)


def runs_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether calling a module does what one of these classes does, so that its attributes say what that is.

    A class that derives from one of them may do more, and so may a module that got a `forward` of its own. One that
    does exactly the same in another way says so: `computes = nn.Conv2d`.
    """
    computes = getattr(module, "computes", None)
    return any(computes is kind or (isinstance(module, kind) and _has_the_methods_of(module, kind)) for kind in kinds)


def is_watched(module: nn.Module) -> bool:
    """Whether a module has hooks, which may see or change what goes in and comes out."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _has_the_methods_of(module: nn.Module, kind: type[nn.Module]) -> bool:
    methods = ("forward", "_conv_forward")
    same = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in methods)
    return same and not any(name in vars(module) for name in methods)


def _without_numbers(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
