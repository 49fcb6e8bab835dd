"""Errors against multiplications an image, of all models in one picture, from the records alone."""

from dataclasses import dataclass

from dcnlib.paper.budget_tables import until_sure_told
from dcnlib.paper.markdown import spread_text
from dcnlib.paper.records import Load, multiplications_of
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import EQUAL_EPOCHS
from dcnlib.paper.seeds import view_runs
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import ErrorRate

ALONE = ("ram", "draw")  # of Table 1, one run each
AS_LONG = ("coarse", "fine", "dcn-k8-hints")  # trained for as many epochs as the network for every budget


@dataclass(frozen=True)
class Spot:
    """Where a model stands: multiplications an image, and its test error."""

    multiplications: float
    rate: ErrorRate

    @classmethod
    def of(cls, row: Record) -> "Spot":
        """One of a record of `run_budgets`: of a fixed k, or of a threshold."""
        return cls(row["multiplications"], ErrorRate.from_record(row))


def single_spots(load: Load = load_record) -> dict[str, list[Spot]]:
    """The models that the picture shows, by their names, each with its runs.

    load: gives the records of tested runs by name, as for `results_table`.
    """
    long = view_runs(f"{EQUAL_EPOCHS} epochs each", load)
    runs = {name: [load(name)] for name in ALONE} | {name: list(long[name].values()) for name in AS_LONG}
    return {
        name: [Spot(multiplications_of(name), ErrorRate.from_record(record["test"])) for record in records]
        for name, records in runs.items()
    }


def headline_caption(record: Record, load: Load = load_record) -> str:
    """What stands under the picture, with its numbers. record: of `run_budgets`."""
    told = {name: _told(name, spots) for name, spots in single_spots(load).items()}
    return (
        "*Test error against multiplications an image, with 95 % intervals of each run. One run each: "
        f"{'; '.join(told[name] for name in ALONE)}. After {EQUAL_EPOCHS} epochs, mean and range over the seeds: "
        f"{'; '.join(told[name] for name in AS_LONG)}. The lines are one network for every budget, trained as long, "
        "with the same number of patches for all images, and looking until it is sure: "
        f"{until_sure_told(record)}.*"
    )


def _told(name: str, spots: list[Spot]) -> str:
    errors = spread_text([spot.rate.fraction for spot in spots], " %")
    return f"{TITLES[name]} {errors} with {spots[0].multiplications / 1e6:.1f} million"
