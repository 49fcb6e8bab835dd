"""House numbers that the library draws itself: digits of fonts that ship with matplotlib, on textured backgrounds.

They stand in for photographs where there are none, so that everything runs anywhere. They are easier than those, and
errors on them say nothing about SVHN. One seed gives the same layouts everywhere; the letter forms come from Pillow's
FreeType, so grey values may differ a little between versions of it.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dcnlib.data.house_numbers.numbers import FRAME, NO_DIGIT, POSITIONS, HouseNumbers

COUNTS = {"train": 2000, "validation": 400, "test": 1000}
SEEDS = {"train": 0, "validation": 1_000_001, "test": 1_000_002}
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSans-Oblique",
)
LENGTHS = (0.2, 0.6, 0.15, 0.04, 0.01)  # how often a number has 1, 2, ... 5 digits: about as in SVHN
HEIGHTS = (8, 44)  # of the digits, in pixels of the image
_FONT_SIZES = tuple(range(8, 65, 4))


def render_numbers(split: str, count: int | None = None) -> HouseNumbers:
    """The first `count` numbers of a split (train 2,000, validation 400, test 1,000); each has a seed of its own."""
    count = COUNTS[split] if count is None else count
    drawn = [_render(np.random.RandomState([SEEDS[split], index])) for index in range(count)]
    images, labels, boxes = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    names = np.array([f"{index + 1}.png" for index in range(count)])
    return HouseNumbers(images, labels, boxes, names, source="rendered", split=split)


def _render(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One image (64, 128) uint8 with its labels (5,) and boxes (5, 4)."""
    length = 1 + random.choice(POSITIONS, p=LENGTHS)
    digits = np.append(random.randint(1, 10), random.randint(0, 10, POSITIONS - 1))[:length]
    labels = np.pad(digits, (0, POSITIONS - length), constant_values=NO_DIGIT)

    background = _texture(random)
    ink = Image.new("L", FRAME[::-1])
    boxes = _write(ink, digits, random)
    # Strokes lighter or darker than the mean, by at least a fifth of the range, and as sharp as a lens may be.
    level = background.mean()
    stroke = random.uniform(level + 50, 255) if level < random.uniform(60, 195) else random.uniform(0, level - 50)
    blur = random.uniform(0, 0.03) * float(boxes[0, 2] - boxes[0, 0])
    ink = ink.filter(ImageFilter.GaussianBlur(blur))
    weight = np.asarray(ink) / 255
    image = background * (1 - weight) + stroke * weight + random.normal(0, random.uniform(0, 6), FRAME)
    return image.clip(0, 255).round().astype(np.uint8), labels.astype(np.int64), boxes


def _write(ink: Image.Image, digits: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Draw white digits side by side, and return their boxes (5, 4); the size shrinks until the number fits."""
    wanted, name, spread = random.uniform(*HEIGHTS), FONTS[random.randint(len(FONTS))], random.uniform(0, 0.25)
    place, slope = random.random_sample(2), random.uniform(-0.15, 0.15)
    for size in reversed([size for size in _FONT_SIZES if 0.73 * size <= wanted] or _FONT_SIZES[:1]):
        outlines = np.array([_font(name, size).getbbox(str(digit)) for digit in digits])  # left, top, right, bottom
        widths, heights = outlines[:, 2] - outlines[:, 0], outlines[:, 3] - outlines[:, 1]
        steps = np.ceil(widths + spread * heights[0] + 1)
        lefts = np.concatenate([[0], steps.cumsum()[:-1]])
        tops = np.round(slope * lefts)
        tops -= tops.min()
        room = np.array(FRAME) - [(tops + heights).max(), lefts[-1] + widths[-1]]
        if (room >= 0).all():
            break
    top, left = (place * (room + 1)).astype(int)
    boxes = np.zeros((POSITIONS, 4), dtype=np.float32)
    draw = ImageDraw.Draw(ink)
    for position, digit in enumerate(digits):
        y, x = top + tops[position], left + lefts[position]
        draw.text((x - outlines[position, 0], y - outlines[position, 1]), str(digit), 255, _font(name, size))
        boxes[position] = y, x, y + heights[position], x + widths[position]
    return boxes


def _texture(random: np.random.RandomState) -> np.ndarray:
    """(64, 128) grey levels: a slope of light, blotches at three scales, and sometimes the edges of boards."""
    down, across = np.linspace(-1, 1, FRAME[0])[:, None], np.linspace(-1, 1, FRAME[1])
    texture = random.uniform(30, 225) + random.uniform(-25, 25) * down + random.uniform(-25, 25) * across
    for cells, strength in ((3, 20), (8, 12), (24, 8)):
        blotches = Image.fromarray(random.normal(0, strength, (cells, 2 * cells)).astype(np.float32))
        texture = texture + random.uniform(0, 1) * np.asarray(blotches.resize(FRAME[::-1], Image.Resampling.BICUBIC))
    if random.random_sample() < 0.3:
        axis = random.randint(2)
        edges = (np.arange(FRAME[axis]) + random.randint(32)) % random.randint(10, 33) < 1
        texture = texture - random.uniform(10, 40) * (edges[:, None] if axis == 0 else edges)
    return texture.clip(0, 255)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # slow to import, and needed for its fonts alone

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)
