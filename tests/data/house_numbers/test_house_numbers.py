"""Images of house numbers: boxes follow their pixels, one seed makes the same images, and composed numbers are true."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dcnlib.data.house_numbers.rendered
from dcnlib.data.house_numbers.composition import compose, erase_numbers, fade, take_apart
from dcnlib.data.house_numbers.images import (
    NO_DISTURBANCE,
    TEST_DISTURBANCE,
    TRAINING_DISTURBANCE,
    Disturbance,
    HouseNumberImages,
    load_house_number_images,
    standardise,
)
from dcnlib.data.house_numbers.load import load_house_numbers
from dcnlib.data.house_numbers.numbers import NO_DIGIT, HouseNumbers, number_text
from dcnlib.data.house_numbers.rendered import render_numbers

STRONG = Disturbance(shift=0.5, scale=1.5, aspect=1.3)


def squares(number: int = 40, *, ink: int = 220, paper: int = 60) -> HouseNumbers:
    """Numbers of one to three plain rectangles on plain paper, each at a place of its own."""
    random = np.random.RandomState(0)
    images = np.full((number, 64, 128), paper, dtype=np.uint8)
    labels = np.full((number, 5), NO_DIGIT)
    boxes = np.zeros((number, 5, 4), dtype=np.float32)
    for row in range(number):
        top, left, height = random.randint(8, 20), random.randint(8, 30), random.randint(14, 30)
        for position in range(row % 3 + 1):
            box = (top, left + 28 * position, top + height, left + 28 * position + 16)
            images[row, box[0] : box[2], box[1] : box[3]] = ink
            boxes[row, position], labels[row, position] = box, (row + position) % 10
    names = np.array([f"{row + 1}.png" for row in range(number)])
    return HouseNumbers(images, labels, boxes, names, source="made up", split="train")


@pytest.fixture(scope="module")
def rendered() -> HouseNumbers:
    return render_numbers("validation", 60)


def bright(image: torch.Tensor) -> torch.Tensor:
    """(4,) the box of the pixels that are nearer to ink than to paper."""
    rows, columns = torch.nonzero(image[0] > (image.min() + image.max()) / 2, as_tuple=True)
    return torch.stack([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


@pytest.mark.parametrize("disturbance", [NO_DISTURBANCE, TEST_DISTURBANCE, TRAINING_DISTURBANCE, STRONG])
@pytest.mark.parametrize("seed", [0, 1])
def test_boxes_follow_the_pixels(disturbance, seed):
    data = HouseNumberImages(squares(), disturbance=replace(disturbance, contrast=1), seed=seed)
    for image, boxes, present in zip(data[range(len(data))][0], data.boxes, data.present, strict=True):
        whole = torch.cat([boxes[present, :2].amin(0), boxes[present, 2:].amax(0)])
        assert (bright(image) - whole).abs().max() <= 0.75


def test_every_digit_stays_in_the_frame(rendered):
    data = HouseNumberImages(rendered, disturbance=replace(STRONG, shift=1), composed=0.5)
    boxes = data.boxes[data.present]
    assert boxes.min() >= -1e-3
    assert (boxes[:, 2:] <= torch.tensor([64, 128]) + 1e-3).all()


def test_shifts_and_scales_use_their_whole_range_and_no_more():
    data = HouseNumberImages(squares(400), disturbance=Disturbance(shift=0.1, scale=1.25))
    before, after = torch.from_numpy(data.numbers.boxes[:, 0]), data.boxes[:, 0]
    scale = (after[:, 2:] - after[:, :2]) / (before[:, 2:] - before[:, :2])
    assert torch.allclose(scale[:, 0], scale[:, 1], atol=1e-4)
    assert 0.8 <= scale.min() < 0.83
    assert 1.2 < scale.max() <= 1.2501
    size = torch.tensor([64, 128])
    shift = (after[:, :2] - size / 2 - scale * (before[:, :2] - size / 2)) / size
    inside = ((after[:, :2] > 1) & (after[:, 2:] < size - 1)).all(1)
    assert shift[inside].abs().max() <= 0.1001
    assert shift.min() < -0.09
    assert shift.max() > 0.09


def test_without_a_disturbance_the_photographs_are_exact_but_for_brightness_and_contrast(rendered):
    for image, photograph in zip(HouseNumberImages(rendered)[range(60)][0], rendered.images, strict=True):
        seen, pixels = image.flatten().double().numpy(), photograph.flatten().astype(float)
        kept = (seen > 0) & (seen < 1)  # not cut off
        assert kept.mean() > 0.85
        slope, level = np.polyfit(pixels[kept], seen[kept], 1)
        assert slope > 0
        np.testing.assert_allclose(seen, np.clip(level + slope * pixels, 0, 1), atol=1e-5)


def test_brightness_and_contrast_of_a_photograph_make_no_difference(rendered):
    images = torch.from_numpy(rendered.images[:, None]).float()
    darker = standardise(30 + 0.6 * images)
    torch.testing.assert_close(darker, standardise(images), atol=0.1, rtol=0)
    assert torch.isfinite(standardise(torch.full((1, 1, 64, 128), 77.0))).all()


def test_contrast_keeps_the_mean_and_changes_the_distances_from_it():
    checks = np.indices((64, 128)).sum(0) % 2 * 200  # everything is one standard deviation from the mean
    numbers = replace(squares(), images=np.tile(checks.astype(np.uint8), (40, 1, 1)))
    images = HouseNumberImages(numbers, disturbance=Disturbance(contrast=2))[range(40)][0]
    plain = HouseNumberImages(numbers)[range(40)][0]
    assert torch.allclose(images.mean((1, 2, 3)), torch.tensor(0.5), atol=1e-4)
    ratios = images.std((1, 2, 3)) / plain.std((1, 2, 3))
    assert 0.5 <= ratios.min() < 0.6
    assert 1.7 < ratios.max() <= 2.001


@pytest.mark.parametrize("composed", [0.0, 0.5])
def test_an_image_is_the_same_however_many_are_asked_for(rendered, composed):
    data = HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE, composed=composed, seed=3)
    images, labels = data[range(len(data))]
    picked = [5, len(data) - 1, 5]
    assert torch.allclose(data[picked][0], images[picked], atol=1e-5)
    assert torch.equal(data[picked][1], labels[picked])
    image, label = data[len(data) - 2]
    assert torch.allclose(image, images[-2], atol=1e-5)
    assert torch.equal(label, labels[-2])


def test_the_seed_decides_the_images(rendered):
    first, again, other = (
        HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE, composed=0.4, seed=seed) for seed in (1, 1, 2)
    )
    rows = range(len(first))
    assert torch.equal(first[rows][0], again[rows][0])
    assert not torch.isclose(first[rows][0], other[rows][0]).flatten(1).all(1).any()


def test_fresh_images_differ_from_epoch_to_epoch_and_come_back(rendered):
    data = HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE, composed=0.5, seed=1, fresh=True)
    rows = range(len(data))
    images, labels = data[rows]
    later, later_labels = data.at_epoch(1)[rows]
    assert torch.equal(data.at_epoch(0)[rows][0], images)
    assert torch.equal(data[rows][0], images)
    assert torch.equal(data.at_epoch(1)[rows][0], later)
    assert not torch.isclose(images, later).flatten(1).all(1).any()
    assert torch.equal(later_labels[:60], labels[:60])
    assert not torch.equal(later_labels[60:], labels[60:])
    assert data.at_epoch(2).at_epoch(1).epoch == 1


def test_a_fixed_set_is_the_same_in_every_epoch(rendered):
    data = HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE)
    assert data.at_epoch(5) is data


@pytest.mark.parametrize(("composed", "count"), [(0, 60), (0.25, 80), (0.5, 120), (0.9, 600)])
def test_composed_numbers_are_that_share_of_all(rendered, composed, count):
    data = HouseNumberImages(rendered, composed=composed)
    assert len(data) == len(data.labels) == len(data.boxes) == count
    assert torch.equal(data.labels[:60], torch.from_numpy(rendered.labels))


def test_images_and_labels_have_their_types_and_ranges(rendered):
    data = HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE, composed=0.5)
    images, labels = data[np.arange(len(data))]
    assert (images.shape, images.dtype) == ((120, 1, 64, 128), torch.float32)
    assert (labels.shape, labels.dtype) == ((120, 5), torch.int64)
    assert 0 <= images.min() < images.max() <= 1
    assert ((labels >= 0) & (labels <= NO_DIGIT)).all()
    assert torch.equal(data.present, labels < NO_DIGIT)
    assert (data.boxes[~data.present] == 0).all()


@pytest.mark.parametrize("index", [[], np.array([], dtype=int), torch.tensor([], dtype=torch.int64)])
def test_no_indices_give_an_empty_batch(rendered, index):
    images, labels = HouseNumberImages(rendered, disturbance=TRAINING_DISTURBANCE, composed=0.5)[index]
    assert images.shape == (0, 1, 64, 128)
    assert labels.shape == (0, 5)


def test_a_data_loader_reads_it(rendered):
    data = HouseNumberImages(rendered)
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=5)))
    assert torch.equal(images, data[range(5)][0])
    assert torch.equal(labels, data.labels[:5])


def test_an_erased_number_leaves_smooth_paper_and_the_rest_untouched():
    numbers = squares()
    backgrounds = erase_numbers(numbers)
    assert (backgrounds == 60).all()
    slope = np.broadcast_to(np.linspace(20, 200, 128), (40, 64, 128)).astype(np.uint8)
    marked = replace(numbers, images=np.where(numbers.images == 220, 220, slope).astype(np.uint8))
    difference = np.abs(erase_numbers(marked).astype(int) - slope)
    assert difference.max() < 40  # a slope is not met exactly; strokes stood out by up to 200
    assert (difference[:, :, :3] == 0).all()


def test_a_photograph_full_of_its_number_is_erased_to_its_mean():
    numbers = squares(1)
    boxes = np.zeros_like(numbers.boxes)
    boxes[0, 0] = 0, 0, 64, 128
    background = erase_numbers(replace(numbers, boxes=boxes))
    assert np.unique(background).tolist() == [round(float(numbers.images.mean()))]


def test_digits_fade_out_around_their_boxes():
    weights = fade(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), axis=1)[0]
    assert (weights[20:60] == 1).all()
    assert (weights[:14] == 0).all()
    assert (weights[66:] == 0).all()
    assert 0 < weights[17] < weights[18] < weights[19] < 1


def test_a_digit_of_the_parts_knows_its_level_and_contrast():
    for ink, paper in ((220, 60), (30, 90)):
        parts = take_apart(squares(ink=ink, paper=paper))
        assert np.unique(parts.levels).tolist() == [paper]
        assert np.unique(parts.contrasts).tolist() == [ink - paper]


def test_a_composed_number_shows_its_digits_in_its_boxes_and_nothing_else():
    data = HouseNumberImages(squares(), composed=0.9, disturbance=TEST_DISTURBANCE)
    rows = np.arange(len(data.numbers), len(data))
    images = data[rows][0][:, 0]
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    ink = (images - low) / (high - low)
    inside = torch.zeros_like(ink)
    for image, boxes in zip(inside, data.boxes[rows], strict=True):
        for top, left, bottom, right in boxes.round().int().tolist():
            image[top:bottom, left:right] = 1
    assert (((ink - inside).abs() < 0.5).flatten(1).float().mean(1) > 0.97).all()


def test_the_digits_of_a_composed_number_are_those_that_its_label_names():
    """Each digit is given a grey of its own, so that the image tells which digit it shows."""
    numbers = squares(60)
    greys = {label: 150 + 10 * label for label in range(10)}
    images = numbers.images.copy()
    for row, position in zip(*np.nonzero(numbers.present), strict=True):
        top, left, bottom, right = numbers.boxes[row, position].astype(int)
        images[row, top:bottom, left:right] = greys[numbers.labels[row, position]]
    numbers = replace(numbers, images=images)
    parts = take_apart(numbers)
    composition = compose(numbers, parts, 200, np.random.RandomState(5))
    present = composition.labels < NO_DIGIT
    assert np.array_equal(composition.labels[present], parts.labels[composition.digits[present]])
    shown = 60 + composition.gains[present] * parts.contrasts[composition.digits[present]]
    assert np.array_equal(
        parts.contrasts[composition.digits[present]] + 60, [*map(greys.get, composition.labels[present])]
    )
    wanted = 60 + parts.contrasts[parts.firsts[composition.backgrounds]]
    np.testing.assert_allclose(shown, np.broadcast_to(wanted[:, None], present.shape)[present], rtol=1e-5)


def test_the_digits_of_a_composed_number_are_all_light_or_all_dark_as_the_background_had_them():
    light, dark = squares(), squares(2, ink=30, paper=200)  # so few that light digits must be turned into dark ones
    both = {name: np.concatenate([getattr(light, name), getattr(dark, name)]) for name in ("images", "labels", "boxes")}
    numbers = replace(light, names=np.concatenate([light.names, dark.names]), **both)
    parts = take_apart(numbers)
    composition = compose(numbers, parts, 300, np.random.RandomState(5))
    contrasts = np.where(composition.backgrounds < len(light), 220 - 60, 30 - 200)[:, None]
    shown = np.where(composition.labels < NO_DIGIT, composition.gains * parts.contrasts[composition.digits], contrasts)
    np.testing.assert_allclose(shown, np.broadcast_to(contrasts, shown.shape), rtol=1e-5)
    assert (composition.gains < 0).any()


def test_composed_numbers_mix_digits_of_different_photographs(rendered):
    parts = take_apart(rendered)
    composition = compose(rendered, parts, 500, np.random.RandomState(0))
    known = {tuple(labels) for labels in rendered.labels.tolist()}
    assert np.mean([tuple(labels) not in known for labels in composition.labels.tolist()]) > 0.5
    long = composition.labels[:, 1] < NO_DIGIT
    sources = parts.photographs[composition.digits[long, :2]]
    assert (sources[:, 0] != sources[:, 1]).mean() > 0.75
    assert set(composition.labels.ravel().tolist()) == set(range(11))


def test_only_its_own_photographs_go_into_composed_numbers():
    """Numbers composed of digits with stripes across never hold other stripes, nor the reverse."""
    pixels = np.indices((64, 128))
    for axis in (0, 1):
        numbers = squares()
        stripes = np.where((numbers.images == 220) & (pixels[axis] // 4 % 2 == 0), 100, numbers.images)
        data = HouseNumberImages(replace(numbers, images=stripes.astype(np.uint8)), composed=0.5)
        images = data[range(40, 80)][0][:, 0]
        along, over = images.diff(dim=2 - axis).abs().mean(), images.diff(dim=1 + axis).abs().mean()
        assert over > 1.5 * along


@pytest.fixture
def few(monkeypatch) -> None:
    """Rendering whole splits takes seconds."""
    monkeypatch.setattr(dcnlib.data.house_numbers.rendered, "COUNTS", {"train": 30, "validation": 20, "test": 30})


@pytest.mark.usefixtures("few")
def test_test_images_are_disturbed_by_a_seed():
    plain, first, again, other = (
        load_house_number_images("test", source="rendered", disturbance=disturbance, seed=seed)
        for disturbance, seed in ((None, 0), (TEST_DISTURBANCE, 7), (TEST_DISTURBANCE, 7), (TEST_DISTURBANCE, 8))
    )
    assert torch.equal(plain.labels, first.labels)
    assert torch.equal(first.boxes, again.boxes)
    assert torch.equal(first[range(20)][0], again[range(20)][0])
    assert not torch.allclose(first.boxes, other.boxes)
    assert not torch.allclose(first.boxes, plain.boxes)
    assert first.at_epoch(3) is first


@pytest.mark.usefixtures("few")
def test_the_projects_training_set_is_disturbed_half_composed_and_fresh():
    train, validation = (load_house_number_images(split, source="rendered") for split in ("train", "validation"))
    assert train.fresh
    assert train.disturbance == TRAINING_DISTURBANCE
    assert len(train) == 2 * len(train.numbers)
    assert (validation.fresh, validation.composed, validation.disturbance) == (False, 0, NO_DISTURBANCE)


@pytest.mark.usefixtures("few")
def test_the_description_tells_everything_needed_to_make_it_again(rendered):
    data = HouseNumberImages(render_numbers("test", 30), disturbance=STRONG, composed=0.5, seed=9)
    told = data.describe()
    again = HouseNumberImages(
        load_house_numbers(told["split"], source=told["source"]).subset(told["photographs"]),
        disturbance=Disturbance(**{name: told[name] for name in ("shift", "scale", "aspect", "contrast")}),
        composed=told["composed"],
        seed=told["seed"],
        fresh=told["fresh"],
    )
    assert told["count"] == len(again) == 60
    assert torch.equal(again[[0, 59]][0], data[[0, 59]][0])


def test_rendered_numbers_are_seeded_and_their_splits_differ(rendered):
    again = render_numbers("validation", 10)
    assert np.array_equal(again.images, rendered.images[:10])
    assert np.array_equal(again.boxes, rendered.boxes[:10])
    other = render_numbers("test", 10)
    assert not (again.images == other.images).all(axis=(1, 2)).any()
    assert (rendered.source, rendered.split) == ("rendered", "validation")


def test_rendered_numbers_stand_in_their_boxes_and_out_from_the_background():
    numbers = render_numbers("test", 200)
    parts = take_apart(numbers)
    assert (np.abs(parts.contrasts) > 15).mean() > 0.97
    assert numbers.boxes.min() >= 0
    assert (numbers.boxes[..., 2:] <= [64, 128]).all()
    assert (numbers.labels[:, 0] != 0).all()
    assert {1, 2, 3, 4} <= set(numbers.lengths.tolist())
    heights = (numbers.boxes[..., 2] - numbers.boxes[..., 0])[numbers.present]
    assert 5 <= heights.min() < 12
    assert 36 < heights.max() <= 46


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([1, 7, 2, 10, 10], "172"),
        ([0, 10, 10, 10, 10], "0"),
        ([1, 2, 3, 4, 5], "12345"),
        ([1, 10, 3, 10, 10], "1_3"),
        ([10, 3, 10, 10, 10], "_3"),
        ([10] * 5, "no number"),
    ],
)
def test_a_number_is_written_with_its_gaps(labels, text):
    assert number_text(labels) == text
    assert number_text(np.array(labels)) == text


BAD_NUMBERS = {
    "floats": ({"images": np.zeros((2, 64, 128))}, TypeError, "float64"),
    "another size": ({"images": np.zeros((2, 32, 32), np.uint8)}, TypeError, r"\(2, 32, 32\)"),
    "too few labels": ({"labels": np.ones((1, 5), int)}, ValueError, r"labels of shape \(2, 5\), got \(1, 5\)"),
    "a label of 11": ({"labels": np.full((2, 5), 11)}, ValueError, "0..10"),
    "a number without digits": ({"labels": np.full((2, 5), NO_DIGIT)}, ValueError, "the first"),
    "a gap": ({"labels": np.array([[1, 10, 3, 10, 10]] * 2)}, ValueError, "without a gap"),
    "nothing": (
        {"images": np.zeros((0, 64, 128), np.uint8), "labels": np.ones((0, 5), int), "boxes": np.zeros((0, 5, 4))}
        | {"names": np.array([], str)},
        ValueError,
        "empty",
    ),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD_NUMBERS.values(), ids=BAD_NUMBERS)
def test_bad_house_numbers_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        replace(squares(2), **given)


BAD_SETTINGS = {
    "an unknown source": (lambda: load_house_numbers("train", source="mnist"), "mnist"),
    "an unknown split": (
        lambda: load_house_numbers("extra", source="rendered"),
        "train, validation, test, got 'extra'",
    ),
    "all composed": (lambda: HouseNumberImages(squares(), composed=1), "composed.*got 1"),
    "a negative seed": (lambda: HouseNumberImages(squares(), seed=-1), "-1"),
    "a negative shift": (lambda: Disturbance(shift=-0.1), "shift=-0.1"),
    "a scale of 0": (lambda: Disturbance(scale=0), "scale=0"),
    "no numbers": (lambda: squares(3).subset(0), "1..3, got 0"),
    "more than there are": (lambda: squares(3).subset(4), "1..3, got 4"),
}


@pytest.mark.parametrize(("make", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("index", "error"),
    [(60, IndexError), (-61, IndexError), ([-1], IndexError), ([0.5], TypeError), ([[1]], ValueError)],
)
def test_bad_indices_are_refused(rendered, index, error):
    with pytest.raises(error):
        HouseNumberImages(rendered)[index]
