"""The course's blanks: each function here is given one that you wrote, tries it, and says whether it is right.

A wrong answer is compared with the usual mistakes, so that the hint is about yours. Nothing is raised: a page with open
blanks runs to its end. Answers: `solutions/`.
"""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib import entropy
from dcnlib.analysis.until_sure import stops
from dcnlib.core.geometry import receptive_field as field_of_layers
from dcnlib.core.patches import replace_cells
from dcnlib.utils.statistics import mcnemar_p_value

NOT_YET = "Not yet: the function returns nothing. Fill it in, and run the cell again."
RIGHT = "Right."
Function = Callable[..., Any]


def entropy_gradient(attempt: Function) -> str:
    """attempt: scores z (B, L) -> the gradient of each image's entropy at its scores, (B, L)."""

    def right(z: Tensor) -> Tensor:
        leaf = z.clone().requires_grad_()
        return torch.autograd.grad(entropy(leaf).sum(), leaf)[0]

    def surprise(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return z.softmax(1), z.log_softmax(1), entropy(z)[:, None]

    mistakes: dict[str, Function] = {
        "the sign is the other way: a class that surprises more than average *raises* the entropy.": lambda z: (
            -right(z)
        ),
        "that is the gradient at the probabilities. The chain rule goes on to the scores, through the softmax.": (
            lambda z: -(surprise(z)[1] + 1)
        ),
        "H is missing: where all classes are equally likely, the gradient must be zero.": (
            lambda z: -surprise(z)[0] * surprise(z)[1]
        ),
        "each class counts with its probability: multiply by it.": lambda z: -(surprise(z)[1] + surprise(z)[2]),
        "the images are mixed: each has an entropy of its own.": lambda z: right(z) / len(z),
        "that is in bits. Entropies are in nats here: take the natural logarithm.": lambda z: right(z) / math.log(2),
    }
    draws = torch.Generator().manual_seed(0)
    tries = [(3 * torch.randn(4, 10, generator=draws),), (torch.zeros(2, 10),)]
    return _check(attempt, right, mistakes, tries)


def scatter(attempt: Function) -> str:
    """attempt: a map c (B, D, s1, s2), cells (B, k), vectors (B, k, D) -> a new map with the vectors in their cells."""

    def by_index(c: Tensor, index: Tensor, vectors: Tensor) -> Tensor:
        return c.flatten(1).scatter(1, index.flatten(1), vectors.flatten(1)).view_as(c)

    def as_if_channels_last(c: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
        return by_index(c, cells[:, :, None] * c.shape[1] + torch.arange(c.shape[1]), vectors)

    def by_columns(c: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
        rows, columns = c.shape[2:]
        return replace_cells(c, (cells // rows) + (cells % rows) * columns, vectors)

    def added(c: Tensor, cells: Tensor, vectors: Tensor) -> Tensor:
        return c + replace_cells(torch.zeros_like(c), cells, vectors)

    mistakes: dict[str, Function] = {
        "the numbers of one cell don't lie side by side in memory: the map is (B, D, s1, s2), and the stride from one "
        "channel to the next is s1 * s2.": as_if_channels_last,
        "rows and columns have changed places: cell i * s2 + j lies in row i and column j.": by_columns,
        "the vectors were added: they *replace* the coarse ones.": added,
        "this is the map as it was.": lambda c, cells, vectors: c,
    }
    draws = torch.Generator().manual_seed(0)
    c = torch.randn(2, 3, 4, 6, generator=draws)
    cells = torch.stack([torch.randperm(24, generator=draws)[:5] for _ in range(2)])
    tries = [(c, cells, torch.randn(2, 5, 3, generator=draws))]
    return _check(attempt, replace_cells, mistakes, tries, kept="the coarse map")


def receptive_field(attempt: Function) -> str:
    """attempt: layers as (kernel, stride, padding), the first one first -> (stride, offset, size) of a cell in pixels.

    A pixel sees itself: (1, 0, 1).
    """

    def right(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        field = field_of_layers(nn.Sequential(*(nn.Conv2d(1, 1, n, step, pad) for n, step, pad in layers)))
        return field.stride, field.offset, field.size

    def with_strides(layers: list[tuple[int, int, int]], *, after: bool, sign: int = -1) -> tuple[int, int, int]:
        strides = [1, *accumulate((step for _, step, _ in layers), lambda a, b: a * b)]
        used = strides[1:] if after else strides[:-1]
        size = 1 + sum((n - 1) * stride for (n, _, _), stride in zip(layers, used, strict=True))
        return strides[-1], sign * sum(pad * stride for (_, _, pad), stride in zip(layers, used, strict=True)), size

    def added(layers: list[tuple[int, int, int]]) -> tuple[int, int, int]:
        stride, offset, _ = right(layers)
        return stride, offset, 1 + sum(n - 1 for n, _, _ in layers)

    mistakes: dict[str, Function] = {
        "a kernel's steps are measured in the stride *before* its own: change the stride last.": (
            lambda layers: with_strides(layers, after=True)
        ),
        "padding moves the first cell's field to the left, so that the offset becomes negative.": (
            lambda layers: with_strides(layers, after=False, sign=1)
        ),
        "a step of a later kernel is as many pixels as the stride so far: (n - 1) * stride, not n - 1.": added,
    }
    tries = [([(7, 2, 0), (3, 2, 0)],), ([(3, 1, 0), (3, 1, 1), (2, 2, 0), (3, 1, 1), (2, 2, 0), (3, 1, 0)],)]
    return _check(attempt, right, mistakes, tries)


def strip(attempt: Function) -> str:
    """attempt: the first of some rows of cells, how many there are, (stride, offset, size) of a cell's field, the
    image's height -> the rows of pixels that they see, (begin, end), end excluded, as far as the image has them."""

    def right(first: int, rows: int, field: tuple[int, int, int], height: int) -> tuple[int, int]:
        stride, offset, size = field
        return max(0, first * stride + offset), min(height, (first + rows - 1) * stride + offset + size)

    def without_offset(first: int, rows: int, field: tuple[int, int, int], height: int) -> tuple[int, int]:
        return right(first, rows, (field[0], 0, field[2]), height)

    def without_size(first: int, rows: int, field: tuple[int, int, int], height: int) -> tuple[int, int]:
        stride, offset, _ = field
        return right(first, rows, (stride, offset, stride), height)

    def one_more(first: int, rows: int, field: tuple[int, int, int], height: int) -> tuple[int, int]:
        return right(first, rows, field, height)[0], right(first, rows + 1, field, height)[1]

    def beyond(first: int, rows: int, field: tuple[int, int, int], height: int) -> tuple[int, int]:
        stride, offset, size = field
        return first * stride + offset, (first + rows - 1) * stride + offset + size

    mistakes: dict[str, Function] = {
        "the first field begins at the offset, not at pixel 0.": without_offset,
        "the last row of cells sees its whole field, which is more than one stride.": without_size,
        "the last row is first + rows - 1: that is one row of cells too many.": one_more,
        "these rows of pixels reach beyond the image.": beyond,
    }
    tries = [(10, 4, (8, -2, 34), 400), (0, 4, (8, -2, 34), 400), (40, 7, (8, -2, 34), 340)]
    return _check(attempt, right, mistakes, tries)


def mcnemar(attempt: Function) -> str:
    """attempt: how many answers were fixed and how many broken -> the chance that as many fair coins fall at least as
    unevenly, to either side."""

    def tail(fixed: int, broken: int) -> float:
        n = fixed + broken
        return sum(math.comb(n, i) for i in range(max(fixed, broken), n + 1)) / 2**n

    def beyond(fixed: int, broken: int) -> float:
        return 2 * (tail(fixed, broken) - math.comb(fixed + broken, fixed) / 2 ** (fixed + broken))

    def normal(fixed: int, broken: int) -> float:
        return math.erfc(abs(fixed - broken) / math.sqrt(2 * (fixed + broken)))

    mistakes: dict[str, Function] = {
        "that is one side only: a split as uneven the other way would have surprised you as much.": tail,
        "*at least* as uneven: the split that was seen counts, too.": beyond,
        "that is the bell curve, an approximation. Count the coins' outcomes exactly (math.comb).": normal,
        "a chance is never above 1: a split right in the middle is counted on both sides.": (
            lambda fixed, broken: 2 * tail(fixed, broken)
        ),
        "that is the chance of exactly this split.": lambda fixed, broken: (
            math.comb(fixed + broken, fixed) / 2 ** (fixed + broken)
        ),
    }
    return _check(attempt, mcnemar_p_value, mistakes, [(23, 13), (2, 8), (5, 5)])


def threshold(attempt: Function) -> str:
    """attempt: entropies (N,) of first predictions, the price of a first prediction alone, that of a whole look, and a
    mean price per image that must not be exceeded -> an entropy: images at or above it get the look. As many as the
    money allows."""

    def affordable(H: Tensor, first: float, look: float, budget: float) -> int:
        return math.floor(len(H) * (budget - first) / (look - first))

    def looked_at(found: Any, H: Tensor, *_: float) -> int:
        return int((float(found) <= H).sum())

    mistakes: dict[str, Function] = {
        "the *least* doubtful images got the look.": lambda H, *prices: len(H) - affordable(H, *prices),
        "every image pays for its first prediction, and those that look pay only the *rest* on top.": (
            lambda H, first, look, budget: math.floor(len(H) * budget / look)
        ),
        "too many images get the look: the mean price exceeds the budget.": lambda H, *prices: range(
            affordable(H, *prices) + 1, len(H) + 1
        ),
        "there is money left: more images could get the look.": lambda H, *prices: range(affordable(H, *prices)),
    }
    H = torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 4
    return _check(attempt, affordable, mistakes, [(H, 6.4, 15.7, 8.0), (H, 1.0, 3.0, 2.5)], read=looked_at)


def threshold_of_rounds(attempt: Function) -> str:
    """attempt: entropies (N, R) of images' answers, what each has cost (R,), and a mean price that must not be exceeded
    -> an entropy: an image stops at its first answer below it, or at its last. As low as the money allows."""

    def spent(below: Any, H: Tensor, prices: Tensor, budget: float) -> int:
        return int(prices[stops(H, float(below))].sum())

    def found(H: Tensor, prices: Tensor, budget: float, stop: Function = stops) -> int:
        """The smallest threshold that keeps within the budget: what is spent by it, if images stop in another way."""
        values = [0.0, *H.flatten().sort().values.tolist(), math.inf]
        below = next(below for below in values if prices[stop(H, below)].mean() <= budget)
        return spent(below, H, prices, budget)

    mistakes: dict[str, Function] = {
        "whoever is never sure stops at the last answer: of a row without any True, argmax says 0.": (
            lambda *given: found(*given, stop=lambda H, below: (below > H).int().argmax(1))
        ),
        "the doubt is asked after each round, not only at the first answer.": (
            lambda *given: found(*given, stop=lambda H, below: torch.where(below > H[:, 0], 0, H.shape[1] - 1))
        ),
        "the images cost too much: the mean price exceeds the budget.": lambda H, prices, budget: range(
            math.floor(budget * len(H)) + 1, int(prices[-1]) * len(H) + 1
        ),
        "there is money left: a smaller threshold looks longer.": lambda *given: range(found(*given)),
    }
    H = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) ** torch.tensor([4.0, 5.0, 6.0, 8.0])
    prices = torch.tensor([64.0, 76.0, 87.0, 157.0])
    return _check(attempt, found, mistakes, [(H, prices, 80.0), (H, prices, 100.0)], read=spent)


def _check(
    attempt: Function,
    right: Function,
    mistakes: Mapping[str, Function],
    tries: list[tuple[Any, ...]],
    *,
    read: Function = lambda found, *_: found,
    kept: str = "",
) -> str:
    """What to say of an attempt. mistakes: by hint, what they come to; a range is any number in it.

    read: of what was returned, what counts. kept: what the first argument is called, if it must stay as it is.
    """
    for arguments in tries:
        given = tuple(value.clone() if isinstance(value, Tensor) else value for value in arguments)
        try:
            returned = attempt(*given)
            if returned is None or returned is ...:
                return NOT_YET
            found = read(returned, *arguments)
        except Exception as error:
            return f"It fails: {type(error).__name__}: {error}"
        if kept and not torch.equal(given[0], arguments[0]):
            return f"Not right yet: {kept} that was given is changed; return a new one."
        expected = right(*arguments)
        if _same(found, expected):
            continue
        if isinstance(expected, Tensor) and getattr(found, "shape", None) != expected.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return f"Not right yet: the result should be a tensor of shape {tuple(expected.shape)}, got {got}."
        for hint, wrong in mistakes.items():
            what = wrong(*arguments)
            if found in what if isinstance(what, range) else _same(found, what):
                return f"Not right yet: {hint}"
        return f"Not right yet: {_numbers(found)} where {_numbers(expected)} is right."
    return RIGHT


def _same(found: Any, expected: Any) -> bool:
    try:
        found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    except (TypeError, ValueError, RuntimeError):
        return False
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def _numbers(value: Any) -> str:
    if not isinstance(value, Tensor):
        return str(value)
    first = value.flatten()[:3].tolist()
    return "a tensor that begins with " + ", ".join(f"{number:.3g}" for number in first)
