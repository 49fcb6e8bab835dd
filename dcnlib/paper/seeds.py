"""Table 1 with several seeds, from the records alone: how models differ, and how much seeds of one model do."""

from itertools import combinations

from dcnlib.paper.markdown import markdown_table, spread_text
from dcnlib.paper.pairs import wrong_alone
from dcnlib.paper.records import Load, find_records
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import VIEWS
from dcnlib.utils.records import Record, load_record

REFERENCE = "dcn-k8-hints"


def view_runs(view: str, load: Load = load_record) -> dict[str, dict[int, Record]]:
    """The records of a view of `VIEWS` that there are: by row of Table 1, and then by seed."""
    found: dict[str, dict[int, Record]] = {run.model: {} for run in VIEWS[view]}
    for run, record in find_records(((run, run.name) for run in VIEWS[view]), load).items():
        found[run.model][run.seed] = record
    return {row: records for row, records in found.items() if records}


def seeds_table(load: Load = load_record) -> str:
    """Markdown: for each view with records of its own, every model's errors over its seeds, and who was wrong alone.

    load: as for `results_table`. Raises FileNotFoundError if there are no records at all, and ValueError if two runs
    of a view were tested on other images.
    """
    views: dict[str, dict[str, dict[int, Record]]] = {}
    shown: set[str] = set()
    for view in VIEWS:
        runs = view_runs(view, load)
        names = {record["name"] for records in runs.values() for record in records.values()}
        if names - shown:  # two views share the fine model's runs
            views[view] = runs
            shown |= names
    if not views:
        raise FileNotFoundError("no run of Table 1 with several seeds has a record")
    first = next(iter(next(iter(views.values())).values()))
    data = next(iter(first.values()))["data"]
    tables = [f"**{view[0].upper()}{view[1:]}**\n\n{_view_table(runs)}" for view, runs in views.items()]
    counts = {split: f"{data[split]['count']:,} {split} images" for split in ("test", "validation")}
    note = (
        f"Errors in %: the mean over the seeds and their range, on {counts['test']}, evaluated once, with the weights "
        f"of lowest error on {counts['validation']}. Wrong alone: the images that only one of two runs got wrong, with "
        "the p value of McNemar's exact test, between the seeds of a model and, seed by seed, beside the "
        f"{TITLES[REFERENCE]}. The learning rate falls to zero at the end of each run, so a curve at rest says "
        "little: whether validation still falls is told by the validation errors of fewer and of more epochs."
    )
    return "\n\n".join([*tables, note])


def _view_table(runs: dict[str, dict[int, Record]]) -> str:
    rows = [
        [
            *("model", "epochs", "seeds", "test error: mean (range)", "each seed", "validation error: mean (range)"),
            *("seeds, wrong alone (p)", "wrong alone: this, the DCN with hints (p)"),
        ]
    ]
    for row, records in runs.items():
        among = [wrong_alone(records[one], records[other]) for one, other in combinations(records, 2)]
        reference = {} if row == REFERENCE else runs.get(REFERENCE, {})
        beside = [wrong_alone(records[seed], reference[seed]) for seed in records if seed in reference]
        epochs = sorted({record["settings"]["epochs"] for record in records.values()})
        rows.append(
            [
                TITLES[row],
                ", ".join(map(str, epochs)),
                ", ".join(map(str, records)),
                spread_text([record["test"]["error"] for record in records.values()]),
                ", ".join(f"{100 * record['test']['error']:.2f}" for record in records.values()),
                spread_text([record["validation"]["error"] for record in records.values()]),
                "; ".join(map(str, among)),
                "; ".join(map(str, beside)),
            ]
        )
    return markdown_table(rows)
