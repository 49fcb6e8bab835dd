"""The benchmark measures what it says, and its tables say what it measured."""

import json
import time

import pytest
import torch

from dcnlib import count_multiplications, load_pretrained
from dcnlib.analysis import speed as benchmark
from dcnlib.analysis.memory import peak_memory
from dcnlib.analysis.speed import SMOKE, run_benchmark
from dcnlib.cli.main import main
from dcnlib.paper import benchmarks as number_benchmark
from dcnlib.paper.benchmark_tables import benchmark_tables, milliseconds, number_benchmark_table, rivals_benchmark_table
from dcnlib.paper.benchmarks import BATCH, run_number_benchmark
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import MEASUREMENTS
from dcnlib.utils.timing import interleaved


@pytest.fixture
def without_compiler(monkeypatch):
    """The benchmark on plain models, which takes seconds; compiled models have tests of their own."""
    monkeypatch.setattr(benchmark, "can_compile", lambda: True)
    monkeypatch.setattr(benchmark, "compile_frozen", lambda function, images: torch.no_grad()(function))
    for module in (benchmark, number_benchmark):
        monkeypatch.setattr(
            module,
            "compile_for_inference",
            lambda model, images: torch.no_grad()(benchmark.prepare_for_inference(model, images).forward),
        )
    monkeypatch.setattr(torch, "compile", lambda function: function)


def test_everybody_gets_a_turn_in_every_round():
    calls = []
    competitors = {name: lambda name=name: calls.append(name) for name in "ab"}
    interleaved(competitors, rounds=3, turn=0)
    assert calls == [*"aabb"] * 3  # the first call of a turn isn't timed


def test_the_median_call_is_what_counts():
    pauses = iter([0, 0.001, 0, 0.2, 0, 0.001])
    seconds = interleaved({"sleeper": lambda: time.sleep(next(pauses))}, rounds=3, turn=0)
    assert 0.001 <= seconds["sleeper"] < 0.2


def test_a_benchmark_covers_its_settings_and_its_tables_are_made_from_the_record(without_compiler, tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(["benchmark", "--quick", "--device", "cpu", "--run-dir", str(tmp_path)]) == 0
    assert torch.get_num_threads() == threads
    record = json.loads((tmp_path / "record.json").read_text())
    assert benchmark_tables(record) in capsys.readouterr().out

    assert [row["batch"] for row in record["inference"]] == list(SMOKE.batches)
    for row in record["inference"]:
        for name, best in row["best"].items():
            assert best == min(times[name] for times in row["milliseconds"].values()) > 0
            assert row["times_faster"][name] == pytest.approx(row["best"]["fine"] / best)
    assert record["patches"]["milliseconds"].keys() == {"fine", "coarse", *map(str, SMOKE.ks)}
    counts = record["parts"]["multiplications"]
    assert sum(counts.values()) == 2 * counts["whole"]  # the parts are the whole
    for row in record["training"].values():
        assert row["eager"]["epoch_seconds"] == pytest.approx(55 * row["eager"]["milliseconds"])
        assert 0 < row["data_share"] < 1
    assert [row["size"] for row in record["growth"]] == list(SMOKE.sizes)
    cost = {name: count_multiplications(load_pretrained(name)).total for name in ("fine", "dcn-k8-hints")}
    assert record["growth"][0]["multiplications"] == cost
    assert {"git_revision", "versions", "machine", "created"} <= record.keys()


def test_models_of_house_numbers_are_measured_at_every_number_of_scales(without_compiler, tmp_path, capsys):
    arguments = ["benchmark", "--data", "house-numbers", "--quick", "--device", "cpu", "--run-dir", str(tmp_path)]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["name"] in MEASUREMENTS
    assert record["settings"] == {"batch": BATCH, "rounds": SMOKE.rounds, "device": "cpu"}
    rows = {(row["kind"], row["scales"]): row for row in record["models"]}
    assert list(rows) == [(kind, scales) for kind in ("coarse", "fine", "dcn") for scales in (1, 2, 3)]
    for row in rows.values():
        assert row["milliseconds"].keys() == {"eager", "compiled"}
        assert min(row["milliseconds"].values()) > 0
    totals = [rows[kind, 1]["multiplications"] for kind in ("coarse", "dcn", "fine")]
    assert totals == sorted(totals)
    told = number_benchmark_table(record)
    assert told in capsys.readouterr().out
    times = [rows[kind, 3]["milliseconds"]["compiled"] for kind in ("fine", "dcn")]
    (line,) = (line for line in told.splitlines() if line.startswith("| dcn | 3 |"))
    assert line.endswith(f"{times[1]:.2f} ({times[0] / times[1]:.2f}x) |")


def test_without_a_compiler_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(benchmark, "can_compile", lambda: False)
    for run in (run_benchmark, run_number_benchmark):
        with pytest.raises(ValueError, match=r"C\+\+ compiler"):
            run(SMOKE)


def test_memory_is_what_the_largest_maps_take():
    """At its peak the fine model holds at least the input and the output of its second convolution."""
    peak = peak_memory("fine", 200, torch.device("cpu"))
    if peak is None:
        pytest.skip("only Linux tells what a process needed at its peak")
    one_map = 24 * 198 * 198 * 4
    assert 2 * one_map * 0.9 < peak < 6 * one_map


def test_the_clock_for_the_rivals_covers_table_1(without_compiler, tmp_path, capsys):
    assert main(["benchmark", "--rivals", "--quick", "--device", "cpu", "--run-dir", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert rivals_benchmark_table(record) in capsys.readouterr().out
    assert record["name"] in MEASUREMENTS
    assert record["settings"]["batch"] == max(SMOKE.batches)
    assert record["models"].keys() == TITLES.keys()
    for name, row in record["models"].items():
        assert row["multiplications"] == count_multiplications(EXPERIMENTS[name].spec.build()).total
        assert min(row["milliseconds"].values()) > 0


def test_milliseconds_are_those_of_compiled_models():
    rows = {name: {"milliseconds": {"eager": 2.0, "compiled": 1.0}} for name in ("ram", "fine")}
    records = {"rivals-benchmark": {"models": rows}}
    assert milliseconds(records.__getitem__) == {"ram": 1.0, "fine": 1.0}
