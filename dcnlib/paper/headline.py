"""Errors against multiplications an image, of all models in one picture, from the records alone."""

from collections.abc import Callable
from dataclasses import dataclass

from dcnlib.paper.budget_tables import until_sure_told
from dcnlib.paper.records import multiplications_of
from dcnlib.paper.reported import TITLES
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import ErrorRate

SHOWN = ("ram", "draw", "coarse", "fine", "dcn-k8-hints")


@dataclass(frozen=True)
class Spot:
    """Where a model stands: multiplications an image, and its test error."""

    multiplications: float
    rate: ErrorRate

    @classmethod
    def of(cls, row: Record) -> "Spot":
        """One of a record of `run_budgets`: of a fixed k, or of a threshold."""
        return cls(row["multiplications"], ErrorRate.from_record(row))


def single_spots(load: Callable[[str], Record] = load_record) -> dict[str, Spot]:
    """The models of Table 1 that the picture shows, by their names.

    load: gives the records of tested runs by name, as for `results_table`.
    """
    return {name: Spot(multiplications_of(name), ErrorRate.from_record(load(name)["test"])) for name in SHOWN}


def headline_caption(record: Record, load: Callable[[str], Record] = load_record) -> str:
    """What stands under the picture, with its numbers. record: of `run_budgets`."""
    spots = single_spots(load)
    told = [
        f"{TITLES[name]} {100 * spot.rate.fraction:.2f} % with {spot.multiplications / 1e6:.1f} million"
        for name, spot in spots.items()
    ]
    return (
        f"*Test error against multiplications an image, with 95 % intervals: {'; '.join(told)}. The lines are one "
        "network for every budget, with the same number of patches for all images, and looking until it is sure: "
        f"{until_sure_told(record)}.*"
    )
