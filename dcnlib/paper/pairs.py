"""Two runs image by image: which answered wrong alone, and whether that could be chance."""

from collections.abc import Iterable
from typing import NamedTuple

from dcnlib.paper.markdown import markdown_table, p_value_text
from dcnlib.paper.reported import TITLES
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import mcnemar_p_value, paired_difference


class WrongAlone(NamedTuple):
    """How many images only one of two runs got wrong, and how many only the other."""

    this: int
    other: int

    @classmethod
    def of(cls, this: Iterable[int], other: Iterable[int]) -> "WrongAlone":
        """From the images that each of two runs got wrong, by their place in the same data set."""
        mine, theirs = set(this), set(other)
        return cls(len(mine - theirs), len(theirs - mine))

    @property
    def p_value(self) -> float:
        """McNemar's, exact and two-sided."""
        return mcnemar_p_value(*self)

    def __str__(self) -> str:
        return f"{self.this}, {self.other} ({p_value_text(self.p_value)})"


def wrong_alone(this: Record, other: Record, split: str = "test") -> WrongAlone:
    """Compare two runs by their wrong images of a split. Raises ValueError if these aren't the same images."""
    check_same_images(this, other, split)
    return WrongAlone.of(wrong_images(this, split), wrong_images(other, split))


def wrong_alone_at(this: Record, other: Record, k: int) -> WrongAlone:
    """Compare two runs by their wrong test images with k patches. Raises ValueError if these aren't the same images."""
    check_same_images(this, other)
    return WrongAlone.of(at_k(this, k)["wrong"], at_k(other, k)["wrong"])


def at_k(record: Record, k: int) -> Record:
    """What a run's record says of the test with k patches. A model that chooses none has only one way to answer."""
    return record["test"] if record["model"].get("k", k) == k else record["test_ways"][f"k{k}"]


def check_same_images(this: Record, other: Record, split: str = "test") -> None:
    """Raise ValueError unless two runs answered the same images of a split."""
    if this["data"][split] != other["data"][split]:
        raise ValueError(f"{this['name']} and {other['name']} have other {split} images")


def wrong_images(run: Record, split: str = "test") -> set[int]:
    """Which images of a split a run got wrong. Records from before these were listed have them in the record
    `wrong-images`, measured with the shipped weights. Raises ValueError where neither tells."""
    if "wrong" in run[split]:
        return set(run[split]["wrong"])
    listed = load_record("wrong-images")["models"].get(run["name"])
    if listed is None or listed[split]["errors"] != run[split]["errors"]:
        raise ValueError(f"no record lists the {split} images that {run['name']} got wrong")
    return set(listed[split]["wrong"])


def pairs_table(this: Record, others: Iterable[Record], split: str = "test") -> str:
    """Markdown: one run beside others on the same images: wrong alone, difference of the errors, McNemar's p."""
    rows = [["against", "wrong alone: this, the other", "difference, points (95 % interval)", "p"]]
    for other in others:
        name, pair = other["name"], wrong_alone(this, other, split)
        difference, low, high = (100 * value for value in paired_difference(*pair, this[split]["count"]))
        rows.append(
            [
                TITLES[name] if name in TITLES else str(name),
                f"{pair.this}, {pair.other}",
                f"{difference:+.2f} ({low:+.2f}..{high:+.2f})",
                p_value_text(pair.p_value),
            ]
        )
    return markdown_table(rows)
