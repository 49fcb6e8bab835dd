"""One reader for all pictures: each format and mode means the same pixels; what is no picture is refused by name."""

import os
import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image

from dcnlib.data.pictures import MOST_BYTES, MOST_PIXELS, Picture, read_picture

ORIENTATION = ExifTags.Base.Orientation
GREY = np.random.RandomState(0).randint(0, 256, (12, 20), dtype=np.uint8)
COLOURS = np.random.RandomState(1).randint(0, 256, (12, 20, 3), dtype=np.uint8)


def encode(image, form="PNG", **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def npy(values):
    file = BytesIO()
    np.save(file, values)
    return file.getvalue()


def read(content):
    return read_picture(content, name="x").pixels


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rows=b""):
    """A PNG of one bit a pixel that says what size it is, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


# What the pixels are


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    ],
)
def test_exact_formats_give_the_pixels(form, options):
    assert torch.equal(read(encode(Image.fromarray(COLOURS), form, **options)), as_pixels(COLOURS))


def as_pixels(levels, most=255):
    """What an array of whole numbers, (H, W) or (H, W, 3), means."""
    values = np.asarray(levels, dtype=np.float32) / np.float32(most)
    return torch.from_numpy(values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0).copy())


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_grey_stays_grey(form):
    pixels = read(encode(Image.fromarray(GREY), form))
    assert torch.equal(pixels, as_pixels(GREY).expand(len(pixels), -1, -1))
    assert len(pixels) == (3 if form == "GIF" else 1)  # which holds colours only


def test_jpeg_is_close():
    smooth = np.add.outer(np.arange(40), 2 * np.arange(60)).astype(np.uint8)
    assert (read(encode(Image.fromarray(smooth), "JPEG", quality=95)) - as_pixels(smooth)).abs().max() < 0.02


@pytest.mark.parametrize("quantity", [16, 255])
def test_a_palette_is_looked_up(quantity):
    few = Image.fromarray(COLOURS).quantize(quantity)
    assert torch.equal(read(encode(few)), as_pixels(np.asarray(few.convert("RGB"))))


def test_one_bit_is_black_or_white():
    for form in ("PNG", "TIFF", "BMP", "PPM"):
        assert torch.equal(read(encode(Image.fromarray(GREY > 127), form)), as_pixels(GREY > 127, 1)), form


def test_inks_of_print_are_read_as_colours():
    red = Image.new("CMYK", (5, 4), (0, 255, 255, 0))
    for form in ("TIFF", "JPEG"):
        assert (read(encode(red, form))[:, 2, 2] - torch.tensor([1.0, 0, 0])).abs().max() < 0.02


def test_sixteen_bits_are_scaled_not_cut():
    deep = np.random.RandomState(2).randint(0, 65536, (7, 9)).astype(np.uint16)
    picture, pgm = Image.fromarray(deep), b"P5 9 7 65535\n" + deep.astype(">u2").tobytes()
    for content in (encode(picture), encode(picture, "TIFF"), pgm):
        assert torch.equal(read(content), as_pixels(deep, 65535))


def tiff(bits, photometric, rows):
    """A TIFF of one strip in grey, by hand: Pillow writes neither 12 bits nor white as zero."""
    tags = [
        (256, 4),
        (257, 2),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, 2),
        (279, len(rows)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(rows)) + rows + struct.pack("<H", len(tags)) + directory + bytes(4)


def test_twelve_bits_are_scaled_by_their_own_range():
    rows = bytes([0xFF, 0xF0, 0x00, 0x80, 0x0F, 0xFF]) * 2  # fff 000 800 fff
    pixels = read(tiff(12, 1, rows))
    torch.testing.assert_close(pixels[0, 0], torch.tensor([4095.0, 0, 2048, 4095]) / 4095)


def test_white_may_be_zero_in_a_tiff():
    deep = np.arange(8, dtype="<u2") * 9000
    torch.testing.assert_close(read(tiff(16, 0, deep.tobytes())), 1 - as_pixels(deep.reshape(2, 4), 65535))
    torch.testing.assert_close(read(tiff(16, 1, deep.tobytes())), as_pixels(deep.reshape(2, 4), 65535))
    shallow = np.arange(8, dtype=np.uint8) * 30
    torch.testing.assert_close(read(tiff(8, 0, shallow.tobytes())), 1 - as_pixels(shallow.reshape(2, 4)))


def test_floats_are_taken_as_they_are_and_must_be_shares():
    values = np.random.RandomState(3).rand(6, 7).astype(np.float32)
    for content in (encode(Image.fromarray(values), "TIFF"), npy(values), npy(values.astype(">f8"))):
        assert torch.equal(read(content)[0], torch.from_numpy(values))
    for bad, told in ((np.nan, "nan"), (1.5, "1.5"), (-0.5, "-0.5"), (np.inf, "inf")):
        values[2, 3] = bad
        for content in (encode(Image.fromarray(values), "TIFF"), npy(values)):
            with pytest.raises(ValueError, match=rf"x: values of floats must be in \[0, 1\], got .*{told}"):
                read(content)


def test_whole_numbers_of_unknown_range_are_refused():
    whole = Image.fromarray(np.full((5, 5), 200, dtype=np.int32))
    for source in (encode(whole, "TIFF"), whole):
        with pytest.raises(ValueError, match="x holds whole numbers of unknown range"):
            read(source)
    for kind in (np.int64, np.int8, np.complex64):
        with pytest.raises(ValueError, match="x must hold"):
            read(npy(np.zeros((5, 5), kind)))


INKS = {
    "RGBA": [((0, 0, 0, 255), (0, 0, 0, 0)), ((90, 20, 200, 255), (255, 255, 255, 0))],
    "LA": [((0, 255), (255, 0))],
}


@pytest.mark.parametrize(("mode", "ink", "clear"), [(mode, *pair) for mode, pairs in INKS.items() for pair in pairs])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", None])
def test_white_shows_through_where_a_picture_is_transparent(mode, ink, clear, form):
    picture = Image.new(mode, (10, 8), clear)
    picture.paste(ink, (4, 3, 6, 5))
    options = {"lossless": True} if form == "WEBP" else {}
    read_back = read_picture(encode(picture, form, **options) if form else picture)
    assert read_back.notes == ("transparent parts shown white",)
    assert read_back.pixels[:, 0, 0].min() == 1
    shown = read_back.pixels[:, 4, 5]
    assert torch.equal(shown, (torch.tensor(ink[:-1]).float() / 255).expand(len(shown)))


def test_palettes_with_opacities_and_multiplied_colours_are_transparent_too():
    picture = Image.new("RGBA", (10, 8))
    picture.paste((0, 0, 0, 255), (4, 3, 6, 5))
    for mode in ("PA", "RGBa"):
        pixels = read(picture.convert(mode))
        assert (pixels[:, 0, 0].min(), pixels[:, 4, 5].max()) == (1, 0)


def test_light_on_nothing_is_shown_on_black():
    """White would hide all of it."""
    faint = GREY.copy()
    faint[:2] = 0
    picture = Image.merge("LA", (Image.new("L", (20, 12), 255), Image.fromarray(faint)))
    read_back = read_picture(encode(picture))
    assert read_back.notes == ("transparent parts shown black",)
    torch.testing.assert_close(read_back.pixels, as_pixels(faint))


def test_a_colour_may_stand_for_transparency():
    for content in (
        encode(Image.fromarray(np.where(GREY > 127, 7, 90).astype(np.uint8)), transparency=7),
        encode(Image.fromarray(GREY > 127).convert("P"), transparency=255),
        encode(Image.fromarray(GREY > 127).convert("P"), "GIF", transparency=255),
    ):
        pixels = read(content)
        assert torch.equal(pixels[0] == 1, torch.from_numpy(GREY > 127))


def test_a_picture_without_clear_parts_is_the_same_with_alpha():
    opaque = Image.fromarray(COLOURS).convert("RGBA")
    assert torch.equal(read(encode(opaque)), as_pixels(COLOURS))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_says(form, orientation):
    upright = np.zeros((16, 32), dtype=np.uint8)
    upright[:8, :8] = 255
    upright[:8, 24:] = 120
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = read_picture(encode(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif))
    assert picture.size == (16, 32)
    assert (picture.pixels - as_pixels(upright)).abs().max() < 0.1
    assert picture.notes == (() if orientation == 1 else ("turned as its EXIF says",))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read(form):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("white", "black", "red")]
    options = {"lossless": True} if form == "WEBP" else {}
    picture = read_picture(encode(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert picture.notes == ("the first of several frames",)
    assert torch.equal(picture.pixels, torch.ones(3, 6, 8))


# Where pictures come from


def test_a_file_its_bytes_and_what_is_in_memory_are_one_picture(tmp_path):
    content, path = encode(Image.fromarray(COLOURS)), tmp_path / "mine.png"
    path.write_bytes(content)
    opened = Image.open(path)
    planes = torch.from_numpy(np.moveaxis(COLOURS, 2, 0).copy())
    sources = [path, str(path), content, bytearray(content), memoryview(content), opened, COLOURS, planes, planes / 255]
    for source in [*sources, npy(COLOURS), planes.numpy(), np.asfortranarray(COLOURS), npy(np.asfortranarray(COLOURS))]:
        assert torch.equal(read_picture(source).pixels, as_pixels(COLOURS))
    assert np.array_equal(np.asarray(opened), COLOURS)  # it can still be used
    assert read_picture(path).name == read_picture(str(path)).name == str(path)
    assert read_picture(path, name="yours").name == "yours"
    picture = read_picture(path)
    assert read_picture(picture) is picture


def test_the_content_tells_what_a_file_is_and_not_its_name(tmp_path):
    (tmp_path / "a.npy").write_bytes(encode(Image.fromarray(GREY)))
    (tmp_path / "b.png").write_bytes(npy(GREY))
    for name in ("a.npy", "b.png"):
        assert torch.equal(read_picture(tmp_path / name).pixels, as_pixels(GREY))


@given(
    arrays.arrays(st.sampled_from([np.uint8, np.uint16, bool]), arrays.array_shapes(min_dims=2, max_dims=2, max_side=9))
)
def test_arrays_of_any_shape_and_kind_are_shares_of_their_largest_number(values):
    most = 1 if values.dtype == bool else np.iinfo(values.dtype).max
    for source in (values, values[..., None], torch.from_numpy(values.copy()), npy(values)):
        assert torch.equal(read_picture(source).pixels, as_pixels(values, most))


def test_where_two_layouts_fit_the_usual_one_is_meant():
    assert read_picture(np.zeros((3, 5, 3))).size == (3, 5)
    assert read_picture(torch.zeros(3, 5, 3)).size == (5, 3)
    assert read_picture(np.zeros((3, 5, 4))).size == (5, 4)
    assert read_picture(torch.zeros(1, 5, 4, dtype=torch.bfloat16)).size == (5, 4)


@pytest.mark.parametrize("shape", [(), (4,), (2, 5, 5), (5, 5, 4), (1, 1, 5, 5), (0, 5), (3, 0, 5)])
def test_what_is_no_picture_by_its_shape_is_refused(shape):
    for source in (np.zeros(shape), npy(np.zeros(shape))):
        with pytest.raises(ValueError, match=r"x (must have shape|has \d+x\d+ pixels)"):
            read(source)


def test_other_objects_are_refused():
    for source in (None, 7, [[0, 1]], BytesIO(b"")):
        with pytest.raises(TypeError, match="a picture must be a path, the bytes of a file, an array"):
            read_picture(source)


# What is refused


def test_what_is_no_file_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no picture at .*nowhere\.png"):
        read_picture(tmp_path / "nowhere.png")
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"{path} is no file"):
            read_picture(path)
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    with pytest.raises(ValueError, match="is no file"):
        read_picture(tmp_path / "pipe")
    with pytest.raises(ValueError, match="can't be read"):
        read_picture("n" * 5000)


def test_a_file_that_is_too_large_is_not_even_read(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"huge\.png has 200\.0 MB, but at most 200 MB can be read"):
        read_picture(tmp_path / "huge.png")
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00\x00\x00,\0\0\0\0" + struct.pack("<HH", width, height)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (png(13000, 13000, bytes(13000 * 1626)), "13000x13000 pixels"),
        (png(60000, 60000), "far more than 25,000,000 pixels"),
        (png(5001, 5000), "5001x5000 pixels"),
        (gif(30000, 3000) + bytes(30), "30000x3000 pixels"),
        (b"P5 9000 9000 255\n", "9000x9000 pixels"),
        (npy(np.broadcast_to(np.uint8(0), (5001, 5000))), "5000x5001 pixels"),
    ],
    ids=["small file", "larger than Pillow allows", "just too large", "gif", "ppm", "npy"],
)
def test_bombs_are_refused_by_their_header(content, told, monkeypatch):
    def decode(*_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(ValueError, match=told):
        read(content)


def test_an_array_that_says_it_is_larger_than_its_file_is_refused():
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 10**12)}
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match="x is cut short"):
        read(file.getvalue() + bytes(100))


def test_as_many_pixels_as_are_allowed_are_read():
    assert read(encode(Image.new("1", (MOST_PIXELS // 5000, 5000)))).shape == (1, 5000, 5000)


def test_no_other_program_is_started_for_what_is_called_a_picture(monkeypatch):
    """Pillow would hand an EPS to Ghostscript."""
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **_: started.append(arguments))
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match="x can't be read as a picture: it is none of PNG, JPEG, WEBP, GIF"):
        read(page)
    assert not started


def test_objects_in_an_array_are_never_unpickled():
    class Trap:
        def __reduce__(self):
            return os.mkdir, ("/nowhere/at/all",)

    with pytest.raises(ValueError, match="x must hold numbers, not object"):
        read(npy(np.array([[Trap()]], dtype=object)))


WHOLE = {
    "png": encode(Image.fromarray(COLOURS)),
    "jpeg": encode(Image.fromarray(COLOURS), "JPEG"),
    "webp": encode(Image.fromarray(COLOURS), "WEBP"),
    "gif": encode(Image.fromarray(COLOURS), "GIF"),
    "bmp": encode(Image.fromarray(COLOURS), "BMP"),
    "tiff": encode(Image.fromarray(COLOURS), "TIFF"),
    "lzw": encode(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw"),
    "ppm": encode(Image.fromarray(COLOURS), "PPM"),
    "npy": npy(COLOURS),
    "deep": encode(Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 250)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_cut_short_is_refused(kind):
    content = WHOLE[kind]
    for length in (0, 1, 9, len(content) // 3, len(content) // 2):
        with pytest.raises(ValueError, match=r"^x (is empty|is cut short|can't be read)"):
            read(content[:length])


def named_or_read(content):
    """Whether bytes are refused by name, or give a picture that is in order."""
    try:
        pixels = read(content)
    except ValueError as error:
        return str(error).startswith("x")
    return pixels.dtype == torch.float32 and bool((pixels >= 0).all() and (pixels <= 1).all())


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_damage_gives_a_picture_or_a_value_error_that_names_the_file(kind, place, value, early):
    content = bytearray(WHOLE[kind])
    content[place % (min(60, len(content)) if early else len(content))] = value
    assert named_or_read(bytes(content))


BEGINNINGS = [b"", b"\x93NUMPY\x01\x00", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"P5 "]


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=200))
def test_noise_ends_in_a_value_error_that_names_the_file(beginning, content):
    assert named_or_read(beginning + content)


def test_a_picture_is_frozen():
    picture = Picture("x", torch.zeros(1, 2, 3))
    with pytest.raises(AttributeError):
        picture.name = "y"
