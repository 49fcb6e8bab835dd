"""Watching that a training stays finite, without letting a GPU wait at each step."""

import math

from torch import Tensor, nn

from dcnlib.training.processes import Processes
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.weights import check_finite


class Watch:
    """Stops a training with FloatingPointError where its loss, its gradient or its weights are no longer finite.

    On a CPU that is at the step, before it would spoil the weights. On a GPU, which would have to be waited for, losses
    and norms are added up, and the sum is looked at when a checkpoint is written and at an epoch's end. What one of
    several processes sees stops all of them at the same step.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, processes: Processes) -> None:
        self.model, self.processes = model, processes
        self.advice = f"try a lower learning_rate, or a clip_norm, than in {settings}"
        self.total: Tensor | float = 0.0

    def see_step(self, loss: Tensor, gradient_norm: Tensor, step: int, epoch: int) -> None:
        """A step that is about to be made."""
        self.total = self.total + (loss.detach() + gradient_norm)
        if self.processes.device.type == "cpu":
            self._look(f"step {step} of epoch {epoch}")

    def see_weights(self, epoch: int) -> None:
        """The steps made since the last look, and the weights that came of them. Waits for the device."""
        self._look(f"epoch {epoch}")
        try:
            check_finite(self.model.state_dict(), f"epoch {epoch}")
        except ValueError as error:
            raise FloatingPointError(f"{error}: {self.advice}") from error

    def see_validation(self, loss: float, epoch: int) -> None:
        """The loss on the validation data."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"the validation loss of epoch {epoch} is not finite: {self.advice}")

    def _look(self, where: str) -> None:
        total, self.total = self.processes.mean(self.total), 0.0
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss, or its gradient, of {where} is not finite: {self.advice}")
