"""The networks for every budget by the records of their runs: beside networks of one k, and each choice's worth."""

from collections.abc import Iterable, Mapping

from dcnlib.paper.markdown import markdown_table, spread_text
from dcnlib.paper.pairs import at_k, wrong_alone_at
from dcnlib.paper.records import Load, find_records
from dcnlib.paper.runs import EQUAL_EPOCHS, EVERY_K_RUNS, STUDY_SEEDS, TEST_KS, TRAIN_KS, EveryKRun, StudyRun
from dcnlib.utils.records import Record, load_record

SEED_RUNS = tuple(run for run in EVERY_K_RUNS if not run.choice)
# What is trained for one budget alone, as long and by the same recipe: k = 0 is the coarse model's.
ONE_K = {0: "coarse", **{k: f"dcn-k{k}-hints" for k in TRAIN_KS}}
CHOICES = {  # what differs in a run of the ablation, by its `choice`
    "share0": "no share of the loss for the first prediction",
    "share0.25": "a quarter of it",
    "fixed": "k = 16 in every step",
    "reciprocal": "k drawn as 1 / k",
    "no-hints": "no hints",
    "hints1": "hints of weight 1",
    "no-means": "the last weights, not their running means",
}


def seeds_of(record: Record) -> dict[int, Record]:
    """What a record of `run_budgets` says of the network for every budget, by seed. Raises ValueError if nothing."""
    found = {run.seed: record["models"][run.name] for run in SEED_RUNS if run.name in record["models"]}
    if not found:
        raise ValueError(f"the record is of {', '.join(record['models'])}, and none is the network for every budget")
    return found


def each_k_table(load: Load = load_record) -> str:
    """Markdown: with each k, the network for every budget beside one that was trained with that k alone, each with all
    its seeds; image by image, they are compared seed by seed, or all seeds with the only one of the other.

    load: as for `results_table`. Raises FileNotFoundError if the former has no record; of the others, those without
    are left out.
    """
    return _beside(ONE_K, "for this k alone", load)


def papers_training_table(load: Load = load_record) -> str:
    """Markdown: the same beside the paper's training with k = 8, as long, whose networks are given each k.

    load, errors: as for `each_k_table`.
    """
    return _beside(dict.fromkeys(TEST_KS, ONE_K[8]), "the paper's training, k = 8", load)


def _beside(models: Mapping[int, str], title: str, load: Load) -> str:
    ours = {run.seed: record for run, record in _records(SEED_RUNS, load).items()}
    wrong = f"wrong alone, seed by seed: for every budget, {title} (p)"
    rows = [["patches", "for every budget, %", f"{title}, %", wrong, "significantly worse"]]
    for k, model in models.items():
        others = find_records(((seed, StudyRun(model, EQUAL_EPOCHS, seed).name) for seed in range(STUDY_SEEDS)), load)
        if not others:
            continue
        beside = others if len(others) > 1 else dict.fromkeys(ours, next(iter(others.values())))
        pairs = [wrong_alone_at(record, beside[seed], k) for seed, record in ours.items() if seed in beside]
        worse = sum(pair.this > pair.other and pair.p_value < 0.05 for pair in pairs)
        rows.append(
            [
                f"k = {k}",
                spread_text([at_k(record, k)["error"] for record in ours.values()]),
                spread_text([at_k(record, k)["error"] for record in others.values()]),
                "; ".join(map(str, pairs)),
                f"{worse} of {len(pairs)} seeds" if worse else "no",
            ]
        )
    return markdown_table(rows)


def ablation_table(load: Load = load_record) -> str:
    """Markdown: test errors with each k of the network for every budget, and with each of its choices made otherwise.

    In bold what McNemar's test tells apart from the first row, at 5 %. A row says if its precision in training was
    another one than the first's. load: as for `each_k_table`.
    """
    records = _records(EVERY_K_RUNS, load)
    usual = next(iter(records.values()))
    rows = [["the network for every budget", *(f"k = {k}" for k in TEST_KS)]]
    for run, record in records.items():
        errors = []
        for k in TEST_KS:
            error, apart = f"{100 * at_k(record, k)['error']:.2f}", wrong_alone_at(record, usual, k).p_value < 0.05
            errors.append(f"**{error}**" if apart else error)
        precision = record["settings"]["precision"]
        other = f", in {precision}" if precision != usual["settings"]["precision"] else ""
        rows.append([CHOICES.get(run.choice, f"as it is, seed {run.seed}") + other, *errors])
    return markdown_table(rows)


def _records(runs: Iterable[EveryKRun], load: Load) -> dict[EveryKRun, Record]:
    """The records that there are. Raises FileNotFoundError if none is of the network as it is."""
    found = find_records(((run, run.name) for run in runs), load)
    if not any(run in found for run in SEED_RUNS):
        raise FileNotFoundError("no run of the network for every budget has a record")
    return found
