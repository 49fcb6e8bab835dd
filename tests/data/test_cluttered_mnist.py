"""Cluttered MNIST follows the original generator's rules, and one seed makes the same images everywhere."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcnlib import ClutteredMNIST, load_cluttered
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.data.digits import Digits, load_digits


def constant_digits(values: list[int], side: int = 4) -> Digits:
    """Digits of one grey each, so that every pixel tells which digit it came from."""
    images = np.repeat(np.array(values, dtype=np.uint8), side * side).reshape(len(values), side, side)
    return Digits(images, np.arange(len(values)) % 10, "made up", "all")


def render_slowly(data: ClutteredMNIST, index: int) -> np.ndarray:
    """The rules one after another, pixel by pixel, with the set's own draws and a clamp after every addition."""
    size, crop, digits = data.rules.size, data.rules.crop, data.digits.images
    canvas = [[0] * size for _ in range(size)]

    def add(pixel: int, y: int, x: int) -> None:
        canvas[y][x] = min(255, canvas[y][x] + int(pixel))

    for digit, from_y, from_x, to_y, to_x in data._fragments[index]:
        for y in range(crop):
            for x in range(crop):
                add(digits[digit, from_y + y, from_x + x], to_y + y, to_x + x)
    top, left = data.positions[index]
    for y in range(digits.shape[1]):
        for x in range(digits.shape[2]):
            add(digits[index, y, x], top + y, left + x)
    return np.array(canvas, dtype=np.uint8)


@given(
    size=st.integers(28, 60),
    distractors=st.integers(0, 40),
    crop=st.integers(1, 28),
    seed=st.integers(0, 1000),
    index=st.integers(0, 63),
)
def test_the_generator_agrees_with_a_slow_loop(digits, size, distractors, crop, seed, index):
    rules = ClutterRules(size=size, distractors=distractors, crop=crop)
    data = ClutteredMNIST(digits, rules=rules, seed=seed)
    assert np.array_equal(data.render([index])[0], render_slowly(data, index))


def test_fragments_pile_up_to_white_and_no_further():
    data = ClutteredMNIST(constant_digits([255, 255]), rules=ClutterRules(size=4, distractors=250, crop=4))
    assert (data.render([0, 1]) == 255).all()


def test_an_image_is_the_same_however_many_are_asked_for(digits):
    data = ClutteredMNIST(digits, seed=3)
    together = data[range(len(data))][0]
    assert torch.equal(data[[5, 60, 5]][0], together[[5, 60, 5]])
    assert torch.equal(data[17][0], together[17])


def test_pinned_images_are_the_same_on_every_machine(embedded):
    data = ClutteredMNIST(embedded, seed=0, fresh=True)
    batches = data.render(range(64)), data.at_epoch(3).render(range(64))
    assert [hashlib.sha256(batch.tobytes()).hexdigest() for batch in batches] == [
        "0fcff5bd7e3f17d88d71c4f925e825d6aa7c0f8e461b0575ff3f1e8d438f2bf2",
        "7cc89ddac420074e9f5248c62500e45bb7fb127eaa71a68ee1776f2cab58c58c",
    ]


def test_the_seed_decides_the_images(digits):
    first, again, other = (ClutteredMNIST(digits, seed=seed).render(range(8)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fresh_clutter_differs_from_epoch_to_epoch_and_comes_back(digits):
    data = ClutteredMNIST(digits, seed=1, fresh=True)
    epochs = [data.at_epoch(epoch).render(range(8)) for epoch in (0, 1, 1)]
    assert np.array_equal(data.render(range(8)), epochs[0])
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(epochs[1], epochs[2])


def test_a_fixed_set_is_the_same_in_every_epoch(digits):
    data = ClutteredMNIST(digits, seed=1)
    assert np.array_equal(data.at_epoch(5).render(range(8)), data.render(range(8)))


def test_a_box_holds_its_digit(digits):
    """Clutter only adds light, so nothing in the box is darker than the digit, and most of it is the digit itself."""
    data = ClutteredMNIST(digits)
    images = data.render(range(len(data)))
    for image, digit, (top, left, bottom, right) in zip(images, digits.images, data.boxes.tolist(), strict=True):
        box = image[top:bottom, left:right]
        assert (box >= digit).all()
        assert (box == digit).mean() > 0.5


def test_without_distractors_there_is_nothing_but_the_digit(digits):
    data = ClutteredMNIST(digits, rules=ClutterRules(distractors=0))
    images = data.render(range(len(data)))
    for image, digit, (top, left, bottom, right) in zip(images, digits.images, data.boxes.tolist(), strict=True):
        assert np.array_equal(image[top:bottom, left:right], digit)
        assert image.sum(dtype=int) == digit.sum(dtype=int)


def test_distractors_are_cut_from_all_digits_of_the_same_split_and_no_others():
    greys = [10, 20, 40, 80]
    data = ClutteredMNIST(constant_digits(greys), rules=ClutterRules(size=30, distractors=1, crop=2))
    seen: set[int] = set()
    for epoch in range(40):
        data = ClutteredMNIST(data.digits, rules=data.rules, epoch=epoch)
        image, (top, left, bottom, right) = data.render([0])[0], data.boxes[0].tolist()
        image[top:bottom, left:right] = 0
        seen |= set(image.flatten().tolist())
    assert seen == {0, *greys}


def test_digits_and_fragments_are_put_at_every_place_of_the_canvas_alike(embedded):
    data = ClutteredMNIST(embedded)
    places = {"digit": (data.positions, 100 - 28 + 1), "fragment": (data._fragments[:, :, 3:], 100 - 8 + 1)}
    for draws, count in places.values():
        for axis in (0, 1):
            frequency = np.bincount(draws[..., axis].ravel(), minlength=count) / draws[..., 0].size
            assert len(frequency) == count
            assert 0.3 / count < frequency.min() <= frequency.max() < 1.7 / count


def test_images_are_floats_from_0_to_1_with_int64_labels(digits):
    images, labels = ClutteredMNIST(digits)[np.arange(10)]
    assert (images.shape, images.dtype) == ((10, 1, 100, 100), torch.float32)
    assert images.min() == 0
    assert 0.9 < images.max() <= 1
    assert labels.dtype == torch.int64
    assert labels.tolist() == digits.labels[:10].tolist()


def test_a_data_loader_reads_it(digits):
    data = ClutteredMNIST(digits)
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=5)))
    assert torch.equal(images, data[range(5)][0])
    assert torch.equal(labels, data.labels[:5])


def test_the_description_tells_everything_needed_to_make_it_again():
    data = ClutteredMNIST(
        load_digits("validation", source="embedded"), rules=ClutterRules(size=60, distractors=3, crop=5), seed=9
    )
    told = data.describe()
    again = ClutteredMNIST(
        load_digits(told["split"], source=told["source"]),
        rules=ClutterRules(**{name: told[name] for name in ("size", "distractors", "crop")}),
        seed=told["seed"],
        fresh=told["fresh"],
    )
    assert told["count"] == len(again)
    assert np.array_equal(again.render([0, 999]), data.render([0, 999]))


def test_the_projects_training_set_is_fresh_each_epoch_and_the_others_stay():
    train, validation = (load_cluttered(split, source="embedded") for split in ("train", "validation"))
    assert train.fresh
    assert not validation.fresh
    assert not np.array_equal(train.positions[:1000], validation.positions)
    assert load_cluttered("train", source="embedded", seed=4).seed == 4
    assert not load_cluttered("train", source="embedded", fresh=False).fresh


def test_the_embedded_digits_make_the_very_images_of_the_validation_split():
    embedded = load_cluttered("all", source="embedded")
    validation = load_cluttered("validation", source="mnist")
    assert np.array_equal(embedded.render(range(500)), validation.render(range(500)))
    assert torch.equal(embedded.labels, validation.labels)


@pytest.mark.parametrize("index", [[], np.array([], dtype=int), torch.tensor([], dtype=torch.int64)])
def test_no_indices_give_an_empty_batch(digits, index):
    images, labels = ClutteredMNIST(digits)[index]
    assert images.shape == (0, 1, 100, 100)
    assert labels.shape == (0,)
