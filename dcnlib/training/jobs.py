"""Jobs: runs that are trained somewhere, by whichever process takes them, and what their folders tell of them."""

import json
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dcnlib.training.evaluation import Data
from dcnlib.training.identity import differences
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import seed_everything
from dcnlib.utils.files import atomic_write
from dcnlib.utils.locks import is_locked, lock_file
from dcnlib.utils.records import Record, check_parts, read_record, save_record

State = Literal["done", "running", "failed", "interrupted", "waiting"]
JOB_PARTS = {"name": str, "model": dict, "settings": dict, "settings.epochs": int, "test": bool}
PROGRESS_PARTS = {"epoch": int, "validation_error": int | float}
POLL_SECONDS = 1.0
# Torch's random numbers and its count of threads belong to a process: two jobs in one would disturb each other.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """A model to be trained, and what with: all that another process needs to do it. Pickled on its way there.

    name: the folder's in a sweep, and the record's. test: look at the test set once, at the end. begin: runs whose
    weights this one begins with, by their folders; a mere name is that of a run beside this one's, which a sweep does
    first.
    """

    name: str
    settings: TrainingSettings
    test: bool = False
    begin: tuple[Path, ...] = ()

    @abstractmethod
    def build(self) -> nn.Module:
        """The freshly initialised model; torch has been seeded with the settings' seed."""

    @abstractmethod
    def load(self, split: str) -> Data:
        """The images of "train", "validation" or "test"; those to test on need a `describe()` too."""

    def describe(self) -> Record:
        """What the record says of the model, such as {"kind": ...}; JSON can hold it."""
        return {"class": type(self).__name__}

    def start(self, model: nn.Module, begin: Sequence[Run]) -> Record | None:
        """Give the freshly initialised model the weights of the runs that it begins with; what the record says of
        that."""
        return None

    def ways(self, model: nn.Module) -> dict[str, dict[str, Any]]:
        """The ways of answering, beside its usual one, that the model is validated and tested in: options of a call, by
        name."""
        return getattr(model, "ways", {})

    def finished(self, run: Run) -> bool:
        """Whether there is nothing left to do in a run's folder."""
        return is_finished(run, self.test)

    def run(self, run: Run, **reporting: Any) -> nn.Module:
        """Train, or go on where the folder's checkpoint is, and test; gives the model in eval mode. `reporting`
        (`on_epoch`, `progress`, `checkpoint_seconds`) goes to `fit`, whose errors these are."""
        train, validation = self.load("train"), self.load("validation")
        test = self.load("test") if self.test else None  # a missing one is told before training
        seed_everything(self.settings.seed)
        model = self.build()
        start = self.start(model, [Run(run.folder.parent / before) for before in self.begin])
        how = {"name": self.name, "description": self.describe(), "start": start, "run_dir": run.folder, **reporting}
        record = fit(model, train, validation, self.settings, **how)
        if test is not None and "test" not in record:
            run.test(model, test, ways=self.ways(model), validation=validation)
        return model


@dataclass(frozen=True)
class JobStatus:
    """What a job's folder tells: its state, how many epochs it is through, validation error of the run (of the last
    epoch, before it is done), test error, and the last line of what it failed of."""

    name: str
    state: State
    epoch: int
    epochs: int
    validation_error: float | None = None
    test_error: float | None = None
    error: str | None = None


class JobFolder:
    """A job's folder: that of its run, with what a sweep keeps beside it."""

    def __init__(self, folder: str | Path) -> None:
        self.run = Run(folder)
        self.job_path = self.run.folder / "job.json"  # what the job is
        self.progress_path = self.run.folder / "progress.json"  # the figures of the last epoch
        self.error_path = self.run.folder / "error.txt"  # why it failed
        self.lock_path = self.run.folder / ".job.lock"  # held by who works on it

    def prepare(self, job: Job) -> None:
        """Say in the folder what the job is. Raises ValueError if it is another one's."""
        told = {"name": job.name, "model": job.describe(), "settings": asdict(job.settings), "test": job.test}
        told = json.loads(json.dumps(told))  # as it will be read again: a tuple is a list there
        kept = self._read(self.job_path, JOB_PARTS) if self.job_path.is_file() else told
        parts = ("name", "model", "settings")
        # A job of an earlier version says nothing of settings that came later.
        if differing := [part for part in parts if differences({part: kept.get(part)}, {part: told[part]})]:
            raise ValueError(
                f"{self.run.folder} holds a job that differs in {', '.join(differing)}: choose another folder, or "
                f"delete it; it has {[kept.get(part) for part in differing]}"
            )
        save_record(self.job_path, told)

    def note_error(self, text: str) -> None:
        """Keep why the job failed."""
        atomic_write(self.error_path, lambda file: file.write(text.encode()))

    def note_epoch(self, figures: Record) -> None:
        """Keep how far the job is."""
        save_record(self.progress_path, figures)

    def status(self) -> JobStatus:
        """What the files tell, whoever works on the job and wherever. Raises ValueError for a damaged one."""
        job = self._read(self.job_path, JOB_PARTS)
        name, epochs = job["name"], job["settings"]["epochs"]
        if is_finished(self.run, job["test"]):
            record = self.run.read_record(needed=("validation", "validation.error"))
            test_error = record.get("test", {}).get("error")
            return JobStatus(name, "done", epochs, epochs, record["validation"]["error"], test_error)
        figures = self._read(self.progress_path, PROGRESS_PARTS) if self.progress_path.is_file() else {"epoch": 0}
        state: State = "interrupted" if self.run.checkpoint_path.is_file() else "waiting"
        begun = JobStatus(name, state, figures["epoch"], epochs, figures.get("validation_error"))
        if is_locked(self.lock_path):
            return replace(begun, state="running")
        if self.error_path.is_file():
            last = self.error_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            return replace(begun, state="failed", error="".join(last))
        return begun

    def _read(self, path: Path, parts: dict[str, Any]) -> Record:
        record = read_record(path)
        check_parts(record, parts, path, needed=parts.keys() - {"validation_error"})
        return record

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until nobody else works on the job, and keep others out."""
        while True:
            try:
                with lock_file(self.lock_path, f"{self.run.folder} is in use"):
                    yield
                return
            except BlockingIOError:
                time.sleep(POLL_SECONDS)


def is_finished(run: Run, test: bool) -> bool:
    """Whether a run has come to its end, its look at the test set too if it is to have one."""
    return run.finished and (not test or "test" in run.read_record())


def work_on(job: Job, folder: str | Path, checkpoint_seconds: float) -> None:
    """Do a job in its folder, with one thread of torch, in whichever process this is called.

    A finished one is left as it is, an interrupted one goes on, and one that another process works on is waited for. An
    error ends the job, not the process: its text stays in the folder.
    """
    kept = JobFolder(folder)
    if not kept.job_path.is_file():  # whoever began the sweep has written it
        raise FileNotFoundError(f"no {kept.job_path} here: all machines of a sweep must see its folder, at one path")
    with _ONE_AT_A_TIME, kept.lock():
        if job.finished(kept.run):
            return
        kept.error_path.unlink(missing_ok=True)
        torch.set_num_threads(1)
        try:
            job.run(kept.run, on_epoch=kept.note_epoch, checkpoint_seconds=checkpoint_seconds)
        except Exception:
            kept.note_error(traceback.format_exc())
