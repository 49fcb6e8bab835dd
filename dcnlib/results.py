"""Records of runs: what was run, on what, where, and what came out. One JSON file a run, never edited by hand."""

import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

PACKAGE = Path(__file__).parent
Record = dict[str, Any]


def project_root() -> Path:
    """The repository's folder, found from the working folder upwards, else from the package's place.

    Raises FileNotFoundError outside a checkout: figures and new records have no place there.
    """
    for folder in [Path.cwd(), *Path.cwd().parents, PACKAGE.parent]:
        if (folder / "dcnlib").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError("not inside a checkout of dcnlib: no folder above holds dcnlib/ and notebooks/")


def atomic_write(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a temporary file and rename it to `path`: a kill leaves the old file or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def save_record(path: str | Path, record: Record) -> None:
    """Write a record as indented JSON, atomically."""
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def load_record(name: str) -> Record:
    """A recorded run of this project by name, from `results/` of the checkout or as shipped with the package.

    Raises FileNotFoundError, naming the records that exist.
    """
    path = records_folder() / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in records_folder().glob("*.json")))
        raise FileNotFoundError(f"no record {name!r}; there are: {known or 'none'}")
    return json.loads(path.read_text())


def records_folder() -> Path:
    """`results/` of the checkout; in an installed package, its copy in `dcnlib/records`."""
    shipped = PACKAGE / "records"
    return shipped if shipped.is_dir() else PACKAGE.parent / "results"


@dataclass(frozen=True)
class ErrorRate:
    """Wrong answers among so many, with the 95 % interval that this many images allow."""

    errors: int
    count: int

    @property
    def fraction(self) -> float:
        return self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the fraction."""
        z, n, p = 1.959964, self.count, self.fraction
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, center - half), min(1.0, center + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.fraction:.2f} % ({100 * low:.2f}..{100 * high:.2f})"

    def as_record(self) -> Record:
        return {**asdict(self), "error": self.fraction, "interval_95": list(self.interval)}

    @classmethod
    def from_record(cls, record: Record) -> "ErrorRate":
        return cls(record["errors"], record["count"])


def environment(device: str) -> Record:
    """Where a run happened: machine, versions, git revision and time. Holds no path and no host name."""
    import torch

    packages = ("dcnlib", "torch", "torchvision", "numpy", "mlxtend", "h5py", "pillow")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".")),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        },
    }


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
