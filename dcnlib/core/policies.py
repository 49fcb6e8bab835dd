"""Where to look: a score for each cell of the coarse map, by the paper's rule or by others (section 3.1)."""

import inspect
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.core.geometry import Geometry
from dcnlib.core.passes import Passes, passes_through
from dcnlib.core.saliency import gradient_pass


class FirstLook:
    """What is known of a batch before any patch is chosen. The coarse prediction is made once, when it is asked for."""

    def __init__(self, model: nn.Module, images: Tensor, coarse_map: Tensor, passes: Passes | None = None) -> None:
        self.model = model  # for policies that use parts of its own, such as learned scores
        self.images = images  # x  (B, C, H, W)
        self.coarse_map = coarse_map  # c  (B, D, s1, s2)
        self.top = model.get_submodule("top")
        # Now, while gradients are as the caller wants them.
        self.passes = passes_through(self.top, coarse_map) if passes is None else passes

    @property
    def coarse_logits(self) -> Tensor:
        """o_c (B, L) or (B, P, L), before the softmax."""
        return self.passes.attention()[0]

    @property
    def entropy(self) -> Tensor:
        """H (B,) in nats."""
        return self.passes.attention()[1]

    @property
    def saliency(self) -> Tensor:
        """M (B, s1, s2), the norm of the entropy's gradient in each cell."""
        return self.passes.attention()[2]

    @property
    def predicted(self) -> bool:
        """Whether anyone has asked for the coarse prediction yet, its entropy or the saliency."""
        return self.passes.predicted

    def after(self, images: Tensor, passes: Passes) -> "FirstLook":
        """The look at what is known of some of the images, by index, once some of their cells are refined."""
        return FirstLook(self.model, self.images[images], passes.coarse_map, passes)


# From the first look at a batch, a policy gives each cell a score (B, s1, s2); the k cells of highest score are looked
# at more closely.
Policy = Callable[[FirstLook], Tensor]


def entropy_gradient(first: FirstLook) -> Tensor:
    """The paper's policy: where would more detail change the model's mind?"""
    return first.saliency


def random_cells(first: FirstLook) -> Tensor:
    """Control: cells without replacement, from torch's global generator."""
    return torch.rand(_map_size(first.coarse_map), device=first.coarse_map.device)


def center_cells(first: FirstLook) -> Tensor:
    """Control: the cells nearest to the middle of the map, the same for every image."""
    batch, rows, columns = _map_size(first.coarse_map)
    i = torch.arange(rows, device=first.coarse_map.device) - (rows - 1) / 2
    j = torch.arange(columns, device=first.coarse_map.device) - (columns - 1) / 2
    return -(i[:, None] ** 2 + j[None, :] ** 2).expand(batch, rows, columns)


def coarse_norm(first: FirstLook) -> Tensor:
    """Control: the L2 norm of each coarse vector, that is, where anything at all is seen."""
    return first.coarse_map.detach().float().norm(dim=1)


def class_score_gradient(first: FirstLook) -> Tensor:
    """Control: where would more detail change the score of the class that the coarse prediction favours?

    The score is the logit, before the softmax; that of a sequence is the sum over its positions.
    """
    return gradient_pass(first.top, first.coarse_map, lambda scores: scores.max(dim=-1).values)[2]


POLICIES: dict[str, Policy] = {
    "entropy-gradient": entropy_gradient,
    "random": random_cells,
    "center": center_cells,
    "coarse-norm": coarse_norm,
    "class-score-gradient": class_score_gradient,
}


def resolve_policy(policy: str | Policy) -> Policy:
    """A policy by name, or the callable itself. Raises ValueError for an unknown name.

    One of (model, images, coarse_map), as policies were, still works for one release, with a warning.
    """
    if isinstance(policy, str) and policy in POLICIES:
        return POLICIES[policy]
    if not callable(policy):
        raise ValueError(f"policy must be one of {', '.join(POLICIES)} or a callable, got {policy!r}")
    return policy if _takes(policy, 1) or not _takes(policy, 3) else _OldPolicy(policy)


class _OldPolicy(nn.Module):
    """A policy of (model, images, coarse_map) as one of the first look; a module, since the old one may be one."""

    def __init__(self, policy: Callable[..., Tensor]) -> None:
        super().__init__()
        self.policy = policy
        warnings.warn(
            "a policy takes the first look at a batch, not model, images and coarse map: def policy(first), with "
            "first.images, first.coarse_map, first.coarse_logits, first.entropy, first.saliency and first.top",
            DeprecationWarning,
            stacklevel=4,
        )

    def forward(self, first: FirstLook) -> Tensor:
        return self.policy(first.model, first.images, first.coarse_map)


def _takes(policy: Callable[..., Tensor], count: int) -> bool:
    """Whether a callable takes so many arguments."""
    try:
        inspect.signature(policy.forward if isinstance(policy, nn.Module) else policy).bind(*range(count))
    except (TypeError, ValueError):  # it doesn't, or has no signature
        return False
    return True


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
    high, wide = geometry.sizes
    return (shared_pixels(patches, boxes) - off_center / (off_center.max() + 1)) / (high * wide)


def shared_pixels(boxes: Tensor, others: Tensor) -> Tensor:
    """How many pixels boxes (..., 4) of top, left, bottom, right, the last two excluded, have in common: (...)."""
    sides = torch.minimum(boxes, others)[..., 2:] - torch.maximum(boxes, others)[..., :2]
    return sides.clamp(min=0).prod(dim=-1)


def _map_size(coarse_map: Tensor) -> tuple[int, int, int]:
    batch, _, rows, columns = coarse_map.shape
    return batch, rows, columns
