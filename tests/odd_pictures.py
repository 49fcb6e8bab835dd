"""Folders of odd pictures: every kind that people have, and every kind of damage."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

CLASSES = ("cat", "dog", "grey", "with space", "zebra", "Äpfel & Birnen", "日本")
COLOURS = dict(zip(CLASSES, range(0, 256, 37), strict=False))


def picture(label: str, number: int, size: tuple[int, int] = (40, 56)) -> np.ndarray:
    """(H, W, 3) uint8: noise, in a colour of its class's own, unlike that of any other number."""
    random = np.random.RandomState([CLASSES.index(label), number])
    image = random.randint(0, 60, (*size, 3))
    image[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] += COLOURS[label] * np.array([1, 0, 1]) // 2 + 60
    return image.clip(0, 255).astype(np.uint8)


def odd_folder(place: Path, *, each: int = 6) -> Path:
    """Seven classes of `each` pictures, most of them PNG of a few sizes, one of each class odd."""
    for label in CLASSES:
        (place / label).mkdir(parents=True)
        for number in range(each - 1):
            size = [(40, 56), (56, 40), (33, 90)][number % 3]
            Image.fromarray(picture(label, number, size)).save(place / label / f"{number}.png")
    odd = {label: Image.fromarray(picture(label, each)) for label in CLASSES}
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    odd["Äpfel & Birnen"].save(place / "Äpfel & Birnen" / "turned é.jpg", exif=turned)
    odd["cat"].save(place / "cat" / "my cat.webp")
    transparent = odd["dog"].convert("RGBA")
    transparent.putalpha(Image.fromarray(np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))))
    transparent.save(place / "dog" / "transparent.png")
    deep = np.random.RandomState(5).randint(0, 2**16, (40, 56)).astype(np.uint16)
    Image.fromarray(deep).save(place / "grey" / "deep.png")
    odd["日本"].quantize(16).save(place / "日本" / "palette.gif")
    (place / "with space" / "deeper").mkdir()
    odd["with space"].resize((2, 1)).save(place / "with space" / "deeper" / "tiny.BMP")
    np.save(place / "zebra" / "array.npy", picture("zebra", each))
    return place


def damage(place: Path) -> dict[str, str]:
    """Put broken files into an odd folder; what is to be said of each, by name."""
    file = BytesIO()
    Image.fromarray(picture("cat", 99, (200, 200))).save(file, format="PNG")
    (place / "cat" / "cut.png").write_bytes(file.getvalue()[:5000])
    (place / "dog" / "empty.jpg").write_bytes(b"")
    (place / "dog" / "text.jpeg").write_text("no picture")
    (place / "zebra" / "notes.txt").write_text("seen in 2019")
    (place / "loose.png").write_bytes((place / "cat" / "0.png").read_bytes())
    os.symlink(place / "nowhere.png", place / "grey" / "gone.png")
    os.symlink("itself.png", place / "grey" / "itself.png")
    os.symlink(place, place / "cat" / "circle")
    os.symlink(place, place / "all again")
    os.mkfifo(place / "dog" / "pipe.png")
    (place / ".hidden").mkdir()
    return {
        "cat/cut.png": "cut short",
        "dog/empty.jpg": "empty",
        "dog/text.jpeg": "can't be read as a picture",
        "dog/pipe.png": "is no file",
        "zebra/notes.txt": "ends as no picture's does",
        "loose.png": "lies in no class's folder",
        "grey/gone.png": "no picture at",
        "grey/itself.png": "",
    }
