"""A run on disk: a folder with its record, its weights and its checkpoint, and its one look at the test set."""

import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.training.evaluation import evaluate
from dcnlib.training.processes import current
from dcnlib.utils.device import seed_everything
from dcnlib.utils.files import user_path
from dcnlib.utils.locks import lock_file
from dcnlib.utils.records import Record, check_parts, read_record, save_record

# What others than its writer read of a run's record; outer parts first.
PARTS: dict[str, Any] = {
    "name": str,
    "model": dict,
    "settings": dict,
    "settings.seed": int,
    "data": dict,
    "data.train": dict,
    "data.train.parts": list,
    "digests": dict,
    "digests.initial_weights": str,
    "frozen": list,
    "validation": dict,
    "validation.error": int | float,
    "test": dict,
    "test.error": int | float,
    "test_ways": dict,
    "validation_ways": dict,
    "until_sure": dict,
}


def read_run_record(path: Path, *, needed: Collection[str] = ()) -> Record:
    """The record of a run that lies at a path. Raises ValueError if it is damaged, or lacks one of the `needed` parts
    of `PARTS`."""
    record = read_record(path)
    check_run_record(record, path, needed=needed)
    return record


def check_run_record(record: Record, path: Path, *, needed: Collection[str] = ()) -> None:
    """Raise ValueError, naming the path, unless a run's record has the `needed` parts, and is as others read it."""
    check_parts(record, PARTS, path, needed=needed)
    if not all(isinstance(part, dict) for part in record.get("data", {}).get("train", {}).get("parts", [])):
        raise ValueError(f"{path} is no record of ours: its data.train.parts are no descriptions")


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

    def read_record(self, *, needed: Collection[str] = ()) -> Record:
        """The record of the finished run. Raises FileNotFoundError for an unfinished one, and as `read_run_record`."""
        if not self.finished:
            raise FileNotFoundError(f"{self.folder} holds no finished run: no {self.record_path.name}")
        return read_run_record(self.record_path, needed=needed)

    def save_record(self, record: Record) -> None:
        """Write the run's record, atomically."""
        save_record(self.record_path, record)

    def test(
        self,
        model: nn.Module,
        test_data: Any,
        *,
        ways: Mapping[str, Mapping[str, Any]] | None = None,
        validation: Any = None,
    ) -> Record:
        """Evaluate the run's model on the test set, in several ways of answering (by default the model's own `ways`, if
        it has some) beside the usual one, and keep the results in the run's record. Which images it got wrong stands
        there too, so that runs compare image by image. Of several processes that train together, the first does it.

        validation: the validation images, on which these ways are evaluated too, so that one is chosen there.
        """
        return current().from_first(lambda: self._test(model, test_data, ways, validation))

    def _test(
        self, model: nn.Module, test_data: Any, ways: Mapping[str, Mapping[str, Any]] | None, validation: Any
    ) -> Record:
        seed = self.read_record(needed=("data", "settings.seed"))["settings"]["seed"]
        ways = getattr(model, "ways", {}) if ways is None else ways

        def answers(data: Any, **options: Any) -> Record:
            seed_everything(seed)  # a model that chooses at random draws the same whenever it is tested
            return evaluate(model, data, **options).as_record()

        found, found_ways = answers(test_data), {}
        for split, data in {"test": test_data, "validation": validation}.items():
            if ways and data is not None:
                found_ways[f"{split}_ways"] = {way: answers(data, **options) for way, options in ways.items()}

        record = self.read_record(needed=("data",))  # anew: others may have kept something there meanwhile
        record["data"]["test"], record["test"] = test_data.describe(), found
        for name, answered in found_ways.items():
            record[name] = record.get(name, {}) | answered
        self.save_record(record)
        return record
