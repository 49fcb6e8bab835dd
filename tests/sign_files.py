"""Writes small data sets as the official archive of GTSDB is."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

# Two signs in one photograph, one in another, and a photograph without any.
LINES = ("00000.ppm;774;411;815;446;11", "00000.ppm;20;30;60;71;40", "00002.ppm;100;200;139;239;14")


def photograph(number: int, size: tuple[int, int] = (1360, 800)) -> Image.Image:
    """A photograph of this width and height whose pixels all differ a little, and whose corner tells its number."""
    values = np.random.RandomState(number).randint(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    image = Image.fromarray(values).resize(size, Image.Resampling.NEAREST)
    image.paste((number, number, number), (0, 0, 2, 2))
    return image


def write_gtsdb(
    folder: Path, numbers: Iterable[int] = range(3), lines: Iterable[str] = LINES, *, kind: str = "ppm"
) -> Path:
    """A folder with gt.txt and photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gt.txt").write_text("".join(f"{line}\n" for line in lines))
    for number in numbers:
        photograph(number).save(folder / f"{number:05}.{kind}")
    return folder
