"""Smoke, fast and paper: on how many images notebooks train and evaluate."""

from typing import Literal, get_args

from dcnlib.data.cluttered_mnist import SEEDS, ClutteredMNIST, load_cluttered
from dcnlib.data.digits import load_digits
from dcnlib.data.house_numbers.images import HouseNumberImages, load_house_number_images, project_images
from dcnlib.data.house_numbers.rendered import render_numbers

Scale = Literal["smoke", "fast", "paper"]
# How many images smoke scale takes of what is always at hand.
SMOKE_DIGITS = {"train": 256, "validation": 200}
SMOKE_NUMBERS = {"train": 64, "validation": 100}


def smoke_digits(split: Literal["train", "validation"]) -> ClutteredMNIST:
    """A few embedded digits in clutter, fresh each epoch for `train`."""
    digits = load_digits(split, source="embedded").subset(SMOKE_DIGITS[split])
    return ClutteredMNIST(digits, seed=SEEDS[split], fresh=split == "train")


def smoke_numbers(split: Literal["train", "validation"]) -> HouseNumberImages:
    """A few rendered house numbers; those of `train` are disturbed and as many composed ones come with them."""
    return project_images(render_numbers(split, SMOKE_NUMBERS[split]))


def validation_set(scale: Scale) -> ClutteredMNIST:
    """What a notebook evaluates on: at smoke scale 200 embedded digits kept from training, else all 5,000 of them.

    The 5,000 are the validation set of the shipped models, which were trained on none of them.
    """
    check_scale(scale)
    if scale == "smoke":
        return smoke_digits("validation")
    return load_cluttered("all", source="embedded")


def number_validation_set(scale: Scale) -> HouseNumberImages:
    """What a notebook evaluates on: at smoke scale 100 rendered numbers, else the validation photographs of SVHN.

    Where there is no SVHN, all rendered validation numbers stand in for them: look at `.numbers.source`.
    """
    check_scale(scale)
    if scale == "smoke":
        return smoke_numbers("validation")
    try:
        return load_house_number_images("validation", source="svhn")
    except FileNotFoundError:
        return load_house_number_images("validation", source="rendered")


def check_scale(scale: str) -> None:
    """Raise ValueError for an unknown scale."""
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")
