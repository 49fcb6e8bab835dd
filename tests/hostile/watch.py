"""What a reader may not do while it reads a file: start programs, unpickle, connect, or write elsewhere."""

import os
import sys
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pickle.find_class",
    "pty.spawn",
    "socket.connect",
    "subprocess.Popen",
    "webbrowser.open",
)
WRITES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.remove": (0,),
    "os.chmod": (0,),
}


class Watch:
    """Inside `with watch:`, `watch.seen` tells what happened that must not, by the interpreter's own audit events."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def __enter__(self) -> None:
        self.seen.clear()
        self.on = True

    def __exit__(self, *error: object) -> None:
        self.on = False

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {given!r}"[:200])
        elif event == "open":
            path, mode, flags = given
            written = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            if written and not isinstance(path, int):
                self._check_place(event, path)
        elif event in WRITES:
            for place in WRITES[event]:
                self._check_place(event, given[place])

    def _check_place(self, event: str, path: Any) -> None:
        place = os.path.realpath(os.fsdecode(path))
        if not place.startswith(self.folder) and place != os.devnull:
            self.seen.append(f"{event} {place}")


def reset_peak_memory() -> int:
    """Forget the largest memory so far; what is taken now, in bytes. 0 where the system doesn't tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return peak_memory()


def peak_memory() -> int:
    """The most memory taken at once since the last reset, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
