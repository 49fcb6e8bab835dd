"""Records of runs: what was run, on what, where, and what came out. One JSON file a run, never edited by hand."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dcnlib.utils.files import PACKAGE, atomic_write, read_file

Record = dict[str, Any]
MOST_BYTES = 20_000_000  # of a record: JSON takes twenty times as much memory


def save_record(path: str | Path, record: Record) -> None:
    """Write a record as indented JSON, atomically."""
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def read_record(path: Path) -> Record:
    """A record that lies at a path. Raises ValueError unless it is the JSON of an object, with finite numbers."""
    try:
        text = read_file(path, MOST_BYTES).decode("utf-8")
        record = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no record: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is no record: it holds no JSON object")
    return record


def check_parts(record: Record, parts: Mapping[str, Any], path: Path, *, needed: Collection[str] = ()) -> None:
    """Raise ValueError, naming the path, unless a record has the `needed` parts, and each part that it has is of its
    type: {"data.train": dict}."""
    for name, kind in parts.items():
        *outer, last = name.split(".")
        inside: Any = record
        for part in outer:
            inside = inside.get(part, {})
        if last not in inside:
            if name in needed:
                raise ValueError(f"{path} is no whole record: it has no {name}")
        elif not isinstance(inside[last], kind) or (isinstance(inside[last], bool) and kind is not bool):
            raise ValueError(f"{path} is no record of ours: its {name} is {inside[last]!r:.60}")


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Inside, what a record that lies at a path (or in a folder) should hold is read: raises ValueError, naming the
    path, where something of it is missing or of another type."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or no whole record: {type(error).__name__}: {error}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text:.40} is too large for a number")
    return number


def load_record(name: str) -> Record:
    """A recorded run of this project by name, from `results/` of the checkout or as shipped with the package.

    Raises FileNotFoundError, naming the records that exist.
    """
    path = records_folder() / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in records_folder().glob("*.json")))
        raise FileNotFoundError(f"no record {name!r}; there are: {known or 'none'}")
    return read_record(path)


def records_folder() -> Path:
    """`results/` of the checkout; in an installed package, its copy in `dcnlib/records`."""
    shipped = PACKAGE / "records"
    return shipped if shipped.is_dir() else PACKAGE.parent / "results"


def environment(device: str) -> Record:
    """Where a run happened: machine, versions, git revision and time. Holds no path and no host name.

    git_revision and git_dirty (whether a tracked file of the package was changed) are None where the package that runs
    is no part of a git checkout: then nobody can say which code ran.
    """
    import torch  # records are read without it

    packages = ("dcnlib", "torch", "torchvision", "numpy", "scipy", "mlxtend", "h5py", "pillow")
    # An installed package may lie inside a checkout of something else, which must not give it its revision.
    tracked = _git("ls-files", "--error-unmatch", "__init__.py") is not None
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".") if tracked else None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_revision": _git("rev-parse", "HEAD") if tracked else None,
        "git_dirty": None if changes is None else bool(changes),
        "versions": {"python": platform.python_version()} | versions_of(packages),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        },
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):  # not everything needs them all
            found[name] = version(name)
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
