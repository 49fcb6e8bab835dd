"""From a budget to a threshold, and the two curves of networks that answer at any budget.

One pass over the images is enough for all thresholds: see `collect_answers`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.analysis.until_sure import Answers, Point, collect_answers, point_of, stops
from dcnlib.training.loading import Data, evaluation_batches
from dcnlib.utils.checks import check_whole
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record
from dcnlib.utils.timing import interleaved

POINTS = 200  # thresholds that are tried
TIMED = 24  # of these, at most so many are timed


@dataclass(frozen=True)
class Curves:
    """The field's two plots. anytime: with k patches for every image. budgeted: with a threshold, from none that any
    image is above to one that none is below."""

    anytime: list[Point]
    budgeted: list[Point]


@dataclass(frozen=True)
class Calibration:
    """A threshold, what was asked for, and what it came to on the images that it was chosen on."""

    asked: dict[str, float]
    max_k: int
    point: Point

    @property
    def entropy_below(self) -> float:
        assert self.point.entropy_below is not None
        return self.point.entropy_below

    def as_record(self) -> Record:
        return {"entropy_below": self.entropy_below, "max_k": self.max_k, "asked": self.asked, **self.point.as_record()}


def thresholds(doubt: Tensor, points: int = POINTS) -> list[float]:
    """Thresholds between which the images (N, K) differ, from 0 to infinity: quantiles of what they doubt.

    Raises ValueError for doubts that aren't finite, and where there is nothing to choose between.
    """
    if doubt.shape[1] < 2:
        raise ValueError("without patches there is no threshold to choose: max_k must be at least 1")
    if not doubt.isfinite().all():
        raise ValueError("the model's answers aren't finite, so there is nothing to calibrate")
    quantiles = torch.quantile(doubt[:, :-1].double().flatten(), torch.linspace(0, 1, points, dtype=torch.float64))
    return [0.0, *sorted({float(value) for value in quantiles if value > 0}), math.inf]


def budget_curves(answers: Answers, points: int = POINTS) -> Curves:
    """The anytime curve and the budgeted-batch curve."""
    count = len(answers.labels)
    anytime = [point_of(answers, torch.full((count,), column)) for column in range(len(answers.ks))]
    doubt = answers.doubt
    budgeted = [point_of(answers, stops(doubt, value), value) for value in thresholds(doubt, points)]
    return Curves(anytime, budgeted)


def calibrate(
    model: nn.Module,
    data: Data,
    *,
    multiplications: float | None = None,
    error: float | None = None,
    milliseconds: float | None = None,
    max_k: int | None = None,
    batch_size: int = 50,
) -> Calibration:
    """The threshold that keeps a network within one budget on (validation) data.

    multiplications: at most so many an image, on average; milliseconds: at most so long an image, on average, in
    batches of `batch_size` on the model's device; of what keeps within these, the threshold that looks the most.
    error: at most this share of images wrong; of what keeps within it, the threshold that looks the least.
    max_k: most patches an image; by default 16, or all cells if there are fewer.

    Put `.entropy_below` and `.max_k` of the result into the network's attributes of these names, and `adaptive` uses
    them; the command `calibrate` keeps them in a run's record. Raises ValueError unless one budget is given, and for
    one that can't be kept to, saying what can.
    """
    asked = {
        name: value
        for name, value in (("multiplications", multiplications), ("error", error), ("milliseconds", milliseconds))
        if value is not None
    }
    if len(asked) != 1:
        raise ValueError(f"give one of multiplications, error and milliseconds, got {', '.join(asked) or 'none'}")
    ((name, budget),) = asked.items()
    if not isinstance(budget, Real) or isinstance(budget, bool):
        raise TypeError(f"{name} must be a number, got {budget!r}")
    if not 0 < budget < math.inf and not (name == "error" and budget == 0):
        raise ValueError(f"{name} must be a positive number, got {budget}")
    check_whole("batch_size", batch_size)
    answers = collect_answers(model, data, max_k=max_k, batch_size=batch_size)
    points, most = budget_curves(answers).budgeted, answers.ks[-1]  # by threshold
    if name == "error":
        kept = [point for point in points if point.rate.fraction <= budget]
        best = f"the lowest error is {min(point.rate.fraction for point in points):.4f}"
        chosen = kept[-1] if kept else None
    elif name == "multiplications":
        kept = [point for point in points if point.multiplications <= budget]
        best = f"the fewest are {points[-1].multiplications:.0f}"
        chosen = kept[0] if kept else None
    else:
        chosen, least = _within_time(model, data, points, budget, most, batch_size)
        best = f"the least is {least:.3f}"
    if chosen is None:
        raise ValueError(f"no threshold keeps within {name} of {budget:g} on these images: {best}")
    return Calibration({name: float(budget)}, most, chosen)  # a number of numpy has no place in a record


@torch.no_grad()
def _within_time(
    model: Any, data: Data, points: list[Point], budget: float, max_k: int, batch_size: int
) -> tuple[Point | None, float]:
    """The point of the lowest threshold within the milliseconds, and the least milliseconds of any.

    Bisection over the thresholds: the time falls as they rise. Each is timed on the same few batches.
    """
    device = next(model.parameters()).device
    batches = [images.to(device) for images, _ in _first(evaluation_batches(data, batch_size), 4)]
    count = sum(len(images) for images in batches)

    def milliseconds(point: Point) -> float:
        def call() -> None:
            for images in batches:
                model.adaptive(images, point.entropy_below, max_k=max_k)

        return 1000 * interleaved({"": call}, rounds=3)[""] / count

    points = [*points[:: max(1, len(points) // TIMED)], points[-1]]
    with evaluation_mode(model):
        least = milliseconds(points[-1])
        low, high = -1, len(points) - 1  # the last known to take too long, and the first known to be within
        if least > budget:
            return None, least
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if milliseconds(points[middle]) <= budget else (middle, high)
    return points[high], least


def _first(items: Iterable[Any], count: int) -> Iterable[Any]:
    return (item for _, item in zip(range(count), items, strict=False))
