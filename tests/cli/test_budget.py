"""Budgets from a terminal: a run is calibrated, its threshold comes with the weights, and both commands look by it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dcnlib import load_record
from dcnlib.analysis.budgets import calibrate
from dcnlib.analysis.until_sure import evaluate_until_sure
from dcnlib.cli.main import main
from dcnlib.inference.predict import predict
from dcnlib.models.pretrained import load_trained
from dcnlib.training.run import Run
from dcnlib.utils.files import PACKAGE


@pytest.fixture
def run(tmp_path):
    """The shipped DCN as a run of one's own."""
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.save_record(load_record("dcn-k8-hints"))
    shutil.copy(PACKAGE / "weights" / "dcn-k8-hints.safetensors", run.weights_path)
    return run


def test_a_calibrated_run_is_looked_at_until_it_is_sure(run, few_images, tmp_path, capsys):
    data = load_trained(run.folder).load_data(source="embedded")
    picture = tmp_path / "0.png"
    Image.fromarray((data[0][0][0].numpy() * 255).round().astype(np.uint8)).save(picture)
    assert main(["predict", str(picture), "--weights", str(run.folder), "--until-sure"]) == 2
    assert "no calibrated threshold" in capsys.readouterr().err

    assert main(["calibrate", str(run.folder), "--multiplications", "9e6", "--source", "embedded"]) == 0
    told = capsys.readouterr().out
    trained = load_trained(run.folder)
    found = calibrate(trained.model, data, multiplications=9e6)
    assert trained.model.entropy_below == trained.record["until_sure"]["entropy_below"] == found.entropy_below
    assert f"sure below {found.entropy_below:.4g} nats: error {found.point.rate}" in told

    assert main(["predict", str(picture), "--weights", str(run.folder), "--until-sure", "--max-k", "4"]) == 0
    (prediction,) = predict(trained, str(picture), until_sure=True, max_k=4)
    assert capsys.readouterr().out.startswith(str(prediction))
    assert len(prediction.boxes) == int(trained.model.adaptive(data[0][0][None], max_k=4).patches_used)

    how = ["--entropy-below", "0.1", "--max-k", "4"]
    assert main(["evaluate", "--weights", str(run.folder), "--source", "embedded", *how]) == 0
    point = evaluate_until_sure(trained.model, data, 0.1, max_k=4)
    told = capsys.readouterr().out
    assert f"validation error {point.rate} on {len(data)} images" in told
    assert f"{point.patches:.2f} patches and {point.multiplications / 1e6:.2f}M multiplications an image" in told


def test_a_record_that_holds_no_threshold_where_it_should_is_told(run):
    no_threshold = "holds no threshold where it says"
    for broken, told in (
        ({}, no_threshold),
        ({"entropy_below": "low"}, no_threshold),
        ({"entropy_below": -1}, no_threshold),
        (3, "its until_sure is 3"),
    ):
        run.save_record(load_record("dcn-k8-hints") | {"until_sure": broken})
        with pytest.raises(ValueError, match=told):
            load_trained(run.folder)
    run.save_record(load_record("dcn-k8-hints") | {"until_sure": {"entropy_below": "infinity"}})
    assert json.loads(run.record_path.read_text())["until_sure"]["entropy_below"] == "infinity"
    assert load_trained(run.folder).model.entropy_below == float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--weights", "dcn-k8-hints", "--entropy-below", "0.1", "--k", "3"], "give one of them"),
        (["evaluate", "--weights", "dcn-k8-hints", "--max-k", "3"], "--max-k is for --entropy-below"),
        (["evaluate", "--weights", "dcn-k8-hints", "--entropy-below", "-1"], "must be 0 or more"),
        (["evaluate", "--weights", "coarse", "--entropy-below", "0.1"], "chooses no patches"),
        (["calibrate", "nowhere", "--error", "0.1"], "no finished run"),
    ],
)
def test_what_makes_no_sense_is_told(arguments, message, few_images, capsys):
    source = ["--source", "embedded"]
    assert main([*arguments, *source]) == 2
    assert message in capsys.readouterr().err


def test_predict_tells_what_does_not_go_together(tmp_path, capsys):
    picture = tmp_path / "0.png"
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(picture)
    for options, message in (
        (["--until-sure", "--k", "3"], "leave k out"),
        (["--max-k", "3"], "give until_sure too"),
        (["--until-sure", "--weights", "coarse"], "leave until_sure out"),
    ):
        assert main(["predict", str(picture), *options]) == 2
        assert message in capsys.readouterr().err
