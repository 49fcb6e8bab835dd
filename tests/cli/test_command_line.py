"""The command line as a user types it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from svhn_files import Entry, write_folder

from dcnlib import ClutteredMNIST, count_multiplications, evaluate, load_cluttered
from dcnlib.cli.main import main
from dcnlib.data.house_numbers import images as number_images
from dcnlib.data.house_numbers.images import TEST_DISTURBANCE, TRAINING_DISTURBANCE, HouseNumberImages
from dcnlib.data.house_numbers.numbers import number_text
from dcnlib.data.house_numbers.rendered import render_numbers
from dcnlib.data.house_numbers.svhn import decode_svhn
from dcnlib.models.pretrained import PRETRAINED, load_model
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper import benchmarks
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.paper.tables import controls_table
from dcnlib.utils.statistics import ErrorRate
from dcnlib.utils.weights import load_weights

TINY = ["train", "--source", "embedded", "--epochs", "1", "--batch-size", "500", "--device", "cpu", "--model", "coarse"]


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "dcnlib", "--help"], capture_output=True, text=True, check=True)
    for command in (
        "train",
        "evaluate",
        "test",
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
        ["benchmark", "--rivals", "--data", "house-numbers"],
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
        (["train", "--data", "house-numbers", "--model", "ram"], "models of house-numbers are"),
        (["count", "--data", "house-numbers", "--scales", "4"], "scales must be 1..3"),
        (["count", "--all", "--model", "draw"], "--all counts every experiment; leave out --model"),
        (["count", "--scales", "2"], "cluttered-mnist has no scales"),
        (["evaluate", "--pretrained", "coarse", "--split", "extra"], "'extra'"),
        (["evaluate", "--weights", "/nowhere.safetensors"], "no weights"),
        (["evaluate", "--pretrained", "coarse", "--split", "test", "--source", "embedded"], "'test'"),
        (["train", "--model", "ram", "--discount", "2"], "discount must be 0..1"),
        (["train", "--warm-up", "1"], "warm_up must lie between 0 and 1"),
        (["controls", "/nowhere"], "/nowhere is neither a shipped model"),
        (["promote", "/nowhere"], "no finished run"),
        (["predict", "/nowhere.png"], "no image"),
        (["evaluate", "--pretrained", "coarse", "--disturbance-seed", "7"], "for models of house-numbers"),
        (["test", "/nowhere"], "nor a run's folder"),
        (["train", "--data", "house-numbers", "--scales", "2", "--policy", "random"], "between the scales"),
        (["record", "dcn-k9"], "no record 'dcn-k9'"),
        # Options that would be ignored.
        (["train", "--model", "coarse", "--k", "4"], "coarse models have no --k; their options are none"),
        (["count", "--model", "draw", "--sigma", "1", "--policy", "random"], "draw models have no --policy, --sigma; "),
        (["train", "--model", "ram", "--last-sigma", "0.2"], "--last-sigma is what sigma falls to in --sigma-steps"),
        (["train", "--composed", "0.2"], "--composed is for models of house-numbers"),
        (["evaluate", "--pretrained", "dcn-k8-hints", "--k", "4"], "--k: --pretrained says which model it is"),
        (["evaluate", "--pretrained", "ram", "--patches", "4"], "--patches is for models that choose patches"),
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
    load_weights(run_dir / "weights.safetensors", CoarseSpec().build())
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
    spec = DCNSpec(k=2, task=HouseNumbersTask(scales=2))
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
    model = load_model(folder)
    assert model.image_shape == (1, 64, 128)
    disturbed = HouseNumberImages(render_numbers("test", 24), disturbance=TEST_DISTURBANCE, seed=7)
    command = ["evaluate", *numbers, "--weights", str(folder / "weights.safetensors"), "--split", "test"]
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
    spec = SPECS[kind](glimpses=2, hidden=16)
    assert record["model"] == spec.describe()
    assert not {"k", "hint_weight", "objective"} & record["model"].keys()
    load_weights(tmp_path / "weights.safetensors", spec.build())


@pytest.fixture
def few_images(monkeypatch, digits):
    """Whatever set is asked for, a few images of it."""
    for module in ("cli.main", "models.tasks"):
        monkeypatch.setattr(
            f"dcnlib.{module}.load_cluttered",
            lambda split, seed=0, **_: ClutteredMNIST(digits, seed=seed, fresh=False),
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
        (coarse, "dcn or perturbed-topk for cluttered-mnist, coarse in"),
        (numbers, "dcn or perturbed-topk for cluttered-mnist, house-numbers-dcn-k8-scales1 in"),
        (same, "holds a run named dcn-k8-hints, and so is another model here"),
    ):
        capsys.readouterr()
        assert main(["controls", run, "--run-dir", str(tmp_path / "controls")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert "measuring" not in told


def test_runs_of_dcns_are_named_by_their_policy(few_images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--epochs", "1", "--batch-size", "32", "--device", "cpu", "--policy", "random"]) == 0
    assert json.loads((tmp_path / "runs" / "dcn-k8-random" / "record.json").read_text())["name"] == "dcn-k8-random"


def test_a_tested_run_that_is_trained_again_is_not_tested_again(few_images, tmp_path, monkeypatch):
    command = [*TINY, "--batch-size", "32", "--test", "--run-dir", str(tmp_path)]
    assert main(command) == 0
    record = (tmp_path / "record.json").read_bytes()
    monkeypatch.setattr("dcnlib.cli.main.Run.test", lambda *_: pytest.fail("tested again"))
    assert main(command) == 0
    assert (tmp_path / "record.json").read_bytes() == record


def test_train_says_before_training_that_the_test_set_is_missing(tmp_path, capsys):
    assert main(["train", "--root", str(tmp_path), "--test", "--run-dir", str(tmp_path / "run")]) == 2
    assert "no MNIST" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_experiments_say_before_training_that_data_is_missing(few_images, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.setattr("dcnlib.cli.main.run_experiment", lambda *_, **__: pytest.fail("training began"))
    assert main(["experiment", "coarse", "house-numbers-coarse"]) == 2
    assert "no SVHN/train/digitStruct.mat" in capsys.readouterr().err


def test_predict_reads_pictures_and_arrays_alike(tmp_path, capsys):
    images, labels = load_cluttered("all", source="embedded")[range(3)]
    for number, image in enumerate(images[:, 0].numpy()):
        np.save(tmp_path / f"{number}.npy", image)
        Image.fromarray((image * 255).round().astype(np.uint8)).save(tmp_path / f"{number}.png")
    assert main(["predict", *(str(tmp_path / f"{n}.{kind}") for kind in ("npy", "png") for n in range(3))]) == 0
    answers = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert answers[:3] == answers[3:]
    assert sum(answer.startswith(str(int(label))) for answer, label in zip(answers, labels, strict=False)) >= 2


@pytest.fixture
def untrained(monkeypatch):
    """Instead of shipped models, new ones: what is said of their answers must be true of any weights."""
    models = {}

    def load(name):
        torch.manual_seed(3)
        models[name] = PRETRAINED[name].build().eval()
        return models[name]

    monkeypatch.setattr("dcnlib.cli.main.load_pretrained", load)
    return models


def test_predict_reads_a_photograph_as_the_loader_does_and_says_where_it_looked(untrained, tmp_path, capsys):
    """In pixels of the photograph, whatever its size."""
    boxes = [(30.0, 20.0, 40.0, 80.0), (90.0, 25.0, 40.0, 80.0)]
    folder = write_folder(tmp_path / "train", [Entry("1.png", [3, 10], boxes)], size=(384, 128))
    assert main(["predict", "--pretrained", "house-numbers-dcn-k8", str(folder / "1.png")]) == 0
    told = capsys.readouterr().out
    model, image = untrained["house-numbers-dcn-k8"], HouseNumberImages(decode_svhn(folder))[[0]][0]
    look = model.attend(image)
    before, after = (number_text(logits[0].argmax(1).tolist()) for logits in (look.coarse_logits, look.logits))
    assert told.startswith(f"{folder / '1.png'}: {after} (digits ")
    assert f"at first glance {before}; patches at " in told
    corners = re.findall(r"(\d+),(\d+)-(\d+),(\d+)", told)
    assert len(corners) == 8
    for corner, box in zip(corners, look.boxes[0].tolist(), strict=True):
        expected = np.clip(np.array(box) * [2, 3, 2, 3], 0, [128, 384, 128, 384])  # the frame is 64x128
        assert [int(number) for number in corner] == expected.tolist()
    for digit, certainty in re.findall(r"(\d) (\d+)%", told):
        assert int(digit) < 10
        assert int(certainty) + 0.5 >= 100 / 11


def test_predict_says_where_the_rivals_looked(untrained, tmp_path, capsys):
    images, _ = load_cluttered("all", source="embedded")[[0]]
    np.save(tmp_path / "image.npy", images[0, 0].numpy())
    for name in ("ram", "draw", "perturbed-topk", "soft-attention"):
        assert main(["predict", str(tmp_path / "image.npy"), "--pretrained", name]) == 0
        told = capsys.readouterr().out
        model = untrained[name]
        with torch.no_grad():
            assert f": {model(images).argmax()}" in told
            if name == "soft-attention":  # it looks everywhere
                assert " at " not in told
            elif name == "perturbed-topk":
                boxes = model.attend(images).boxes[0].tolist()
                expected = "patches at " + " ".join(f"{a},{b}-{c},{d}" for a, b, c, d in boxes)
                assert re.sub(r"\s", "", expected) in re.sub(r"\s", "", told)
            else:
                look = model.attend(images)
                places = (look.locations if name == "ram" else look.centers)[0]
                assert "glimpses at " + " ".join(f"{y:.0f},{x:.0f}" for y, x in places) in told


def test_predict_turns_photographs_as_their_camera_says(untrained, tmp_path, capsys):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 80), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 8  # "turn by 90 degrees to the left to see it upright"
    Image.fromarray(np.rot90(pixels, -1)).save(tmp_path / "turned.png", exif=exif)
    names = [str(tmp_path / name) for name in ("upright.png", "turned.png")]
    assert main(["predict", "--pretrained", "house-numbers-dcn-k8", *names]) == 0
    upright, turned = (line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines())
    assert upright == turned


def test_predict_tells_the_digits_of_models_that_look_once(untrained, tmp_path, capsys):
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.jpg")
    assert main(["predict", "--pretrained", "house-numbers-coarse", str(tmp_path / "red.jpg")]) == 0
    told = capsys.readouterr().out
    assert "(digits " in told
    assert "patches" not in told


def test_predict_refuses_what_is_no_picture(tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    assert main(["predict", str(tmp_path / "text.png")]) == 2
    assert "text.png can't be read as a picture" in capsys.readouterr().err


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


def test_the_module_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dcnlib", "count", "--model", "coarse"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
