"""Trained models made fast for inference, with the same weights and, up to rounding, the same answers."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_map

from dcnlib.utils.device import autocast
from dcnlib.utils.modules import is_watched, runs_as

# A convolution of fewer multiplications a call takes less time as one matrix product: the convolution library's fixed
# cost, some 70 microseconds a call on CPUs, is then larger than that of copying the windows out. Tried on two cores.
SMALL_CONVOLUTION = 3_800_000


def compile_for_inference(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that maps images to the logits that `model` gives in eval mode, as fast as we know how.

    `images` (B, C, H, W) is a batch like those to come, on the model's device; each other shape compiles anew at its
    first call. The function keeps weights of its own: the model may change or go. It needs a C++ compiler on CPUs.

    See `prepare_for_inference` and `compile_frozen`.
    """
    return compile_frozen(prepare_for_inference(model, images).forward, images)


@torch.inference_mode(False)  # whose tensors no gradient goes through, as the saliency's does
def prepare_for_inference(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a model in eval mode, ready to compile: each norm folded into its convolution and, on CPUs, small
    convolutions made matrix products. `images` (B, C, H, W) is a batch like those to come."""
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    fold_norms(fast)
    if images.device.type == "cpu":
        multiply_small_convolutions(fast, images)
    return fast.to(memory_format=torch.channels_last)


def compile_frozen(function: Callable[[Tensor], Any], images: Tensor) -> Callable[[Tensor], Any]:
    """The `forward` of a model in eval mode, or another function of one tensor, under torch.compile with the weights
    frozen into the code. On CUDA it runs in bfloat16 autocast, and is replayed as one CUDA graph."""
    from torch._inductor import config as inductor  # takes as long to import as half of torch

    mode = "reduce-overhead" if images.device.type == "cuda" else None

    def call(images: Tensor) -> Any:
        return function(images)

    # A code object of its own: torch.compile keeps what it compiled with the code, and searches all of that at a call.
    call.__code__ = call.__code__.replace()
    compiled = torch.compile(call, dynamic=False, mode=mode)

    @torch.no_grad()
    def predict(images: Tensor) -> Any:
        with autocast(images.device, "auto"):
            result = compiled(images)
        # The next replay of a CUDA graph overwrites what this one returned.
        return tree_map(torch.clone, result) if mode is not None else result

    # The C++ wrapper calls the kernels without Python in between, which single images feel most.
    with inductor.patch(freezing=True, cpp_wrapper=images.device.type == "cpu"):
        predict(images)
    return predict


def fold_norms(model: nn.Module) -> None:
    """Replace each convolution and its batch norm, in sequence, by one convolution (in place, for eval mode).

    Only where that is what runs: in sequences that run in order, and of modules as torch has them, without hooks.
    """
    for sequence in [part for part in model.modules() if isinstance(part, nn.Sequential)]:
        if not runs_as(sequence, nn.Sequential):
            continue
        steps = [(name, part) for name, part in sequence._modules.items() if part is not None]  # repeated ones, too
        for (conv_name, conv), (norm_name, norm) in pairwise(steps):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None:
                continue
            if _is_as_torch_has_it(conv) and _is_as_torch_has_it(norm):
                setattr(sequence, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(sequence, norm_name, nn.Identity())


class MatmulConv2d(nn.Conv2d):
    """A convolution, without dilation or groups, as one product of copied windows: (B, C, H, W) -> (B, F, H', W')."""

    computes = nn.Conv2d

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Self:
        """The same convolution with the same weights."""
        (high, wide), (down, across) = conv.kernel_size, conv.stride
        with torch.device("meta"):
            same = cls(conv.in_channels, conv.out_channels, (high, wide), (down, across))
        same.padding, same.weight, same.bias = conv.padding, conv.weight, conv.bias
        return same

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert not isinstance(self.padding, str)
        (high, wide), (down, across), (rows, columns) = self.kernel_size, self.stride, self.padding
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
        windows = padded.unfold(1, high, down).unfold(2, wide, across)  # (B, H', W', C, high, wide), a view
        copied = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, high * wide * self.in_channels)
        by_column = weight.permute(0, 2, 3, 1).flatten(1)  # (F, high * wide * C)
        return F.linear(copied, by_column, bias).view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


def multiply_small_convolutions(model: nn.Module, images: Tensor) -> None:
    """Make each small convolution of a call of the model a `MatmulConv2d`, in place."""
    small: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def look(conv: nn.Conv2d, _: object, output: Tensor) -> None:
            if output.numel() * conv.weight[0].numel() < SMALL_CONVOLUTION:
                small.append(name)

        return look

    convolutions = {name: part for name, part in model.named_modules() if _is_plain(part)}
    hooks = [part.register_forward_hook(note(name)) for name, part in convolutions.items()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for name in small:
        model.set_submodule(name, MatmulConv2d.of(convolutions[name]))


def _is_plain(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    if not isinstance(part, nn.Conv2d) or not _is_as_torch_has_it(part) or isinstance(part.padding, str):
        return False
    return part.dilation == (1, 1) and part.groups == 1 and part.padding_mode == "zeros"


def _is_as_torch_has_it(part: nn.Conv2d | nn.BatchNorm2d) -> bool:
    """Whether it does what its weights say: no class of one's own, and no hook that makes them anew at each call."""
    as_torch_has_it = type(part) in (nn.Conv2d, nn.BatchNorm2d) and runs_as(part, nn.Conv2d, nn.BatchNorm2d)
    return as_torch_has_it and not is_watched(part)
