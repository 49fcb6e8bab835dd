"""A run on disk: its record, and its one look at the test set."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.training.evaluation import evaluate
from dcnlib.utils.device import seed_everything
from dcnlib.utils.records import Record, save_record


def test_once(model: nn.Module, run_dir: str | Path, test_data: Any) -> Record:
    """Evaluate a finished run's model on the test set, in all its `ways` of answering if it has several, and keep the
    results in the run's record. Which images it got wrong stands there too, so that runs compare image by image."""
    path = Path(run_dir) / "record.json"
    record = json.loads(path.read_text())
    record["data"]["test"] = test_data.describe()
    seed, ways = record["settings"]["seed"], getattr(model, "ways", {})
    seed_everything(seed)  # a model that chooses at random draws the same whenever it is tested
    result = evaluate(model, test_data)
    record["test"] = {**result.as_record(), "wrong": result.wrong.nonzero().flatten().tolist()}
    for way, options in ways.items():
        seed_everything(seed)
        record.setdefault("test_ways", {})[way] = evaluate(model, test_data, **options).as_record()
    save_record(path, record)
    return record


def finished_record(run_dir: str | Path) -> Record:
    """The record of a finished run. Raises FileNotFoundError for an unfinished one."""
    path = Path(run_dir) / "record.json"
    if not path.is_file():
        raise FileNotFoundError(f"{run_dir} holds no finished run: no record.json")
    return json.loads(path.read_text())
