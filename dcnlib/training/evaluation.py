"""How often a model errs on a data set."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dcnlib.core.saliency import cross_entropy
from dcnlib.core.selection import check_ks
from dcnlib.training.loading import Data, count, evaluation_batches, most_at_once
from dcnlib.training.processes import Processes
from dcnlib.utils.checks import check_label_range, check_labels, check_whole
from dcnlib.utils.device import to_device
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import ErrorRate
from dcnlib.utils.weights import check_finite

Answers = tuple[Tensor, Tensor, Tensor]  # of a batch: its loss, its predicted labels, which of them are wrong


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on a data set: error rate, mean cross-entropy in nats, predicted labels (N,) or (N, P), and
    whether each answer was wrong (N,)."""

    rate: ErrorRate
    loss: float
    predictions: Tensor
    wrong: Tensor

    def as_record(self) -> Record:
        """What a record says of it. `wrong` there lists the images that were answered wrong, so that models compare
        image by image."""
        return {**self.rate.as_record(), "loss": self.loss, "wrong": self.wrong.nonzero().flatten().tolist()}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Data | DataLoader,
    *,
    batch_size: int | None = None,
    k: int | Tensor | None = None,
    cells: Tensor | None = None,
    workers: int = 0,
    processes: Processes = Processes(),
    **options: Any,
) -> Evaluation:
    """Error rate of `model`, in eval mode and on its own device, over all of `data`: a data set, or a DataLoader, whose
    own batches and order are taken.

    A sequence, with labels (N, P), is wrong if any of its positions is, and its losses are summed over positions.

    `k`, one number or one for each image (N,), and `cells` (N, k) are passed on to a Dynamic Capacity Network, and any
    other options as they are to the model, such as `policy="sampled", samples=8` to a Recurrent Attention Model.
    A batch is of `batch_size` images, by default as many as the data set's `most_at_once` says, or else 250. `workers`
    processes make the batches. Of several `processes` that train together, each answers its share of a data set, and
    all get the whole. Leaves the model in the mode it was in. Raises ValueError for an empty data set, for
    image values outside [0, 1] or NaN, for labels that are none of the model's classes, for a model whose weights
    aren't finite, and for `k` or `cells` of another number of images; TypeError for `cells` that are no tensor.
    """
    if count(data) == 0:
        raise ValueError("there is nothing to evaluate: the data set is empty")
    check_finite(model.state_dict(), "a model that can't be evaluated")
    batch_size = most_at_once(data) if batch_size is None else batch_size
    check_whole("batch_size", batch_size)
    device = next(model.parameters(), torch.empty(0)).device  # an exported model has none, and runs on the CPU
    if not isinstance(cells, Tensor | None):
        raise TypeError(f"cells must be a torch.Tensor, got {type(cells).__name__}")
    if k is not None:
        options["k"] = k
    one_each = {name: each for name, each in (("k", k), ("cells", cells)) if isinstance(each, Tensor)}
    if not isinstance(data, DataLoader):
        _check_one_each(one_each, count(data))
    # Of a data set, other processes have the batches between two of this one; of a loader, each has all.
    passed = 0 if isinstance(data, DataLoader) else batch_size
    seen = processes.rank * passed
    answers = []
    with evaluation_mode(model):
        share = (processes.rank, processes.count)
        for images, labels in evaluation_batches(data, batch_size, workers=workers, share=share):
            for name, each in one_each.items():
                options[name] = each[seen:][: len(images)].to(device)
            there, truth = to_device((images, labels), device)
            logits = model(there, **options).float()
            check_labels(labels, logits.shape[:-1])
            check_label_range(labels, logits.shape[-1])
            seen += len(images) + (processes.count - 1) * passed
            predicted = logits.argmax(-1)
            wrong = (predicted != truth).reshape(len(images), -1).any(1)
            answers.append((cross_entropy(logits, truth), predicted, wrong))
    losses, predictions, wrongs = zip(*_of_all(answers, data, processes), strict=True)
    all_wrong = torch.cat(wrongs).cpu()
    _check_one_each(one_each, len(all_wrong))  # how many images a loader has is known at its end
    rate = ErrorRate(int(all_wrong.sum()), len(all_wrong))
    counts = [len(wrong) for wrong in wrongs]
    total = np.sum([count * loss for count, loss in zip(counts, torch.stack(losses).tolist(), strict=True)])
    return Evaluation(rate, float(total) / len(all_wrong), torch.cat(predictions).cpu(), all_wrong)


def _check_one_each(given: Mapping[str, Tensor], images: int) -> None:
    """Raise TypeError or ValueError unless there is a k, or a row of cells, for each of so many images."""
    if "k" in given:
        check_ks(given["k"], images)
    if "cells" in given and given["cells"].shape[:1] != (images,):
        raise ValueError(f"{images} images need cells of shape ({images}, k), got {tuple(given['cells'].shape)}")


def _of_all(answers: list[Answers], data: Any, processes: Processes) -> list[Answers]:
    """The answers to all batches in their order, of which each process has every count-th. A DataLoader makes them in
    an order of its own, so each process has all of them, and those of the first one count."""
    if not processes.several:
        return answers
    if isinstance(data, DataLoader):
        return processes.from_first(lambda: _on_cpu(answers))
    turns = itertools.zip_longest(*processes.gather(_on_cpu(answers)))
    return [batch for turn in turns for batch in turn if batch is not None]


def _on_cpu(answers: list[Answers]) -> list[Answers]:
    return [(loss.cpu(), predicted.cpu(), wrong.cpu()) for loss, predicted, wrong in answers]
