"""Looking until sure: more patches for the images that are still in doubt, and none for the others.

The paper gives every image the same k. Here the patches come in rounds. After each, an image whose prediction has an
entropy below a threshold leaves the batch with its answer, and the others go on, up to `max_k` patches.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor

from dcnlib.core.geometry import Geometry
from dcnlib.core.patches import extract_patches
from dcnlib.core.policies import FirstLook
from dcnlib.core.saliency import entropy
from dcnlib.core.selection import check_k, select_patches

MAX_K = 16


@dataclass(frozen=True)
class AdaptiveAttention:
    """Every intermediate of looking at a batch until sure, in the order of computation.

    K is the most patches that any image may get; an image's own come first, in the order of choice.
    """

    coarse_map: Tensor  # c     (B, D, s1, s2)
    coarse_logits: Tensor  # o_c   (B, L) or (B, P, L), before the softmax
    entropy: Tensor  # H     (B,) nats, of the coarse prediction
    saliency: Tensor  # M     (B, s1, s2), the last that was asked for; zeros for an image that was sure at first sight
    cells: Tensor  # I     (B, K) flat index i * s2 + j; -1 behind an image's last
    boxes: Tensor  # (B, K, 4) top, left, bottom, right in pixels, the last two excluded; zeros behind an image's last
    patches: Tensor  # x_ij  (B, K, C, p, q), zeros behind an image's last
    fine_vectors: Tensor  # f_f(x_ij)  (B, K, D), zeros behind an image's last
    refined_map: Tensor  # r     (B, D, s1, s2)
    logits: Tensor  # o     (B, L) or (B, P, L), before the softmax
    doubt: Tensor  # (B,) nats, the entropy of these
    patches_used: Tensor  # (B,) int64


@dataclass(frozen=True)
class Plan:
    """When to look, and when to stop.

    entropy_below: an image is sure below this, in nats. rounds: how many patches it has had after each. anew: whether
    each round asks for the saliency of the map as it is then, or the first look decides on all cells.
    """

    entropy_below: float
    rounds: tuple[int, ...]
    anew: bool = False

    @property
    def max_k(self) -> int:
        return self.rounds[-1] if self.rounds else 0


def make_plan(
    entropy_below: float | None, max_k: int | None, rounds: Sequence[int] | None, anew: bool, cells: int
) -> Plan:
    """The plan for a map of so many cells. Raises TypeError or ValueError for what makes no sense, saying why.

    Rounds double by default, 1, 2, 4, ..., up to max_k, which is by default 16 or the last of the rounds.
    """
    entropy_below = check_threshold(entropy_below)
    if rounds is not None:
        if not isinstance(rounds, Sequence) or isinstance(rounds, str):
            raise TypeError(f"rounds are several numbers of patches, such as (1, 2, 4), got {rounds!r}")
        rounds = tuple(rounds)
        for k in rounds:
            check_k(k, cells)
        if not rounds or any(after <= before for before, after in pairwise((0, *rounds))):
            raise ValueError(
                f"rounds are how many patches an image has had after each, so they grow from 1, got {rounds}"
            )
        if max_k is not None and max_k != rounds[-1]:
            raise ValueError(f"the last round makes max_k patches: got max_k = {max_k} and rounds {rounds}")
    else:
        max_k = min(MAX_K, cells) if max_k is None else max_k
        check_k(max_k, cells)
        max_k = int(max_k)  # numpy's whole numbers have no bit_length
        doubling = (2**n for n in range(max_k.bit_length()))
        rounds = (*(k for k in doubling if k < max_k), max_k) if max_k else ()
    if entropy_below == 0 and not anew:
        rounds = rounds[-1:]  # nobody can be that sure, so nobody need be asked on the way
    return Plan(entropy_below, rounds, anew)


def check_threshold(entropy_below: float | None) -> float:
    """The threshold. Raises TypeError or ValueError unless it is an entropy: a number in nats from 0 to infinity."""
    if entropy_below is None:
        raise ValueError(
            "this model has no calibrated threshold: give entropy_below in nats, or calibrate the model first "
            "(dcnlib.analysis.budgets.calibrate, python -m dcnlib calibrate RUN)"
        )
    if not isinstance(entropy_below, Real) or isinstance(entropy_below, bool):
        raise TypeError(f"entropy_below must be a number of nats, got {entropy_below!r}")
    if math.isnan(entropy_below) or entropy_below < 0:
        raise ValueError(f"entropy_below, in nats, must be 0 or more (0: never sure), got {entropy_below}")
    return float(entropy_below)


def look_until_sure(
    first: FirstLook,
    plan: Plan,
    *,
    score: Callable[[FirstLook], Tensor],
    fine: Callable[[Tensor, Tensor], Tensor],
    geometry: Geometry,
) -> AdaptiveAttention:
    """Look by a plan, from the first look at images (B, C, H, W).

    score: looks -> scores of their cells (B, s1, s2). fine: patches (B, k, C, p, q) and the map -> vectors (B, k, D).
    The doubt about a sequence is that about the whole of it, summed over positions, as in the saliency: an answer is
    wrong if any position is, and for positions that are independent given the image, the sum is the whole's entropy.
    """
    images, coarse_map, passes = first.images, first.coarse_map, first.passes
    batch, depth, rows, columns = coarse_map.shape
    coarse_logits = passes.prediction()
    H = entropy(coarse_logits)

    logits, doubt, refined_map = coarse_logits.clone(), H.clone(), coarse_map.clone()
    saliency = H.new_zeros(batch, rows, columns)
    cells = torch.full((batch, plan.max_k), -1, device=images.device)
    patches = images.new_zeros(batch, plan.max_k, images.shape[1], *geometry.sizes)
    fine_vectors = coarse_map.new_zeros(batch, plan.max_k, depth)
    used = torch.zeros(batch, dtype=torch.int64, device=images.device)

    left = torch.arange(batch, device=images.device)  # the images that go on
    order = cells  # of those, the cells in the order of choice
    for before, after in pairwise((0, *plan.rounds)):
        unsure = ~(doubt[left] < plan.entropy_below)
        left, passes, order = left[unsure], passes.take(unsure), order[unsure]
        if len(left) == 0:
            break
        if before == 0 or plan.anew:
            look = first.after(left, passes)
            chosen = select_patches(score(look), plan.max_k)
            # Where an image was looked at already, it isn't looked at again, whatever the score.
            again = (chosen[:, :, None] == order[:, None, :before]).any(-1)
            chosen = chosen.gather(1, again.int().argsort(dim=1, stable=True))[:, : plan.max_k - before]
            order = torch.cat([order[:, :before], chosen], dim=1)
            saliency[left] = look.saliency
        new = order[:, before:after]
        cells[left, before:after] = new
        seen = extract_patches(images[left], new, geometry, (rows, columns))
        vectors = fine(seen, passes.coarse_map)
        passes = passes.with_cells(new, vectors)
        answers = passes.prediction()

        patches[left, before:after] = seen
        fine_vectors[left, before:after] = vectors.to(fine_vectors.dtype)
        refined_map[left] = passes.coarse_map
        logits[left], doubt[left], used[left] = answers, entropy(answers), after

    boxes = geometry.boxes(cells, columns).masked_fill(cells[..., None] < 0, 0)
    return AdaptiveAttention(
        coarse_map, coarse_logits, H, saliency, cells, boxes, patches, fine_vectors, refined_map, logits, doubt, used
    )
