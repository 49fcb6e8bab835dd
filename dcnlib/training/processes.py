"""Several processes that train one model together: who they are, and what they tell each other.

`torchrun` and `accelerate launch` start the same script once for each GPU; Hugging Face Accelerate finds out how many
there are, and which device is whose. A process that was started alone asks for none of it.
"""

import atexit
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from dcnlib.utils.device import resolve_device, seed_everything
from dcnlib.utils.launched import launched_as

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. All of them call the same methods in the same order.

    What they tell each other are numbers of the CPU, by a group of its own, so that no GPU is waited for; only
    gradients and batch-norm statistics go by the devices' group.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: Any = None

    @property
    def several(self) -> bool:
        return self.count > 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and tells how it goes."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """What each process gives, in the order of their ranks, in all of them."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """What the first process gets when it does this work, or fails with, in all of them."""
        if not self.several:
            return work()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = work()
            except Exception as error:
                told[1] = error
        distributed.broadcast_object_list(told, src=0, group=self.group)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def largest(self, *values: int) -> tuple[int, ...]:
        """Of each number, the largest that a process gives."""
        return tuple(self._reduced(torch.tensor(values), distributed.ReduceOp.MAX).tolist()) if self.several else values

    def mean(self, value: Tensor | float) -> Tensor | float:
        """The mean of what the processes give, in float64 on the CPU. Waits for the device where there are several."""
        if not self.several:
            return value
        total = torch.as_tensor(value).detach().to("cpu", torch.float64)
        return self._reduced(total.clone(), distributed.ReduceOp.SUM) / self.count

    def _reduced(self, tensor: Tensor, how: Any) -> Tensor:
        distributed.all_reduce(tensor, op=how, group=self.group)
        return tensor

    def together(self, loss: Callable[..., Any], model: nn.Module) -> Callable[..., Any]:
        """A loss whose gradients, of every process's own share of a batch, are averaged as they are made."""
        if not self.several:
            return loss
        # A model may leave parts unused: its fine layers with k = 0.
        with warnings.catch_warnings():
            # The name that is to come in its place means something else as yet.
            warnings.filterwarnings("ignore", ".*broadcast_buffers.* is deprecated")
            return nn.parallel.DistributedDataParallel(
                _LossAsForward(loss, model), broadcast_buffers=False, find_unused_parameters=True
            )

    def seed_draws(self, seed: int, epoch: int, step: int) -> None:
        """Let a step of each process draw differently. The first one's generator goes on as if it were alone; the
        others' begins anew at each step, so that they need no state of their own in a checkpoint."""
        if not self.first:
            seed_everything(int(np.random.SeedSequence([seed, epoch, step, self.rank]).generate_state(1, np.uint64)[0]))


class _LossAsForward(nn.Module):
    """A model whose forward is its loss: what is called to train in step with others must be the module itself."""

    def __init__(self, loss: Callable[..., Any], model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, images: Tensor, labels: Tensor) -> Any:
        return self.loss(images, labels)


_joined: Processes | None = None


def join(device: str) -> Processes:
    """Meet the processes that were started together, each on a device of this kind; it waits until all are there.

    Raises ModuleNotFoundError without Accelerate, ValueError for a device that isn't one for each.
    """
    global _joined
    begun = distributed.is_available() and distributed.is_initialized()
    if (distributed.get_world_size() if begun else launched_as()[1]) == 1:
        return Processes(device=resolve_device(device))
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"several processes take auto, cpu or cuda, of which each gets its own, got device {device!r}")
    if _joined is None:
        resolve_device(device)
        try:
            from accelerate import PartialState
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "training in several processes needs Accelerate: pip install 'dcnlib[distributed]'"
            ) from error
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        group = distributed.new_group(backend="gloo")
        # A group whose threads still run when the interpreter ends can abort it, after all has been done well.
        atexit.register(_leave)
        _joined = Processes(state.process_index, state.num_processes, state.device, group)
    if device not in ("auto", _joined.device.type) or _joined.device.type not in ("cpu", "cuda"):
        raise ValueError(f"these processes have joined on {_joined.device.type}, got device {device!r}")
    return _joined


def _leave() -> None:
    """End all groups, if nobody has yet."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def current() -> Processes:
    """The processes that this one has joined, or it alone."""
    return _joined or Processes()


@contextmanager
def noticing_losses(processes: Processes, kept: str) -> Iterator[None]:
    """Raise ConnectionError where another process can't be reached any more, whatever torch calls that."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, distributed.DistError) or any(sign in str(error) for sign in ("gloo", "NCCL", "peer"))
        if not (processes.several and lost):
            raise
        raise ConnectionError(
            f"process {processes.rank} of {processes.count} stops, because another one has ended{kept}"
        ) from error
