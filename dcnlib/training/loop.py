"""Training any model of this library by one contract, with checkpoints that survive a kill.

A model needs `model.loss(images, labels)` -> (loss, named parts) and `model(images)` -> class scores. A data set needs
`len(data)` and `data[i]` -> (image, label): see `dcnlib.training.loading.Data`.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dcnlib.training.batch_norm import synchronised
from dcnlib.training.checkpoint import Training, read_checkpoint, resume, save_checkpoint
from dcnlib.training.evaluation import evaluate
from dcnlib.training.identity import check_alike, check_same, identify
from dcnlib.training.interrupt import Stop, Stopped, stopping_between_steps
from dcnlib.training.loading import Data, count, count_batches, evaluation_batches, generator_of, training_batches
from dcnlib.training.means import first_means, in_place_of_weights, update_means
from dcnlib.training.processes import Processes, join, noticing_losses
from dcnlib.training.run import Run
from dcnlib.training.schedule import one_cycle
from dcnlib.training.settings import TrainingSettings
from dcnlib.training.watch import Watch
from dcnlib.utils.checks import check_label_range
from dcnlib.utils.device import autocast, deterministic, emulates_bfloat16, seed_everything, to_device
from dcnlib.utils.modules import evaluation_mode, train_keeping_frozen, uncompiled
from dcnlib.utils.records import Record, environment
from dcnlib.utils.weights import digest_of, put_weights, read_weights, save_weights, weights_of


def fit(
    model: nn.Module,
    train_data: Data | DataLoader,
    validation_data: Data | DataLoader,
    settings: TrainingSettings,
    *,
    name: str = "run",
    description: Record | None = None,
    start: Record | None = None,
    run_dir: str | Path | None = None,
    checkpoint_seconds: float = 60,
    on_epoch: Callable[[Record], None] | None = None,
    progress: bool | float = False,
) -> Record:
    """Train `model`, keep the weights of lowest validation error in it, and return the run's record.

    The data are map-style data sets, or DataLoaders, whose own batches, size and order are then taken. Parts of a model
    in training mode that are in eval mode stay in it, so that their batch-norm statistics are kept; so do, in a model
    that is in eval mode as a whole, parts whose parameters are all frozen (`requires_grad_(False)`).

    With a `run_dir`, state is saved there at least every `checkpoint_seconds`, and a run that was killed goes on from
    it; on the same machine and thread count it ends bit-identical to an uninterrupted one. A first SIGINT, SIGTERM or
    SIGHUP, an interrupt in Jupyter too, stops between two steps: state is saved, the model is whole, and the same call
    goes on. The finished run leaves `record.json` and `weights.safetensors` there; a repeated call returns that record
    and puts those weights into the model. `on_epoch` is called with each epoch's figures, `progress` shows a bar (for a
    log, give the seconds between two states of it: shorter epochs show none), and `description` says in the record what
    the model is, and `start` what it began with, if not with drawn weights.

    Started by `torchrun` or `accelerate launch`, the same call trains in all of their processes together: each takes
    its equal share of every batch, so `batch_size` stays that of a step. The first one writes the files and shows the
    bar; all return the record, and call `on_epoch`. With any number of processes a run goes on where it was.

    Raises TypeError for a model without `loss`, such as `nn.DataParallel`, and for float16 weights; ValueError if there
    are fewer images than a batch, or no parameter to train, for images outside [0, 1] and labels that are none of the
    model's classes, and if `run_dir` holds a run that differs in anything that changes the result, saying in what (of
    your own code, classes are known by their names, and pictures in files by their labels); BlockingIOError if another
    process trains there; FloatingPointError if loss, gradient, weights or validation are no longer finite: at that step
    on a CPU, and on a GPU, which would have to be waited for, at the next checkpoint or the epoch's end. The last
    checkpoint is from before. ConnectionError if another of several processes has ended. Stopped, a KeyboardInterrupt,
    after a signal.
    """
    model = uncompiled(model)
    if isinstance(train_data, DataLoader) and train_data.batch_size is not None:
        settings = replace(settings, batch_size=train_data.batch_size)
    if count_batches(train_data, settings.batch_size) == 0 or count(validation_data) == 0:
        raise ValueError(
            f"{len(train_data)} training and {len(validation_data)} validation images don't make a batch of "
            f"{settings.batch_size} and a validation"
        )
    _check_trainable(model)
    processes = join(settings.device)
    if settings.batch_size % processes.count:
        raise ValueError(f"{processes.count} processes can't share batches of {settings.batch_size} images equally")
    identity = identify(name, description, model, train_data, validation_data, settings)
    if start is not None:
        identity["start"] = start
    check_alike(processes.gather(identity))
    run = Run(run_dir) if run_dir is not None else None
    with ExitStack() as held, torch.inference_mode(False), torch.enable_grad():
        # What is finished where nothing can be written is only read.
        if run and processes.from_first(lambda: not (run.finished and run.read_only)):
            processes.from_first(lambda: held.enter_context(run.lock()))
        seed_everything(settings.seed)
        model.to(processes.device).to(memory_format=torch.channels_last)
        if run and (finished := processes.from_first(lambda: _read_finished(run, identity, model))):
            return _take_finished(run, *finished, model)
        trainer = _Trainer(model, train_data, validation_data, settings, processes, identity, run, checkpoint_seconds)
        held.enter_context(
            noticing_losses(processes, "; the same command goes on from the last checkpoint" if run else "")
        )
        held.enter_context(synchronised(model, processes))
        varying = held.enter_context(deterministic(settings.deterministic))
        with stopping_between_steps() as stop:
            trainer.train(stop, on_epoch, progress)
        return trainer.finish(varying)


class _Trainer:
    """One call of `fit`: what it trains with, and its loop."""

    def __init__(
        self,
        model: nn.Module,
        train_data: Any,
        validation_data: Any,
        settings: TrainingSettings,
        processes: Processes,
        identity: Record,
        run: Run | None,
        checkpoint_seconds: float,
    ) -> None:
        self.model, self.settings, self.processes, self.identity = model, settings, processes, identity
        self.train_data, self.validation_data = train_data, validation_data
        self.run, self.checkpoint_seconds = run, checkpoint_seconds
        self.device = processes.device
        self.here = environment(self.device.type) if run else {}
        if run:
            self.here["machine"]["processes"] = processes.count
        self.steps = count_batches(train_data, settings.batch_size)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = one_cycle(optimizer, settings, self.steps)
        means = {} if settings.mean_decay is None else first_means(model)
        self.training = Training(model, optimizer, schedule, weights_of(model), means)
        if run and (content := processes.from_first(lambda: _read_begun(run, model))):
            resume(run.checkpoint_path, content, identity, self.here, self.training)
        self.classes = _count_classes(model, validation_data, self.device)
        self.saved = time.perf_counter()
        self.started = self.saved - self.training.progress.seconds
        self.watch = Watch(model, settings, processes)

    def train(self, stop: Stop, on_epoch: Callable[[Record], None] | None, progress: bool | float) -> None:
        """The loop: epochs of steps, each with a validation at its end."""
        model, settings, state = self.model, self.settings, self.training.progress
        loss_of: Callable[..., Any] = torch.compile(model.loss) if settings.compile else model.loss  # type: ignore
        loss_of = self.processes.together(loss_of, model)
        precision = autocast(self.device, settings.precision)
        train_keeping_frozen(model)
        if settings.precision == "bfloat16" and emulates_bfloat16(self.device):
            slow = "this processor has no bfloat16: a step takes several times as long as in float32"
            warnings.warn(slow, RuntimeWarning, stacklevel=4)
        if self.processes.several and state.epoch == state.step == 0:
            self._save()  # whichever of them is killed, there is one

        while state.epoch < settings.epochs:
            for images, labels in self._bar(self._batches(), progress):
                check_label_range(labels, self.classes)
                images, labels = to_device((images, labels), self.device)
                self.processes.seed_draws(settings.seed, state.epoch, state.step)
                with precision:
                    loss, parts = loss_of(images, labels)
                self.training.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or math.inf)
                self.watch.see_step(loss, norm, state.step + 1, state.epoch + 1)
                self.training.optimizer.step()
                self.training.schedule.step()
                state.add({"loss": loss, **parts})
                state.step += 1
                if settings.mean_decay is not None:
                    update_means(self.training.means, model, settings.mean_decay, state.epoch * self.steps + state.step)
                due = time.perf_counter() - self.saved >= self.checkpoint_seconds and state.step < self.steps
                # One process sees a signal, or the clock, before the others: what it sees, all do.
                signal, save = self.processes.largest(stop.signal or 0, int(due and self.processes.first))
                if save or signal:
                    self._save()
                self._leave_if(signal)

            self.watch.see_weights(state.epoch + 1)
            self._share_sums()
            figures = {f"train_{part}": float(value) / self.steps for part, value in state.sums.items()}
            figures |= self._validate()
            for part, value in figures.items():
                state.curves.setdefault(part, []).append(value)
            state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
            if (own := generator_of(self.train_data)) is not None:
                state.epoch_rng = own.get_state()
            self._save()
            if on_epoch is not None:
                on_epoch({"epoch": state.epoch, "seconds": state.seconds, **figures})
            if state.epoch < settings.epochs:
                self._leave_if(*self.processes.largest(stop.signal or 0))

    def _batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """The epoch's batches that are still to come."""
        state, settings, own = self.training.progress, self.settings, generator_of(self.train_data)
        if state.step == 0:
            if own is not None and state.epoch_rng is not None:
                own.set_state(state.epoch_rng)  # of a loader made anew, in a run that goes on
            state.epoch_rng = self.processes.from_first((own or torch.default_generator).get_state)
        return training_batches(
            self.train_data,
            settings.batch_size,
            seed=settings.seed,
            epoch=state.epoch,
            start=state.step,
            workers=settings.workers,
            epoch_rng=state.epoch_rng,
            share=(self.processes.rank, self.processes.count),
        )

    def _bar(self, batches: Iterable[tuple[Tensor, Tensor]], shown: bool | float) -> Iterable[tuple[Tensor, Tensor]]:
        state = self.training.progress
        seldom: dict[str, Any] = (
            {} if isinstance(shown, bool) else {"mininterval": shown, "delay": shown, "leave": False}
        )
        told = f"{self.identity['name']} {state.epoch + 1}/{self.settings.epochs}"
        hidden = not (shown and self.processes.first)
        return tqdm(batches, initial=state.step, total=self.steps, desc=told, disable=hidden, **seldom)

    def _validate(self) -> Record:
        """Error and loss on the validation data; the best weights are those of the lowest error so far."""
        state = self.training.progress
        with in_place_of_weights(self.training.means, self.model):
            validation = evaluate(
                self.model, self.validation_data, workers=self.settings.workers, processes=self.processes
            )
            self.watch.see_validation(validation.loss, state.epoch + 1)
            if not state.best or validation.rate.fraction < state.best["error"]:
                state.best = {"epoch": state.epoch + 1, **validation.as_record()}
                self.training.best_weights = weights_of(self.model)
        return {"validation_error": validation.rate.fraction, "validation_loss": validation.loss}

    def _share_sums(self) -> None:
        """Let the sums of the epoch's loss parts be the means of all processes' sums."""
        sums = self.training.progress.sums
        for part in sums if self.processes.several else ():
            sums[part] = torch.as_tensor(self.processes.mean(sums[part]))

    def _leave_if(self, signal: int) -> None:
        """Raise Stopped if a signal has come."""
        state = self.training.progress
        if signal:
            where = f"after {state.epoch} epochs and {state.step} steps"
            raise Stopped(signal, where + ("; the same call goes on from there" if self.run else ""))

    def _save(self) -> None:
        self.training.progress.seconds = time.perf_counter() - self.started
        if run := self.run:
            self.watch.see_weights(self.training.progress.epoch + 1)
            self._share_sums()
            self.processes.from_first(
                lambda: save_checkpoint(run.checkpoint_path, self.identity, self.here, self.training)
            )
        self.saved = time.perf_counter()

    def finish(self, varying: set[str]) -> Record:
        """Put the best weights into the model, and write weights and record, which names the operations that don't
        give the same bits each time where that was asked for."""
        state = self.training.progress
        put_weights(self.training.best_weights, self.model, "the run")
        self.model.eval()
        record = {
            **self.identity,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "curves": state.curves,
            "validation": state.best,
            "wall_seconds": round(state.seconds, 3),
            **environment(self.device.type),
        }
        if self.processes.several:
            record["processes"] = {
                "count": self.processes.count,
                "batch_size": self.settings.batch_size,
                "batch_size_each": self.settings.batch_size // self.processes.count,
                "batch_norm": "over all processes",
            }
        if varying:
            record["not_deterministic"] = sorted(varying)
            warnings.warn(
                f"these operations don't give the same bits each time here: {', '.join(sorted(varying))}", stacklevel=3
            )
        if state.resumed:
            record["resumed"] = state.resumed
        return self.processes.from_first(lambda: self._write(record))

    def _write(self, record: Record) -> Record:
        if not self.run:
            return record
        save_weights(self.run.weights_path, self.model)
        # A run that was finished before keeps its record: who trained it when, and what the test set said of it.
        if self.run.finished and (kept := self.run.read_record()).get("curves") == record["curves"]:
            return kept
        self.run.save_record(record)
        return record


def _check_trainable(model: nn.Module) -> None:
    """Raise TypeError or ValueError unless a model can be trained, as far as that is seen before a step."""
    if not callable(getattr(model, "loss", None)):
        raise TypeError(
            f"the model must have loss(images, labels) -> (loss, named parts), which {type(model).__name__} hasn't. "
            "If it wraps a model, give that: several GPUs train by torchrun or accelerate launch, see "
            "docs/several_machines.md"
        )
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("there is nothing to train: every parameter of the model is frozen")
    if half := [name for name, parameter in trained.items() if parameter.dtype == torch.float16]:
        raise TypeError(
            f"float16 weights can't be trained, such as {half[0]}: what keeps AdamW from dividing by zero is zero "
            "itself there. Train float32 weights under precision='bfloat16', or bfloat16 weights"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ValueError("a model that was made in torch.inference_mode() can't be trained: make it outside")


@torch.no_grad()
def _count_classes(model: nn.Module, data: Any, device: torch.device) -> int:
    """How many classes a model tells apart: of one image, which leaves no trace in torch's generators."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), evaluation_mode(model):
        images, _ = next(evaluation_batches(data, 1))
        return model(images[:1].to(device)).shape[-1]


def _read_begun(run: Run, model: nn.Module) -> dict[str, Any] | None:
    """What the checkpoint of a run holds, if it has one."""
    return read_checkpoint(run.checkpoint_path, model) if run.checkpoint_path.is_file() else None


def _read_finished(run: Run, identity: Record, model: nn.Module) -> tuple[Record, dict[str, Tensor]] | None:
    """Record and weights of a run that is finished, and whose checkpoint is gone or can't be gone on from, as the
    folder is read-only. Else None.

    Raises ValueError, saying what differs, if it is another experiment's.
    """
    if not run.finished or (run.checkpoint_path.is_file() and not run.read_only):
        return None
    record, weights = run.read_record(), read_weights(run.weights_path, model)
    check_same(run.folder, record, identity, {digest_of(weights)})
    return record, weights


def _take_finished(run: Run, record: Record, weights: dict[str, Tensor], model: nn.Module) -> Record:
    put_weights(weights, model, str(run.weights_path))
    model.eval()
    return record
