"""Locks on files, which no process keeps when it has died."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None


@contextmanager
def lock_file(path: Path, held: str) -> Iterator[None]:
    """Hold a file's lock. Raises BlockingIOError saying `held`, and which process holds it, where another one does.

    A process that dies, however it does, gives the lock back. Systems and file systems without locks hold none. The
    file itself stays: who removed it would let two in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OSError(error.errno, f"{path} can't be written: {error.strerror}") from error
    with file:
        if not try_lock(file):
            file.seek(0)
            holder = file.read(32).decode(errors="replace").strip() or "unknown"
            raise BlockingIOError(f"{held} (process {holder})")
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        _LOCKED.add(file)
        try:
            yield
        finally:
            _LOCKED.discard(file)


_LOCKED: set[IO[bytes]] = set()


def _let_go() -> None:
    """In a forked child: its parent's locks are not its own, and mustn't outlive the parent in it."""
    for file in _LOCKED:
        file.close()
    _LOCKED.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def try_lock(file: IO[bytes]) -> bool:
    """Whether the file's lock could be taken, until the file is closed; true where there are no locks at all."""
    if not CAN_LOCK:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds a file's lock. It is looked at by taking it for a moment."""
    if not path.is_file():
        return False
    try:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
    except OSError:  # it belongs to somebody else; some network file systems then say that nobody holds it
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    with file:
        return not try_lock(file)
