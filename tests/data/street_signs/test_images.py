"""Windows and whole photographs, with the signs that count in them, and the streets that the library draws."""

import numpy as np
import pytest
import torch

from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.images import (
    COUNTS_FROM,
    TRAINING_VARIATION,
    WINDOWS_EACH,
    SignImages,
    Variation,
    load_street_signs,
    project_sign_images,
)
from dcnlib.data.street_signs.signs import CATEGORIES, HALVED


@pytest.fixture(scope="module")
def streets():
    return draw_streets("train", 12)


def marked(streets):
    """The same streets with all signs in pure white on black, so that a window's pixels tell what it shows."""
    photographs = np.zeros_like(streets.photographs)
    for (top, left, bottom, right), owner in zip(streets.boxes.astype(int), streets.owners, strict=True):
        photographs[owner, top:bottom, left:right] = 255
    return type(streets)(photographs, *(getattr(streets, name) for name in list(vars(streets))[1:]))


def test_drawn_streets_are_the_same_however_many_are_asked_for(streets):
    few = draw_streets("train", 3)
    assert np.array_equal(few.photographs, streets.photographs[:3])
    assert np.array_equal(few.boxes, streets.boxes[streets.owners < 3])
    assert streets.photographs.shape == (12, *HALVED, 3)
    sides = streets.boxes[:, 2:] - streets.boxes[:, :2]
    assert (sides >= 9).all()
    assert (sides <= 60).all()
    assert set(streets.categories.tolist()) <= set(range(len(CATEGORIES)))
    assert not np.array_equal(draw_streets("validation", 1).photographs, few.photographs[:1])


def test_a_whole_photograph_is_the_photograph(streets):
    images = SignImages(streets, window=0)
    assert len(images) == 12
    pixels, labels = images[3]
    assert torch.equal(pixels, torch.from_numpy(streets.photographs[3]).permute(2, 0, 1) / 255)
    there = set(streets.categories[streets.owners == 3].tolist())
    assert labels.tolist() == [int(category in there) for category in range(4)]
    assert images.boxes_of(3)[0].tolist() == streets.boxes[streets.owners == 3].tolist()


@pytest.mark.parametrize("window", [64, 128, 300])
def test_windows_show_a_sign_and_none_in_turn(streets, window):
    images = SignImages(marked(streets), window=window, seed=5)
    assert len(images) == WINDOWS_EACH * 12
    pixels, labels = images[np.arange(len(images))]
    assert pixels.shape == (len(images), 3, window, window)
    for index in range(len(images)):
        has_signs = (streets.owners == images.photograph_of(index)).any()
        boxes, categories = images.boxes_of(index)
        assert sorted(set(categories.tolist())) == labels[index].nonzero().flatten().tolist()
        if index % 2 == 0:
            assert bool(labels[index].any()) == has_signs
        elif window < 300:  # in larger ones there is always one, now and then
            assert not labels[index].any()
            assert not pixels[index].any()
        for top, left, bottom, right in boxes.int().tolist():
            assert pixels[index, :, top:bottom, left:right].min() == 1


@pytest.mark.parametrize("window", [0, 128])
def test_boxes_follow_the_signs_when_training_images_are_varied(streets, window):
    rules = Variation(scale=1.3, flipped=True)
    images = SignImages(marked(streets), window=window, variation=rules, seed=1)
    pixels, _ = images[np.arange(len(images))]
    boxes = [images.boxes_of(index)[0] for index in range(len(images))]
    assert sum(map(len, boxes)) > 10
    for image, found in zip(pixels, boxes, strict=True):
        for top, left, bottom, right in found.round().int().tolist():
            assert image[:, top + 1 : bottom - 1, left + 1 : right - 1].min() > 0.9
    assert {tuple(images._regions[index, 2:]) for index in range(len(images))} != {images.shape}


def test_a_sign_counts_if_half_of_it_is_seen(streets):
    images = SignImages(streets, window=128, seed=2)
    top, left, _, right = streets.boxes[streets.signs_of(images.photograph_of(0))][0]
    for seen, counts in ((COUNTS_FROM + 0.05, True), (COUNTS_FROM - 0.05, False)):
        images._regions[0] = [int(top) - 60, 0, 128, 128]
        images._regions[0, 1] = round(right - seen * (right - left))
        rows = images._counted(0)
        assert (streets.signs_of(0).start in rows) == counts


def test_training_windows_are_fresh_each_epoch_and_others_stay(streets):
    train = project_sign_images(streets)
    assert train.variation == TRAINING_VARIATION
    assert not torch.equal(train.at_epoch(1)[0][0], train.at_epoch(2)[0][0])
    assert torch.equal(train.at_epoch(1)[0][0], train.at_epoch(1)[0][0])
    other = project_sign_images(draw_streets("test", 2), seed=3)
    assert other.at_epoch(1) is other
    assert other.describe()["seed"] == 3
    assert torch.equal(other[0][0], other[np.array([0])][0][0])


def test_few_photographs_are_evaluated_together(streets):
    assert SignImages(streets, window=0).most_at_once < 20
    assert SignImages(streets, window=64).most_at_once == 250


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="source must be one of"):
        load_street_signs("train", source="svhn")
    with pytest.raises(ValueError, match="has the splits train, validation, test"):
        load_street_signs("extra", source="drawn")
    with pytest.raises(ValueError, match="window must be at most 400"):
        SignImages(draw_streets("test", 1), window=401)
    with pytest.raises(ValueError, match=r"factors of 1\.\.4"):
        Variation(scale=0.5)
