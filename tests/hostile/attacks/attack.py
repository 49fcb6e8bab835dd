"""What an attack is, and what several are made of."""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostile.kinds.kind import Kind

ZEROS = 1_500_000_000


@dataclass(frozen=True)
class Attack:
    """write: changes or replaces the good file at a path; what it returns, if anything, is read instead."""

    name: str
    kind: Kind
    write: Callable[[Path], Path | None]
    must_refuse: bool = True
    heavy: bool = False  # takes seconds to make


class Trap:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("trap",)


def deflated(count: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """So many zeros, and what stands around them, as zlib packs them without head and end: in little time."""
    packer, block = zlib.compressobj(1, wbits=-15), 10_000_000
    begin = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + zeros * (count // block) + packer.compress(after) + packer.flush()


def gzipped(packed: bytes) -> bytes:
    """Such bytes as a gzip file, whose checksum is wrong: by then it is too late."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + packed + bytes(8)


def huge(path: Path) -> None:
    """50 GB, nearly all of them a hole."""
    with path.open("r+b") as file:
        file.truncate(50_000_000_000)


def content(make: Callable[[], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(make())

    return write
