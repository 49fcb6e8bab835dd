"""Training from a terminal: the same command goes on, and other settings never land in the same folder."""

import json
from dataclasses import asdict

import pytest

from dcnlib import evaluate
from dcnlib.cli.main import main
from dcnlib.data.house_numbers.images import TEST_DISTURBANCE, TRAINING_DISTURBANCE, HouseNumberImages
from dcnlib.data.house_numbers.rendered import render_numbers
from dcnlib.models.grid import run_name
from dcnlib.models.pretrained import load_model
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.statistics import ErrorRate
from dcnlib.utils.weights import load_weights

TINY = ["train", "--source", "embedded", "--epochs", "1", "--batch-size", "500", "--device", "cpu", "--model", "coarse"]


def test_train_then_evaluate(tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert main([*TINY, "--run-dir", str(run_dir)]) == 0
    record = json.loads((run_dir / "record.json").read_text())
    assert record["model"] == {"kind": "coarse"}
    assert record["data"]["train"]["source"] == "embedded"
    assert record["settings"]["batch_size"] == 500
    load_weights(run_dir / "weights.safetensors", CoarseSpec().build())
    told = capsys.readouterr().out
    assert f"validation error {100 * record['validation']['error']:.2f} %" in told

    command = ["evaluate", "--weights", str(run_dir / "weights.safetensors")]
    assert main([*command, "--device", "cpu"]) == 0
    assert f"{100 * record['validation']['error']:.2f} %" in capsys.readouterr().out

    assert main(["promote", str(run_dir)]) == 2  # never seen the test set
    assert "test set" in capsys.readouterr().err


def test_train_and_evaluate_on_house_numbers(few_numbers, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers = ["--data", "house-numbers", "--source", "rendered", "--device", "cpu", "--scales", "2", "--k", "2"]
    assert main(["train", *numbers, "--epochs", "1", "--batch-size", "16", "--composed", "0.25", "--test"]) == 0
    folder = tmp_path / "runs" / "house-numbers-dcn-k2-scales2-epochs1-batch-size16-rendered-composed0.25"
    record = json.loads((folder / "record.json").read_text())
    spec = DCNSpec(k=2, task=HouseNumbersTask(scales=2))
    assert record["model"] == spec.describe()
    train, validation, test = (record["data"][split] for split in ("train", "validation", "test"))
    assert (train["count"], train["photographs"], train["composed"], train["fresh"]) == (32, 24, 0.25, True)
    assert {name: train[name] for name in asdict(TRAINING_DISTURBANCE)} == asdict(TRAINING_DISTURBANCE)
    for data in (validation, test):
        assert (data["count"], data["composed"], data["shift"], data["contrast"]) == (24, 0, 0, 1)
    load_weights(folder / "weights.safetensors", spec.build())
    capsys.readouterr()

    command = ["evaluate", "--device", "cpu", "--weights", str(folder / "weights.safetensors"), "--split", "test"]
    assert main(command) == 0
    rate = ErrorRate.from_record(record["test"])
    assert capsys.readouterr().out == f"test error {rate} on 24 images, source rendered\n"
    model = load_model(folder)
    assert model.image_shape == (1, 64, 128)
    disturbed = HouseNumberImages(render_numbers("test", 24), disturbance=TEST_DISTURBANCE, seed=7)
    assert main([*command, "--disturbance-seed", "7"]) == 0
    told = f"test error {evaluate(model, disturbed).rate} on 24 images, source rendered, shifted and rescaled by seed 7"
    assert capsys.readouterr().out == told + "\n"


def test_a_finished_run_is_tested_later_and_stays_the_run_that_was_trained(few_numbers, tmp_path, capsys):
    """By the command for it, or by the same training again, which goes on at its end; the answers are the same."""
    folder = tmp_path / "run"
    train = ["train", "--data", "house-numbers", "--source", "rendered", "--device", "cpu", "--model", "coarse"]
    train += ["--epochs", "2", "--batch-size", "16", "--run-dir", str(folder)]
    assert main(train) == 0
    trained = json.loads((folder / "record.json").read_text())
    weights = (folder / "weights.safetensors").read_bytes()
    assert "test" not in trained
    capsys.readouterr()

    assert main(["test", str(folder)]) == 0
    tested = json.loads((folder / "record.json").read_text())
    test, data = tested.pop("test"), tested["data"].pop("test")
    assert tested == trained
    assert (data["split"], data["source"], data["count"]) == ("test", "rendered", 24)
    assert len(test["wrong"]) == test["errors"]
    assert f"test error {100 * test['error']:.2f} % of 24" in capsys.readouterr().out

    assert main([*train, "--test"]) == 0
    again = json.loads((folder / "record.json").read_text())
    assert again["test"] == test
    assert again["curves"] == trained["curves"]
    assert (folder / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize("kind", ["ram", "draw"])
def test_recurrent_rivals_train_with_options_of_their_own(kind, tmp_path):
    arguments = [*TINY[:-1], kind, "--glimpses", "2", "--hidden", "16", "--clip-norm", "1", "--run-dir", str(tmp_path)]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["name"] == f"{kind}-glimpses2-hidden16-epochs1-batch-size500-clip-norm1-embedded"
    assert record["settings"]["clip_norm"] == 1.0
    spec = SPECS[kind](glimpses=2, hidden=16)
    assert record["model"] == spec.describe()
    assert not {"k", "hint_weight", "objective"} & record["model"].keys()
    load_weights(tmp_path / "weights.safetensors", spec.build())


def test_runs_are_named_by_what_is_not_as_usual(few_images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["train", "--epochs", "1", "--batch-size", "32", "--device", "cpu"]
    for options, name in (([], ""), (["--policy", "random"], "-random"), (["--hint-weight", "0"], "-hint-weight0")):
        assert main([*train, *options]) == 0
        folder = tmp_path / "runs" / f"dcn-k8{name}-epochs1-batch-size32"
        assert json.loads((folder / "record.json").read_text())["name"] == folder.name
        assert f"kept in runs/{folder.name}" in capsys.readouterr().out


def test_no_two_experiments_or_settings_share_a_name():
    settings = {name: TrainingSettings(epochs=one.epochs, **one.settings) for name, one in EXPERIMENTS.items()}
    names = {run_name(one.spec, settings[name]) for name, one in EXPERIMENTS.items()}
    assert len(names) == len(EXPERIMENTS)
    plain = run_name(DCNSpec(), TrainingSettings())
    assert plain == run_name(DCNSpec(), TrainingSettings(device="cpu"), source="mnist") == "dcn-k8"
    others = [
        run_name(DCNSpec(objective="convex"), TrainingSettings()),
        run_name(DCNSpec(hint_weight=0.01), TrainingSettings()),
        run_name(DCNSpec(), TrainingSettings(), source="embedded"),
        run_name(DCNSpec(), TrainingSettings(), composed=0.0),
        *(
            run_name(DCNSpec(), TrainingSettings(**{name: value}))
            for name, value in {
                "epochs": 9,
                "batch_size": 32,
                "learning_rate": 1e-5,
                "weight_decay": 0.0,
                "seed": 1,
                "precision": "float32",
                "compile": True,
                "clip_norm": 1.0,
                "warm_up": 0.1,
            }.items()
        ),
    ]
    assert len({plain, *others}) == 1 + len(others)


def test_a_tested_run_that_is_trained_again_is_not_tested_again(few_images, tmp_path, monkeypatch):
    command = [*TINY, "--batch-size", "32", "--test", "--run-dir", str(tmp_path)]
    assert main(command) == 0
    record = (tmp_path / "record.json").read_bytes()
    monkeypatch.setattr("dcnlib.cli.train.Run.test", lambda *_: pytest.fail("tested again"))
    assert main(command) == 0
    assert (tmp_path / "record.json").read_bytes() == record


def test_train_says_before_training_that_the_test_set_is_missing(tmp_path, capsys):
    assert main(["train", "--root", str(tmp_path), "--test", "--run-dir", str(tmp_path / "run")]) == 2
    assert "no MNIST" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_experiments_say_before_training_that_data_is_missing(few_images, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.setattr("dcnlib.cli.train.run_experiment", lambda *_, **__: pytest.fail("training began"))
    assert main(["experiment", "coarse", "house-numbers-coarse"]) == 2
    assert "no SVHN/train/digitStruct.mat" in capsys.readouterr().err


def test_an_experiment_needs_what_its_own_source_needs(monkeypatch):
    asked = []

    def run_experiment(name, **_):
        asked.append(name)
        return None, {}

    def load(_self, _split, *, source=None):
        assert source == "rendered"

    monkeypatch.setattr("dcnlib.cli.train.run_experiment", run_experiment)
    monkeypatch.setattr(HouseNumbersTask, "load", load)
    assert main(["experiment", "rendered-numbers-dcn-k8"]) == 0
    assert asked == ["rendered-numbers-dcn-k8"]


def test_a_run_that_is_called_as_a_shipped_model_is_itself(few_images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["train", "--source", "embedded", "--model", "coarse", "--epochs", "1", "--device", "cpu"]
    assert main([*train, "--batch-size", "16", "--run-dir", "coarse"]) == 0
    assert main(["test", "coarse"]) == 0
    assert "== coarse-epochs1-batch-size16-embedded" in capsys.readouterr().out
    assert json.loads((tmp_path / "coarse" / "record.json").read_text())["test"]["count"] == 64
