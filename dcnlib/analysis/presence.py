"""What a network that says of each of several things whether an image shows it finds, and where it looked for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.analysis.cost import patch_network
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.policies import shared_pixels
from dcnlib.training.loading import Data, evaluation_batches, most_at_once
from dcnlib.utils.device import seed_everything
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import average_precision, percentiles


class Located(Data, Protocol):
    """Images that say where their things are."""

    def boxes_of(self, index: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class Presence:
    """Answers to N images, about P things each."""

    scores: np.ndarray  # (N, P) by how much yes outweighs no, in nats
    labels: np.ndarray  # (N, P) bool
    boxes: tuple[Tensor, ...]  # of each image, the patches (k, 4) that were looked at, in its pixels

    @property
    def wrong(self) -> np.ndarray:
        """(N, P) whether each answer is wrong."""
        return (self.scores > 0) != self.labels

    @property
    def patches(self) -> np.ndarray:
        """(N,) how many patches each image had."""
        return np.array([len(boxes) for boxes in self.boxes])

    def as_record(self, samples: np.ndarray) -> Record:
        """Errors, and average precisions, with 95 % intervals by the samples of a bootstrap (R, N).

        An image is wrong if any answer to it is. The means of average precisions are over the things.
        """
        wrong = np.asarray(self.wrong.any(1))
        precisions = [average_precision(*of) for of in zip(self.scores.T, self.labels.T, strict=True)]
        sampled = [average_precision(*of, samples) for of in zip(self.scores.T, self.labels.T, strict=True)]
        return {
            "error": float(wrong.mean()),
            "error_interval_95": percentiles(mean_of(wrong, samples)),
            "errors": self.wrong.mean(0).tolist(),
            "average_precision": float(np.mean(precisions)),
            "average_precision_interval_95": percentiles(np.mean(sampled, axis=0)),
            "average_precisions": [float(value[0]) for value in precisions],
            "wrong": np.flatnonzero(wrong).tolist(),
            "patches": float(self.patches.mean()),
        }


def mean_of(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The mean of values (N,) in each sample (R, N) of a bootstrap: (R,)."""
    return samples @ values / samples.sum(1)


@torch.no_grad()
def find(
    model: nn.Module, data: Data, *, entropy_below: float | None = None, seed: int = 0, **options: Any
) -> Presence:
    """The answers of a model of yes and no, (B, P, 2), in eval mode and on its own device, to all of a data set.

    entropy_below: look at each image until it is sure. The options go to `attend` or `adaptive`. seed: of what a policy
    draws. Raises TypeError for entropy_below with a model that chooses no patches.
    """
    device = next(model.parameters()).device
    seed_everything(seed)
    scores: list[Tensor] = []
    truth: list[Tensor] = []
    boxes: list[Tensor] = []
    call: Any = model.attend
    if entropy_below is not None:
        patch_network(model)
        call, options = model.adaptive, {"entropy_below": entropy_below, **options}
    with evaluation_mode(model):
        for images, labels in evaluation_batches(data, most_at_once(data)):
            look = call(images.to(device), **options)
            scores.append((look.logits[..., 1] - look.logits[..., 0]).float().cpu())
            truth.append(labels)
            used = getattr(look, "patches_used", None)
            boxes += [each if used is None else each[: used[row]] for row, each in enumerate(look.boxes.cpu())]
    return Presence(torch.cat(scores).numpy(), torch.cat(truth).numpy().astype(bool), tuple(boxes))


@torch.no_grad()
def find_by_k(model: DynamicCapacityNetwork, data: Data, ks: Sequence[int]) -> dict[int, Presence]:
    """As `find` with each of several numbers of patches, for twice the price of the largest."""
    device = next(model.parameters()).device
    scores: dict[int, list[Tensor]] = {k: [] for k in ks}
    truth: list[Tensor] = []
    boxes: list[Tensor] = []
    with evaluation_mode(model):
        for images, labels in evaluation_batches(data, most_at_once(data)):
            there = images.to(device)
            look = model.attend(there, k=max(ks))
            for k, logits in model.sweep(there, ks, cells=look.cells).items():
                scores[k].append((logits[..., 1] - logits[..., 0]).float().cpu())
            truth.append(labels)
            boxes += look.boxes.cpu()
    there_is = torch.cat(truth).numpy().astype(bool)
    return {k: Presence(torch.cat(scores[k]).numpy(), there_is, tuple(each[:k] for each in boxes)) for k in ks}


def touched(found: Presence, data: Located) -> tuple[int, int]:
    """Of the things in images that were answered right, how many any patch touches, and how many there are."""
    right = ~found.wrong.any(1)
    count = all_of = 0
    for index in np.flatnonzero(right):
        boxes, _ = data.boxes_of(int(index))
        all_of += len(boxes)
        if len(boxes) and len(found.boxes[index]):
            shared = shared_pixels(boxes[:, None], found.boxes[index][None].to(boxes.dtype))
            count += int((shared > 0).any(1).sum())
    return count, all_of
