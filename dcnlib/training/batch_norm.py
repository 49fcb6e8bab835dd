"""Batch normalisation over the whole batch, where each of several processes sees a share of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from dcnlib.training.processes import Processes


@contextmanager
def synchronised(model: nn.Module, processes: Processes) -> Iterator[None]:
    """Let batch norm in training mode take its statistics over all processes, so that their number changes no result.

    `torch.nn.SyncBatchNorm` does so on GPUs only, and not in a model that is to stay what it is.
    """
    norms = [
        part for part in model.modules() if isinstance(part, _BatchNorm) and not isinstance(part, nn.SyncBatchNorm)
    ]
    norms = norms if processes.several else []
    for norm in norms:
        norm.forward = partial(_forward, norm, processes)  # type: ignore[method-assign]
        norm.computes = type(norm)  # type: ignore[assignment]  # see `runs_as`
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward, norm.computes


def _forward(norm: _BatchNorm, processes: Processes, images: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, images)
    x = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    others = [d for d in range(x.ndim) if d != 1]
    variance, mean = torch.var_mean(x, others, correction=0)
    # Each process fills its own row, and the sum of all is the table: (processes, [count, means, variances]).
    count = mean.new_full((1,), x.numel() / x.shape[1])
    table = nn.functional.pad(
        torch.cat([count, mean, variance])[None], (0, 0, processes.rank, processes.count - processes.rank - 1)
    )
    counts, means, variances = _Sum.apply(table).split([1, len(mean), len(mean)], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
    if norm.track_running_stats:
        _update(norm, mean.detach(), variance.detach() * total / (total - 1))
    shape = [1, -1, *[1] * (x.ndim - 2)]
    out = (x - mean.view(shape)) * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(images.dtype)


@torch.no_grad()
def _update(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Running statistics, as torch keeps them: of the unbiased variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), torch.as_tensor(share, device=mean.device).to(mean))
    norm.running_var.lerp_(variance.to(norm.running_var), torch.as_tensor(share, device=mean.device).to(mean))


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of what all of them ask for."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
