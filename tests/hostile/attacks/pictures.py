"""Attacks on who reads pictures."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hostile.attacks.attack import Attack, Trap, content, deflated, huge
from hostile.kinds import KINDS
from hostile.kinds.pictures import encoded
from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros_png() -> bytes:
    return png(13000, 13000, chunk(b"IDAT", zlib.compress(bytes(13000 * 1626), 9)))


def deep_png() -> bytes:
    """The largest picture that is read, in the form that takes the most memory: 16 bits, and transparent."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 16, 6, 0, 0, 0))
    rows = b"\x78\x01" + deflated(5000 * 40_001 // 10_000_000 * 10_000_000, after=bytes(5000 * 40_001 % 10_000_000))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    packed = zlib.compress(bytes(200_000_000), 9)
    return png(8, 8, chunk(b"zTXt", b"a\0\0" + packed), chunk(b"IDAT", zlib.compress(bytes(16))))


def profile_bomb() -> bytes:
    packed = zlib.compress(bytes(200_000_000), 9)
    return png(8, 8, chunk(b"iCCP", b"a\0\0" + packed), chunk(b"IDAT", zlib.compress(bytes(16))))


def pixels_bomb() -> bytes:
    return png(8, 8, chunk(b"IDAT", b"\x78\x01" + deflated(500_000_000)))


def many_chunks() -> bytes:
    return png(8, 8, chunk(b"tEXt", b"a\0b") * 200_000, chunk(b"IDAT", zlib.compress(bytes(16))))


def postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(trap) (w) file closefile\nshowpage\n"


def tiff(*entries: tuple[int, int, int, int], follow: int = 0) -> bytes:
    """A TIFF of these (tag, type, count, value) and, behind them, the place of the next page."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", follow) + bytes(64)


def array_header(header: str) -> bytes:
    size = len(header) + 1
    return b"\x93NUMPY\2\0" + struct.pack("<I", size) + header.encode() + b"\n" + bytes(64)


def pickled_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def attacks() -> Iterator[Attack]:
    def attack(name: str, write: Callable[[Path], None], kind: str = "png", must_refuse: bool = True) -> Attack:
        return Attack(name, KINDS[kind], write, must_refuse)

    yield attack("EPS named png", content(postscript))
    yield attack("PNG of 13000x13000 in 26 kB", content(zeros_png))
    yield attack("PNG with 200 MB of text", content(text_bomb), must_refuse=False)
    yield attack("PNG with 200 MB of colour profile", content(profile_bomb), must_refuse=False)
    yield attack("PNG of 8x8 with 500 MB of pixels", content(pixels_bomb), must_refuse=False)
    yield attack("PNG of 200,000 chunks", content(many_chunks), must_refuse=False)
    yield attack("PPM that promises 10^9 pixels", content(lambda: b"P6 100000 10000 255\n" + bytes(100)), "ppm")
    yield attack("PPM whose number never ends", content(lambda: b"P6 " + b"1" * 10_000_000), "ppm")
    yield attack(
        "street that promises 10^9 pixels", content(lambda: b"P6 40000 25000 255\n" + bytes(100)), "street ppm"
    )
    yield attack("street cut short", content(lambda: b"P6 1360 800 255\n" + bytes(3_000_000)), "street ppm")
    yield attack("street of another size", content(lambda: b"P5 680 400 255\n" + bytes(272_000)), "street ppm")
    for line in (b"00000.ppm;774;411;1360;446;11", b"00000.ppm;774;411;815;446;43", b"00900.ppm;774;411;815;446;1"):
        yield attack(f"gt.txt with {line.decode()}", content(lambda line=line: line), "gt.txt")
    yield attack("gt.txt without an end", content(lambda: b"00000.ppm;774;411;815;446;11\n" * 1_000_000), "gt.txt")
    yield attack("PPM of comments", content(lambda: b"P6 " + b"#" * 50_000_000), "ppm")
    yield attack("JPEG of 65500x65500", content(lambda: _sized_jpeg(65500)), "jpg")
    yield attack("GIF of 65535x65535", content(lambda: b"GIF89a\xff\xff\xff\xff\0\0\0" + bytes(50)), "gif")
    yield attack(
        "WebP of 16000x16000", content(lambda: encoded(Image.new("L", (16000, 100)), "WEBP")[:-20]), "webp", False
    )
    yield attack("BMP of 2^31 rows", content(lambda: _sized_bmp(2**31 - 1)), "bmp")
    yield attack("BMP of negative size", content(lambda: _sized_bmp(-5, -5)), "bmp")
    yield attack("TIFF whose next page is the first", content(lambda: tiff((256, 4, 1, 8), follow=8)), "tiff")
    yield attack(
        "TIFF with a tag of 2^32 values", content(lambda: tiff((256, 4, 2**32 - 1, 8), (257, 4, 1, 8))), "tiff"
    )
    yield attack("TIFF of 60000x60000", content(lambda: tiff((256, 4, 1, 60000), (257, 4, 1, 60000))), "tiff")
    yield attack("npy with a pickle", pickled_array, "npy")
    yield attack(
        "npy of 10^12 numbers",
        content(lambda: array_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }")),
        "npy",
    )
    yield attack(
        "npy of negative size",
        content(lambda: array_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8), }")),
        "npy",
    )
    yield attack("npy with a deep header", content(lambda: array_header("(" * 9000)), "npy")
    yield attack("npy with a long header", content(lambda: array_header("{'descr': '" + "x" * 20_000_000)), "npy")
    yield attack(
        "npy of nothing a number",
        content(lambda: array_header("{'descr': '|V0', 'fortran_order': False, 'shape': (9, 9), }")),
        "npy",
    )
    yield attack("a pipe that nobody writes to", pipe)
    yield attack("a picture of 50 GB", huge)
    yield attack("PPM in text of 3000x3000", content(lambda: b"P3 3000 3000 255\n" + b"0 " * 27_000_000), "ppm")
    yield attack("PPM of 5000x5000 in 16 bits", content(lambda: b"P6 5000 5000 65535\n" + bytes(150_000_000)), "ppm")
    yield attack(
        "BMP of 5000x5000 in runs of one", content(lambda: _bmp_of_runs(5000, 5000, b"\1\0" * 25_000_000)), "bmp"
    )
    yield attack("BMP of runs that never end", content(lambda: _bmp_of_runs(8, 8, b"\0\2\0\0" * 20_000_000)), "bmp")
    yield attack("BMP of runs that leave out 6 GB", content(lambda: _bmp_of_runs(25_000_000, 1, b"\0\2\0\xff")), "bmp")
    yield attack("PNG of 5000x5000 in colours of 16 bits", content(deep_png), must_refuse=False)


def _sized_jpeg(side: int) -> bytes:
    good = encoded(Image.new("L", (16, 16)), "JPEG")
    place = good.index(b"\xff\xc0") + 5
    return good[:place] + struct.pack(">HH", side, side) + good[place + 4 :]


def _sized_bmp(height: int, width: int = 8) -> bytes:
    good = encoded(Image.new("RGB", (8, 8)), "BMP")
    return good[:18] + struct.pack("<ii", width, height) + good[26:]


def _bmp_of_runs(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8 bits whose pixels are written as runs."""
    good = encoded(Image.new("P", (8, 8)), "BMP")
    begin = int.from_bytes(good[10:14], "little")
    return good[:18] + struct.pack("<iiHHI", width, height, 1, 8, 1) + good[34:begin] + runs
