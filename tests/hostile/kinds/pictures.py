"""Pictures of every form."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile import mutations
from hostile.kinds.kind import Kind, digest
from hostile.mutations import Mutation
from PIL import Image
from sign_files import photograph

from dcnlib.data.pictures import read_picture
from dcnlib.data.street_signs.gtsdb import read_photograph


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _pictures() -> dict[str, Image.Image]:
    values = np.random.RandomState(0)
    colours = Image.fromarray(values.randint(0, 256, (20, 30, 3), dtype=np.uint8))
    return {
        "colours": colours,
        "grey": colours.convert("L"),
        "palette": colours.quantize(16),
        "alpha": Image.merge("RGBA", [*colours.split(), colours.convert("L")]),
        "bits": colours.convert("1"),
        "deep": Image.fromarray(values.randint(0, 65536, (20, 30)).astype(np.uint16)),
        "floats": Image.fromarray(values.rand(20, 30).astype(np.float32)),
    }


def pictures(form: str, *variants: str, **options: Any) -> Callable[[], list[bytes]]:
    return lambda: [encoded(_pictures()[name], form, **options) for name in variants]


def many(*makers: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [content for make in makers for content in make()]


def animation() -> list[bytes]:
    made = _pictures()
    return [encoded(made["colours"], "GIF", save_all=True, append_images=[made["grey"].convert("RGB")])]


def with_exif() -> list[bytes]:
    exif = Image.Exif()
    exif[274], exif[305] = 6, "x" * 50
    return [encoded(_pictures()["colours"], form, exif=exif) for form in ("JPEG",)]


def arrays() -> list[bytes]:
    made = []
    for values in (np.zeros((5, 7), np.uint8), np.ones((3, 5, 7), np.float32), np.zeros((5, 7, 3), np.uint16)):
        np.save(file := io.BytesIO(), values)
        made.append(file.getvalue())
    return made


def read(path: Path) -> str:
    return digest(read_picture(path).pixels)


def picture(name: str, make: Callable[[], list[bytes]], *structured: Mutation) -> Kind:
    return Kind(name, f"picture.{name}", make, read, structured)


def streets(form: str) -> Callable[[], list[bytes]]:
    """Photographs of the size that the reader of GTSDB takes; grey ones are as good, and a third as large."""
    return lambda: [encoded(photograph(0).convert("L"), form)]


TIFFS = many(
    pictures("TIFF", "colours", "grey", "bits", "deep", "floats", "palette"),
    *(pictures("TIFF", "colours", "grey", compression=way) for way in ("tiff_lzw", "tiff_deflate", "packbits")),
    pictures("TIFF", "colours", compression="jpeg"),
    pictures("TIFF", "bits", compression="group4"),
)


KINDS = (
    picture("png", many(pictures("PNG", "colours", "grey", "palette", "alpha", "bits", "deep")), mutations.png_chunk),
    picture("jpg", many(pictures("JPEG", "colours", "grey"), pictures("JPEG", "colours", progressive=True), with_exif)),
    picture("gif", many(pictures("GIF", "palette", "grey"), animation)),
    picture("webp", many(pictures("WEBP", "colours", "alpha"), pictures("WEBP", "alpha", lossless=True))),
    picture("tiff", TIFFS),
    picture("bmp", pictures("BMP", "colours", "grey", "palette", "bits")),
    picture("ppm", pictures("PPM", "colours", "grey", "bits", "deep")),
    picture("npy", arrays),
    *(
        Kind(f"street {name}", f"00000.{name}", streets(form), lambda path: digest(read_photograph(path.parent, 0)))
        for name, form in (("ppm", "PPM"), ("jpg", "JPEG"))
    ),
)
