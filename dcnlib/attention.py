"""Where to look: the entropy of the coarse prediction, its gradient, and the selection of patches (section 3.1)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.checks import check_labels
from dcnlib.patches import Geometry

# From a model with top layers `.top`, images (B, C, H, W) and their coarse map (B, D, s1, s2), a policy gives each cell
# a score (B, s1, s2); the k cells of highest score are looked at.
Policy = Callable[[nn.Module, Tensor, Tensor], Tensor]


def entropy(logits: Tensor) -> Tensor:
    """H = -sum_l o[l] log o[l] of the softmax of class scores, in nats (section 3.1).

    logits (B, L) or, for P positions of a sequence, (B, P, L) -> (B,), summed over positions. At least float32.
    """
    if logits.ndim not in (2, 3):
        raise ValueError(f"logits must have shape (B, L) or (B, P, L), got {tuple(logits.shape)}")
    log_o = F.log_softmax(_at_least_float32(logits), dim=-1)
    per_position = -(log_o.exp() * log_o).sum(-1)
    return per_position if logits.ndim == 2 else per_position.sum(1)


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
    `torch.inference_mode()`. No gradient flows from its results.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(top):
        c = coarse_map.detach().clone().requires_grad_()
        coarse_logits = top(c)
        values = value(_at_least_float32(coarse_logits))
        (gradient,) = torch.autograd.grad(values.sum(), c)
    norms = gradient.to(values.dtype).norm(dim=1)
    return coarse_logits.detach(), values.detach(), norms


def saliency_map(top: nn.Module, coarse_map: Tensor) -> Tensor:
    """M_ij = || dH / dc_ij ||_2, L2 over the D channels: (B, D, s1, s2) -> (B, s1, s2). See `attention_pass`."""
    return attention_pass(top, coarse_map)[2]


def select_patches(scores: Tensor, k: int) -> Tensor:
    """The k cells of highest score: (B, s1, s2) -> (B, k) flat indices i * s2 + j, highest first.

    The order is stable: ties go to the lower index. Raises ValueError unless k is 0..s1 * s2.
    """
    flat = scores.flatten(1)
    check_k(k, cells := flat.shape[1])
    if flat.dtype != torch.float32:
        return flat.sort(dim=1, descending=True, stable=True).indices[:, :k]
    # Much faster: the k largest of whole numbers that hold the score's bits (in an order-preserving form, where -0 is 0
    # and NaN the largest) and, below them, the index counted from the end.
    bits = flat.view(torch.int32)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bits = torch.where(flat == 0, 0, torch.where(flat.isnan(), 0x7FFFFFFF, bits))
    from_end = cells - 1 - torch.arange(cells, device=flat.device)
    return cells - 1 - (((bits.long() << 32) | from_end).topk(k, dim=1).values & 0xFFFFFFFF)


def check_k(k: int, cells: int | None = None) -> None:
    """Raise TypeError or ValueError unless k is a whole number from 0 to the number of cells (if that is known)."""
    if not isinstance(k, int) or isinstance(k, bool):
        raise TypeError(f"k, the number of patches, must be an int, got {k!r}")
    if k < 0 or (cells is not None and k > cells):
        raise ValueError(f"k, the number of patches, must be 0..{'cells' if cells is None else cells}, got {k}")


def entropy_gradient(model: nn.Module, images: Tensor, coarse_map: Tensor) -> Tensor:
    """The paper's policy: where would more detail change the model's mind?"""
    return saliency_map(model.get_submodule("top"), coarse_map)


def random_cells(model: nn.Module, images: Tensor, coarse_map: Tensor) -> Tensor:
    """Control: cells without replacement, from torch's global generator."""
    return torch.rand(_map_size(coarse_map), device=coarse_map.device)


def center_cells(model: nn.Module, images: Tensor, coarse_map: Tensor) -> Tensor:
    """Control: the cells nearest to the middle of the map, the same for every image."""
    batch, rows, columns = _map_size(coarse_map)
    i = torch.arange(rows, device=coarse_map.device) - (rows - 1) / 2
    j = torch.arange(columns, device=coarse_map.device) - (columns - 1) / 2
    return -(i[:, None] ** 2 + j[None, :] ** 2).expand(batch, rows, columns)


def coarse_norm(model: nn.Module, images: Tensor, coarse_map: Tensor) -> Tensor:
    """Control: the L2 norm of each coarse vector, that is, where anything at all is seen."""
    return coarse_map.detach().float().norm(dim=1)


def class_score_gradient(model: nn.Module, images: Tensor, coarse_map: Tensor) -> Tensor:
    """Control: where would more detail change the score of the class that the coarse prediction favours?

    The score is the logit, before the softmax; that of a sequence is the sum over its positions.
    """
    return gradient_pass(model.get_submodule("top"), coarse_map, lambda scores: scores.max(dim=-1).values)[2]


POLICIES: dict[str, Policy] = {
    "entropy-gradient": entropy_gradient,
    "random": random_cells,
    "center": center_cells,
    "coarse-norm": coarse_norm,
    "class-score-gradient": class_score_gradient,
}


def resolve_policy(policy: str | Policy) -> Policy:
    """A policy by name, or the callable itself. Raises ValueError for an unknown name."""
    if callable(policy):
        return policy
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)} or a callable, got {policy!r}")
    return POLICIES[policy]


def label_loss_gradient(model: nn.Module, coarse_map: Tensor, labels: Tensor) -> Tensor:
    """Control that knows the answer: where would more detail change the cross-entropy of the true label?

    labels (B,) or, for P positions of a sequence, (B, P), whose losses are summed -> (B, s1, s2). `select_patches`
    makes cells of it, and `dcn(images, cells=...)` looks there.
    """

    def loss(scores: Tensor) -> Tensor:
        # Autograd doesn't keep tensors made in inference mode, as these labels may be, but it keeps copies.
        return F.cross_entropy(scores.movedim(-1, 1), labels.clone(), reduction="none")

    return gradient_pass(model.get_submodule("top"), coarse_map, loss)[2]


def oracle_scores(boxes: Tensor, geometry: Geometry, map_shape: tuple[int, int]) -> Tensor:
    """Control that knows the answer: the share of each cell's patch in the image's box, ties to the box's middle.

    boxes (B, 4) top, left, bottom, right in pixels -> (B, s1, s2). `select_patches` makes cells of it, and
    `dcn(images, cells=...)` looks there.
    """
    rows, columns = map_shape
    cells = torch.arange(rows * columns, device=boxes.device).unflatten(0, map_shape)
    patches = geometry.boxes(cells, columns)  # (s1, s2, 4)
    boxes = boxes[:, None, None, :]
    off_center = (patches[..., :2] + patches[..., 2:] - boxes[..., :2] - boxes[..., 2:]).float().norm(dim=-1)
    # The distance only breaks ties: its term stays below the value of one pixel of overlap.
    return (shared_pixels(patches, boxes) - off_center / (off_center.max() + 1)) / geometry.size**2


def shared_pixels(boxes: Tensor, others: Tensor) -> Tensor:
    """How many pixels boxes (..., 4) of top, left, bottom, right, the last two excluded, have in common: (...)."""
    sides = torch.minimum(boxes, others)[..., 2:] - torch.maximum(boxes, others)[..., :2]
    return sides.clamp(min=0).prod(dim=-1)


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


def _map_size(coarse_map: Tensor) -> tuple[int, int, int]:
    batch, _, rows, columns = coarse_map.shape
    return batch, rows, columns


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
