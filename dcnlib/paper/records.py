"""The committed records of this project."""

import json
from pathlib import Path

from dcnlib.utils.files import PACKAGE
from dcnlib.utils.records import Record


def load_record(name: str) -> Record:
    """A recorded run of this project by name, from `results/` of the checkout or as shipped with the package.

    Raises FileNotFoundError, naming the records that exist.
    """
    path = records_folder() / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in records_folder().glob("*.json")))
        raise FileNotFoundError(f"no record {name!r}; there are: {known or 'none'}")
    return json.loads(path.read_text())


def multiplications_of(name: str) -> int:
    """How many multiplications the model of an experiment takes for one image, as `count_experiments` counted them."""
    return load_record("multiplications")["models"][name]


def records_folder() -> Path:
    """`results/` of the checkout; in an installed package, its copy in `dcnlib/records`."""
    shipped = PACKAGE / "records"
    return shipped if shipped.is_dir() else PACKAGE.parent / "results"
