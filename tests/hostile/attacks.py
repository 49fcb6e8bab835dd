"""Files made by hand to do harm: each known attack on a reader of such files, with what it must not achieve."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from hostile.kinds import ABOUT, KINDS, Kind, encoded, good_export, good_graph, good_records, signed
from PIL import Image
from svhn_files import sample_entries, write_labels

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


def content(make: Callable[[], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(make())

    return write


# Pictures


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros_png() -> bytes:
    return png(13000, 13000, chunk(b"IDAT", zlib.compress(bytes(13000 * 1626), 9)))


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


def huge_file(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(50_000_000_000)


def pictures() -> Iterator[Attack]:
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
    yield attack("a picture of 50 GB", huge_file)


def _sized_jpeg(side: int) -> bytes:
    good = encoded(Image.new("L", (16, 16)), "JPEG")
    place = good.index(b"\xff\xc0") + 5
    return good[:place] + struct.pack(">HH", side, side) + good[place + 4 :]


def _sized_bmp(height: int, width: int = 8) -> bytes:
    good = encoded(Image.new("RGB", (8, 8)), "BMP")
    return good[:18] + struct.pack("<ii", width, height) + good[26:]


# The labels of house numbers


def labels(change: Callable[[h5py.File, Path], None]) -> Callable[[Path], None]:
    """A file of six good entries that is then changed."""

    def write(path: Path) -> None:
        write_labels(path, sample_entries(6))
        with h5py.File(path, "r+") as file:
            change(file, path.parent)

    return write


def millions(file: h5py.File, folder: Path) -> None:
    for field in ("name", "bbox"):
        del file[f"digitStruct/{field}"]
        file.create_dataset(
            f"digitStruct/{field}", (10_000_000, 1), h5py.ref_dtype, compression="gzip", chunks=(100_000, 1)
        )


def millions_of_nothing(file: h5py.File, folder: Path) -> None:
    for field in ("name", "bbox"):
        del file[f"digitStruct/{field}"]
        file.create_dataset(f"digitStruct/{field}", (10_000_000, 1), h5py.ref_dtype)


def _elsewhere(folder: Path) -> Path:
    """Another file of labels, beside the folder."""
    write_labels(other := folder.parent / "other.mat", sample_entries(6))
    return other


def external_link(file: h5py.File, folder: Path) -> None:
    del file["digitStruct"]
    file["digitStruct"] = h5py.ExternalLink(str(_elsewhere(folder)), "/digitStruct")


def external_field(file: h5py.File, folder: Path) -> None:
    other = _elsewhere(folder)
    for place in file["#refs#"].values():
        if isinstance(place, h5py.Group):
            del place["label"]
            place["label"] = h5py.ExternalLink(str(other), "/#refs#/v1")


def endless_link(file: h5py.File, folder: Path) -> None:
    del file["digitStruct"]
    file["digitStruct"] = h5py.SoftLink("/again")
    file["again"] = h5py.SoftLink("/digitStruct")


def foreign_bytes(file: h5py.File, folder: Path) -> None:
    """The names of photographs come from a file that isn't the sender's."""
    secret = folder.parent / "secret"
    secret.write_bytes(b"1.png" * 10)
    name = file.create_dataset("stolen", (5,), "u1", external=[(str(secret), 0, 5)])
    data = file["digitStruct/name"]
    data[...] = np.array([[name.ref]] * len(data), dtype=h5py.ref_dtype)


def foreign_virtual(file: h5py.File, folder: Path) -> None:
    other = folder.parent / "secret.h5"
    with h5py.File(other, "w") as secret:
        secret["codes"] = np.frombuffer(b"1.png", np.uint8)
    layout = h5py.VirtualLayout((5,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "codes", (5,))
    name = file.create_virtual_dataset("stolen", layout)
    data = file["digitStruct/name"]
    data[...] = np.array([[name.ref]] * len(data), dtype=h5py.ref_dtype)


def wide_list(file: h5py.File, folder: Path) -> None:
    """A list of 2^64 numbers, whose count is 0 in 64 bits."""
    wide = file.create_dataset("wide", (2**32, 2**32), "f8", chunks=(1, 1024))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def big_elements(file: h5py.File, folder: Path) -> None:
    """A list of a thousand, each of whose elements has a megabyte."""
    wide = file.create_dataset("wide", (1000,), np.dtype(("V", 2_000_000)), chunks=(1,))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def squeezed_list(file: h5py.File, folder: Path) -> None:
    """Ten numbers in a chunk of 1.6 GB, which has to be unpacked for any of them."""
    wide = file.create_dataset(
        "wide", (10,), "f8", maxshape=(None,), chunks=(200_000_000,), compression="gzip", compression_opts=1
    )
    wide.id.write_direct_chunk((0,), b"\x78\x01" + deflated(1_600_000_000))
    data = file["digitStruct/name"]
    data[...] = np.array([[wide.ref]] * len(data), dtype=h5py.ref_dtype)


def climbing_names(file: h5py.File, folder: Path) -> None:
    Image.new("L", (96, 40)).save(folder.parent / "secret.png")
    codes = file.create_dataset("climbing", data=np.frombuffer(b"../secret.png", np.uint8))
    data = file["digitStruct/name"]
    data[...] = np.array([[codes.ref]] * len(data), dtype=h5py.ref_dtype)


LABEL_ATTACKS: dict[str, Callable[[h5py.File, Path], None]] = {
    "10^7 references in 22 kB": millions_of_nothing,
    "10^7 packed references": millions,
    "labels behind an external link": external_link,
    "fields behind external links": external_field,
    "a link that leads to itself": endless_link,
    "names from another file's bytes": foreign_bytes,
    "names from another file's data set": foreign_virtual,
    "a list of 2^64": wide_list,
    "a list of 2 GB": big_elements,
    "ten numbers in a chunk of 1.6 GB": squeezed_list,
    "names that climb out": climbing_names,
}


def photograph_bomb(path: Path) -> None:
    for photograph in path.parent.glob("*.png"):
        photograph.write_bytes(zeros_png())


# Archives


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


# Weights, checkpoints, caches and records


def executing_checkpoint(path: Path) -> None:
    torch.save({"model": Trap()}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def checkpoint_bomb(path: Path) -> None:
    """The good checkpoint with its first tensor's bytes replaced by 1.5 GB of zeros."""
    with zipfile.ZipFile(path) as good:
        names = {info.filename: good.read(info) for info in good.infolist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, data in names.items():
            with packed.open(name, "w") as unpacked:
                for _ in range(150 if name.endswith("/data/0") else 1):
                    unpacked.write(bytes(10_000_000) if name.endswith("/data/0") else data)
    path.write_bytes(file.getvalue())


def packed_checkpoint(path: Path) -> None:
    """The good checkpoint, packed: harmless, and yet what bombs are made of."""
    with zipfile.ZipFile(path) as good:
        members = {info.filename: good.read(info) for info in good.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)


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


def weights_file(header: bytes, size: int | None = None) -> Callable[[Path], None]:
    return content(lambda: (len(header) if size is None else size).to_bytes(8, "little") + header + bytes(64))


def changed_record(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(json.dumps(json.loads(good_records()[0]) | changes))

    return write


def changed_model(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        record = json.loads(good_records()[2])  # of RAM
        record["model"] |= changes
        path.write_text(json.dumps(record))

    return write


def digits_bomb(path: Path) -> None:
    path.write_bytes(gzipped(deflated(ZEROS)))


def changed_export(**changes: object) -> Callable[[Path], None]:
    return content(lambda: signed(good_export(".onnx"), good_graph(), {**ABOUT, **changes}))


def foreign_weights(path: Path) -> None:
    """The network's weights are the bytes of a file that isn't the sender's."""
    from onnx import StringStringEntryProto, TensorProto, load_from_string

    (path.parent / "secret").write_bytes(np.ones(40, np.float32).tobytes())
    model = load_from_string(good_graph())
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.append(StringStringEntryProto(key="location", value="secret"))
    path.write_bytes(signed(good_export(".onnx"), model.SerializeToString(), ABOUT))


def executing_program(path: Path) -> Path:
    """A file for torch.export.load, which would unpickle it."""
    plain_pickle(other := path.with_suffix(".pt2"))
    return other


def exports() -> Iterator[Attack]:
    onnx = KINDS["onnx"]
    yield Attack("a pt2 file that executes", onnx, executing_program)
    yield Attack("an export with weights from elsewhere", onnx, foreign_weights)
    for name, changes in {
        "of another task": {"model": {"kind": "coarse", "data": "house-numbers"}},
        "of no model": {"model": {"kind": "os.system"}},
        "without a task": {"model": 5},
        "of a later version": {"format": 2},
        "of a part": {"part": "first"},
        "of images of a terabyte": {"image_shape": [1, 500_000, 500_000]},
        "of images without a shape": {"image_shape": None},
        "of outputs that it hasn't": {"outputs": {"logits": {}, "boxes": {}}},
        "of no outputs": {"outputs": {}},
        "of strange outputs": {"outputs": {"logits": {}, "forward": {}}},
        "of data that is none": {"record": {"data": {"train": {"parts": [5]}}}},
    }.items():
        yield Attack(f"an export {name}", onnx, changed_export(**changes))


def others() -> Iterator[Attack]:
    weights, checkpoint, cache, run, promoted = (
        KINDS[name] for name in ("weights", "checkpoint", "cache", "run", "promoted run")
    )
    yield Attack("a checkpoint that executes", checkpoint, executing_checkpoint)
    yield Attack("a pickle called checkpoint", checkpoint, plain_pickle)
    yield Attack("a checkpoint of 1.5 GB in 1.5 MB", checkpoint, checkpoint_bomb, heavy=True)
    yield Attack("a packed checkpoint", checkpoint, packed_checkpoint)
    yield Attack("a pickle called weights", weights, plain_pickle)
    yield Attack("weights with a header of 2^63", weights, weights_file(b"{}", 2**63))
    yield Attack("weights with a deep header", weights, weights_file(b"[" * 1_000_000))
    yield Attack(
        "weights of 10^12 numbers",
        weights,
        weights_file(b'{"linear.weight":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'),
    )
    yield Attack(
        "weights whose size overflows",
        weights,
        weights_file(b'{"linear.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    )
    yield Attack("a cache that executes", cache, pickled_cache, must_refuse=False)
    yield Attack("a cache of 1.5 GB in 1.5 MB", cache, cache_bomb, must_refuse=False, heavy=True)
    yield Attack("1.5 GB in the packed digits", KINDS["idx.gz"], digits_bomb)
    for name, text in {
        "deep": b'{"a":' * 200_000,
        "deep lists": b"[" * 200_000 + b"]" * 200_000,
        "an endless number": b'{"name": ' + b"1" * 1_000_000 + b"}",
        "no UTF-8": b'{"name": "\xff\xfe"}',
        "another encoding": '{"name": "x"}'.encode("utf-16"),
        "nothing": b"",
        "a list": b"[]",
    }.items():
        yield Attack(f"a record: {name}", run, content(lambda text=text: text))
    for name in (
        "../../X",
        "/tmp/X",
        "a/b",
        "a\\b",
        "..",
        ".",
        "",
        ".X",
        "X\0",
        "X\nY",
        "CON/..",
        None,
        5,
        ["X"],
        "X" * 5000,
    ):
        yield Attack(f"promoted: {name!r:.20}", promoted, changed_record(name=name))
    for changes in (
        {"hidden": 10**9},
        {"hidden": 100_000},
        {"glimpses": 10**9},
        {"rollouts": 10**12},
        {"hidden": "256"},
        {"kind": ["ram"]},
        {"kind": {}},
        {"data": ["x"]},
        {"data": "house-numbers", "scales": 10**9},
        {"task": "x"},
        {"build": 1},
    ):
        yield Attack(
            f"a record: model {changes}",
            run,
            changed_model(**changes),
        )
    for model in (None, [], "dcn", 5, {"kind": "dcn", "k": 10**30}, {"kind": "dcn", "policy": "os.system"}):
        yield Attack(f"a record: model = {model}", run, changed_record(model=model))


def _all() -> Iterator[Attack]:
    yield from pictures()
    for name, change in LABEL_ATTACKS.items():
        yield Attack(name, KINDS["mat"], labels(change))
    yield Attack("photographs of 13000x13000", KINDS["mat"], photograph_bomb)
    for name, write in ARCHIVE_ATTACKS.items():
        yield Attack(name, KINDS["tar.gz"], write)
    yield from others()
    yield from exports()


ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _all()}
