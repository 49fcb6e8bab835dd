"""What the paper reports, what its rows are called here, and what our images are."""

from collections.abc import Mapping
from typing import Any

# What images may be, in words that finish "The images are ...".
ORIGINS = {
    "rendered": "numbers that the library rendered itself, not photographs",
    "re-assembled": "real digits of SVHN in their true places, but not the original photographs: what lies around the "
    "digits is filled in",
    "photographs": "photographs of house numbers in SVHN's format 1",
}
REASSEMBLED = {"train": 3634, "validation": 399, "test": 1000}  # how many the data set of this project's records has


def origin_of(data: Mapping[str, Any]) -> str:
    """Which of `ORIGINS` the images of a split have, by the split's description (`HouseNumberImages.describe`).

    The data set that this project's models were trained on was re-assembled from SVHN's cropped digits; it is told from
    the official photographs, which are many more, by its size.
    """
    if data["source"] == "rendered":
        return "rendered"
    return "re-assembled" if data["photographs"] == REASSEMBLED.get(data["split"]) else "photographs"


# Test error in % on 100x100 Cluttered MNIST and multiplications in millions as reported by the paper (RAM and DRAW are
# quoted by it from other papers with other generators). Not re-checked against its text.
REPORTED: dict[str, tuple[float, float | None]] = {
    "ram": (8.11, None),
    "draw": (3.36, None),
    "coarse": (3.69, None),
    "fine": (1.70, 84.5),
    "dcn-k8-no-hints": (1.71, None),
    "dcn-k8-hints": (1.39, 27.7),
}
# Error of whole house numbers in % as reported by the paper (section 4.2), by kind of model and number of scales. Not
# re-checked either, and on other data than ours.
REPORTED_NUMBERS: dict[tuple[str, int], float] = {
    **{("coarse", 1): 40.6, ("coarse", 2): 40.0},
    **{("fine", 1): 25.2, ("fine", 2): 23.7, ("fine", 3): 23.3},
    **{("dcn", 1): 20.0, ("dcn", 2): 18.2, ("dcn", 3): 16.6},
}
# The rows of our table, and what they are called.
TITLES = {
    "ram": "RAM, 8 glimpses",
    "draw": "DRAW, 8 glimpses",
    "coarse": "coarse model",
    "fine": "fine model",
    "dcn-k8-no-hints": "DCN, k = 8, no hints",
    "dcn-k8-hints": "DCN, k = 8, hints",
    "perturbed-topk": "perturbed top-k, k = 8, hints",
    "soft-attention": "soft attention on the fine model",
}
# How else than by its mean locations RAM answers, in the order and in the words of its row; each look costs the same.
WAYS = {"sampled": "at sampled ones", "averaged": "averaged over 16 sampled looks"}
