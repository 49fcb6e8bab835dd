"""An answer drawn on a photograph, pixel by pixel and without Axes: where a model looked, and what it says."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LEAST_SIDE = 480  # pixels of the longer side; smaller pictures are enlarged, so that boxes and text can be told apart
ORANGE, VERMILLION = "#E69F00", "#D55E00"  # of patches, as in the other pictures, and of the first one
DIMMED = 0.55  # the light of what wasn't looked at


def draw_answer(pixels: Tensor, boxes: Tensor, lines: Sequence[str]) -> Image.Image:
    """A picture (C, H, W) in [0, 1] with boxes (n, 4) of top, left, bottom, right in its pixels, above lines of text.

    What lies outside the boxes is dimmed, if there are any; they have the numbers in which they were chosen.
    """
    levels = (pixels.clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    photograph = Image.fromarray(np.moveaxis(np.repeat(levels, 3 // len(levels), axis=0), 0, 2))
    factor = max(1, -(-LEAST_SIDE // max(photograph.size)))
    photograph = photograph.resize((factor * photograph.width, factor * photograph.height), Image.Resampling.NEAREST)
    scale = max(1, max(photograph.size) // LEAST_SIDE)  # of lines and letters
    corners = [
        (int(left), int(top), int(right), int(bottom))
        for top, left, bottom, right in (boxes * factor).round().tolist()
        if bottom > top and right > left
    ]
    seen = photograph if corners else None
    if seen is not None:
        photograph = seen.point(lambda level: level * DIMMED)
        for box in corners:
            photograph.paste(seen.crop(box), box[:2])
    draw = ImageDraw.Draw(photograph)
    for number, (left, top, right, bottom) in reversed(list(enumerate(corners, start=1))):
        color = VERMILLION if number == 1 else ORANGE
        draw.rectangle((left, top, right - 1, bottom - 1), outline=color, width=2 * scale)
        place = left + 3 * scale, top + 2 * scale
        draw.text(place, str(number), color, _font(11 * scale), stroke_width=scale, stroke_fill="black")
    return _with_lines(photograph, lines, scale)


def _with_lines(photograph: Image.Image, lines: Sequence[str], scale: int) -> Image.Image:
    """A picture above white lines of text, which are made smaller until the longest fits."""
    size = 16 * scale
    while size > 8 and max((_font(size).getlength(line) for line in lines), default=0) > photograph.width - size:
        size -= 1
    step = round(1.4 * size)
    whole = Image.new("RGB", (photograph.width, photograph.height + step * len(lines) + size // 2), "black")
    whole.paste(photograph)
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        draw.text((size // 2, photograph.height + size // 4 + step * number), line, "white", _font(size))
    return whole


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # slow to import, and needed for its font alone, which has more letters than Pillow's

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
