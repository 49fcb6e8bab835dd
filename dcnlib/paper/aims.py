"""House numbers, from the records alone: the runs of each model, and whether the DCN reaches what it was aimed at.

The aims, at each number of scales: at most 70 % of the coarse model's errors, not significantly more errors than the
fine model, and at most a third of the fine model's multiplications.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from dcnlib.paper.pairs import check_same_images, wrong_alone
from dcnlib.paper.records import Load, find_records, multiplications_of
from dcnlib.paper.runs import LONG_NUMBER_RUNS, NUMBER_RUNS, SCALES
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import mcnemar_p_value

MOST_ERRORS = 0.7
MOST_MULTIPLICATIONS = 1 / 3
SIGNIFICANCE = 0.05


class NumberModel(NamedTuple):
    """A model of house numbers: its kind, as records call it, and how many scales it sees."""

    kind: str
    scales: int


@dataclass(frozen=True)
class NumberTargets:
    """What the DCN comes to beside the coarse and the fine model, at a number of scales.

    fine_epochs: how many the fine model was trained for. errors: the DCN's by those of the coarse model, both the mean
    over their seeds. multiplications: the DCN's by those of the fine model. against_fine: for each seed of the DCN, how
    many test images only it and how many only the fine model got wrong; of the latter the run of that seed, and the
    first one where there is none.
    """

    scales: int
    fine_epochs: int
    errors: float
    multiplications: float
    against_fine: tuple[tuple[int, int], ...]

    @property
    def p_values(self) -> list[float]:
        """McNemar's, exact and two-sided, for each seed of the DCN against the fine model."""
        return [mcnemar_p_value(*pair) for pair in self.against_fine]

    @property
    def met(self) -> bool:
        """Whether all three aims are reached, the second of them by every seed."""
        worse = [
            only_dcn > only_fine and p_value < SIGNIFICANCE
            for (only_dcn, only_fine), p_value in zip(self.against_fine, self.p_values, strict=True)
        ]
        return self.errors <= MOST_ERRORS and self.multiplications <= MOST_MULTIPLICATIONS and not any(worse)


def number_runs(load: Load = load_record) -> dict[NumberModel, list[Record]]:
    """The records of each model of house numbers, one a seed, in the order of `NUMBER_RUNS`; models without any are
    left out."""
    runs: dict[NumberModel, list[Record]] = {}
    for record in find_records(((run, run.name) for run in NUMBER_RUNS), load).values():
        runs.setdefault(NumberModel(record["model"]["kind"], record["model"]["scales"]), []).append(record)
    return runs


def long_fine_runs(load: Load = load_record) -> dict[int, Record]:
    """By seed, the records of the fine model at one scale that was trained for as many epochs as the others."""
    return find_records(((run.seed, run.name) for run in LONG_NUMBER_RUNS), load)


def number_targets(load: Load = load_record) -> list[NumberTargets]:
    """One answer for each number of scales at which all three models have records. The DCN stands beside the fine model
    of as many epochs where there is one, which is at one scale.

    Raises ValueError if two of them were tested on other images.
    """
    runs, long = number_runs(load), long_fine_runs(load)
    answers = []
    for scales in SCALES:
        models = [NumberModel(kind, scales) for kind in ("coarse", "fine", "dcn")]
        if not all(model in runs for model in models):
            continue
        coarse, (fine, *_), dcn = (runs[model] for model in models)
        fines = list(long.values()) if scales == 1 and long else [fine]
        for record in (*coarse, *fines):
            check_same_images(record, dcn[0])
        by_seed = {record["settings"]["seed"]: record for record in fines}
        answers.append(
            NumberTargets(
                scales,
                fine_epochs=fines[0]["settings"]["epochs"],
                errors=mean_error(dcn) / mean_error(coarse),
                multiplications=multiplications_of(dcn[0]["name"]) / multiplications_of(fine["name"]),
                against_fine=tuple(
                    wrong_alone(record, by_seed.get(record["settings"]["seed"], fines[0])) for record in dcn
                ),
            )
        )
    return answers


def mean_error(records: Collection[Record]) -> float:
    """The mean of the test errors of runs."""
    return sum(record["test"]["error"] for record in records) / len(records)
