"""How to train."""

from dataclasses import dataclass
from typing import get_args

from dcnlib.utils.device import DEVICES, Precision


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. AdamW under a one-cycle learning rate that peaks at `learning_rate`, after `warm_up` of all steps.

    device: `auto` takes CUDA, then MPS, then the CPU. precision: `auto` is bfloat16 autocast on CUDA and float32
    elsewhere. compile: let torch.compile fuse the training step (needs a C++ compiler on CPUs). clip_norm: the largest
    norm of all gradients together; longer ones are scaled down to it. None leaves them as they are.
    """

    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    clip_norm: float | None = None
    warm_up: float = 0.3

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs must be at least 1 and batch_size at least 2 (batch norm), got {self}")
        if not (self.learning_rate > 0 and self.weight_decay >= 0 and self.seed >= 0):
            raise ValueError(f"learning_rate must be positive, weight_decay and seed not negative, got {self}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, or None for no clipping, got {self.clip_norm}")
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must lie between 0 and 1, got {self.warm_up}")
        if self.device.split(":")[0] not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)} (or cuda:N), got {self.device!r}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {self.precision!r}")
