"""Smoke, fast and paper: on how many images notebooks train and evaluate."""

from typing import Literal, get_args

from dcnlib.data.cluttered_mnist import ClutteredMNIST, load_cluttered
from dcnlib.data.house_numbers.images import HouseNumberImages, load_house_number_images
from dcnlib.models.tasks import ClutteredMNISTTask, HouseNumbersTask

Scale = Literal["smoke", "fast", "paper"]


def validation_set(scale: Scale) -> ClutteredMNIST:
    """What a notebook evaluates on: at smoke scale 200 embedded digits kept from training, else all 5,000 of them.

    The 5,000 are the validation set of the shipped models, which were trained on none of them.
    """
    check_scale(scale)
    if scale == "smoke":
        return ClutteredMNISTTask().smoke("validation")
    return load_cluttered("all", source="embedded")


def number_validation_set(scale: Scale) -> HouseNumberImages:
    """What a notebook evaluates on: at smoke scale 100 rendered numbers, else the validation photographs of SVHN.

    Where there is no SVHN, all rendered validation numbers stand in for them: look at `.numbers.source`.
    """
    check_scale(scale)
    if scale == "smoke":
        return HouseNumbersTask().smoke("validation")
    try:
        return load_house_number_images("validation", source="svhn")
    except FileNotFoundError:
        return load_house_number_images("validation", source="rendered")


def check_scale(scale: str) -> None:
    """Raise ValueError for an unknown scale."""
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")
