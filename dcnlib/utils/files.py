"""Files and folders: where things lie, and writes that a kill can't leave half done."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import platformdirs

PACKAGE = Path(__file__).parent.parent


def cache_folder() -> Path | None:
    """The user's cache of this library, which can be deleted at any time. None for a user without a home."""
    try:
        folder = Path(platformdirs.user_cache_dir("dcnlib"))
    except (RuntimeError, KeyError):  # no HOME, and no entry in the list of users either
        return None
    return folder if folder.is_absolute() else None  # older versions of platformdirs then leave "~" as it is


def user_path(path: str | Path) -> Path:
    """A path as a user gives it: `~` is their home. Raises FileNotFoundError where they have none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no home folder that ~ in {path} could stand for: write it out") from error


def data_roots(root: str | Path | None = None) -> list[Path]:
    """The folders in which data sets are looked for, in this order: `root` alone if it is given, else $DCNLIB_DATA and
    then the user's cache, as far as there are any."""
    if root is not None:
        return [user_path(root)]
    given, cache = os.environ.get("DCNLIB_DATA"), cache_folder()
    return [*([user_path(given)] if given else []), *([cache] if cache is not None else [])]


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
