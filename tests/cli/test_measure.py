"""Measurements from a terminal."""

import json

from dcnlib import count_multiplications
from dcnlib.cli.main import main
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.paper import benchmarks
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.paper.tables import controls_table


def test_count_knows_data_and_scales(capsys):
    totals = []
    for scales in ("1", "2"):
        assert main(["count", "--data", "house-numbers", "--scales", scales]) == 0
        lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
        totals.append(int(lines["total"].replace(",", "")))
    assert totals[0] < totals[1]


def test_controls_measure_the_shipped_dcn_and_other_runs(few_images, tmp_path, capsys):
    train = ["train", "--epochs", "1", "--batch-size", "32", "--device", "cpu", "--policy", "coarse-norm"]
    assert main([*train, "--name", "norm", "--run-dir", str(tmp_path / "norm")]) == 0
    assert json.loads((tmp_path / "norm" / "record.json").read_text())["model"]["policy"] == "coarse-norm"
    capsys.readouterr()
    assert main(["controls", str(tmp_path / "norm"), "--device", "cpu", "--run-dir", str(tmp_path / "controls")]) == 0
    record = json.loads((tmp_path / "controls" / "record.json").read_text())
    assert {name: told["policy"] for name, told in record["models"].items()} == {
        "dcn-k8-hints": "entropy-gradient",
        "norm": "coarse-norm",
    }
    told = capsys.readouterr().out
    for name in record["models"]:
        assert controls_table(record, name) in told


def test_controls_refuse_what_they_cannot_measure_and_say_so_at_once(few_images, few_numbers, tmp_path, capsys):
    def train(folder, *options):
        run_dir = str(tmp_path / folder)
        assert main(["train", "--epochs", "1", "--device", "cpu", "--run-dir", run_dir, *options]) == 0
        return run_dir

    small = ["--batch-size", "32"]
    coarse = train("coarse", *small, "--model", "coarse")
    numbers = train("numbers", "--batch-size", "8", "--data", "house-numbers", "--source", "rendered")
    same = train("same", *small, "--name", "dcn-k8-hints")
    for run, message in (
        (coarse, "dcn and perturbed-topk that answer with one class; coarse-epochs1-batch-size32 is of kind coarse"),
        (numbers, "is of kind dcn for house-numbers"),
        (same, "holds a run named dcn-k8-hints, and so is another model here"),
    ):
        capsys.readouterr()
        assert main(["controls", run, "--run-dir", str(tmp_path / "controls")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert "measuring" not in told


def test_count_prints_all_parts(capsys):
    assert main(["count", "--model", "dcn", "--k", "4"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert int(lines["fine"].replace(",", "")) == 4 * int(lines["fine_per_patch"].replace(",", ""))


def test_count_all_counts_every_experiment_into_one_record(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models = {"coarse": EXPERIMENTS["coarse"], "house-numbers-fine": EXPERIMENTS["house-numbers-fine"]}
    monkeypatch.setattr(benchmarks, "EXPERIMENTS", models)
    assert main(["count", "--all"]) == 0
    record = json.loads((tmp_path / "runs" / "multiplications" / "record.json").read_text())
    assert record["models"] == {name: count_multiplications(one.spec.build()).total for name, one in models.items()}
    assert f"{record['models']['coarse']:,}" in capsys.readouterr().out
    assert {"git_revision", "git_dirty", "versions", "machine", "created"} <= record.keys()


def test_count_prints_a_rivals_glimpses(capsys):
    assert main(["count", "--model", "draw", "--glimpses", "3"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    counts = {part: int(number.replace(",", "")) for part, number in lines.items()}
    assert counts["total"] == counts["top"] + sum(counts[f"glimpse_{number}"] for number in (1, 2, 3))


def test_controls_measure_own_weights_alone(few_images, tmp_path, capsys):
    train = ["train", "--epochs", "1", "--batch-size", "32", "--device", "cpu", "--k", "2", "--run-dir"]
    assert main([*train, str(tmp_path / "run")]) == 0
    controls = ["controls", "--weights", str(tmp_path / "run"), "--ks", "1", "--draws", "1", "--split", "test"]
    assert main([*controls, "--run-dir", str(tmp_path / "controls")]) == 0
    record = json.loads((tmp_path / "controls" / "record.json").read_text())
    (model,) = record["models"].values()
    assert [row["k"] for row in model["controls"]["center"]] == [1, 2]


def test_benchmark_measures_own_weights_on_each_batch(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmarks, "check_compiler", lambda: None)
    monkeypatch.setattr(benchmarks, "compile_for_inference", lambda model, images: model)
    options = ["--batches", "1", "130", "--rounds", "1", "--device", "cpu", "--run-dir", str(tmp_path)]
    assert main(["benchmark", "--weights", "house-numbers-coarse", *options]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["batch"] for row in record["inference"]] == [1, 130]
    assert all(time > 0 for row in record["inference"] for time in row["milliseconds"].values())
    spec = PRETRAINED["house-numbers-coarse"]
    assert record["model"] == spec.describe()
    assert record["multiplications"] == count_multiplications(spec.build()).total
    assert "| 130 |" in capsys.readouterr().out
