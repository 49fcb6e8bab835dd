"""How often a model errs on a data set."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.core.saliency import cross_entropy
from dcnlib.utils.checks import check_values
from dcnlib.utils.device import to_device
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import ErrorRate


class Data(Protocol):
    """What `fit` and `evaluate` ask of a data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on a data set: error rate, mean cross-entropy in nats, predicted labels (N,) or (N, P), and
    whether each answer was wrong (N,)."""

    rate: ErrorRate
    loss: float
    predictions: Tensor
    wrong: Tensor

    def as_record(self) -> Record:
        return {**self.rate.as_record(), "loss": self.loss}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Data,
    *,
    batch_size: int = 250,
    k: int | None = None,
    cells: Tensor | None = None,
    **options: Any,
) -> Evaluation:
    """Error rate of `model`, in eval mode and on its own device, over all of `data`.

    A sequence, with labels (N, P), is wrong if any of its positions is, and its losses are summed over positions.

    `k` and `cells` (N, k) are passed on to a Dynamic Capacity Network, and any other options as they are to the model,
    such as `policy="sampled", samples=8` to a Recurrent Attention Model. Leaves the model in the mode it was in.
    Raises ValueError for an empty data set and for image values outside [0, 1] or NaN.
    """
    if len(data) == 0:
        raise ValueError("there is nothing to evaluate: the data set is empty")
    device = next(model.parameters()).device
    if k is not None:
        options["k"] = k
    predictions, losses, wrong = [], [], []
    with evaluation_mode(model):
        for indices in np.split(np.arange(len(data)), range(batch_size, len(data), batch_size)):
            images, labels = to_device(data[indices], device)
            check_values(images)
            if cells is not None:
                options["cells"] = cells[indices].to(device)
            logits = model(images, **options).float()
            losses.append(len(images) * cross_entropy(logits, labels).item())
            predictions.append(logits.argmax(-1).cpu())
            wrong.append((predictions[-1] != labels.cpu()).reshape(len(images), -1).any(1))
    all_wrong = torch.cat(wrong)
    rate = ErrorRate(int(all_wrong.sum()), len(data))
    return Evaluation(rate, float(np.sum(losses)) / len(data), torch.cat(predictions), all_wrong)
