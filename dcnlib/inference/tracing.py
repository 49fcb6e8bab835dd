"""A model's look at a batch as one graph of forward operations, with a dynamic batch.

`make_fx` writes down what a call computes, autograd's backward passes too, and so takes any top layers: the saliency's
gradient is in the graph like everything else. `torch.export` then makes a program of it, without what isn't used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn import functional as F

from dcnlib.utils.tracing import Target, tracing_for

# The inputs' dimensions that vary from call to call.
DYNAMIC: dict[str, tuple[str, ...]] = {"images": ("batch",), "coarse_map": ("batch",), "cells": ("batch", "k")}


class Looked(nn.Module):
    """images -> those parts of a model's look that are asked for, in their order."""

    def __init__(self, model: Any, names: Sequence[str], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.names, self.options = model, tuple(names), dict(options)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        look = self.model.attend(images, **self.options)
        return tuple(getattr(look, name) for name in self.names)


class Refined(nn.Module):
    """images, coarse_map, cells (B, k) -> logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, coarse_map: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        return (self.model.refine(images, coarse_map, cells),)


def trace(graph: nn.Module, inputs: Mapping[str, Tensor], target: Target) -> ExportedProgram:
    """The graph as a program of `target`'s operations.

    Of the example of its inputs, whose names are those of `DYNAMIC`, dynamic dimensions must be more than 1, and equal
    only if they have one name.
    """
    fake = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    given = [fake.from_tensor(tensor, symbolic_context=_context(name, tensor)) for name, tensor in inputs.items()]
    with torch.no_grad(), tracing_for(target), fake, enable_python_dispatcher():
        traced = make_fx(graph, FORWARD[target], _allow_non_fake_inputs=True)(*given)
    dims = {name: Dim(name) for name in ("batch", "k")}
    shapes = tuple({at: dims[dim] for at, dim in enumerate(DYNAMIC[name])} for name in inputs)
    with torch.no_grad():
        return torch.export.export(traced, tuple(inputs.values()), dynamic_shapes=shapes)


def _convolution_backward(
    by_output: Tensor,
    given: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor | None, None, None]:
    """The gradient of a convolution by its input is a transposed convolution, and the other way round."""
    if output_mask != [True, False, False]:
        raise ValueError("only the gradient by a convolution's input can be exported, not that by its weights")
    convolve = torch.ops.aten.convolution.default
    if transposed:
        return convolve(by_output, weight, None, stride, padding, dilation, False, [0, 0], groups), None, None
    # All of it, cut to the input's size afterwards: OpenVINO computes output_padding wrongly. And minus times minus:
    # OpenVINO 2026.4 takes one's weights for the other's where a convolution and a transposed one of as many channels
    # in as out share them.
    whole = convolve(-by_output, -weight, None, stride, [0, 0], dilation, True, [0, 0], groups)
    (up, left), (height, width) = padding, given.shape[2:]
    down, right = height + up - whole.shape[2], width + left - whole.shape[3]
    by_input = F.pad(whole, (-left, right, -up, down))
    return by_input, None, None


def _max_pool_backward(by_output: Tensor, given: Tensor, *geometry_and_winner: Any) -> Tensor:
    """The gradient goes where the winners lie; those of overlapping windows add up."""
    winner = geometry_and_winner[-1]
    by_input = by_output.new_zeros(*given.shape[:2], given.shape[2] * given.shape[3])
    return by_input.scatter_add(2, winner.flatten(2), by_output.flatten(2)).view(given.shape)


def _average_pool_backward(
    by_output: Tensor,
    given: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """A transposed convolution with equal weights, channel by channel."""
    if ceil_mode or (any(padding) and not count_include_pad):
        raise ValueError("an average pool with ceil_mode, or that leaves its padding out, has no exported gradient")
    high, wide = kernel
    channels = given.shape[1]
    weight = by_output.new_full((channels, 1, high, wide), 1 / (divisor or high * wide))
    return _convolution_backward(
        by_output, given, weight, None, stride or kernel, padding, [1, 1], False, [0, 0], channels, [True, False, False]
    )[0]  # type: ignore[return-value]


_aten = torch.ops.aten
# Backward passes that ONNX has no operation for; PyTorch's own decompositions know the others.
FORWARD: dict[Target, dict[Any, Any]] = {
    "torch": {},
    "onnx": {
        _aten.convolution_backward.default: _convolution_backward,
        _aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        _aten.adaptive_max_pool2d_backward.default: _max_pool_backward,
        _aten.avg_pool2d_backward.default: _average_pool_backward,
    },
}


def _context(name: str, tensor: Tensor) -> StatelessSymbolicContext:
    varying = len(DYNAMIC[name])
    return StatelessSymbolicContext(
        dynamic_sizes=[DimDynamic.DUCK] * varying + [DimDynamic.STATIC] * (tensor.ndim - varying)
    )
