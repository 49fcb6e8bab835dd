"""What nbval compares in cells that show photographs: their outputs, if the same photographs are at hand.

Cells with a tag of `SHOWN` print what depends on the validation photographs. Elsewhere they run all the same, on other
photographs or on what the library renders and draws, but their outputs are not compared with the committed ones.
"""

import hashlib
import warnings

import pytest

from dcnlib.data.street_signs.images import load_street_signs
from dcnlib.paper.profiles import number_validation_set

# By tag: what the cells show, and the digest of what the committed outputs were made with.
SHOWN = {"photographs": ("house numbers", "941b7fa10a4d8fb4"), "streets": ("streets", "08c8169b3cc2d484")}
FEW = 4  # photographs of streets that stand for all: decoding them takes a while


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for tag, (what, digest) in SHOWN.items():
        cells = [item for item in items if tag in getattr(item, "cell", {}).get("metadata", {}).get("tags", [])]
        if cells and (found := digest_of(tag)) != digest:
            warnings.warn(
                f"the outputs of {len(cells)} cells are not compared: they were made with other photographs of {what} "
                f"(digest {digest}, here {found})",
                stacklevel=1,
            )
            for item in cells:
                item.options["check"] = False


def digest_of(tag: str) -> str:
    """Of what is at hand: images and labels, as the notebook reads them."""
    if tag == "photographs":
        numbers = number_validation_set("fast").numbers
        return _digest(numbers.images.tobytes() + numbers.labels.tobytes())
    try:
        signs = load_street_signs("validation", source="gtsdb", count=FEW)
    except FileNotFoundError:
        return "none"
    return _digest(signs.photographs.tobytes() + signs.boxes.tobytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
