"""House numbers, from the records alone: the runs of each model, and whether the DCN reaches what it was aimed at.

The aims, at each number of scales: at most 70 % of the coarse model's errors, not significantly more errors than the
fine model, and at most a third of the fine model's multiplications.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dcnlib.analysis.cost import count_multiplications
from dcnlib.models.specs import MOST_SCALES, NUMBER_KINDS, ModelSpec
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.paper.records import load_record
from dcnlib.utils.records import Record
from dcnlib.utils.statistics import mcnemar_p_value

MOST_ERRORS = 0.7
MOST_MULTIPLICATIONS = 1 / 3
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class NumberTargets:
    """What the DCN comes to beside the coarse and the fine model, at a number of scales.

    errors: the DCN's by those of the coarse model, both the mean over their seeds. multiplications: the DCN's by those
    of the fine model. against_fine: for each seed of the DCN, how many test images only it and how many only the fine
    model got wrong.
    """

    scales: int
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


def number_runs(load: Callable[[str], Record] = load_record) -> dict[ModelSpec, list[Record]]:
    """The records of each model of house numbers, one a seed, in the order of `EXPERIMENTS`; models without any are
    left out."""
    runs: dict[ModelSpec, list[Record]] = {}
    for name, experiment in EXPERIMENTS.items():
        if experiment.spec.data != "house-numbers":
            continue
        try:
            record = load(name)
        except FileNotFoundError:
            continue
        runs.setdefault(experiment.spec, []).append(record)
    return runs


def number_targets(load: Callable[[str], Record] = load_record) -> list[NumberTargets]:
    """One answer for each number of scales at which all three models have records.

    Raises ValueError if two of them were tested on other images.
    """
    runs = {(spec.kind, spec.scales): records for spec, records in number_runs(load).items()}
    answers = []
    for scales in range(1, MOST_SCALES + 1):
        if not all((kind, scales) in runs for kind in NUMBER_KINDS):
            continue
        coarse, (fine, *_), dcn = (runs[kind, scales] for kind in NUMBER_KINDS)
        for record in (*coarse, *dcn):
            if record["data"]["test"] != fine["data"]["test"]:
                raise ValueError(f"{record['name']} and {fine['name']} were tested on other images")
        cost = {
            kind: count_multiplications(ModelSpec(kind, data="house-numbers", scales=scales).build()).total
            for kind in NUMBER_KINDS
        }
        fine_wrong = set(fine["test"]["wrong"])
        wrong = [set(record["test"]["wrong"]) for record in dcn]
        answers.append(
            NumberTargets(
                scales,
                errors=_mean_error(dcn) / _mean_error(coarse),
                multiplications=cost["dcn"] / cost["fine"],
                against_fine=tuple((len(mine - fine_wrong), len(fine_wrong - mine)) for mine in wrong),
            )
        )
    return answers


def _mean_error(records: list[Record]) -> float:
    return sum(record["test"]["error"] for record in records) / len(records)
