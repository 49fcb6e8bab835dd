"""Two runs image by image: which answered wrong alone, and whether that could be chance."""

from typing import NamedTuple

from dcnlib.utils.records import Record
from dcnlib.utils.statistics import mcnemar_p_value


class WrongAlone(NamedTuple):
    """How many test images only one of two runs got wrong, and how many only the other."""

    this: int
    other: int

    @property
    def p_value(self) -> float:
        """McNemar's, exact and two-sided."""
        return mcnemar_p_value(*self)


def wrong_alone(this: Record, other: Record) -> WrongAlone:
    """Compare two tested runs by their lists of wrong images. Raises ValueError if they were tested on other images."""
    check_same_images(this, other)
    mine, theirs = set(this["test"]["wrong"]), set(other["test"]["wrong"])
    return WrongAlone(len(mine - theirs), len(theirs - mine))


def check_same_images(this: Record, other: Record) -> None:
    """Raise ValueError unless two runs were tested on the same images."""
    if this["data"]["test"] != other["data"]["test"]:
        raise ValueError(f"{this['name']} and {other['name']} were tested on other images")
