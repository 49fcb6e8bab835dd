"""Jobs for the tests of sweeps: in a module of its own, from which the processes of a sweep can import them."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dcnlib.training.jobs import Job
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.records import Record
from dcnlib.utils.weights import load_weights

BATCH = 16
STEPS = 4  # an epoch


class Linear(nn.Module):
    """Scores of two classes from nine pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(9, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return nn.functional.cross_entropy(self(images), labels), {}


class Told(TensorDataset):
    """Images that describe themselves, as those to test on must."""

    def describe(self) -> dict[str, object]:
        return {"name": "told", "count": len(self)}


class SlowAndLogged(Linear):
    """Writes a line for each step, and takes its time."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__()
        self.log, self.seconds = str(log), seconds

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        time.sleep(self.seconds)
        with open(self.log, "a") as log:
            print(float(images.sum()), torch.get_num_threads(), file=log)
        return super().loss(images, labels)


@dataclass(frozen=True, kw_only=True)
class SmallJob(Job):
    """A job of a second, which begins with the weights of others if it is to. log: a file that gets a line a step, in
    which it takes `seconds`. broken: it can't load its images. deadly: its process dies."""

    log: Path | None = None
    seconds: float = 0.0
    broken: bool = False
    deadly: bool = False

    def build(self) -> nn.Module:
        return Linear() if self.log is None else SlowAndLogged(self.log, self.seconds)

    def start(self, model: nn.Module, begin: Sequence[Run]) -> Record | None:
        for run in begin:
            load_weights(run.weights_path, model)
        return {"begin": [run.folder.name for run in begin]} if begin else None

    def load(self, split: str) -> Told:
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.broken:
            raise ValueError("these images are broken")
        generator = torch.Generator().manual_seed(len(split))
        images = torch.rand(STEPS * BATCH, 1, 3, 3, generator=generator)
        return Told(images, (images.mean((1, 2, 3)) > 0.5).long())


def settings(seed: int = 0, epochs: int = 2) -> TrainingSettings:
    return TrainingSettings(epochs=epochs, batch_size=BATCH, seed=seed, device="cpu")
