"""Two runs image by image: which answered wrong alone, and whether that could be chance."""

from collections.abc import Iterable
from typing import NamedTuple

from dcnlib.paper.markdown import markdown_table, p_value_text
from dcnlib.paper.reported import TITLES
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import mcnemar_p_value, paired_difference


class WrongAlone(NamedTuple):
    """How many test images only one of two runs got wrong, and how many only the other."""

    this: int
    other: int

    @property
    def p_value(self) -> float:
        """McNemar's, exact and two-sided."""
        return mcnemar_p_value(*self)


def wrong_alone(this: Record, other: Record) -> WrongAlone:
    """Compare two tested runs by their wrong images. Raises ValueError if they were tested on other images."""
    check_same_images(this, other)
    mine, theirs = wrong_images(this), wrong_images(other)
    return WrongAlone(len(mine - theirs), len(theirs - mine))


def check_same_images(this: Record, other: Record) -> None:
    """Raise ValueError unless two runs were tested on the same images."""
    if this["data"]["test"] != other["data"]["test"]:
        raise ValueError(f"{this['name']} and {other['name']} were tested on other images")


def wrong_images(run: Record) -> set[int]:
    """Which test images a run got wrong. Records from before these were listed have them in the record `wrong-images`,
    measured with the shipped weights. Raises ValueError where neither tells."""
    if "wrong" in run["test"]:
        return set(run["test"]["wrong"])
    listed = load_record("wrong-images")["models"].get(run["name"])
    if listed is None or listed["test"]["errors"] != run["test"]["errors"]:
        raise ValueError(f"no record lists the test images that {run['name']} got wrong")
    return set(listed["test"]["wrong"])


def pairs_table(this: Record, others: Iterable[Record]) -> str:
    """Markdown: one run beside others on the same test images: wrong alone, difference of the errors, McNemar's p."""
    rows = [["against", "wrong alone: this, the other", "difference, points (95 % interval)", "p"]]
    for other in others:
        name, pair = other["name"], wrong_alone(this, other)
        difference, low, high = (100 * value for value in paired_difference(*pair, this["test"]["count"]))
        rows.append(
            [
                TITLES[name] if name in TITLES else str(name),
                f"{pair.this}, {pair.other}",
                f"{difference:+.2f} ({low:+.2f}..{high:+.2f})",
                p_value_text(pair.p_value),
            ]
        )
    return markdown_table(rows)
