"""Is the doubt worth its name? How often a network is right when it says so, and what to stop by."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from dcnlib.analysis.budgets import thresholds
from dcnlib.analysis.until_sure import Answers, point_of, stops
from dcnlib.core.saliency import cross_entropy, entropy
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import ErrorRate, mcnemar_p_value

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Images whose answer has a probability between low and high: how many, its mean, and how many were wrong."""

    low: float
    high: float
    confidence: float
    rate: ErrorRate


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram's bins that hold images, and the expected calibration error."""

    bins: list[Bin]

    @property
    def expected_error(self) -> float:
        """The mean over images of | share of right answers - mean probability | in their bin."""
        count = sum(each.rate.count for each in self.bins)
        return sum(each.rate.count * abs(1 - each.rate.fraction - each.confidence) for each in self.bins) / count

    def as_record(self) -> Record:
        bins = [{**asdict(each), "rate": each.rate.as_record()} for each in self.bins]
        return {"expected_calibration_error": self.expected_error, "bins": bins}


def answer_probability(logits: Tensor) -> Tensor:
    """Of the answer to each image, from logits (N, L) or (N, P, L): (N,), the product over positions."""
    return logits.softmax(-1).amax(-1).reshape(len(logits), -1).prod(1)


def answer_margin(logits: Tensor) -> Tensor:
    """By how much the answer's probability exceeds the next one's, (N,): of a sequence, in its closest position."""
    first, second = logits.softmax(-1).topk(2, dim=-1).values.unbind(-1)
    return (first - second).reshape(len(logits), -1).amin(1)


def reliability(probability: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """How often answers of a probability (N,) are right (N,), in bins of equal width."""
    if len(probability) == 0:
        raise ValueError("there are no answers to calibrate")
    number = (probability * bins).long().clamp(max=bins - 1)
    return Reliability(
        [
            Bin(
                n / bins,
                (n + 1) / bins,
                float(probability[here].double().mean()),
                ErrorRate(int((~right[here]).sum()), int(here.sum())),
            )
            for n in range(bins)
            if (here := number == n).any()
        ]
    )


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 for which logits / T have the least cross-entropy, between a twentieth and twenty."""
    from scipy.optimize import minimize_scalar  # takes a while to import

    logits = logits.double()
    found = minimize_scalar(
        lambda log_t: float(cross_entropy(logits / np.exp(log_t), labels)),
        bounds=(-np.log(20), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def doubt_record(answers: Answers) -> list[Record]:
    """For each number of patches: expected calibration error and diagram, the temperature, and both after it.

    The temperature is fitted on the images of even number and judged on the others, as the rest beside it is.
    """
    rows = []
    for column, k in enumerate(answers.ks):
        logits, right = answers.logits[:, column], answers.right[:, column]
        T = temperature(logits[::2], answers.labels[::2])
        rows.append(
            {
                "k": k,
                "temperature": T,
                "before": reliability(answer_probability(logits[1::2]), right[1::2]).as_record(),
                "after": reliability(answer_probability(logits[1::2] / T), right[1::2]).as_record(),
            }
        )
    return rows


def worst_position(logits: Tensor) -> Tensor:
    """The highest entropy of any position, in nats, from logits (N, P, L): (N,)."""
    return entropy(logits.flatten(0, 1)).view(logits.shape[:2]).amax(1)


# What one may stop by: the lower, the surer. From logits (N, L) or (N, P, L) to (N,).
STOPS: dict[str, Callable[[Tensor], Tensor]] = {
    "probability": lambda logits: 1 - answer_probability(logits),
    "margin": lambda logits: 1 - answer_margin(logits),
}
OF_SEQUENCES: dict[str, Callable[[Tensor], Tensor]] = {"position": worst_position}


def compare_stops(answers: Answers, entropy_below: float, *, draws: int = 20, seed: int = 0) -> Record:
    """A stop by entropy below a threshold, beside stops by the answer's probability, by its margin to the next one, of
    sequences by their most doubtful position, and at random, at equal cost.

    The others' thresholds are those of about the same mean cost. A random stop gives the images the same numbers of
    patches in another order: its error is a mean over draws, its p value that of the first draw. p values are
    McNemar's, on the images that only one of the two stops gets wrong.
    """
    chosen = stops(answers.doubt, entropy_below)
    reference = point_of(answers, chosen, entropy_below)
    wrong = ~answers.right.gather(1, chosen[:, None])[:, 0]

    def beside(stopped: Tensor) -> Record:
        other = ~answers.right.gather(1, stopped[:, None])[:, 0]
        only_this, only_entropy = int((other & ~wrong).sum()), int((wrong & ~other).sum())
        return {
            **point_of(answers, stopped).as_record(),
            "only_this_wrong": only_this,
            "only_entropy_wrong": only_entropy,
            "p_value": mcnemar_p_value(only_this, only_entropy),
        }

    record: Record = {"entropy": reference.as_record()}
    measures = STOPS | (OF_SEQUENCES if answers.logits.ndim == 4 else {})
    for name, doubt_of in measures.items():
        doubt = torch.stack([doubt_of(logits) for logits in answers.logits.unbind(1)], dim=1)
        tried = [stops(doubt, value) for value in thresholds(doubt)]
        costs = torch.tensor(answers.costs, dtype=torch.float64)
        record[name] = beside(min(tried, key=lambda where: abs(float(costs[where].mean()) - reference.multiplications)))
    generator = torch.Generator().manual_seed(seed)
    random = [beside(chosen[torch.randperm(len(chosen), generator=generator)]) for _ in range(draws)]
    record["random"] = random[0] | {"mean_error": sum(draw["error"] for draw in random) / draws, "draws": draws}
    return record
