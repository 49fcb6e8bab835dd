"""From a finished run to a record and weights of this project."""

import re
from pathlib import Path

from dcnlib.models.pretrained import PRETRAINED
from dcnlib.paper.runs import MEASUREMENTS
from dcnlib.training.run import Run
from dcnlib.utils.files import project_root
from dcnlib.utils.records import save_record
from dcnlib.utils.weights import load_weights, save_weights

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # names a file and no folder


def promote(run_dir: str | Path, name: str | None = None) -> list[Path]:
    """Copy a finished, tested run (or one of `MEASUREMENTS`) into the project: its record to `results/`, and the
    weights of a shipped model to `dcnlib/weights/`. Returns the files written; raises FileNotFoundError or ValueError
    for an unfinished run, and for a record that could be no file's name or no JSON.

    name: instead of the record's own, such as that of a measurement's second run."""
    run = Run(run_dir)
    record = run.read_record()
    if name is not None:
        record["name"] = name
    name = record.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{run.record_path}: a run's name is letters, digits, dots and dashes, not {name!r:.100}")
    if "test" not in record and name not in MEASUREMENTS:
        raise ValueError(f"{run_dir} was not evaluated on the test set: finish it first")
    root = project_root()
    written = [root / "results" / f"{name}.json"]
    if name in PRETRAINED:
        model = PRETRAINED[name].build()
        load_weights(run.weights_path, model)  # refuses the weights of another model
        written.append(root / "dcnlib" / "weights" / f"{name}.safetensors")
        save_weights(written[1], model)
    save_record(written[0], record)
    return written
