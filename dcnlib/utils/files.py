"""Files and folders: where things lie, and writes that a kill can't leave half done."""

import glob
import os
import secrets
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import platformdirs

from dcnlib.utils.locks import CAN_LOCK, try_lock

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


def read_file(path: Path, most: int) -> bytes:
    """A file's bytes. Raises ValueError, naming it, for more than `most`: a file with holes may claim any size."""
    check_size(str(path), path.stat().st_size, most)
    return path.read_bytes()


def check_size(name: str, count: int, most: int) -> None:
    """Raise ValueError for a file of more than `most` bytes."""
    if count > most:
        raise ValueError(f"{name} has {count / 1e6:.1f} MB, but at most {most / 1e6:g} MB can be read")


def atomic_write(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a temporary file and rename it to `path`: a kill leaves the old file or the new one, whole.

    The file gets the rights that the umask leaves it. What killed writes of the same file left behind is cleaned up.
    Raises OSError, of the same kind, that names `path` where it can't be written: no place left, a read-only folder.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(path)
        temporary, file = _open_temporary(path)
        try:
            with file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if not CAN_LOCK:
                    file.close()  # Windows renames only what is closed
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{path} can't be written: {error.strerror}") from error


def check_stored(archive: zipfile.ZipFile) -> None:
    """Raise ValueError for an archive with packed members: what the library writes isn't packed, and a small file could
    hold gigabytes."""
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise ValueError("it is packed, which no file written by this library is")


def _open_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path`, locked, so that nobody takes it for one that a killed write left behind."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115
        if try_lock(file) and temporary.exists():
            return temporary, file
        file.close()  # another process cleaned it up between these two steps


def _clean_up(path: Path) -> None:
    """Remove the temporary files of writes of `path` that no longer run."""
    if not CAN_LOCK:
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), open(left, "rb") as file:
            if try_lock(file):
                left.unlink()


def _sync_folder(folder: Path) -> None:
    """Let a rename survive a power cut, where the system can promise that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
