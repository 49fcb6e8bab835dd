"""The learning rate of each step, and the momentum that goes with it."""

import math

import torch

from dcnlib.training.settings import TrainingSettings


def one_cycle(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """The learning rate of each step: up to the settings' in their `warm_up` of all steps, then down to nearly zero. A
    single step is at the settings'. AdamW's first beta goes the other way: from 0.95 to 0.85 and up again, which is
    torch's default."""
    total, warm_up = settings.epochs * steps, settings.warm_up
    if total == 1:  # it would be the cycle's end: it is the first of two steps, of which the second is never made
        total, warm_up = 2, 0.5
    if warm_up * total == 1:  # torch divides by the steps of the rise; one step of it begins at the peak
        warm_up = math.nextafter(warm_up, 0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=total, pct_start=warm_up
    )
