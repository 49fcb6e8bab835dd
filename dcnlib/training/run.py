"""A run on disk: a folder with its record, its weights and its checkpoint, and its one look at the test set."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.training.evaluation import evaluate
from dcnlib.training.processes import current
from dcnlib.utils.device import seed_everything
from dcnlib.utils.files import user_path
from dcnlib.utils.locks import lock_file
from dcnlib.utils.records import Record, read_record, save_record


class Run:
    """The folder of a run, and the one place that knows how its files are called."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = user_path(folder)
        self.record_path = self.folder / "record.json"
        self.weights_path = self.folder / "weights.safetensors"
        self.checkpoint_path = self.folder / "checkpoint.pt"
        self.lock_path = self.folder / ".lock"

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes out. Raises BlockingIOError if one trains here, OSError if nothing can be written."""
        return lock_file(self.lock_path, f"{self.folder} is in use: another process trains there")

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end: its record is the last thing that it writes."""
        return self.record_path.is_file()

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written into the folder."""
        return self.folder.is_dir() and not os.access(self.folder, os.W_OK)

    def read_record(self) -> Record:
        """The record of the finished run. Raises FileNotFoundError for an unfinished one, ValueError for a damaged
        record."""
        if not self.finished:
            raise FileNotFoundError(f"{self.folder} holds no finished run: no {self.record_path.name}")
        return read_record(self.record_path)

    def save_record(self, record: Record) -> None:
        """Write the run's record, atomically."""
        save_record(self.record_path, record)

    def test(self, model: nn.Module, test_data: Any, *, ways: Mapping[str, Mapping[str, Any]] | None = None) -> Record:
        """Evaluate the run's model on the test set, in several ways of answering (by default the model's own `ways`, if
        it has some) beside the usual one, and keep the results in the run's record. Which images it got wrong stands
        there too, so that runs compare image by image. Of several processes that train together, the first does it."""
        return current().from_first(lambda: self._test(model, test_data, ways))

    def _test(self, model: nn.Module, test_data: Any, ways: Mapping[str, Mapping[str, Any]] | None) -> Record:
        record = self.read_record()
        record["data"]["test"] = test_data.describe()
        seed = record["settings"]["seed"]
        ways = getattr(model, "ways", {}) if ways is None else ways
        seed_everything(seed)  # a model that chooses at random draws the same whenever it is tested
        record["test"] = evaluate(model, test_data).as_record()
        for way, options in ways.items():
            seed_everything(seed)
            record.setdefault("test_ways", {})[way] = evaluate(model, test_data, **options).as_record()
        self.save_record(record)
        return record
