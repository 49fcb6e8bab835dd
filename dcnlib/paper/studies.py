"""What the studies of k and of hints found, from the records alone: the errors with other numbers of patches."""

from collections.abc import Iterable

from dcnlib.paper.markdown import markdown_table
from dcnlib.paper.pairs import at_k, check_same_images, wrong_alone_at
from dcnlib.paper.records import Load, find_records
from dcnlib.paper.runs import HINT_RUNS, K_RUNS, TEST_KS, TRAIN_KS, StudyRun
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
    """Markdown: test errors by the k trained with (rows) and the k used (columns), and whether a network does better at
    the k that it was trained with than the one trained with 8 does there.

    load: as for `results_table`. Raises FileNotFoundError if no run of the study has a record.
    """
    records = _records(K_RUNS, load)
    usual = records.get("dcn-k8-hints")
    rows = [["trained with", *(f"k = {k}" for k in TEST_KS), "wrong alone at its own k: this, trained with 8 (p)"]]
    for k in TRAIN_KS:
        if (record := records.get(f"dcn-k{k}-hints")) is None:
            continue
        beside = wrong_alone_at(record, usual, k) if usual is not None and record is not usual else None
        errors = [f"**{error}**" if used == k else error for used, error in zip(TEST_KS, _errors(record), strict=True)]
        rows.append([f"k = {k}", *errors, "" if beside is None else str(beside)])
    return f"{markdown_table(rows)}\n\n{_note(records.values())} In bold: used as trained."


def hints_table(load: Load = load_record) -> str:
    """Markdown: for each form and weight of the hints, test errors by the k used, and what has become of the vectors
    that hints draw together: means over the last epoch of training.

    load: as for `results_table`. Raises FileNotFoundError if no run of the study has a record.
    """
    records = _records(HINT_RUNS, load)
    rows = [["hints", *(f"k = {k}" for k in TEST_KS), *VECTORS.values()]]
    for model, title in HINT_TITLES.items():
        if (record := records.get(model)) is None:
            continue
        vectors = [record["curves"].get(f"train_{part}") for part in VECTORS]
        rows.append([title, *_errors(record), *(f"{curve[-1]:.2f}" if curve else "" for curve in vectors)])
    return f"{markdown_table(rows)}\n\n{_note(records.values())} All were trained with k = 8."


def _records(runs: Iterable[StudyRun], load: Load) -> dict[str, Record]:
    """The records that there are, by model."""
    found = find_records(((run.model, run.name) for run in runs), load)
    if not found:
        raise FileNotFoundError("no run of the study has a record")
    first, *others = found.values()
    for other in others:
        check_same_images(first, other)
    return found


def _errors(record: Record) -> list[str]:
    return [f"{100 * at_k(record, k)['error']:.2f}" for k in TEST_KS]


def _note(records: Iterable[Record]) -> str:
    record = next(iter(records))
    return (
        f"Test errors in % on {record['data']['test']['count']:,} images, evaluated once, after "
        f"{record['settings']['epochs']} epochs each, one seed."
    )
