"""Little data for the commands; the rest of the way is the command line's own."""

import pytest

from dcnlib import ClutteredMNIST
from dcnlib.data.house_numbers import images as number_images
from dcnlib.data.house_numbers.rendered import render_numbers


@pytest.fixture
def few_numbers(monkeypatch):
    """Rendered numbers, but few of them; the rest of the way is the command line's own."""

    def load(split, *, source, root):
        assert source == "rendered"
        return render_numbers(split, 24)

    monkeypatch.setattr(number_images, "load_house_numbers", load)


@pytest.fixture
def few_images(monkeypatch, digits):
    """Whatever set is asked for, a few images of it."""
    monkeypatch.setattr(
        "dcnlib.models.tasks.load_cluttered",
        lambda split, seed=0, **_: ClutteredMNIST(digits, seed=seed, fresh=False),
    )
