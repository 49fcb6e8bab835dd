"""Files and folders: where things lie, and writes that a kill can't leave half done."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import platformdirs

PACKAGE = Path(__file__).parent.parent


def cache_folder() -> Path:
    """The user's cache of this library; it can be deleted at any time."""
    return Path(platformdirs.user_cache_dir("dcnlib"))


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
