"""The number of patches of a training step: always the same, or drawn, so that one network learns all of them."""

from typing import Literal, get_args

import torch

from dcnlib.core.selection import check_k

TrainingK = Literal["fixed", "uniform", "reciprocal"]


def draw_k(k: int, how: TrainingK) -> int:
    """The patches of one training step: k itself if "fixed", else one of 1..k, drawn with torch's global generator.

    "uniform": each as often. "reciprocal": n with a probability proportional to 1 / n, so that each doubling, 1, 2 and
    3, 4 to 7, ..., comes about as often. 0 isn't drawn: a share of the loss is what trains the first prediction.
    """
    if how == "fixed":
        return k
    if how == "uniform":
        return int(torch.randint(1, k + 1, ()))
    return 1 + int(torch.multinomial(1 / torch.arange(1, k + 1), 1))


def check_every_k(k: int, first_share: float, training_k: str) -> None:
    """Raise TypeError or ValueError unless these are a number of patches, a share and a way to draw."""
    check_k(k)
    if not 0 <= first_share < 1:
        raise ValueError(
            f"first_share, the first prediction's of the loss, must be at least 0 and below 1, got {first_share}"
        )
    if training_k not in get_args(TrainingK):
        raise ValueError(f"training_k must be one of {get_args(TrainingK)}, got {training_k!r}")
    if training_k != "fixed" and k == 0:
        raise ValueError(f"training_k {training_k!r} draws from 1..k, so k must be at least 1, got 0")
