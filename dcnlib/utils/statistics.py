"""How sure a count of wrong answers is, and a difference between two."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dcnlib.utils.records import Record


def mcnemar_p_value(b: int, c: int) -> float:
    """Exact two-sided p value of McNemar's test: that b + c fair coins fall at least as unevenly as b to c."""
    from scipy.stats import binomtest  # takes a second to import, which not every command needs

    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def paired_difference(only_this: int, only_other: int, count: int) -> tuple[float, float, float]:
    """By how much the error of one model exceeds another's on the same images, with the 95 % interval.

    only_this, only_other: how many of the `count` images only the one got wrong, and only the other. Wald's interval of
    the difference of paired proportions: it knows the chance of the images, not that of the seeds.
    """
    difference = (only_this - only_other) / count
    variance = ((only_this + only_other) / count - difference**2) / count
    half = 1.96 * variance**0.5
    return difference, difference - half, difference + half


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean of independent values, by Student's t; the value itself where all are equal."""
    from scipy.stats import sem, t

    mean, error = float(np.mean(values)), float(sem(values)) if len(values) > 1 else 0.0
    if error == 0:
        return mean, mean
    low, high = t.interval(0.95, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean, over positive items, of the precision among all items that score at least as high.

    scores (N,) of any size, positive (N,) bool. weights (R, N): how often each item counts, in each of R samples; by
    default once in one. (R,); NaN for a sample without a positive item.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    scores, positive, weights = scores[order], positive[order], weights[:, order]
    equal = np.searchsorted(-scores, -scores, side="right") - 1  # the last item of the same score
    hits = weights * positive
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = hits.cumsum(1)[:, equal] / weights.cumsum(1)[:, equal]
        return np.where(hits > 0, hits * precision, 0).sum(1) / hits.sum(1)


def resampled(groups: np.ndarray, *, count: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each item counts in so many samples of the bootstrap, (count, N): whole groups are drawn, as items of
    one group are not independent. groups (N,): which one each item belongs to."""
    _, group = np.unique(groups, return_inverse=True)
    most = int(group.max()) + 1
    drawn = np.random.RandomState(seed).multinomial(most, np.full(most, 1 / most), count)
    return drawn[:, group]


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a figure by its values (R,) in the samples of a bootstrap."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class ErrorRate:
    """Wrong answers among so many, with the 95 % interval that this many images allow."""

    errors: int
    count: int

    @property
    def fraction(self) -> float:
        return self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the fraction."""
        from scipy.stats import binomtest

        interval = binomtest(self.errors, self.count).proportion_ci(0.95, method="wilson")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.fraction:.2f} % ({100 * low:.2f}..{100 * high:.2f})"

    def as_record(self) -> Record:
        return {**asdict(self), "error": self.fraction, "interval_95": list(self.interval)}

    @classmethod
    def from_record(cls, record: Record) -> "ErrorRate":
        return cls(record["errors"], record["count"])
