"""How to train."""

import math
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np

from dcnlib.utils.device import Precision, device_name


@dataclass(frozen=True)
class TrainingSettings:
    """How to train: AdamW under a one-cycle learning rate. Its first beta falls from 0.95 to 0.85 while the rate rises,
    and rises again while that falls."""

    epochs: int = 8
    """How often every training image is shown."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 3e-3
    """Where the learning rate peaks."""
    weight_decay: float = 0.05
    """AdamW's, for all parameters."""
    seed: int = 0
    """Of the initial weights, the order of the images and their clutter or disturbance."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU."""
    precision: Precision = "auto"
    """auto is bfloat16 autocast on CUDA and float32 elsewhere."""
    compile: bool = False
    """Whether torch.compile fuses the training step; it needs a C++ compiler on CPUs."""
    clip_norm: float | None = None
    """The largest norm of all gradients together, to which longer ones are scaled; None leaves them as they are."""
    warm_up: float = 0.3
    """The share of all steps after which the learning rate peaks."""
    mean_decay: float | None = None
    """Decay a step of the running mean of all weights that validation and the saved weights are of; None takes the
    weights themselves."""
    deterministic: bool = False
    """Whether torch takes operations that give the same bits each time on one machine; what it can't is said. On CPUs
    all of ours do anyway."""
    workers: int = 0
    """Processes that make batches beside the training; 0 makes them in its own, and so does a process of a sweep, which
    can't start any."""

    def __post_init__(self) -> None:
        """Numbers of numpy and devices of torch are taken for what they are and kept as plain ones, so that a record
        can hold them. Raises TypeError, naming the field, for any other type and ValueError for a value out of its
        range."""
        for field in fields(self):
            object.__setattr__(self, field.name, _PLAIN[field.type](field.name, getattr(self, field.name)))
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be at least 1, got {self}")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf and self.seed >= 0):
            raise ValueError(f"learning_rate must be positive, weight_decay and seed not negative, got {self}")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, got {self.seed}")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be positive, or None for no clipping, got {self.clip_norm}")
        if self.mean_decay is not None and not 0 < self.mean_decay < 1:
            raise ValueError(f"mean_decay must lie between 0 and 1, or be None for no mean, got {self.mean_decay}")
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must lie between 0 and 1, got {self.warm_up}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {self.precision!r}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _number_or_none(name: str, value: Any) -> float | None:
    return None if value is None else _number(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r}")
    return str(value)


# What makes a plain value of what was given for a field, by the field's type.
_PLAIN: dict[Any, Any] = {
    int: _whole,
    float: _number,
    float | None: _number_or_none,
    bool: _flag,
    str: lambda name, value: device_name(value),
    Precision: _text,
}
