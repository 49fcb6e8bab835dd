"""The command line as a user types it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from dcnlib import (
    TRAINING_DISTURBANCE,
    ClutteredMNIST,
    ErrorRate,
    ModelSpec,
    load_cluttered,
    load_weights,
    number_images,
)
from dcnlib.__main__ import main
from dcnlib.experiments import load_run
from dcnlib.rendered_numbers import render_numbers
from dcnlib.tables import controls_table

TINY = ["train", "--source", "embedded", "--epochs", "1", "--batch-size", "500", "--device", "cpu", "--model", "coarse"]


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "dcnlib", "--help"], capture_output=True, text=True, check=True)
    for command in (
        "train",
        "evaluate",
        "predict",
        "count",
        "experiment",
        "benchmark",
        "controls",
        "promote",
        "record",
        "table",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--epoch", "1"],  # abbreviations are typos too
        ["train", "--learning-rat", "1"],
        ["train", "--model", "cnn"],
        ["train", "--epochs", "many"],
        ["evaluate"],
        ["evaluate", "--pretrained", "dcn-k9"],
        ["experiment", "everything"],
        [],
    ],
)
def test_mistyped_options_fail(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "0"], "epochs must be at least 1"),
        (["train", "--device", "tpu"], "tpu"),
        (["train", "--k", "-1"], "k, the number of patches"),
        (["train", "--model", "ram", "--rollouts", "0"], "rollouts must be at least 1"),
        (["train", "--clip-norm", "0"], "clip_norm must be positive"),
        (["train", "--root", "/nowhere"], "no MNIST"),
        (["train", "--source", "embedded", "--test"], "'test'"),
        (["train", "--source", "rendered"], "source must be one of"),
        (["train", "--data", "house-numbers", "--source", "mnist"], "source must be one of"),
        (["train", "--data", "house-numbers", "--root", "/nowhere"], "no SVHN/train"),
        (["train", "--data", "house-numbers", "--model", "ram"], "models of house numbers are"),
        (["count", "--data", "house-numbers", "--scales", "4"], "scales must be 1..3"),
        (["count", "--scales", "2"], "scales must be 1..1 for cluttered-mnist"),
        (["evaluate", "--pretrained", "coarse", "--split", "extra"], "'extra'"),
        (["evaluate", "--weights", "/nowhere.safetensors"], "no weights"),
        (["evaluate", "--pretrained", "coarse", "--split", "test", "--source", "embedded"], "'test'"),
        (["train", "--model", "ram", "--discount", "2"], "discount must be 0..1"),
        (["train", "--warm-up", "1"], "warm_up must lie between 0 and 1"),
        (["controls", "/nowhere"], "no finished run"),
        (["promote", "/nowhere"], "no finished run"),
        (["predict", "/nowhere.png"], "no image"),
        (["record", "dcn-k9"], "no record 'dcn-k9'"),
    ],
)
def test_bad_input_ends_with_a_message_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_train_then_evaluate(tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert main([*TINY, "--run-dir", str(run_dir)]) == 0
    record = json.loads((run_dir / "record.json").read_text())
    assert record["model"] == {"kind": "coarse"}
    assert record["data"]["train"]["source"] == "embedded"
    assert record["settings"]["batch_size"] == 500
    load_weights(run_dir / "weights.safetensors", ModelSpec("coarse").build())
    told = capsys.readouterr().out
    assert f"validation error {100 * record['validation']['error']:.2f} %" in told

    command = ["evaluate", "--model", "coarse", "--weights", str(run_dir / "weights.safetensors")]
    assert main([*command, "--source", "embedded", "--device", "cpu"]) == 0
    assert f"{100 * record['validation']['error']:.2f} %" in capsys.readouterr().out

    assert main(["promote", str(run_dir)]) == 2  # never seen the test set
    assert "test set" in capsys.readouterr().err


@pytest.fixture
def few_numbers(monkeypatch):
    """Rendered numbers, but few of them; the rest of the way is the command line's own."""

    def load(split, *, source, root):
        assert source == "rendered"
        return render_numbers(split, 24)

    monkeypatch.setattr(number_images, "load_house_numbers", load)


def test_train_and_evaluate_on_house_numbers(few_numbers, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers = ["--data", "house-numbers", "--source", "rendered", "--device", "cpu", "--scales", "2", "--k", "2"]
    assert main(["train", *numbers, "--epochs", "1", "--batch-size", "16", "--composed", "0.25", "--test"]) == 0
    folder = tmp_path / "runs" / "house-numbers-dcn-k2-scales2"
    record = json.loads((folder / "record.json").read_text())
    spec = ModelSpec("dcn", k=2, data="house-numbers", scales=2)
    assert record["model"] == spec.describe()
    train, validation, test = (record["data"][split] for split in ("train", "validation", "test"))
    assert (train["count"], train["photographs"], train["composed"], train["fresh"]) == (32, 24, 0.25, True)
    assert {name: train[name] for name in asdict(TRAINING_DISTURBANCE)} == asdict(TRAINING_DISTURBANCE)
    for data in (validation, test):
        assert (data["count"], data["composed"], data["shift"], data["contrast"]) == (24, 0, 0, 1)
    load_weights(folder / "weights.safetensors", spec.build())
    capsys.readouterr()

    assert main(["evaluate", *numbers, "--weights", str(folder / "weights.safetensors"), "--split", "test"]) == 0
    rate = ErrorRate.from_record(record["test"])
    assert capsys.readouterr().out == f"test error {rate} on 24 images, source rendered\n"
    assert load_run(folder)[1].image_shape == (1, 64, 128)


def test_count_knows_data_and_scales(capsys):
    totals = []
    for scales in ("1", "2"):
        assert main(["count", "--data", "house-numbers", "--scales", scales]) == 0
        lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
        totals.append(int(lines["total"].replace(",", "")))
    assert totals[0] < totals[1]


@pytest.mark.parametrize("kind", ["ram", "draw"])
def test_recurrent_rivals_train_with_options_of_their_own(kind, tmp_path):
    arguments = [*TINY[:-1], kind, "--glimpses", "2", "--hidden", "16", "--clip-norm", "1", "--run-dir", str(tmp_path)]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["name"], record["settings"]["clip_norm"]) == (kind, 1.0)
    spec = ModelSpec(kind, glimpses=2, hidden=16)
    assert record["model"] == spec.describe()
    assert not {"k", "hint_weight", "objective"} & record["model"].keys()
    load_weights(tmp_path / "weights.safetensors", spec.build())


@pytest.fixture
def few_images(monkeypatch, digits):
    """Whatever set is asked for, a few images of it."""
    monkeypatch.setattr(
        "dcnlib.__main__.load_cluttered", lambda split, seed=0, **_: ClutteredMNIST(digits, seed=seed, fresh=False)
    )


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


def test_controls_refuse_a_model_that_chooses_no_patches(few_images, tmp_path, capsys):
    assert main([*TINY, "--batch-size", "32", "--run-dir", str(tmp_path)]) == 0
    assert main(["controls", str(tmp_path), "--run-dir", str(tmp_path / "controls")]) == 2
    assert "coarse chooses no patches" in capsys.readouterr().err


def test_train_says_before_training_that_the_test_set_is_missing(tmp_path, capsys):
    assert main(["train", "--root", str(tmp_path), "--test", "--run-dir", str(tmp_path / "run")]) == 2
    assert "no MNIST" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_predict_reads_pictures_and_arrays_alike(tmp_path, capsys):
    images, labels = load_cluttered("all", source="embedded")[range(3)]
    for number, image in enumerate(images[:, 0].numpy()):
        np.save(tmp_path / f"{number}.npy", image)
        Image.fromarray((image * 255).round().astype(np.uint8)).save(tmp_path / f"{number}.png")
    assert main(["predict", *(str(tmp_path / f"{n}.{kind}") for kind in ("npy", "png") for n in range(3))]) == 0
    answers = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert answers[:3] == answers[3:]
    assert sum(answer.startswith(str(int(label))) for answer, label in zip(answers, labels, strict=False)) >= 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((100, 100), np.nan), "must be in [0, 1], got nan"),
        (np.full((100, 100), 255.0), "must be in [0, 1], got 255"),
        (np.zeros((28, 28)), "(1, 28, 28)"),
        (np.zeros((3, 100, 100)), "(3, 100, 100)"),
    ],
)
def test_predict_refuses_bad_images(tmp_path, capsys, image, message):
    np.save(tmp_path / "bad.npy", image)
    assert main(["predict", str(tmp_path / "bad.npy")]) == 2
    assert message in capsys.readouterr().err


def test_count_prints_all_parts(capsys):
    assert main(["count", "--model", "dcn", "--k", "4"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert int(lines["fine"].replace(",", "")) == 4 * int(lines["fine_per_patch"].replace(",", ""))


def test_count_prints_a_rivals_glimpses(capsys):
    assert main(["count", "--model", "draw", "--glimpses", "3"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    counts = {part: int(number.replace(",", "")) for part, number in lines.items()}
    assert counts["total"] == counts["top"] + sum(counts[f"glimpse_{number}"] for number in (1, 2, 3))


def test_the_module_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dcnlib", "count", "--model", "coarse"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
