"""The clock of every form compares the fastest forms, tells the spread, and goes on where it was stopped."""

import json

import numpy as np
import pytest
import torch

from dcnlib.analysis import clock
from dcnlib.analysis.clock import MODELS, ClockSettings, Forms, run_clock
from dcnlib.cli.main import main
from dcnlib.paper.benchmark_tables import clock_tables
from dcnlib.utils.records import load_record, save_record

SETTINGS = ClockSettings(batches=(1, 4), forms=("eager", "prepared"), rounds=3)


@pytest.fixture
def quick(monkeypatch):
    """The models as they are in the place of every form; compiled and exported ones have tests of their own."""
    monkeypatch.setattr(clock, "check_compiler", lambda: None)
    monkeypatch.setattr(Forms, "get", lambda self, name, form, images, threads: clock.load_sized(name, images))
    monkeypatch.setattr(clock, "rounds_of", lambda calls, rounds: clock_rounds(calls, rounds))


def clock_rounds(calls, rounds):
    return {
        name: [call() is None or 0.001 * (place + 1 + turn) for turn in range(rounds)]
        for place, (name, call) in enumerate(calls.items())
    }


def test_every_form_is_timed_and_the_fastest_are_compared(quick):
    threads = torch.get_num_threads()
    record = run_clock(SETTINGS)
    assert torch.get_num_threads() == threads
    assert [row["batch"] for row in record["batches"]] == [1, 4]
    for row, pieces in zip(record["batches"], ({1}, {1, 4}), strict=True):
        assert {one["pieces"] for one in row["forms"]} == pieces
        assert {(one["model"], one["form"]) for one in row["forms"]} == {(m, f) for m in MODELS for f in SETTINGS.forms}
        for model, best in row["fastest"].items():
            of_model = [one for one in row["forms"] if one["model"] == model]
            assert best == min(of_model, key=lambda one: one["milliseconds"])
            assert all(one["low"] <= one["milliseconds"] <= one["high"] for one in of_model)
        assert row["times_faster"]["fine"] == {"ratio": 1.0, "low": 1.0, "high": 1.0}
        # Round by round, in which the first competitor took 1, 2 and 3 ms here.
        first = row["forms"].index(row["fastest"]["coarse"])
        ratios = [(1 + turn) / (first + 1 + turn) for turn in range(3)]
        assert row["times_faster"]["coarse"]["ratio"] == pytest.approx(np.median(ratios))
    told = clock_tables(record)
    assert told.count("\n| fine | ") == 1 + 2 * 2 * len({1, threads})
    assert f"{record['batches'][0]['fastest']['fine']['milliseconds']:.3f} (" in told


def test_a_stopped_clock_goes_on_after_its_last_batch(quick):
    kept = []
    whole = run_clock(SETTINGS, keep=lambda record: kept.append(json.loads(json.dumps(record))))
    assert [len(record["batches"]) for record in kept] == [1, 2]
    measured = []
    again = run_clock(SETTINGS, before=kept[0], keep=lambda record: measured.append(record["batches"][-1]["batch"]))
    assert measured == [4]
    assert again["batches"][0] == whole["batches"][0]
    run_clock(ClockSettings(batches=(1,), forms=("eager",)), before=whole, keep=measured.append)
    assert len(measured) == 2  # other settings begin anew


@pytest.mark.parametrize("lacking", ["batches", "forms", "threads"])
def test_a_damaged_record_is_refused_by_name_before_anything_is_measured(lacking, tmp_path, capsys, monkeypatch):
    record = load_record("clock")
    rows = {"batches": record, "forms": record["batches"][0], "threads": record["batches"][0]["forms"][0]}
    del rows[lacking][lacking]
    save_record(tmp_path / "record.json", record)
    monkeypatch.setattr("dcnlib.cli.clock.run_clock", None)
    assert main(["clock", "--run-dir", str(tmp_path)]) == 2
    assert f"{tmp_path / 'record.json'} is damaged" in capsys.readouterr().err


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r"forms are eager, compiled, .* got tensorrt"):
        ClockSettings(forms=("tensorrt",))
