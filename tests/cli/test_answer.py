"""Answers from a terminal: predict says what the library's own predict does, evaluate what it is asked to measure."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcnlib import evaluate, load_cluttered, load_model
from dcnlib.cli.main import main
from dcnlib.inference.predict import predict


@pytest.fixture
def pictures(tmp_path):
    images, _ = load_cluttered("all", source="embedded")[range(3)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images[:, 0].numpy(), strict=True):
        Image.fromarray((image * 255).round().astype(np.uint8)).save(path)
    return list(map(str, paths))


@pytest.mark.parametrize("name", ["dcn-k8-hints", "ram", "coarse", "house-numbers-dcn-k8"])
def test_predict_says_what_the_library_says_and_where_the_model_looked(name, pictures, capsys):
    assert main(["predict", *pictures, "--pretrained", name]) == 0
    told = capsys.readouterr().out
    for prediction in predict(name, pictures):
        assert f"{prediction}\n" in told  # answer, probability, entropy, notes
        for box in prediction.boxes.round().int().tolist():
            assert "{},{}-{},{}".format(*box) in told
        if prediction.first_answer is not None:
            first = f"at first glance {prediction.first_answer}, entropy {prediction.first_entropy:.2f} nats"
            assert first in told
    assert ("looked at" in told) == bool(len(prediction.boxes))


def test_predict_inverts_as_it_is_told(pictures, capsys):
    for options, invert in (([], None), (["--invert"], True), (["--no-invert"], False)):
        assert main(["predict", pictures[0], *options]) == 0
        (prediction,) = predict("dcn-k8-hints", pictures[0], invert=invert)
        assert capsys.readouterr().out.startswith(f"{prediction}\n")


def test_predict_goes_on_after_a_bad_picture(pictures, tmp_path, capsys):
    bad, array = tmp_path / "text.png", tmp_path / "bad.npy"
    bad.write_text("no picture")
    np.save(array, np.full((100, 100), np.nan))
    assert main(["predict", str(bad), "/nowhere.png", pictures[0], str(array), pictures[1]]) == 1
    told = capsys.readouterr()
    assert [line.split(": ")[0] for line in told.out.splitlines() if line[0] != " "] == pictures[:2]
    errors = told.err.splitlines()
    assert len(errors) == 3
    for path, error in zip((bad, "/nowhere.png", array), errors, strict=True):
        assert error.startswith("dcnlib predict: error: ")
        assert str(path) in error


def test_a_terminal_is_told_no_name_that_it_would_obey(pictures, tmp_path, capsys):
    named = tmp_path / "\x1b[31mred\x07.png"
    Path(pictures[0]).rename(named)
    assert main(["predict", str(named), str(tmp_path / "none\x1b]0;.png")]) == 1
    told = capsys.readouterr()
    for text, name in ((told.out, r"\x1b[31mred\x07.png: "), (told.err, r"none\x1b]0;.png")):
        assert name in text
        assert text.replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """A run on the train digits among the 5,000."""
    folder = tmp_path_factory.mktemp("own") / "run"
    train = ["train", "--source", "embedded", "--epochs", "1", "--batch-size", "500", "--device", "cpu", "--k", "2"]
    assert main([*train, "--run-dir", str(folder)]) == 0
    return folder


def test_own_weights_need_no_other_word(own_run, pictures, capsys):
    record = json.loads((own_run / "record.json").read_text())
    told = f"validation error {100 * record['validation']['error']:.2f} %"
    for source in (own_run, own_run / "weights.safetensors"):
        assert main(["evaluate", "--weights", str(source), "--device", "cpu"]) == 0
        out = capsys.readouterr().out
        assert told in out
        assert "source embedded" in out
        assert main(["predict", "--weights", str(source), pictures[0]]) == 0
        (prediction,) = predict(source, pictures[0])
        assert capsys.readouterr().out.startswith(f"{prediction}\n")


def test_k_and_its_old_name_override_the_number_of_patches(own_run, capsys):
    data = load_cluttered("validation", source="embedded")
    expected = evaluate(load_model(own_run), data, k=0).rate
    for option in ("--k", "--patches"):
        assert main(["evaluate", "--weights", str(own_run), option, "0", "--device", "cpu"]) == 0
        assert f"error {expected} on 1000" in capsys.readouterr().out


def test_training_images_are_measured_only_if_they_are_named_with_a_warning(own_run, capsys):
    assert main(["evaluate", "--weights", str(own_run), "--source", "mnist"]) == 2  # whose validation is the 5,000
    assert "name the split" in capsys.readouterr().err
    assert main(["evaluate", "--weights", str(own_run), "--split", "train", "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("dcnlib evaluate: warning: ")
    assert "was trained on images of source embedded, split train" in told.err
    assert told.err.count("\n") == 1
    assert "train error" in told.out
