"""Exported models answer as the model does, in every runtime, and say what they are; anything else is refused."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dcnlib import DynamicCapacityNetwork, predict
from dcnlib.cli.main import main
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.inference.export import OUTPUTS, export_model
from dcnlib.inference.exported import ExportedNetwork, load_exported, open_export
from dcnlib.inference.quantised import calibration_images
from dcnlib.inference.runtimes import load_in_runtime
from dcnlib.models.pretrained import load_trained
from dcnlib.training.evaluation import evaluate

DCN = "dcn-k8-hints"


def assert_same_look(exported, look, names=OUTPUTS):
    for name in names:
        expected = getattr(look, name)
        found = getattr(exported, name)
        assert found.shape == expected.shape, name
        torch.testing.assert_close(found.to(expected.dtype), expected, rtol=1e-4, atol=1e-4, msg=name)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "dcn.onnx"
    export_model(DCN, path, "onnx")
    return path


def test_a_file_answers_as_the_model_at_any_batch(file):
    trained = load_trained(DCN)
    exported = load_exported(file)
    assert (exported.name, exported.spec) == (trained.name, trained.spec)
    images = torch.stack([trained.task.smoke("validation")[i][0] for i in range(40)])
    for batch in (1, 2, 40):
        look = trained.model.attend(images[:batch])
        assert_same_look(exported.model.attend(images[:batch]), look)
        torch.testing.assert_close(exported.model(images[:batch]), look.logits, rtol=1e-4, atol=1e-4)
    data = trained.task.smoke("validation")
    assert evaluate(exported.model, data).wrong.equal(evaluate(trained.model, data).wrong)


def test_predict_takes_a_file(file):
    picture = load_trained(DCN).task.smoke("validation")[0][0]
    (mine,), (its) = predict(DCN, picture[0].numpy()), predict(str(file), picture[0].numpy())
    assert (its[0].answer, its[0].first_answer) == (mine.answer, mine.first_answer)
    torch.testing.assert_close(its[0].boxes, mine.boxes)
    torch.testing.assert_close(its[0].probabilities, mine.probabilities, rtol=1e-4, atol=1e-4)


class StridedTop(nn.Sequential):
    """Nothing like the paper's: pools that overlap, padding, no norm, a smooth activation, two positions."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.GELU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 8, 2),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.LazyLinear(14),
            nn.Unflatten(1, (2, 7)),
        )


def own_network(top):
    torch.manual_seed(1)
    coarse = nn.Sequential(nn.Conv2d(2, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU())
    fine = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3))
    shape = 2, 41, 53
    with torch.no_grad():
        top(coarse.eval()(torch.rand(1, *shape)))
    return DynamicCapacityNetwork(coarse=coarse, fine=fine, top=top, k=3, image_shape=shape).eval()


def test_own_networks_of_any_top(tmp_path):
    network = own_network(StridedTop())
    about = export_model(network, tmp_path / "own.onnx", "onnx", k=np.int64(5), image_shape=np.array([2, 41, 53]))
    assert (about["k"], about["image_shape"]) == (5, [2, 41, 53])
    exported = ExportedNetwork.load(tmp_path / "own.onnx")
    for batch in (1, 4):
        images = torch.rand(batch, 2, 41, 53)
        assert_same_look(exported.attend(images), network.attend(images, k=5))
    for k, error, message in ((1000, ValueError, r"0\.\.\d+, got 1000"), (2.5, TypeError, r"int, got 2\.5")):
        with pytest.raises(error, match=message):
            export_model(network, tmp_path / "other.onnx", "onnx", k=k)
    assert not (tmp_path / "other.onnx").exists()
    with pytest.raises(ValueError, match="without a task"):
        load_exported(tmp_path / "own.onnx")
    with pytest.raises(ValueError, match="exported with k = 5, not 3"):
        exported(images, k=3)


def test_a_compiled_network_is_exported_as_it_is_itself(tmp_path):
    network = own_network(StridedTop())
    compiled = torch.compile(network, backend="eager")
    about = export_model(compiled, tmp_path / "compiled.onnx", "onnx", k=2, outputs=["logits"])
    assert about == export_model(network, tmp_path / "own.onnx", "onnx", k=2, outputs=["logits"])


def test_two_files_together_answer_with_any_number_of_patches(tmp_path):
    network = own_network(StridedTop())
    for part in ("first", "refine"):
        export_model(network, tmp_path / f"{part}.onnx", "onnx", part=part)
    first, about = open_export(tmp_path / "first.onnx")
    refine, _ = open_export(tmp_path / "refine.onnx")
    images = torch.rand(2, 2, 41, 53)
    known = dict(zip(about["outputs"], first({"images": images.numpy()}), strict=True))
    for k in (1, 4):
        given = {"images": images.numpy(), "coarse_map": known["coarse_map"], "cells": known["cells"][:, :k]}
        logits = torch.from_numpy(refine(given)[0])
        torch.testing.assert_close(logits, network(images, k=k), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_several_scales_and_positions(tmp_path, to, suffix):
    """Whose gradient goes back through convolutions of as many channels in as out, a logarithm of sums, and the canvas'
    regions."""
    trained = load_trained("house-numbers-dcn-k8-scales3")
    assert isinstance(trained.model, MultiScaleNetwork)
    path = tmp_path / f"numbers{suffix}"
    export_model(trained, path, to)
    exported = load_exported(path)
    images = torch.stack([trained.task.smoke("validation")[i][0] for i in range(3)])
    assert_same_look(exported.model.attend(images), trained.model.attend(images))


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_in_int8_the_answers_are_nearly_the_same(tmp_path, suffix):
    trained = load_trained(DCN)
    ranges = calibration_images(trained.task)
    path = tmp_path / f"dcn{suffix}"
    about = export_model(trained, path, "onnx" if suffix == ".onnx" else "openvino", calibration=ranges)
    exported = load_exported(path)
    assert exported.model.about["precision"] == about["precision"] == "int8"
    images, _ = trained.task.load("validation", source="embedded")[np.arange(100)]
    found, look = exported.model.attend(images), trained.model.attend(images)
    assert not torch.allclose(found.logits, look.logits, rtol=1e-4, atol=1e-4)  # it isn't float32 by another name
    assert (found.logits.argmax(1) == look.logits.argmax(1)).float().mean() >= 0.97
    assert (found.logits.softmax(1) - look.logits.softmax(1)).abs().mean() < 0.01


def test_int8_is_for_whole_graphs_of_images_alone_and_for_images_of_theirs(tmp_path):
    ranges = torch.rand(4, 1, 100, 100)
    with pytest.raises(ValueError, match="int8 is for ONNX and OpenVINO files"):
        export_model(DCN, tmp_path / "dcn.pt2", "pt2", calibration=ranges)
    with pytest.raises(ValueError, match="parts whole and first"):
        export_model(DCN, tmp_path / "dcn.onnx", "onnx", part="refine", calibration=ranges)
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 100, 100\)"):
        export_model(DCN, tmp_path / "dcn.onnx", "onnx", calibration=ranges[..., :90])
    for unscaled in (255 * ranges, ranges.log()):
        with pytest.raises(ValueError, match=r"image values must be in \[0, 1\]"):
            export_model(DCN, tmp_path / "dcn.onnx", "onnx", calibration=unscaled)
    assert not list(tmp_path.iterdir())


def test_what_is_no_whole_file_is_refused(file, tmp_path):
    content = file.read_bytes()
    path = tmp_path / "other.onnx"
    for cut in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match="cut off"):
            load_exported(path)
    for at in (200, len(content) // 2):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(ValueError, match="is damaged: it isn't what was written"):
            load_exported(path)
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match="damaged"):
        load_exported(path)
    path.write_bytes(content.replace(b'{"format": 1', b'{"format": 2'))
    with pytest.raises(ValueError, match="version 2, and this dcnlib reads version 1"):
        load_exported(path)
    with pytest.raises(FileNotFoundError, match="no exported model"):
        load_exported(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="may execute what is in it"):
        load_exported(tmp_path / "model.pt2")


def test_what_a_file_cannot_do_is_told(file, capsys):
    for command in (["controls", str(file)], ["explore", str(file)], ["export", str(file), "again.onnx"]):
        assert main(command) == 2
        assert "is an exported model, which predict, evaluate and benchmark take" in capsys.readouterr().err
    assert main(["evaluate", "--weights", str(file), "--entropy-below", "0.1"]) == 2
    assert "an exported one has one number of patches" in " ".join(capsys.readouterr().err.split())


def test_other_images_and_runtimes_are_refused(file, monkeypatch):
    exported = load_exported(file).model
    for shape, told in (((1, 1, 64, 128), "shape"), ((1, 3, 100, 100), "shape"), ((1, 100, 100), "batch dimension")):
        with pytest.raises(ValueError, match=told):
            exported(torch.rand(shape))
    with pytest.raises(ValueError, match=r"values must be in \[0, 1\]"):
        exported.attend(torch.full((1, 1, 100, 100), torch.nan))
    with pytest.raises(ValueError, match="isn't for openvino"):
        load_in_runtime(str(file), "openvino")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"onnxruntime needs onnxruntime: .*dcnlib\[export\]"):
        load_exported(file)


AFTER_OPENVINO = """
import os, signal, sys
from dcnlib.inference.exported import load_exported
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
first, second = load_exported(sys.argv[1]), load_exported(sys.argv[1])
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signals")
def test_a_process_outlives_signals_after_models_in_openvino_have_come_and_gone(tmp_path):
    export_model("coarse", tmp_path / "coarse.xml", "openvino")
    command = [sys.executable, "-c", AFTER_OPENVINO, str(tmp_path / "coarse.xml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
