"""Pictures of users, from files and from memory: one reader for the command line, the explorer and Python.

What a task makes of a picture before a network sees it is told in `preparation.py` and by the task.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from dcnlib.utils.files import check_size, read_file

MOST_BYTES = 200_000_000  # of a file: more than any picture of MOST_PIXELS needs
MOST_PIXELS = 25_000_000
SLOW_PIXELS, SLOW_BYTES = 1_000_000, 20_000_000  # of what Pillow decodes in Python, value by value
MOST_HEADER = 100_000  # bytes of a PPM before its pixels
# Nothing else is tried: for an EPS, whatever its name, Pillow would start another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ARRAY_MARK = b"\x93NUMPY"  # what an .npy file begins with


class TooManyPixels(ValueError):
    """A picture that is not damaged, but larger than what is read."""


Source = str | PathLike[str] | bytes | bytearray | memoryview | np.ndarray | Tensor | Image.Image


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as a viewer shows it: name, pixels (C, H, W) float32 in [0, 1], and what was done to read it.

    C is 1 for grey and 3 for red, green, blue, as the file has it.
    """

    name: str
    pixels: Tensor
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]


def read_picture(source: Source | Picture, *, name: str | None = None) -> Picture:
    """The picture in a file, in a file's bytes, or in memory. name: what to call it, by default its path.

    Files: PNG, JPEG, WebP, GIF, BMP, TIFF, PPM and its kin, or .npy, told apart by their content; of several frames or
    pages the first. Whole numbers of 8 and 16 bits are scaled to [0, 1], floats must lie there. A photograph is turned
    as its EXIF says. Where a picture is transparent, white shows through as on a page, or black if everything drawn on
    it is light.

    Arrays are (H, W), (H, W, C) or (C, H, W), tensors (H, W) or (C, H, W), with C = 1 or 3 channels: uint8, uint16,
    bool, or floats.

    Raises FileNotFoundError if there is no file, TypeError for other objects, and ValueError, which names the picture,
    for files that can't be read, for those of more than MOST_BYTES or (TooManyPixels, by their header, not decoded)
    MOST_PIXELS, and for values outside [0, 1].
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | PathLike):
        return _from_bytes(name or str(source), file_content(Path(source)))
    name = name or "the picture"
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(name, bytes(source))
    if isinstance(source, Image.Image):
        return _from_pillow(name, source)
    if isinstance(source, Tensor):
        values = source.detach().cpu()
        return _from_array(name, (values.float() if values.is_floating_point() else values).numpy(), layouts="CHW")
    if isinstance(source, np.ndarray):
        return _from_array(name, source)
    raise TypeError(
        "a picture must be a path, the bytes of a file, an array, a tensor or an image of Pillow, "
        f"got {type(source).__name__}"
    )


def decode_picture(path: Path, size: tuple[int, int]) -> Image.Image:
    """A file as a decoded image of Pillow. Raises what `read_picture` raises, and ValueError, before anything is
    decoded, for a picture of another width and height."""
    name = str(path)
    file = _opened(name, file_content(path))
    if file.size != size:
        found, needed = ("{}x{}".format(*pixels) for pixels in (file.size, size))
        raise ValueError(f"{name} has {found} pixels, it must have {needed}")
    with _decoding(name):
        file.load()
    return file


def check_pixels(name: str, height: int, width: int) -> None:
    """Raise ValueError for a picture of no pixels or of more than MOST_PIXELS."""
    if height * width == 0:
        raise ValueError(f"{name} has {width}x{height} pixels: there is nothing to see")
    if height * width > MOST_PIXELS:
        raise TooManyPixels(f"{name} has {width}x{height} pixels, more than {MOST_PIXELS:,} in all")


def file_content(path: Path) -> bytes:
    """A file's bytes. Raises FileNotFoundError or ValueError if there are none to be had."""
    try:
        if not path.exists():
            raise FileNotFoundError(f"no picture at {path}")
        if not path.is_file():
            raise ValueError(f"{path} is no file: name the pictures themselves")
        return read_file(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error


def _from_bytes(name: str, content: bytes) -> Picture:
    """The picture in the bytes of a file."""
    check_size(name, len(content), MOST_BYTES)
    if not content:
        raise ValueError(f"{name} is empty")
    if content.startswith(ARRAY_MARK):
        return _from_array(name, _array(name, content))
    with _opened(name, content) as file:
        return _from_pillow(name, file)


def _opened(name: str, content: bytes) -> Image.Image:
    """The picture in the bytes of a file, before it is decoded."""
    with _decoding(name):
        if content.startswith(b"P"):  # a PPM, whose comments Pillow skips byte by byte, however many there are
            Image.open(BytesIO(content[:MOST_HEADER]), formats=["PPM"])
        file = Image.open(BytesIO(content), formats=FORMATS)
    slow = any(tile[0] in Image.DECODERS for tile in getattr(file, "tile", ()))
    if slow and (file.width * file.height > SLOW_PIXELS or len(content) > SLOW_BYTES):
        raise TooManyPixels(
            f"{name} has {file.width}x{file.height} pixels in {len(content) / 1e6:.1f} MB, in a kind of {file.format} "
            f"that is decoded slowly: at most {SLOW_PIXELS:,} pixels in {SLOW_BYTES / 1e6:g} MB are read; save as PNG"
        )
    return file


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Whatever a decoder raises on a damaged file ends in a ValueError that names the picture."""
    try:
        # Pillow warns of odd metadata, and of large pictures, which are refused here anyway.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"{name} has far more than {MOST_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        told = f"it is none of {', '.join(FORMATS)}, nor an .npy array, or its beginning is damaged"
        raise ValueError(f"{name} can't be read as a picture: {told}") from error
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error, MemoryError, and what comes next
        raise ValueError(f"{name} can't be read as a picture, it is damaged or cut short: {error}") from error


def _from_pillow(name: str, file: Image.Image) -> Picture:
    """A picture that Pillow has opened, but perhaps not decoded yet."""
    check_pixels(name, file.height, file.width)
    notes = []
    with _decoding(name):
        if getattr(file, "is_animated", False) and file.format != "MPO":  # a phone's; its second frame is no other view
            notes.append("the first of several frames")
        if file.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            notes.append("turned as its EXIF says")
        most, white_is_zero = _deep_levels(file)
        picture = ImageOps.exif_transpose(file)
    if picture.mode == "F":
        return _from_array(name, np.asarray(picture), notes=notes)
    if picture.mode.startswith("I"):
        if most is None:
            raise ValueError(f"{name} holds whole numbers of unknown range: save it with 8 or 16 bits a pixel")
        grey = np.asarray(picture).astype(np.float32) / most
        return _from_array(name, 1 - grey if white_is_zero else grey, notes=notes)

    with _decoding(name):
        if picture.has_transparency_data:
            picture, ground = _on_ground(picture)
            notes.append(f"transparent parts shown {ground}")
        pixels = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return _from_array(name, pixels, notes=notes)


def _deep_levels(file: Image.Image) -> tuple[int | None, bool]:
    """The largest whole number that a picture of more than 8 bits can hold, and whether 0 is white in it.

    Pillow gives the numbers as they stand: of a TIFF of 12 bits, too, and of one that counts from white to black.
    """
    if file.mode == "I":  # signed or of 32 bits, or what Pillow makes of 16
        return (65535 if file.format in ("PNG", "PPM") else None), False
    tags = getattr(file, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    return 2**bits - 1, tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _on_ground(picture: Image.Image) -> tuple[Image.Image, str]:
    """A picture with transparent parts on a ground on which what is drawn can be seen, and the ground's colour."""
    unmultiplied = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
    painted = picture.convert(unmultiplied).convert("RGBA")
    drawn = np.asarray(painted.getchannel("A")) > 127
    ground = "black" if drawn.any() and np.asarray(painted.convert("L"))[drawn].min() > 127 else "white"
    seen = Image.alpha_composite(Image.new("RGBA", painted.size, ground), painted).convert("RGB")
    return (seen.convert("L") if unmultiplied in ("1", "L", "LA") else seen), ground


def _array(name: str, content: bytes) -> np.ndarray:
    """The array in an .npy file. Nothing is unpickled, and its header is believed only as far as the file goes."""
    file = BytesIO(content)
    with _decoding(name):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "buif":
        raise ValueError(f"{name} must hold numbers, not {dtype}")
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} can't hold an array of shape {shape}")
    count, held = math.prod(shape), len(content) - file.tell()
    if held < count * dtype.itemsize:
        raise ValueError(f"{name} is cut short: an array {shape} of {dtype} needs more than its {held:,} bytes")
    return np.frombuffer(content, dtype, count, file.tell()).reshape(shape, order="F" if by_columns else "C")


def _from_array(name: str, values: np.ndarray, *, layouts: str = "HWC or CHW", notes: Sequence[str] = ()) -> Picture:
    """A picture of an array (H, W), or with channels in one of the layouts; of two that fit, the first is meant."""
    shape = values.shape
    if values.ndim == 3 and layouts != "CHW" and shape[2] in (1, 3):
        values = np.moveaxis(values, 2, 0)
    elif values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or len(values) not in (1, 3):
        raise ValueError(f"{name} must have shape (H, W), or {layouts} with 1 or 3 channels, got {shape}")
    check_pixels(name, *values.shape[1:])

    most = np.float32(1)
    if values.dtype in (np.uint8, np.uint16):
        most = np.float32(np.iinfo(values.dtype).max)
    elif values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # false for NaN too
            raise ValueError(f"{name}: values of floats must be in [0, 1], got {low:g}..{high:g}")
    elif values.dtype != bool:
        raise ValueError(f"{name} must hold uint8, uint16, or floats in [0, 1], got {values.dtype}")
    pixels = values.astype(np.float32, order="C")
    pixels /= most  # in place: a large picture's memory counts
    return Picture(name, torch.from_numpy(pixels), tuple(notes))
