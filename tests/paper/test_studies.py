"""The studies of k and of hints, from made-up records whose errors are counted by hand."""

from dataclasses import replace

import pytest

from dcnlib.paper.runs import HINT_RUNS, K_RUNS, PRECISION_RUNS, TEST_KS
from dcnlib.paper.studies import HINT_TITLES, hints_table, patches_table, precision_table

COUNT = 1000


def answers(wrong):
    return {"errors": len(wrong), "count": COUNT, "error": len(wrong) / COUNT, "wrong": list(wrong)}


def record_of(run, wrong_at, **parts):
    """A record of a run, wrong at k patches on `wrong_at(k)`."""
    k = int(run.model.split("-")[1][1:])
    return {
        "name": run.name,
        "model": {"kind": "dcn", "k": k},
        "settings": {"epochs": run.epochs, "seed": run.seed},
        "data": {"test": {"count": COUNT, "seed": 5}},
        "curves": {f"train_{part}": [0.0, value] for part, value in parts.items()},
        "test": answers(wrong_at(k)),
        "test_ways": {f"k{used}": answers(wrong_at(used)) for used in TEST_KS if used != k},
    }


def loader(*records):
    by_name = {record["name"]: record for record in records}

    def load(name):
        if name not in by_name:
            raise FileNotFoundError(name)
        return by_name[name]

    return load


def cells_of(table):
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def test_rows_are_the_k_trained_with_and_columns_the_k_used():
    run2, run8, again, _ = (run for run in K_RUNS if run.model in ("dcn-k2-hints", "dcn-k8-hints"))
    table = patches_table(
        loader(
            record_of(run2, lambda k: range(30 - k)),
            record_of(run8, lambda k: range(20, 60 - k)),
            record_of(again, lambda k: range(28)),
        )
    )
    cells = cells_of(table)
    assert list(cells) == ["k = 2", "k = 8", "k = 8, seed 1"]
    assert [cells["k = 2"][f"k = {k}"] for k in TEST_KS] == ["3.00", "2.90", "**2.80**", "2.60", "2.20", "1.40", "0.60"]
    assert cells["k = 8"]["k = 2"] == "3.80"
    assert cells["k = 8"]["k = 8"] == "**3.20**"
    # At k = 2: 0..27 beside 20..57, so 20 and 30 alone, and beside the same.
    assert next(reversed(cells["k = 2"].values())) == "20, 30 (0.203); 0, 0 (1.000)"
    assert next(reversed(cells["k = 8"].values())) == ""
    assert f"on 1,000 images, evaluated once, after {run8.epochs} epochs each" in table


def test_hints_have_their_errors_at_every_k_and_their_vectors():
    runs = {run.model: run for run in HINT_RUNS if not run.seed}
    assert list(runs) == list(HINT_TITLES)
    none = record_of(runs["dcn-k8-no-hints"], lambda k: range(90 - k))
    some = record_of(
        runs["dcn-k8-relative-hints"],
        lambda k: range(40 - k),
        **{"cosine": 0.876, "distance": 0.5, "coarse_length": 3.0, "fine_length": 3.25},
    )
    again = record_of(next(run for run in HINT_RUNS if run.seed == 2), range)
    cells = cells_of(hints_table(loader(some, none, again)))
    assert list(cells) == ["none", "none, seed 2", "relative, weight 1"]
    assert (cells["none"]["k = 0"], cells["none"]["k = 8"], cells["none"]["cosine"]) == ("9.00", "8.20", "")
    vectors = [cells["relative, weight 1"][part] for part in ("cosine", "distance", "coarse length", "fine length")]
    assert vectors == ["0.88", "0.50", "3.00", "3.25"]


def test_runs_in_float32_stand_beside_those_in_bfloat16_seed_by_seed():
    *_, first, last = (run for run in PRECISION_RUNS if run.model == "dcn-k8-hints" and run.seed != 1)

    def record(run, wrong, validation):
        made = record_of(run, lambda k: wrong)
        made["data"]["validation"] = {"count": COUNT, "seed": 4}
        return made | {"validation": answers(validation)}

    table = precision_table(
        loader(
            record(first, range(20), range(7)),
            record(last, range(10, 20), range(5)),
            record(replace(first, precision="bfloat16"), range(5, 15), range(9)),
            record(replace(last, precision="bfloat16"), range(10), range(4, 5)),
            record(replace(first, seed=1, precision="bfloat16"), range(500), range(500)),
        )
    )
    row = table.splitlines()[-1]
    validation, test = "0.60 (0.50..0.70) | 0.50 (0.10..0.90)", "1.50 (1.00..2.00) | 1.00 (1.00..1.00)"
    told = f"{validation} | 0, 2 (0.500); 4, 0 (0.125) | {test} | 10, 0 (0.002); 10, 10 (1.000)"
    assert row == f"| DCN, k = 8, hints | 0, 2 | {told} |"
    with pytest.raises(FileNotFoundError, match="no run of the study"):
        precision_table(loader(record(first, range(20), range(7))))


@pytest.mark.parametrize("table", [patches_table, hints_table])
def test_a_study_without_records_says_so_and_one_of_two_test_sets_is_refused(table):
    with pytest.raises(FileNotFoundError, match="no run of the study"):
        table(loader())
    run8, other = next(run for run in K_RUNS if run.model == "dcn-k8-hints"), {"count": COUNT, "seed": 6}
    run = K_RUNS[0] if table is patches_table else HINT_RUNS[0]
    strange = record_of(run, range) | {"data": {"test": other}}
    with pytest.raises(ValueError, match="other test images"):
        table(loader(record_of(run8, range), strange))
