"""The results of house numbers, from made-up records: the table says what they say, and so do answers to the aims."""

import pytest

from dcnlib import count_multiplications
from dcnlib.paper.aims import NumberTargets, number_runs, number_targets
from dcnlib.paper.experiments import EXPERIMENTS, STUDIES, find_experiment
from dcnlib.paper.number_recipes import RECIPES, number_patches_table, number_recipes_table
from dcnlib.paper.reported import REPORTED_NUMBERS
from dcnlib.paper.runs import FIRST_SHARE_NUMBERS, FROM_FINE_NUMBERS, LONG_NUMBER_RUNS, TEST_KS
from dcnlib.paper.tables import house_numbers_table, number_targets_table
from dcnlib.utils.statistics import ErrorRate, mcnemar_p_value

NAMES = [name for name, experiment in EXPERIMENTS.items() if experiment.spec.task.name == "house-numbers"]
# Which of 200 test images each kind of model gets wrong.
WRONG = {"coarse": range(80), "fine": range(30), "dcn": range(10, 42)}


def record_of(name):
    """As a run leaves it, with one error more for each seed."""
    experiment = find_experiment(name)
    seed = experiment.settings.get("seed", 0)
    wrong = [*WRONG[experiment.spec.kind], *range(199, 199 - seed, -1)]
    return {
        "name": name,
        "model": experiment.spec.describe(),
        "settings": {"seed": seed, "epochs": 7},
        "data": {
            "train": {"count": 1400, "photographs": 700},
            "validation": {"count": 80},
            "test": {"count": 200, "photographs": 200, "split": "test", "source": "svhn"},
        },
        "parameters": 12345,
        "wall_seconds": 600,
        "validation": {"error": 0.25 + seed / 100},
        "test": {**ErrorRate(len(wrong), 200).as_record(), "wrong": wrong},
    }


def clock():
    rows = [
        {"kind": kind, "scales": scales, "milliseconds": {"eager": 9, "compiled": value + scales / 10}}
        for kind, value in {"coarse": 1, "fine": 5, "dcn": 2}.items()
        for scales in (1, 2, 3)
    ]
    return {"name": "house-numbers-benchmark", "models": rows}


def loader(names=NAMES, **others):
    """What gives these records, as `load_record` does those of the project."""

    def load(name):
        if name in others:
            return others[name]
        if name not in names:
            raise FileNotFoundError(name)
        return record_of(name)

    return load


def rows_of(table):
    head, _, *rows = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines() if line[:1] == "|"
    ]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_table_says_what_the_records_say():
    table = house_numbers_table(loader(**{"house-numbers-benchmark": clock()}))
    rows = {(row["model"], row["scales"]): row for row in rows_of(table)}
    assert list(rows) == [
        (model, scales) for model in ("coarse model", "fine model", "DCN, k = 8") for scales in ("1", "2", "3")
    ]
    row = rows["DCN, k = 8", "1"]
    low, high = ErrorRate(32, 200).interval
    assert row["error of whole numbers, % (95 % interval)"] == f"16.0 ({100 * low:.1f}..{100 * high:.1f})"
    assert row["every seed"] == "seeds 0, 1, 2: 16.0, 16.5, 17.0; mean 16.5"
    assert (row["epochs"], row["training, min"], row["parameters"]) == ("7", "10", "12,345")
    assert row["ms an image"] == "2.10"
    dcn, fine = (
        count_multiplications(EXPERIMENTS[f"house-numbers-{name}"].spec.build()).total for name in ("dcn-k8", "fine")
    )
    assert (row["multiplications, M"], row["of the fine model's"]) == (f"{dcn / 1e6:.1f}", f"{100 * dcn / fine:.0f} %")
    assert rows["fine model", "3"]["every seed"] == "seed 0"
    assert {row["of the fine model's"] for (model, _), row in rows.items() if model == "fine model"} == {"100 %"}
    reported = {"coarse": "coarse model", "fine": "fine model", "dcn": "DCN, k = 8"}
    for (kind, scales), error in REPORTED_NUMBERS.items():
        assert rows[reported[kind], str(scales)]["error, reported"] == f"{error:.1f}"
    assert rows["coarse model", "3"]["error, reported"] == ""
    note = table.splitlines()[-1]
    for fact in ("200 test images", "80 validation images", "700 other images", "700 numbers composed"):
        assert fact in note


@pytest.mark.parametrize(
    ("changed", "told", "comparable"),
    [
        ({"photographs": 1000}, "not the original photographs: what lies around the digits is filled in", False),
        ({"photographs": 13068}, "The images are photographs of house numbers", True),
        ({"source": "rendered"}, "numbers that the library rendered itself", False),
    ],
)
def test_the_table_says_what_the_images_are(changed, told, comparable):
    name = "house-numbers-coarse"
    record = record_of(name)
    record["data"]["test"] |= changed
    note = house_numbers_table(loader(names=[], **{name: record})).splitlines()[-1]
    assert told in note
    assert ("can't be compared" in note) is not comparable


def test_the_table_has_rows_of_the_runs_that_have_records():
    some = loader(names=["house-numbers-coarse", "house-numbers-coarse-seed2", "house-numbers-fine-scales3"])
    rows = rows_of(house_numbers_table(some))
    assert [(row["model"], row["scales"], row["ms an image"]) for row in rows] == [
        ("coarse model", "1", ""),
        ("fine model", "3", ""),
    ]
    assert rows[0]["every seed"] == "seeds 0, 2: 40.0, 41.0; mean 40.5"
    with pytest.raises(FileNotFoundError, match="no run of house numbers"):
        house_numbers_table(loader(names=[]))


def test_all_runs_of_a_model_stand_together_the_first_seed_first():
    runs = number_runs(loader())
    assert [len(records) for records in runs.values()] == [3, 1, 1, 1, 1, 1, 3, 1, 1]
    for model, records in runs.items():
        assert [record["settings"]["seed"] for record in records] == list(range(len(records)))
        for record in records:
            spec = EXPERIMENTS[record["name"]].spec
            assert (spec.kind, spec.task.scales) == model


def test_the_aims_are_answered_image_by_image():
    one, two, three = number_targets(loader())
    assert [answer.scales for answer in (one, two, three)] == [1, 2, 3]
    # The DCN errs on 10..41, the fine model on 0..29; each further seed has one error of its own more.
    assert one.against_fine == ((12, 10), (13, 10), (14, 10))
    assert one.p_values == [mcnemar_p_value(*pair) for pair in one.against_fine]
    assert one.errors == pytest.approx((32 + 33 + 34) / (80 + 81 + 82))
    assert two.errors == pytest.approx(32 / 80)
    costs = [
        count_multiplications(EXPERIMENTS[f"house-numbers-{name}-scales3"].spec.build()).total
        for name in ("dcn-k8", "fine")
    ]
    assert three.multiplications == costs[0] / costs[1]
    assert one.met
    rows = rows_of(number_targets_table(loader()))
    assert [row["aims reached"] for row in rows] == ["yes"] * 3
    assert rows[1]["wrong alone: DCN, fine (p)"] == f"12, 10 ({mcnemar_p_value(12, 10):.3f})"
    assert {row["fine model's epochs"] for row in rows} == {"7"}
    assert number_targets(loader(names=[name for name in NAMES if "fine" not in name])) == []


def test_the_fine_model_of_as_many_epochs_is_what_the_dcn_stands_beside_where_there_is_one():
    long = {run.name: record_of(run.name) for run in LONG_NUMBER_RUNS}
    for record in long.values():
        record["settings"]["epochs"] = 9
    load = loader(**long)
    one, two, _ = number_targets(load)
    # Seed by seed, so that the errors of a seed's own are both's.
    assert (one.fine_epochs, one.against_fine) == (9, ((12, 10),) * 3)
    assert (two.fine_epochs, two.against_fine) == (7, ((12, 10),))
    del long["house-numbers-fine-epochs100-seed1"]
    assert number_targets(loader(**long))[0].against_fine == ((12, 10), (13, 10), (12, 10))
    rows = rows_of(house_numbers_table(load))
    assert [(row["scales"], row["epochs"], row["every seed"]) for row in rows if row["model"] == "fine model"] == [
        ("1", "7", "seed 0"),
        ("1", "9", "seeds 0, 1, 2: 15.0, 15.5, 16.0; mean 15.5"),
        ("2", "7", "seed 0"),
        ("3", "7", "seed 0"),
    ]
    assert len({row["multiplications, M"] for row in rows if (row["model"], row["scales"]) == ("fine model", "1")}) == 1


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({}, True),
        ({"errors": 0.71}, False),
        ({"multiplications": 0.34}, False),
        ({"against_fine": ((20, 20), (40, 10))}, False),  # one seed is significantly worse
        ({"against_fine": ((10, 40),)}, True),  # significantly better
        ({"against_fine": ((15, 10),)}, True),  # worse, but by chance
    ],
)
def test_all_aims_must_be_reached(changed, met):
    answer = {
        "scales": 1,
        "fine_epochs": 7,
        "errors": 0.7,
        "multiplications": 1 / 3,
        "against_fine": ((0, 0),),
        **changed,
    }
    assert NumberTargets(**answer).met is met


def test_runs_tested_on_other_images_are_not_compared():
    name = "house-numbers-dcn-k8-seed1"
    other = record_of(name)
    other["data"]["test"]["split"] = "validation"
    with pytest.raises(ValueError, match=f"{name} and house-numbers-fine have other test images"):
        number_targets(loader(**{name: other}))
    changed = {run: record_of(run) for run in NAMES if "dcn" not in run}
    for record in changed.values():
        record["data"]["test"]["split"] = "validation"
    with pytest.raises(ValueError, match="house-numbers-coarse and house-numbers-dcn-k8 have other test images"):
        number_targets(loader(**changed, **{run.name: record_of(run.name) for run in LONG_NUMBER_RUNS}))
    begun = {run.name: record_of(run.name) for run in (*LONG_NUMBER_RUNS, *FROM_FINE_NUMBERS)}
    with pytest.raises(ValueError, match="have other test images"):
        number_patches_table(loader(**changed, **begun))


STUDIED = [run.name for _, runs in RECIPES.items() for run in runs if run.name in STUDIES]


def test_recipes_stand_beside_the_usual_one_seed_by_seed():
    rows = {
        (row["model"], row["recipe"]): row for row in rows_of(number_recipes_table(loader(names=[*NAMES, *STUDIED])))
    }
    assert list(rows) == list(RECIPES)
    long = rows["fine model", "as many epochs as the others"]
    assert (long["seeds"], long["validation error, %"]) == ("0, 1, 2", "26.00 (25.00..27.00)")
    assert long["test error, %"] == "15.50 (15.00..16.00)"
    assert long["of the coarse model's"] == f"{100 * 31 / 81:.0f} %"
    column = "wrong alone: this, the DCN as above, seed by seed, or all of its seeds beside a single run (p)"
    assert long[column] == "; ".join(
        [f"10, 12 ({mcnemar_p_value(10, 12):.3f})"] * 3
    )  # errors of a seed's own are both's
    usual = rows["DCN, k = 8", "as above"]
    assert (usual[column], usual["of the coarse model's"]) == ("", "41 %")
    tried = rows["DCN, k = 8", "half of the loss for the first prediction"]
    assert (tried["seeds"], tried["test error, %"]) == ("0", "16.00")
    assert tried[column] == "; ".join(f"0, {seed} (1.000)" if seed < 2 else "0, 2 (0.500)" for seed in range(3))


def test_the_table_of_recipes_has_those_with_records():
    rows = rows_of(number_recipes_table(loader()))
    assert [(row["model"], row["recipe"]) for row in rows] == [
        (model, "as above") for model in ("coarse model", "fine model", "DCN, k = 8")
    ]
    with pytest.raises(FileNotFoundError, match="coarse model or the DCN"):
        number_recipes_table(loader(names=["house-numbers-coarse"]))


def test_the_dcn_that_begins_with_the_fine_model_has_its_errors_with_every_number_of_patches():
    def load(name):
        record = loader(names=[*NAMES, *STUDIED])(name)
        if "from-fine" in name:
            seed = record["settings"]["seed"]
            answers = {f"k{k}": {"error": (40 - k) / 200, "wrong": [*range(k, 40)]} for k in TEST_KS if k != 8}
            record["test_ways"] = answers
            if seed:  # the first run's record is older than this
                record["validation_ways"] = {way: {"error": 0.5 + seed / 100} for way in answers}
        return record

    rows = {row["patches"]: row for row in rows_of(number_patches_table(load))}
    assert list(rows) == [f"k = {k}" for k in TEST_KS]
    assert rows["k = 16"]["test error, %"] == "12.00 (12.00..12.00)"
    assert rows["k = 16"]["of the coarse model's"] == f"{100 * 24 / 81:.1f} %"
    assert rows["k = 16"]["validation error, %"] == "51.50 (51.00..52.00)"
    # 16..39 beside 0..29 and the seed's own errors.
    pairs = [(10, 16 + seed) for seed in range(3)]
    told = rows["k = 16"]["wrong alone: this, the fine model, seed by seed (p)"]
    assert told == "; ".join(f"{a}, {b} ({mcnemar_p_value(a, b):.3f})" for a, b in pairs)
    assert rows["k = 8"]["test error, %"] == "16.50 (16.00..17.00)"
    assert rows["k = 8"]["validation error, %"] == "26.00 (25.00..27.00)"
    with pytest.raises(FileNotFoundError, match="DCN of house numbers"):
        number_patches_table(loader())


def test_recipes_differ_from_the_usual_in_what_they_say():
    dcn = EXPERIMENTS["house-numbers-dcn-k8"]
    assert [STUDIES[run.name].settings["seed"] for run in LONG_NUMBER_RUNS] == [0, 1, 2]
    for run in LONG_NUMBER_RUNS:
        assert STUDIES[run.name].spec == EXPERIMENTS["house-numbers-fine"].spec
        assert STUDIES[run.name].epochs == dcn.epochs
    first_share = STUDIES[FIRST_SHARE_NUMBERS.name]
    assert first_share.spec.options() == dcn.spec.options() | {"first_share": 0.5}
    assert first_share.epochs == dcn.epochs
    for seed, run in enumerate(FROM_FINE_NUMBERS):
        begun = STUDIES[run.name]
        assert (begun.spec, begun.epochs, begun.settings["seed"]) == (dcn.spec, dcn.epochs, seed)
        assert begun.begin == (LONG_NUMBER_RUNS[seed].name,)
