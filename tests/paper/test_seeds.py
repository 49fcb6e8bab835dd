"""Table 1 with several seeds, from made-up records: means, ranges and pairs counted by hand."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dcnlib.paper.experiments import EXPERIMENTS, STUDIES
from dcnlib.paper.pairs import WrongAlone, wrong_alone
from dcnlib.paper.runs import EQUAL_EPOCHS, ROWS, STUDY_RUNS, VIEWS, StudyRun
from dcnlib.paper.seeds import seeds_table, view_runs

TEST = {"split": "test", "count": 200, "seed": 5}
# Which of 200 test images each run got wrong: models by their seeds.
WRONG = {
    "fine": (range(0, 30),),
    "coarse": (range(0, 40), range(10, 50), range(0, 37)),
    "dcn-k8-hints": (range(0, 20), range(0, 24), range(5, 27)),
}


def record_of(run):
    wrong = [*WRONG[run.model][run.seed]]
    return {
        "name": run.name,
        "settings": {"seed": run.seed, "epochs": run.epochs},
        "data": {"validation": {"count": 100}, "test": TEST},
        "validation": {"error": (run.seed + 1) / 100},
        "test": {"errors": len(wrong), "count": 200, "error": len(wrong) / 200, "wrong": wrong},
    }


def loader(*runs):
    """What gives the records of these runs alone, as `load_record` does those of the project."""
    records = {run.name: record_of(run) for run in runs}

    def load(name):
        if name not in records:
            raise FileNotFoundError(name)
        return records[name]

    return load


def rows_of(table):
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [dict(zip(rows[0], row, strict=True)) for row in rows if row != rows[0] and set(row[0]) != {"-"}]


def test_the_table_says_mean_range_and_who_was_wrong_alone():
    runs = [StudyRun(model, EQUAL_EPOCHS, seed) for model in ("coarse", "dcn-k8-hints") for seed in range(3)]
    table = seeds_table(loader(*runs))
    coarse, dcn = rows_of(table)
    assert coarse["model"] == "coarse model"
    assert (coarse["epochs"], coarse["seeds"]) == (str(EQUAL_EPOCHS), "0, 1, 2")
    assert coarse["test error: mean (range)"] == "19.50 (18.50..20.00)"  # 40, 40 and 37 of 200
    assert coarse["each seed"] == "20.00, 20.00, 18.50"
    assert coarse["validation error: mean (range)"] == "2.00 (1.00..3.00)"
    # 0..39 beside 10..49; 0..39 beside 0..36; 10..49 beside 0..36. p of 10, 10 is 1; of 3, 0 it is 2 / 2^3; and of
    # 13, 10 it is 1 less the middle two of 23 coins, 2 * 1352078 / 2^23.
    assert coarse["seeds, wrong alone (p)"] == "10, 10 (1.000); 3, 0 (0.250); 13, 10 (0.678)"
    # 0..39 beside 0..19: 20, 0; 10..49 beside 0..23: 26, 10; 0..36 beside 5..26: 15, 0.
    beside = coarse["wrong alone: this, the DCN with hints (p)"]
    assert beside == "20, 0 (< 0.001); 26, 10 (0.011); 15, 0 (< 0.001)"
    assert dcn["test error: mean (range)"] == "11.00 (10.00..12.00)"
    assert dcn["wrong alone: this, the DCN with hints (p)"] == ""
    assert "on 200 test images" in table
    assert "on 100 validation images" in table


def test_views_stand_apart_and_only_those_with_records():
    long = [StudyRun("dcn-k8-hints", 30, seed) for seed in (0, 2)]
    table = seeds_table(loader(StudyRun("coarse", EQUAL_EPOCHS, 1), *long, StudyRun("coarse", 30, 0, fixed=True)))
    assert [line for line in table.splitlines() if line.startswith("**")] == [
        f"**{EQUAL_EPOCHS} epochs each**",
        "**Trained long**",
        "**The paper's protocol: one fixed cluttered image for each training digit**",
    ]
    equal, dcn, fixed = rows_of(table)
    assert (equal["seeds"], equal["test error: mean (range)"]) == ("1", "20.00")
    assert equal["seeds, wrong alone (p)"] == equal["wrong alone: this, the DCN with hints (p)"] == ""
    assert (dcn["epochs"], dcn["seeds"], dcn["seeds, wrong alone (p)"]) == ("30", "0, 2", "5, 7 (0.774)")
    assert (fixed["model"], fixed["epochs"]) == ("coarse model", "30")
    with pytest.raises(FileNotFoundError, match="several seeds"):
        seeds_table(loader())


def test_a_run_of_two_views_makes_no_view_alone():
    fine, dcn = StudyRun("fine", EQUAL_EPOCHS), StudyRun("dcn-k8-hints", 30)
    assert fine in VIEWS["trained long"]
    (row,) = rows_of(seeds_table(loader(fine)))
    assert row["test error: mean (range)"] == "15.00"
    equal, long, ours = rows_of(seeds_table(loader(fine, dcn)))
    assert (equal["model"], long["model"], ours["epochs"]) == ("fine model", "fine model", "30")
    # 0..29 beside 0..19
    assert long["wrong alone: this, the DCN with hints (p)"] == "10, 0 (0.002)"


def test_each_seed_is_compared_with_its_own_only():
    runs = [StudyRun("coarse", EQUAL_EPOCHS, 0), StudyRun("coarse", EQUAL_EPOCHS, 2)]
    coarse, _ = rows_of(seeds_table(loader(*runs, StudyRun("dcn-k8-hints", EQUAL_EPOCHS, 2))))
    assert coarse["wrong alone: this, the DCN with hints (p)"] == "15, 0 (< 0.001)"


def test_runs_on_other_images_are_not_compared():
    one, other = (record_of(StudyRun("coarse", 30, seed)) for seed in (0, 1))
    assert wrong_alone(one, other) == WrongAlone(10, 10)
    other["data"]["test"] = TEST | {"seed": 6}
    with pytest.raises(ValueError, match="coarse-30-seed0 and coarse-30-seed1 have other test images"):
        wrong_alone(one, other)


def test_every_view_has_its_rows_and_every_seed():
    equal, long, fixed = VIEWS.values()
    assert [(run.model, run.seed) for run in equal] == [(row, seed) for seed in range(3) for row in ROWS]
    assert {run.epochs for run in equal} == {EQUAL_EPOCHS}
    assert {run.model: run.epochs for run in long} == dict.fromkeys(ROWS, 30) | {"fine": 12}
    assert sorted((run.model, run.seed) for run in fixed if run.fixed) == sorted(
        [("fine", 0), *((row, seed) for row in ("coarse", "dcn-k8-hints", "dcn-k8-no-hints") for seed in range(3))]
    )
    assert view_runs(next(iter(VIEWS)), loader()) == {}


@pytest.mark.parametrize("name", STUDY_RUNS)
def test_a_run_is_what_its_name_says(name):
    run, experiment = STUDY_RUNS[name], STUDIES[name]
    precision = "float32" if "-float32-" in name else "bfloat16"
    assert experiment.settings == {"precision": precision, "seed": run.seed} | (
        {"compile": False} if run.model == "perturbed-topk" else {}
    )
    assert experiment.fixed is name.startswith("fixed-")
    told = experiment.spec.describe()
    if told["kind"] == "dcn":
        assert name.removeprefix("fixed-").startswith(f"dcn-k{told['k']}-")
        weights = {"no-hints": 0, "hints0.01": 0.01, "hints": 0.1, "hints1": 1, "relative-hints": 1}
        words = run.model.removeprefix(f"dcn-k{told['k']}-")
        assert (told["hint_weight"], "hint" in told) == (weights[words], words == "relative-hints")
    assert name.endswith(f"-{experiment.epochs}{'' if precision == 'bfloat16' else '-float32'}-seed{run.seed}")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("row", "name"),
    [
        *((f"ROW={row} SEED=1", f"{row}-{12 if row == 'fine' else 30}-seed1") for row in ROWS),
        ("ROW=dcn-k4-hints SEED=0 EPOCHS=12", "dcn-k4-hints-12-seed0"),
        ("ROW=fixed-fine SEED=0", "fixed-fine-12-seed0"),
        ("ROW=draw", "draw"),
        ("", "all"),
    ],
)
def test_make_paper_reproduces_one_row(row, name):
    root = Path(__file__).parents[2]
    told = subprocess.run(
        ["make", "-n", "-o", ".venv/installed", "paper", *row.split()], cwd=root, capture_output=True, text=True
    )
    commands = [line for line in told.stdout.splitlines() if "dcnlib experiment" in line]
    assert [command.split()[-1] for command in commands] == [name]
    assert name in {*EXPERIMENTS, *STUDIES, "all"}
