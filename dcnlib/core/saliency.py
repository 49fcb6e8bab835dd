"""The entropy of the coarse prediction, and its gradient at each cell of the coarse map (section 3.1)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.utils.checks import check_labels
from dcnlib.utils.modules import evaluation_mode


def entropy(logits: Tensor) -> Tensor:
    """H = -sum_l o[l] log o[l] of the softmax of class scores, in nats (section 3.1).

    logits (B, L) or, for P positions of a sequence, (B, P, L) -> (B,), summed over positions. At least float32.
    """
    if logits.ndim not in (2, 3):
        raise ValueError(f"logits must have shape (B, L) or (B, P, L), got {tuple(logits.shape)}")
    o, log_o = probabilities(_at_least_float32(logits))
    per_position = -(o * log_o).sum(-1)
    return per_position if logits.ndim == 2 else per_position.sum(1)


def probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """o and log o of class scores (..., L). For a score of -infinity both are 0, since o log o tends to 0 with o."""
    log_o = F.log_softmax(logits, dim=-1)
    return log_o.exp(), log_o.masked_fill(log_o == -math.inf, 0)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log o[label] in nats, the mean over images: what training minimises (section 3.2).

    logits (B, L), labels (B,) or, for P positions of a sequence, (B, P, L) and (B, P), summed over positions like the
    entropy. Raises TypeError or ValueError for labels of another type or shape.
    """
    check_labels(labels, logits.shape[:-1])
    positions = labels[0].numel()
    return positions * F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def attention_pass(top: nn.Module, coarse_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse prediction, its entropy, and each cell's saliency M_ij = || dH / dc_ij ||_2 (section 3.1).

    coarse_map (B, D, s1, s2) -> coarse_logits (B, L), entropy (B,) in nats, saliency (B, s1, s2). See `gradient_pass`.
    """
    return gradient_pass(top, coarse_map, entropy)


def gradient_pass(
    top: nn.Module, coarse_map: Tensor, value: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse prediction, a value of it, and || dv / dc_ij ||_2 in each cell, where v is the value of the cell's image.

    coarse_map (B, D, s1, s2); value: class scores, at least float32, -> (B,) or, by position, (B, P), which counts as
    the sum -> coarse_logits (B, L), values, norms over the D channels (B, s1, s2).

    The pass runs on running statistics and never updates them, in training too, so that no image's gradient depends
    on its batch mates. It needs a backward pass through the top layers only, and works inside `torch.no_grad()` and
    `torch.inference_mode()`; the top layers must be made outside the latter, and ValueError is raised if they weren't.
    No gradient flows from its results.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(top):
        c = coarse_map.detach()
        if c.is_inference():  # which autograd doesn't keep
            c = c.clone()
        try:
            # Of a copy, since layers that work in place may not write into c.
            coarse_logits = top(c.requires_grad_().clone())
            values = value(_at_least_float32(coarse_logits))
            (gradient,) = torch.autograd.grad(values.sum(), c)
        except RuntimeError as error:
            if any(tensor.is_inference() for tensor in (*top.parameters(), *top.buffers())):
                raise ValueError(
                    "the top layers were made inside torch.inference_mode(), and no gradient goes through such layers: "
                    "make the network outside it"
                ) from error
            raise
    norms = gradient.to(values.dtype).norm(dim=1)
    return coarse_logits.detach(), values.detach(), norms


def saliency_map(top: nn.Module, coarse_map: Tensor) -> Tensor:
    """M_ij = || dH / dc_ij ||_2, L2 over the D channels: (B, D, s1, s2) -> (B, s1, s2). See `attention_pass`."""
    return attention_pass(top, coarse_map)[2]


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
