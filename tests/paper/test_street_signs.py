"""The runs of street signs, and what is measured of their models."""

import pytest

from dcnlib.models.specs import CoarseSpec, DCNSpec, FineSpec
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.paper import street_signs
from dcnlib.paper.experiments import STUDIES, experiment_job
from dcnlib.paper.runs import SIGN_RUNS
from dcnlib.paper.sign_tables import categories_table, sign_aims_table, signs_clock_table, signs_table
from dcnlib.training.run import Run
from dcnlib.utils.weights import save_weights


def test_each_run_begins_with_others_that_come_before():
    known = set()
    for run, before in SIGN_RUNS.items():
        experiment = STUDIES[run.name]
        assert experiment.begin == tuple(each.name for each in before)
        assert experiment.spec.task == StreetSignsTask(window=run.window)
        assert {each.name for each in before} <= known
        assert [path.name for path in experiment_job(run.name).begin] == [each.name for each in before]
        known.add(run.name)
    assert len(known) == len(SIGN_RUNS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders as of finished runs."""
    folders = []
    task = StreetSignsTask(window=0)
    for name, spec in (("c", CoarseSpec(task=task)), ("f", FineSpec(task=task)), ("d", DCNSpec(task=task, k=4))):
        run = Run(tmp_path_factory.mktemp(name))
        run.save_record({"name": name, "model": spec.describe()})
        save_weights(run.weights_path, spec.build())
        folders.append(run.folder)
    return folders


def test_every_way_is_measured_and_compared_with_the_fine_model(runs, monkeypatch):
    load = street_signs.load_street_signs
    monkeypatch.setattr(street_signs, "load_street_signs", lambda split, **where: load(split, count=12, **where))
    monkeypatch.setattr(street_signs, "ROUNDS", 1)
    monkeypatch.setattr(street_signs, "peak_memory_of", lambda source, shape, **options: 1_000_000)
    monkeypatch.setattr(street_signs, "KS", (0, 8))
    coarse, fine, dcn = runs
    record = street_signs.run_street_signs(coarse, fine, [dcn, dcn], windows=(128,), source="drawn")
    shown = record["windows"]["128"]
    assert shown["data"]["split"] == "test"
    assert shown["validation"]["split"] == "validation"
    rows = shown["rows"]
    names = ["coarse", "fine", "dcn", "dcn", "dcn", "until sure", "rounds", "rounds", "random", "center"]
    assert [row["name"] for row in rows] == names
    assert rows[1]["more_errors_than_fine"] == 0
    first, eight, seed1, sure, *_ = rows[2:]
    assert (first["patches"], eight["patches"]) == (0, 8)
    assert first["multiplications"] < eight["multiplications"] < rows[1]["multiplications"]
    assert (seed1["seed"], seed1["error"]) == (1, eight["error"])
    assert sure["patches"] <= 32
    assert set(shown["clock"]["milliseconds"]) == set(shown["memory"]) == {"coarse", "fine", "dcn"}
    table = signs_table(record, 128)
    assert len(table.splitlines()) == 2 + len(rows)
    assert "DCN, k = 8, seed 1" in table
    assert len(categories_table(record, 128, (("fine", None), ("dcn", 8))).splitlines()) == 4
    assert "128x128" in signs_clock_table(record)
    del shown["clock"]  # as without a clock
    assert signs_clock_table(record).count("| not measured | 1 |") == 3
    record["windows"] |= dict.fromkeys(("300", "0"), shown)
    assert sign_aims_table(record).count("| no |") + sign_aims_table(record).count("| yes |") == 6
