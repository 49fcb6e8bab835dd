"""One image, looked at with every number of patches or with chosen ones; and the images where a look changes most."""

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dcnlib.core.dcn import Attention, DynamicCapacityNetwork
from dcnlib.core.patches import gather_cells
from dcnlib.core.policies import Policy, resolve_policy
from dcnlib.core.saliency import entropy
from dcnlib.training.evaluation import Data
from dcnlib.utils.modules import uncompiled

MOST_PATCHES = 32
PAPERS_POLICY = "entropy-gradient"
Answer = int | tuple[int, ...]  # a class, or of a sequence one for each position


@dataclass(frozen=True)
class Look:
    """What one look at one image gave: k patches in the order in which they were chosen, L classes, entropy in nats.

    Of a sequence of P positions, probabilities are (P, L), and entropies are summed over positions.
    """

    cells: Tensor  # (k,) flat index i * s2 + j
    boxes: Tensor  # (k, 4) top, left, bottom, right in pixels
    saliency: Tensor  # (s1, s2), the entropy gradient's norm, whichever policy chose
    distances: Tensor  # (k,) || c_ij - f_f(x_ij) ||_2 of the coarse and the fine vector in each chosen cell
    before: Tensor  # (L,) or (P, L) probabilities of the coarse prediction
    after: Tensor  # those of the refined prediction
    entropy_before: float
    entropy_after: float

    @property
    def k(self) -> int:
        return len(self.cells)

    @property
    def answer_before(self) -> Answer:
        return answer_of(self.before.argmax(-1))

    @property
    def answer(self) -> Answer:
        return answer_of(self.after.argmax(-1))


def answer_of(labels: Tensor) -> Answer:
    """A label () or the labels (P,) of a sequence as plain numbers."""
    found = labels.tolist()
    return tuple(found) if isinstance(found, list) else found


def chance_of(answer: Answer, probabilities: Tensor) -> float:
    """The probability of an answer, by probabilities (L,) or (P, L): of a sequence the product over positions."""
    return float(probabilities.gather(-1, torch.tensor(answer)[..., None]).prod())


@torch.no_grad()
def looks(dcn: DynamicCapacityNetwork, image: Tensor, *, policy: str | Policy = PAPERS_POLICY) -> list[Look]:
    """What `dcn` sees in an image (C, H, W) with 0, 1, ..., MOST_PATCHES patches (or all cells, if there are fewer).

    A policy's first k cells are the same for every larger k.
    """
    cells = dcn.attend(image[None], k=0).saliency.numel()
    most = dcn.attend(image[None], k=min(MOST_PATCHES, cells), policy=policy)
    logits = dcn.sweep(image[None], range(most.cells.shape[1] + 1), cells=most.cells)
    return [_look(most, k, logits[k]) for k in logits]


@torch.no_grad()
def look_at_cells(dcn: DynamicCapacityNetwork, image: Tensor, cells: Tensor) -> Look:
    """What `dcn` sees in an image (C, H, W) with the patches of given flat cells (k,)."""
    attention = dcn.attend(image[None], cells=cells[None])
    return _look(attention, len(cells), attention.logits)


def with_policy(dcn: DynamicCapacityNetwork, policy: str | Policy) -> DynamicCapacityNetwork:
    """The same network, sharing its layers, with another policy, as it was asked for before this release."""
    warnings.warn(
        "with_policy(dcn, policy)(images) is now dcn(images, policy=policy)", DeprecationWarning, stacklevel=2
    )
    dcn = uncompiled(dcn)
    looker = copy.copy(dcn)
    looker._modules = {name: module for name, module in dcn._modules.items() if name != "policy"}
    looker.policy = resolve_policy(policy)
    return looker


def _look(attention: Attention, k: int, logits: Tensor) -> Look:
    """The look with the first k cells of `attention` (of one image), whose refined prediction is `logits` (1, L)."""
    cells = attention.cells[:, :k]
    coarse_vectors = gather_cells(attention.coarse_map, cells)
    return Look(
        cells=cells[0],
        boxes=attention.boxes[0, :k],
        saliency=attention.saliency[0],
        distances=(coarse_vectors - attention.fine_vectors[:, :k])[0].norm(dim=-1),
        before=attention.coarse_logits[0].softmax(-1),
        after=logits[0].softmax(-1),
        entropy_before=attention.entropy.item(),
        entropy_after=entropy(logits).item(),
    )


@dataclass(frozen=True)
class Changes:
    """What k patches changed in a model's answers to N images: classes (N,) or (N, P), and entropies (N,) in nats."""

    k: int
    labels: Tensor
    before: Tensor
    after: Tensor
    entropy_before: Tensor
    entropy_after: Tensor

    def groups(self, most: int = 6) -> dict[str, list[int]]:
        """Up to `most` images of each kind, by number; where the answer changed sides, the lowest numbers."""
        was_right, is_right = (
            (told == self.labels).reshape(len(self.labels), -1).all(1) for told in (self.before, self.after)
        )
        rise = self.entropy_after - self.entropy_before
        order = rise.argsort(stable=True)
        falling, rising = order[rise[order] < 0], order.flip(0)[rise[order.flip(0)] > 0]
        return {
            "wrong before, right after": (~was_right & is_right).nonzero().flatten()[:most].tolist(),
            "right before, wrong after": (was_right & ~is_right).nonzero().flatten()[:most].tolist(),
            "entropy falls most": falling[:most].tolist(),
            "entropy rises most": rising[:most].tolist(),
        }


@torch.no_grad()
def find_changes(dcn: DynamicCapacityNetwork, data: Data, *, k: int = 8, batch_size: int = 50) -> Changes:
    """Compare the coarse and the refined prediction of `dcn`, with its own policy, on all of `data`."""
    columns = []
    for indices in np.split(np.arange(len(data)), range(batch_size, len(data), batch_size)):
        images, labels = data[indices]
        look = dcn.attend(images, k=k)
        answers = look.coarse_logits.argmax(-1), look.logits.argmax(-1)
        columns.append((labels, *answers, look.entropy, entropy(look.logits)))
    return Changes(k, *(torch.cat(column) for column in zip(*columns, strict=True)))
