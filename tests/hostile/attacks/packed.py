"""Attacks on who unpacks archives, digits and caches."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hostile.attacks.attack import ZEROS, Attack, Trap, content, deflated, gzipped, huge
from hostile.kinds import KINDS
from hostile.kinds.data_sets import svhn_folder


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> Callable[[Path], None]:
    """The good archive with more members."""

    def write(path: Path) -> None:
        packed = io.BytesIO(gzip.decompress(path.read_bytes()))
        with tarfile.open(fileobj=packed, mode="a") as archive:
            for member, data in members:
                archive.addfile(member, io.BytesIO(data))
        path.write_bytes(gzip.compress(packed.getvalue(), 1))

    return write


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def zeros_archive(path: Path) -> None:
    """1.5 GB in 1.5 MB: a member of zeros before those of a good archive."""
    head = member("test/zeros.png", size=ZEROS).tobuf()
    path.write_bytes(gzipped(deflated(ZEROS, before=head, after=gzip.decompress(path.read_bytes()))))


def header_bomb(path: Path) -> None:
    """1.5 GB that are no member but what a header says of the next one, which tarfile keeps in memory."""
    head = member("path", tarfile.XHDTYPE, size=ZEROS).tobuf()
    path.write_bytes(gzipped(deflated(ZEROS, before=head, after=gzip.decompress(path.read_bytes()))))


def sparse_archive(path: Path) -> None:
    """A member of 10^13 bytes, of which the archive holds none."""
    tar = gzip.decompress(path.read_bytes())
    header = bytearray(member("test/sparse.png", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386 : 386 + 24] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"\x80" + (10**13).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(gzip.compress(bytes(header) + tar))


def many_members(path: Path) -> None:
    """Files without end, each empty."""
    headers = b"".join(member(f"test/{number}").tobuf() for number in range(40_000))
    path.write_bytes(gzip.compress(headers * 5 + gzip.decompress(path.read_bytes()), 1))


ARCHIVE_ATTACKS: dict[str, Callable[[Path], None]] = {
    "1.5 GB in 1.5 MB": zeros_archive,
    "1.5 GB in a header": header_bomb,
    "10^13 bytes of nothing": sparse_archive,
    "200,000 files": many_members,
    "an absolute path": archive((member("/tmp/hostile-trap"), b"")),
    "a path upwards": archive((member("test/../../trap"), b"")),
    "a symbolic link": archive((member("test/link", tarfile.SYMTYPE, "/etc"), b""), (member("test/link/trap"), b"")),
    "a hard link": archive((member("test/link", tarfile.LNKTYPE, "/etc/hostname"), b"")),
    "a device": archive((member("test/device", tarfile.CHRTYPE), b"")),
    "a pipe": archive((member("test/pipe", tarfile.FIFOTYPE), b"")),
    "another program's packing": content(lambda: b"\xfd7zXZ\0" + bytes(100)),
}


def pickled_cache(path: Path) -> None:
    np.savez(path, **{name: np.array(Trap()) for name in ("images", "labels", "boxes", "names", "dropped")})


def cache_bomb(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (ZEROS // 8192, 64, 128)}
    )
    file, image = io.BytesIO(), bytes(8192)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("images.npy", "w", force_zip64=True) as unpacked:
            unpacked.write(header.getvalue())
            for _ in range(ZEROS // 8192):
                unpacked.write(image)
        for name, values in {
            "labels": np.zeros((ZEROS // 8192, 5), int),
            "boxes": np.zeros((ZEROS // 8192, 5, 4), np.float32),
            "names": np.full(ZEROS // 8192, "1.png"),
            "dropped": np.zeros(7, int),
        }.items():
            with packed.open(f"{name}.npy", "w") as unpacked:
                np.save(unpacked, values)
    path.write_bytes(file.getvalue())


def digits_bomb(path: Path) -> None:
    path.write_bytes(gzipped(deflated(ZEROS)))


def huge_photograph(path: Path) -> None:
    """The folder of the photographs that a cache is of has one of 50 GB."""
    huge(svhn_folder(path.parent / "test") / "1.png")


def attacks() -> Iterator[Attack]:
    for name, write in ARCHIVE_ATTACKS.items():
        yield Attack(name, KINDS["tar.gz"], write)
    cache = KINDS["cache"]
    yield Attack("a cache that executes", cache, pickled_cache, must_refuse=False)
    yield Attack("a cache of 1.5 GB in 1.5 MB", cache, cache_bomb, must_refuse=False, heavy=True)
    yield Attack("a photograph of 50 GB", cache, huge_photograph)
    yield Attack("1.5 GB in the packed digits", KINDS["idx.gz"], digits_bomb)
