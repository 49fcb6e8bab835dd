"""Streets that the library draws itself: simple signs on backgrounds of its own, at the sizes of the photographs.

They stand in for photographs where there are none, so that everything runs anywhere. They are simpler than those, and
errors on them say nothing about GTSDB. One seed gives the same layouts everywhere; colours may differ a little between
versions of Pillow.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dcnlib.data.street_signs.signs import CATEGORIES, HALVED, StreetSigns

COUNTS = {"train": 96, "validation": 32, "test": 48}
SEEDS = {"train": 0, "validation": 1_000_001, "test": 1_000_002}
NUMBER_OF_SIGNS = (0.2, 0.4, 0.25, 0.15)  # how often a street has none, one, two, three: about as in GTSDB
SIDES = (9, 60)  # of a sign in pixels, most of them small
OVERSAMPLED = 4  # times that a sign is drawn larger, so that its edges are smooth
RED, BLUE, WHITE, BLACK, YELLOW = (190, 25, 35), (20, 70, 165), (235, 235, 230), (25, 25, 25), (240, 190, 20)

Colour = tuple[int, int, int]


def draw_streets(split: str, count: int | None = None) -> StreetSigns:
    """The first `count` streets of a split (train 96, validation 32, test 48); each has a seed of its own."""
    count = COUNTS[split] if count is None else count
    drawn = [_draw(np.random.RandomState([SEEDS[split], index])) for index in range(count)]
    owners = np.repeat(np.arange(count), [len(categories) for _, _, categories in drawn])
    return StreetSigns(
        np.stack([street for street, _, _ in drawn]),
        np.concatenate([boxes for _, boxes, _ in drawn]).astype(np.float32),
        np.concatenate([categories for _, _, categories in drawn]).astype(np.int64),
        owners,
        np.array([f"{split}-{index:03}" for index in range(count)]),
        source="drawn",
        split=split,
    )


def _draw(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One street (400, 680, 3) uint8, the boxes (n, 4) of its signs and their categories (n,)."""
    street = _street(random)
    boxes: list[tuple[int, int, int, int]] = []
    categories = []
    for _ in range(random.choice(len(NUMBER_OF_SIGNS), p=NUMBER_OF_SIGNS)):
        side = round(SIDES[0] * (SIDES[1] / SIDES[0]) ** random.beta(1.3, 1.8))
        top, left = random.randint(100, 300 - side), random.randint(2, HALVED[1] - side - 2)
        box = (top, left, top + side, left + side)
        if any(_overlap(box, other) for other in boxes):
            continue
        category = random.randint(len(CATEGORIES))
        _put(street, _sign(category, side, random), left, top, random)
        boxes.append(box)
        categories.append(category)
    light = 0.55 + 0.6 * random.random_sample()
    noise = random.normal(0, random.uniform(1, 6), (*HALVED, 1))
    levels = (np.asarray(street, dtype=np.float32) * light + noise).clip(0, 255).round().astype(np.uint8)
    return levels, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(categories, dtype=np.int64)


def _overlap(box: Sequence[int], other: Sequence[int]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _street(random: np.random.RandomState) -> Image.Image:
    """Sky, houses, trees, a road and cars, whose colours are those of signs now and then."""
    height, width = HALVED
    street = Image.new("RGB", (width, height), _colour(random, (150, 180, 210), 40))
    draw = ImageDraw.Draw(street)
    horizon = random.randint(180, 260)
    draw.rectangle((0, horizon, width, height), fill=_colour(random, (95, 95, 95), 25))
    for _ in range(random.randint(3, 9)):  # houses
        left, across, up = random.randint(-60, width), random.randint(40, 200), random.randint(40, 200)
        top = horizon - up
        draw.rectangle((left, top, left + across, horizon + 20), fill=_colour(random, (150, 130, 115), 50))
        window = _colour(random, (90, 100, 115), 40)
        for x in range(left + 8, left + across - 12, 22):
            for y in range(top + 8, horizon - 10, 28):
                draw.rectangle((x, y, x + 9, y + 14), fill=window)
    for _ in range(random.randint(2, 14)):  # trees
        x, y, radius = random.randint(0, width), horizon - random.randint(0, 80), random.randint(10, 55)
        draw.rectangle((x - 2, y, x + 2, horizon + 25), fill=_colour(random, (70, 55, 45), 15))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(random, (60, 90, 50), 30))
    for _ in range(random.randint(0, 6)):  # cars, and their lamps
        side = random.randint(12, 70)
        x, y = random.randint(0, width), random.randint(horizon, height - 40)
        draw.rectangle((x, y, x + 2 * side, y + side), fill=_colour(random, (110, 110, 120), 110))
        lamp = max(side // 8, 2)
        for across in (x + lamp, x + 2 * side - lamp):
            draw.ellipse((across - lamp, y + side // 2, across + lamp, y + side // 2 + 2 * lamp), fill=RED)
    for _ in range(random.randint(1, 6)):  # boards in the colours of signs, which are none
        side, colour = random.randint(6, 40), (RED, BLUE, WHITE, YELLOW)[random.randint(4)]
        x, y = random.randint(0, width), random.randint(120, 300)
        draw.rectangle((x, y, x + 2 * side, y + side), fill=colour)
    return street.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.2)))


def _colour(random: np.random.RandomState, mean: Colour, spread: int) -> Colour:
    red, green, blue = (int(value) for value in np.clip(random.normal(mean, spread / 2), 0, 255))
    return red, green, blue


def _sign(category: int, side: int, random: np.random.RandomState) -> Image.Image:
    """A sign on transparent ground: red ring, red triangle, blue disc, or one of the others."""
    n = side * OVERSAMPLED
    sign = Image.new("RGBA", (n, n))
    draw = ImageDraw.Draw(sign)
    edge, middle = n // 7, n // 2
    match CATEGORIES[category]:
        case "prohibitory":
            draw.ellipse((0, 0, n - 1, n - 1), fill=RED)
            draw.ellipse((edge, edge, n - edge, n - edge), fill=WHITE)
            _symbol(draw, middle, middle, n // 5, BLACK, random)
        case "danger":
            draw.polygon([(middle, 0), (n - 1, n - 1), (0, n - 1)], fill=RED)
            inner = [(middle, 2 * edge), (n - 1.7 * edge, n - edge), (1.7 * edge, n - edge)]
            draw.polygon(inner, fill=WHITE)
            _symbol(draw, middle, 2 * n // 3, n // 8, BLACK, random)
        case "mandatory":
            draw.ellipse((0, 0, n - 1, n - 1), fill=BLUE)
            _symbol(draw, middle, middle, n // 4, WHITE, random)
        case "other":
            kind = random.randint(3)
            if kind == 0:  # priority road
                draw.polygon([(middle, 0), (n - 1, middle), (middle, n - 1), (0, middle)], fill=WHITE)
                inner = [(middle, edge), (n - edge, middle), (middle, n - edge), (edge, middle)]
                draw.polygon(inner, fill=YELLOW)
            elif kind == 1:  # give way
                draw.polygon([(0, 0), (n - 1, 0), (middle, n - 1)], fill=RED)
                draw.polygon([(1.7 * edge, edge), (n - 1.7 * edge, edge), (middle, n - 2 * edge)], fill=WHITE)
            else:  # no entry
                draw.ellipse((0, 0, n - 1, n - 1), fill=RED)
                draw.rectangle((edge, middle - edge // 2, n - edge, middle + edge // 2), fill=WHITE)
    return sign.resize((side, side), Image.Resampling.BOX)


def _symbol(
    draw: ImageDraw.ImageDraw, x: int, y: int, half: int, colour: Colour, random: np.random.RandomState
) -> None:
    """Something that stands on a sign: a bar, a cross-bar or a disc."""
    thin = max(half // 3, 1)
    match random.randint(3):
        case 0:
            draw.rectangle((x - thin, y - half, x + thin, y + half), fill=colour)
        case 1:
            draw.rectangle((x - half, y - thin, x + half, y + thin), fill=colour)
        case 2:
            draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)


def _put(street: Image.Image, sign: Image.Image, left: int, top: int, random: np.random.RandomState) -> None:
    """Set a sign on its post into the street, a little blurred, as photographs are."""
    draw = ImageDraw.Draw(street)
    middle, side = left + sign.width // 2, sign.width
    thick = max(side // 16, 1)
    bottom = min(top + random.randint(2, 5) * side, HALVED[0] - 1)
    draw.rectangle((middle - thick, top + side // 2, middle + thick, bottom), fill=(120, 120, 120))
    street.paste(sign, (left, top), sign)
    around = (left - 2, top - 2, left + side + 2, top + side + 2)
    blurred = street.crop(around).filter(ImageFilter.GaussianBlur(random.uniform(0.2, 0.7)))
    street.paste(blurred, around[:2])
