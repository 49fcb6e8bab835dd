"""From a picture to an image that a network knows, and the way back for boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dcnlib.data.pictures import Picture, TooManyPixels, read_picture
from dcnlib.data.preparation import (
    Fit,
    enlarged,
    fitted,
    inverted,
    levels,
    light_on_dark,
    on_light_ground,
    to_grey,
    unlike,
)

SIDES = st.integers(1, 40)


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8)


def test_grey_is_what_pillow_makes_of_every_colour():
    colours = noise(64, 64, 3)
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(levels(to_grey(read_picture(colours))), grey)
    assert torch.equal(to_grey(read_picture(colours)).pixels, read_picture(grey).pixels)
    assert np.array_equal(levels(read_picture(colours)), colours)


def test_deep_grey_keeps_its_depth():
    deep = read_picture(np.arange(12, dtype=np.uint16).reshape(3, 4))
    assert torch.equal(to_grey(deep).pixels, deep.pixels)


def test_the_negative_of_a_negative_file_is_the_picture_bit_for_bit():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    negative = ImageOps.invert(Image.fromarray(every))
    assert torch.equal(inverted(read_picture(negative), "here").pixels, read_picture(every).pixels)
    deep = torch.rand(1, 9, 9)
    torch.testing.assert_close(inverted(Picture("x", deep), "here").pixels, 1 - deep)


@given(st.integers(3, 30), st.integers(3, 30), st.floats(0.55, 1), st.floats(0, 0.45))
def test_dark_on_light_is_told_by_the_border(height, width, light, dark):
    ink = torch.full((1, height, width), light)
    ink[:, 1:-1, 1:-1] = dark  # most of the picture, for all that
    assert on_light_ground(Picture("x", ink))
    assert not on_light_ground(Picture("x", 1 - ink))
    auto = light_on_dark(Picture("x", ink))
    assert torch.equal(auto.pixels, light_on_dark(Picture("x", ink), True).pixels)
    assert (auto.pixels[0, 0, 0] < 0.5) == (auto.pixels[0, 1, 1] > 0.5)
    assert auto.notes == ("inverted as it shows dark on light",)


def test_the_choice_overrides_the_border():
    light, dark = Picture("x", torch.ones(1, 5, 5)), Picture("x", torch.zeros(1, 5, 5))
    assert light_on_dark(light, False) is light
    assert light_on_dark(dark) is dark
    assert light_on_dark(dark, True).notes == ("inverted as asked",)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]))
def test_the_whole_picture_lies_in_the_middle_and_keeps_its_aspect(height, width, rows, columns, channels):
    prepared = fitted(Picture("x", torch.ones(1, height, width)), (channels, rows, columns))
    assert prepared.image.shape == (channels, rows, columns)
    lit = prepared.image[0].nonzero()
    (top, left), (bottom, right) = lit.amin(0).tolist(), (lit.amax(0) + 1).tolist()
    assert len(lit) == (bottom - top) * (right - left)
    assert (prepared.image[:, top:bottom, left:right] > 0.999).all()
    assert 0 <= (rows - bottom) - top <= 1
    assert 0 <= (columns - right) - left <= 1
    factor = min(1, rows / height, columns / width)
    assert (bottom - top, right - left) == (max(1, round(factor * height)), max(1, round(factor * width)))
    corners = torch.tensor([[top, left, bottom, right]])
    torch.testing.assert_close(prepared.fit.to_picture(corners), torch.tensor([[0.0, 0, height, width]]).double())


def test_a_picture_that_fits_stays_as_it_is():
    pixels = torch.rand(1, 9, 7)
    same = fitted(Picture("x", pixels, ("a",)), (1, 9, 7))
    assert torch.equal(same.image, pixels)
    assert (same.notes, same.fit) == (("a",), Fit((9, 7)))
    small = fitted(Picture("x", pixels), (1, 20, 21))
    assert torch.equal(small.image[:, 5:14, 7:14], pixels)
    assert small.image.sum() == pytest.approx(float(pixels.sum()), rel=1e-5)
    assert small.notes == ("set in the middle of 21x20 pixels",)


def test_a_large_picture_is_averaged_not_sampled():
    fine = torch.zeros(1, 400, 200)
    fine[:, ::2] = 1
    prepared = fitted(Picture("x", fine), (1, 100, 100))
    assert (prepared.image[0, 2:-2, 27:73] - 0.5).abs().max() < 0.02
    assert prepared.notes == ("shrunk from 200x400 to 50x100 pixels", "set in the middle of 100x100 pixels")


def test_colours_are_kept_for_networks_that_take_them():
    colours = read_picture(noise(6, 8, 3))
    assert torch.equal(fitted(colours, (3, 6, 8)).image, colours.pixels)
    assert torch.equal(fitted(colours, (1, 6, 8)).image, to_grey(colours).pixels)
    with pytest.raises(ValueError, match="the image must have 2"):
        fitted(colours, (2, 6, 8))


BOXES = st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5)


@given(SIDES, SIDES, st.floats(0.05, 4), st.floats(0.05, 4), st.integers(0, 50), st.integers(0, 50), BOXES)
def test_boxes_come_back_to_where_they_were_in_the_picture(height, width, down, across, top, left, shares):
    fit = Fit((height, width), (down, across), (top, left))
    ends = torch.tensor([height, width, height, width]).double()
    boxes = torch.tensor(shares, dtype=torch.float64).reshape(-1, 4) * ends
    there = boxes * torch.tensor([down, across] * 2, dtype=torch.float64) + torch.tensor([top, left] * 2)
    torch.testing.assert_close(fit.to_picture(there), boxes, atol=1e-9, rtol=1e-9)


@given(SIDES, SIDES, st.lists(st.tuples(*[st.integers(-99, 199)] * 4), max_size=5))
def test_boxes_end_where_the_picture_does(height, width, boxes):
    found = Fit((height, width), (0.5, 0.5), (3, 4)).to_picture(torch.tensor(boxes).reshape(-1, 4))
    assert (found >= 0).all()
    assert (found <= torch.tensor([height, width] * 2)).all()


def test_what_lies_beyond_the_training_images_is_told():
    text = "{:.0%} of it, of theirs {:.0%} to {:.0%}"
    assert unlike((0.1, 0.1, 0.5, text), (0.5, 0.1, 0.5, text)) == ()
    told = unlike((0.6, 0.1, 0.5, text), (0.3, 0.1, 0.5, text), (7, 8, 9, "{}, theirs {}"))
    assert told == ("unlike all training images: 60% of it, of theirs 10% to 50%, 7, theirs 8",)


def test_a_strip_that_would_be_enlarged_beyond_all_pictures_is_refused_by_name():
    with pytest.raises(TooManyPixels, match=r"strip\.png, enlarged to 128x128 or more, has 2560000x128 pixels"):
        enlarged(Picture("strip.png", torch.zeros(1, 1, 20_000)), (1, 128, 128))
