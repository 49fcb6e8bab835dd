"""What the studies of k, of hints and of precision found, from the records alone."""

from collections.abc import Iterable
from dataclasses import replace

from dcnlib.paper.markdown import markdown_table, spread_text
from dcnlib.paper.pairs import at_k, check_same_images, wrong_alone, wrong_alone_at
from dcnlib.paper.records import Load, find_records
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import HINT_RUNS, K_RUNS, PRECISION_RUNS, TEST_KS, StudyRun
from dcnlib.utils.records import Record, load_record

# What each of `HINT_RUNS` is called, by its model.
HINT_TITLES = {
    "dcn-k8-no-hints": "none",
    "dcn-k8-hints0.01": "weight 0.01",
    "dcn-k8-hints": "weight 0.1",
    "dcn-k8-hints1": "weight 1",
    "dcn-k8-relative-hints": "relative, weight 1",
}
VECTORS = {"cosine": "cosine", "distance": "distance", "coarse_length": "coarse length", "fine_length": "fine length"}


def patches_table(load: Load = load_record) -> str:
    """Markdown: test errors of each run by the k trained with (rows) and the k used (columns), and whether a network
    does better at the k that it was trained with than those trained with 8 do there, seed by seed of these.

    load: as for `results_table`. Raises FileNotFoundError if no run of the study has a record.
    """
    records = _records(K_RUNS, load)
    usual = {run: record for run, record in records.items() if run.model == "dcn-k8-hints"}
    rows = [["trained with", *(f"k = {k}" for k in TEST_KS), "wrong alone at its own k: this, each trained with 8 (p)"]]
    for run, record in records.items():
        k = record["model"]["k"]
        beside = [] if run in usual else [str(wrong_alone_at(record, other, k)) for other in usual.values()]
        errors = [f"**{error}**" if used == k else error for used, error in zip(TEST_KS, _errors(record), strict=True)]
        rows.append([_titled(f"k = {k}", run), *errors, "; ".join(beside)])
    return f"{markdown_table(rows)}\n\n{_note(records.values())} In bold: used as trained."


def hints_table(load: Load = load_record) -> str:
    """Markdown: for each run of each form and weight of the hints, test errors by the k used, and what has become of
    the vectors that hints draw together: means over the last epoch of training.

    load: as for `results_table`. Raises FileNotFoundError if no run of the study has a record.
    """
    records = _records(HINT_RUNS, load)
    rows = [["hints", *(f"k = {k}" for k in TEST_KS), *VECTORS.values()]]
    for run, record in records.items():
        vectors = [record["curves"].get(f"train_{part}") for part in VECTORS]
        told = (f"{curve[-1]:.2f}" if curve else "" for curve in vectors)
        rows.append([_titled(HINT_TITLES[run.model], run), *_errors(record), *told])
    return f"{markdown_table(rows)}\n\n{_note(records.values())} All were trained with k = 8."


def precision_table(load: Load = load_record) -> str:
    """Markdown: runs under float32 beside the same ones under bfloat16 autocast, means over the seeds that have both,
    and on validation and test images who was wrong alone, seed by seed.

    load: as for `results_table`. Raises FileNotFoundError if no run under both has a record.
    """
    usual = find_records(((run, replace(run, precision="bfloat16").name) for run in PRECISION_RUNS), load)
    records = _records(usual, load)
    rows = [
        [
            *("model", "seeds"),
            *(
                heading
                for split in ("validation", "test")
                for heading in (
                    f"{split} error, float32",
                    f"{split} error, bfloat16",
                    f"{split}, wrong alone: float32, bfloat16 (p)",
                )
            ),
        ]
    ]
    for model in dict.fromkeys(run.model for run in records):
        runs = [run for run in records if run.model == model]
        full, half = ([found[run] for run in runs] for found in (records, usual))
        told = [TITLES[model], ", ".join(str(run.seed) for run in runs)]
        for split in ("validation", "test"):
            told += [spread_text([record[split]["error"] for record in kind]) for kind in (full, half)]
            told.append("; ".join(str(wrong_alone(*pair, split)) for pair in zip(full, half, strict=True)))
        rows.append(told)
    return markdown_table(rows)


def _records(runs: Iterable[StudyRun], load: Load) -> dict[StudyRun, Record]:
    """The records that there are, by run."""
    found = find_records(((run, run.name) for run in runs), load)
    if not found:
        raise FileNotFoundError("no run of the study has a record")
    first, *others = found.values()
    for other in others:
        check_same_images(first, other)
    return found


def _titled(title: str, run: StudyRun) -> str:
    return f"{title}, seed {run.seed}" if run.seed else title


def _errors(record: Record) -> list[str]:
    return [f"{100 * at_k(record, k)['error']:.2f}" for k in TEST_KS]


def _note(records: Iterable[Record]) -> str:
    record = next(iter(records))
    return (
        f"Test errors in % on {record['data']['test']['count']:,} images, evaluated once, after "
        f"{record['settings']['epochs']} epochs each, with seed 0 where none is named."
    )
