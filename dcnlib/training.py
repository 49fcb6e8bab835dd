"""Training any model of this library by one contract, with checkpoints that survive a kill, and evaluation.

A model needs `model.loss(images, labels)` -> (loss, named parts). A data set needs `len(data)` and `data[indices]` ->
(images, labels) for an array of indices, as `ClutteredMNIST` and `torch.utils.data.TensorDataset` have it.
"""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from dcnlib.checkpoints import Progress, resume, save_checkpoint, save_weights, weights_of
from dcnlib.checks import check_values
from dcnlib.evaluation import Data, evaluate, to_device
from dcnlib.results import Record, environment, save_record

Precision = Literal["auto", "float32", "bfloat16"]
DEVICES = ("auto", "cpu", "cuda", "mps")


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


def seed_everything(seed: int) -> None:
    """Seed torch on every device. Data sets draw from seeds of their own."""
    torch.manual_seed(seed)


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, then MPS, then the CPU. Raises ValueError for a device that isn't there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available.get(device.type, False):
        raise ValueError(f"device {name!r} is not available here; use 'auto' or 'cpu'")
    return device


def fit(
    model: nn.Module,
    train_data: Data,
    validation_data: Data,
    settings: TrainingSettings,
    *,
    name: str = "run",
    description: Record | None = None,
    run_dir: str | Path | None = None,
    checkpoint_seconds: float = 60,
    on_epoch: Callable[[Record], None] | None = None,
    progress: bool = False,
) -> Record:
    """Train `model`, keep the weights of lowest validation error in it, and return the run's record.

    With a `run_dir`, state is saved there at least every `checkpoint_seconds`, and a run that was killed goes on from
    it; on the same machine and thread count it ends bit-identical to an uninterrupted one. The finished run leaves
    `record.json` and `weights.safetensors` there, and a repeated call returns that record. `on_epoch` is called with
    each epoch's figures, `progress` shows a bar, and `description` says in the record what the model is.

    Raises ValueError if there are fewer images than a batch, if an epoch's first batch has values outside [0, 1], or if
    `run_dir` holds a run with other settings; FloatingPointError if the loss is no longer finite.
    """
    steps = len(train_data) // settings.batch_size
    if steps == 0 or len(validation_data) == 0:
        raise ValueError(
            f"{len(train_data)} training and {len(validation_data)} validation images don't make a batch of "
            f"{settings.batch_size} and a validation"
        )
    device = resolve_device(settings.device)
    seed_everything(settings.seed)
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.epochs * steps, pct_start=settings.warm_up
    )
    identity = {
        "name": name,
        "model": description or {"class": type(model).__name__},
        "settings": asdict(settings),
        "data": {"train": _describe(train_data), "validation": _describe(validation_data)},
    }
    state = Progress()
    best_weights = weights_of(model)
    checkpoint = Path(run_dir) / "checkpoint.pt" if run_dir is not None else None
    if checkpoint is not None and checkpoint.is_file():
        best_weights = resume(checkpoint, identity, model, optimizer, schedule, state)

    loss_of: Callable[..., Any] = torch.compile(model.loss) if settings.compile else model.loss  # type: ignore
    precision = autocast(device, settings.precision)
    started = time.perf_counter() - state.seconds
    saved = time.perf_counter()

    def save() -> None:
        nonlocal saved
        state.seconds = time.perf_counter() - started
        if checkpoint is not None:
            save_checkpoint(checkpoint, identity, model, optimizer, schedule, state, best_weights)
        saved = time.perf_counter()

    while state.epoch < settings.epochs:
        epoch_data = train_data.at_epoch(state.epoch) if hasattr(train_data, "at_epoch") else train_data
        order = np.random.RandomState([settings.seed, state.epoch, 1]).permutation(len(train_data))
        batches = order[: steps * settings.batch_size].reshape(steps, settings.batch_size)
        bar = tqdm(
            batches[state.step :],
            initial=state.step,
            total=steps,
            desc=f"{name} {state.epoch + 1}/{settings.epochs}",
            disable=not progress,
        )
        model.train()
        for batch in bar:
            images, labels = to_device(epoch_data[batch], device)
            if state.step == 0:  # a look at all values of all batches would cost time
                check_values(images)
            with precision:
                loss, parts = loss_of(images, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            schedule.step()
            for part, value in {"loss": loss.detach(), **parts}.items():
                state.sums[part] = state.sums.get(part, torch.zeros((), dtype=torch.float64)) + value.cpu().double()
            state.step += 1
            if time.perf_counter() - saved >= checkpoint_seconds and state.step < steps:
                save()

        figures: Record = {f"train_{part}": float(value) / steps for part, value in state.sums.items()}
        if not np.isfinite(figures["train_loss"]):
            raise FloatingPointError(f"the loss of epoch {state.epoch + 1} is not finite: try a lower learning_rate")
        validation = evaluate(model, validation_data)
        figures |= {"validation_error": validation.rate.fraction, "validation_loss": validation.loss}
        if not state.best or validation.rate.fraction < state.best["error"]:
            state.best = {"epoch": state.epoch + 1, **validation.as_record()}
            best_weights = weights_of(model)
        for part, value in figures.items():
            state.curves.setdefault(part, []).append(value)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        save()
        if on_epoch is not None:
            on_epoch({"epoch": state.epoch, "seconds": state.seconds, **figures})

    model.load_state_dict(best_weights)
    model.eval()
    record = {
        **identity,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "curves": state.curves,
        "validation": state.best,
        "wall_seconds": round(state.seconds, 3),
        **environment(device.type),
    }
    if run_dir is None:
        return record
    save_weights(Path(run_dir) / "weights.safetensors", model)
    path = Path(run_dir) / "record.json"
    # A run that was finished before keeps its record: who trained it when, and what the test set said of it.
    kept = json.loads(path.read_text()) if path.is_file() else {}
    parts = ("name", "model", "settings", "curves")
    if json.dumps([kept.get(part) for part in parts]) == json.dumps([record[part] for part in parts]):
        return kept
    save_record(path, record)
    return record


def _describe(data: Data) -> Record:
    own = getattr(data, "describe", None)
    return own() if own is not None else {"name": type(data).__name__, "count": len(data)}


def autocast(device: torch.device, precision: Precision) -> Any:
    """The context that a step of this precision runs in; one object may be entered again and again."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
