"""What a network that looks until it is sure errs and costs, on images with labels.

One pass over the images notes the answers with each number of patches that rounds may end with. Since an image that
stopped at n patches has the answer of k = n (`dcn.adaptive` without `anew`), those of every threshold follow.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.analysis.cost import count_rounds, patch_network
from dcnlib.core.budget import make_plan
from dcnlib.core.saliency import entropy
from dcnlib.training.loading import Data, evaluation_batches
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import ErrorRate, mean_interval


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answers N images with each of K numbers of patches, and what each costs in multiplications."""

    ks: tuple[int, ...]  # rising, from 0
    costs: tuple[int, ...]
    logits: Tensor  # (N, K, L) or (N, K, P, L)
    labels: Tensor  # (N,) or (N, P)

    @property
    def right(self) -> Tensor:
        """(N, K) whether the answer is right, in all its positions."""
        right = self.logits.argmax(-1) == self.labels[:, None]
        return right.reshape(len(right), len(self.ks), -1).all(-1)

    @property
    def doubt(self) -> Tensor:
        """(N, K) entropy in nats, summed over positions: what `dcn.adaptive` stops by."""
        return torch.stack([entropy(logits) for logits in self.logits.unbind(1)], dim=1)


@dataclass(frozen=True)
class Point:
    """A way to answer, on N images: its mean patches and multiplications, and its error. Intervals are of 95 %."""

    patches: float
    multiplications: float
    multiplications_interval: tuple[float, float]
    rate: ErrorRate
    entropy_below: float | None = None  # the threshold; None for a fixed k

    def as_record(self) -> Record:
        """What a record says of it; an infinite threshold stands there as a word."""
        told = {name: value for name, value in asdict(self).items() if name != "rate"}
        if self.entropy_below == math.inf:
            told["entropy_below"] = "infinity"
        return {**told, **self.rate.as_record()}


@torch.no_grad()
def collect_answers(model: nn.Module, data: Data, *, max_k: int | None = None, batch_size: int = 50) -> Answers:
    """The answers of a network, in eval mode and on its own device, to all of a data set, at the ends of the rounds of
    1, 2, 4, ... patches up to max_k (by default 16, or all cells if there are fewer), and with none.

    Raises TypeError for a model without patches, ValueError for an empty data set and for images outside [0, 1].
    """
    patch_network(model)
    if len(data) == 0:
        raise ValueError("there is nothing to calibrate on: the data set is empty")
    device, answers, truth = next(model.parameters()).device, [], []
    ks: tuple[int, ...] = ()
    shape: Any = None
    with evaluation_mode(model):
        for images, labels in evaluation_batches(data, batch_size):
            if not ks:
                shape = tuple(images.shape[1:])
                cells = model.attend(images[:1].to(device), k=0).saliency.numel()  # type: ignore[operator]
                ks = (0, *make_plan(1.0, max_k, None, False, cells).rounds)
            logits = model.sweep(images.to(device), ks)  # type: ignore[operator]
            answers.append(torch.stack([logits[k].float() for k in ks], dim=1).cpu())
            truth.append(labels)
    return Answers(ks, count_rounds(model, ks[1:], shape), torch.cat(answers), torch.cat(truth))


def stops(doubt: Tensor, threshold: float) -> Tensor:
    """Where images stop, (N,): the first of the K columns of their doubt (N, K) that is below a threshold, or the
    last."""
    sure = doubt < threshold
    sure[:, -1] = True
    return sure.int().argmax(1)


def point_of(answers: Answers, stopped: Tensor, entropy_below: float | None = None) -> Point:
    """What it comes to if each image stops at a column (N,) of the answers."""
    right = answers.right.gather(1, stopped[:, None])[:, 0]
    costs = np.asarray(answers.costs, dtype=np.float64)[stopped.numpy()]
    return Point(
        patches=float(np.asarray(answers.ks)[stopped.numpy()].mean()),
        multiplications=float(costs.mean()),
        multiplications_interval=mean_interval(costs),
        rate=ErrorRate(int((~right).sum()), len(right)),
        entropy_below=entropy_below,
    )


@torch.no_grad()
def evaluate_until_sure(
    model: nn.Module,
    data: Data,
    entropy_below: float | None = None,
    *,
    max_k: int | None = None,
    batch_size: int = 250,
    **options: Any,
) -> Point:
    """Error, mean patches and mean multiplications of a network that looks until it is sure, run as it is: images that
    are sure leave the batch. The arguments are those of `adaptive`.

    Raises as `collect_answers` and `adaptive` do.
    """
    network = patch_network(model)
    if len(data) == 0:
        raise ValueError("there is nothing to evaluate: the data set is empty")
    device, costs = next(model.parameters()).device, {0: 0}
    used: list[Tensor] = []
    right: list[Tensor] = []
    with evaluation_mode(model):
        for images, labels in evaluation_batches(data, batch_size):
            look = model.adaptive(images.to(device), entropy_below, max_k=max_k, **options)  # type: ignore[operator]
            if not used:
                policy, how = options.get("policy"), {name: options[name] for name in options if name != "policy"}
                plan = network.plan(look.saliency[0].numel(), entropy_below, max_k, **how)
                shape = (images.shape[1], images.shape[2], images.shape[3])
                counted = count_rounds(model, plan.rounds, shape, anew=plan.anew, policy=policy)
                costs = dict(zip((0, *plan.rounds), counted, strict=True))
            used.append(look.patches_used.cpu())
            right.append((look.logits.argmax(-1).cpu() == labels).reshape(len(labels), -1).all(1))
    patches, all_right = torch.cat(used), torch.cat(right)
    each = np.asarray([costs[int(k)] for k in patches], dtype=np.float64)
    rate = ErrorRate(int((~all_right).sum()), len(all_right))
    return Point(float(patches.double().mean()), float(each.mean()), mean_interval(each), rate, plan.entropy_below)
