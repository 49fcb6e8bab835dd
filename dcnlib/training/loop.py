"""Training any model of this library by one contract, with checkpoints that survive a kill, and evaluation.

A model needs `model.loss(images, labels)` -> (loss, named parts). A data set needs `len(data)` and `data[indices]` ->
(images, labels) for an array of indices, as `ClutteredMNIST` and `torch.utils.data.TensorDataset` have it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from dcnlib.training.checkpoint import Progress, resume, save_checkpoint
from dcnlib.training.evaluation import Data, evaluate
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.checks import check_values
from dcnlib.utils.device import autocast, resolve_device, seed_everything, to_device
from dcnlib.utils.records import Record, environment, save_record
from dcnlib.utils.weights import save_weights, weights_of


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
