"""Smoke, fast and paper: on how many images notebooks train and evaluate."""

from typing import Literal, get_args

from dcnlib.data.cluttered_mnist import ClutteredMNIST, load_cluttered
from dcnlib.data.house_numbers.images import HouseNumberImages, load_house_number_images
from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.images import SignImages, load_street_signs
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.models.tasks import ClutteredMNISTTask, HouseNumbersTask

Profile = Literal["smoke", "fast", "paper"]


def validation_set(profile: Profile) -> ClutteredMNIST:
    """What a notebook evaluates on: in the smoke profile 200 embedded digits kept from training, else all 5,000.

    The 5,000 are the validation set of the shipped models, which were trained on none of them.
    """
    check_profile(profile)
    if profile == "smoke":
        return ClutteredMNISTTask().smoke("validation")
    return load_cluttered("all", source="embedded")


def number_validation_set(profile: Profile) -> HouseNumberImages:
    """What a notebook evaluates on: in the smoke profile 100 rendered numbers, else the validation photographs of SVHN.

    Where there is no SVHN, all rendered validation numbers stand in for them: look at `.numbers.source`.
    """
    check_profile(profile)
    if profile == "smoke":
        return HouseNumbersTask().smoke("validation")
    try:
        return load_house_number_images("validation", source="svhn")
    except FileNotFoundError:
        return load_house_number_images("validation", source="rendered")


def sign_images(profile: Profile) -> SignImages:
    """What a notebook looks at, whole: in the smoke profile a few drawn streets, else the photographs of validation.

    Where there is no GTSDB, all drawn validation streets stand in for them: look at `.signs.source`.
    """
    check_profile(profile)
    if profile == "smoke":
        return SignImages(draw_streets("validation", StreetSignsTask.smoke_counts["validation"]), window=0)
    try:
        return SignImages(load_street_signs("validation", source="gtsdb"), window=0)
    except FileNotFoundError:
        return SignImages(load_street_signs("validation", source="drawn"), window=0)


def check_profile(profile: str) -> None:
    """Raise ValueError for an unknown profile."""
    if profile not in get_args(Profile):
        raise ValueError(f"profile must be one of {', '.join(get_args(Profile))}, got {profile!r}")
