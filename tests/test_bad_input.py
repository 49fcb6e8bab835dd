"""Every bad input gets an error of the right type whose message names what was given."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dcnlib import (
    ClutteredMNIST,
    CoarseLayers,
    DynamicCapacityNetwork,
    FineLayers,
    SingleCapacityNetwork,
    TopLayers,
    TrainingSettings,
    entropy,
    evaluate,
    fit,
    load_record,
    select_patches,
)
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.data.digits import Digits, load_digits
from dcnlib.models.cluttered_mnist import ScoreLayers
from dcnlib.models.specs import FineSpec, spec_from_record
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.utils.device import resolve_device
from dcnlib.utils.weights import load_weights, save_weights


def dcn(**options: Any) -> DynamicCapacityNetwork:
    return DynamicCapacityNetwork(coarse=CoarseLayers(), fine=FineLayers(), top=TopLayers(), **options)


def ram(**options: Any) -> RecurrentAttentionModel:
    return RecurrentAttentionModel(image_shape=IMAGE_SHAPE, **options)


def draw(**options: Any) -> DrawClassifier:
    return DrawClassifier(image_shape=IMAGE_SHAPE, **options)


IMAGE_SHAPE = CLUTTERED_MNIST.image_shape
MODELS: dict[str, Callable[[], nn.Module]] = {
    "single": lambda: SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers(), image_shape=IMAGE_SHAPE),
    "single, any size": lambda: SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers()),
    "dcn": lambda: dcn(image_shape=IMAGE_SHAPE),
    "dcn, any size": dcn,
}
RIVALS: dict[str, Callable[[], nn.Module]] = {"ram": ram, "draw": draw}  # without batch norm
GOOD = torch.rand(2, *IMAGE_SHAPE)
LABELS = torch.tensor([3, 7])
DATA = TensorDataset(GOOD, LABELS)


def table(rows: dict[str, tuple]) -> pytest.MarkDecorator:
    """One test for each row: what is given, the error's type, and what its message must hold."""
    return pytest.mark.parametrize(("given", "error", "message"), rows.values(), ids=rows)


# Images

ALWAYS_WRONG = {
    "an array": (np.zeros((2, 1, 100, 100), np.float32), TypeError, "ndarray"),
    "one image without a batch": (torch.rand(1, 100, 100), ValueError, r"\(1, 100, 100\).*unsqueeze"),
    "one image without batch and channel": (torch.rand(100, 100), ValueError, r"\(100, 100\)"),
    "bytes": (torch.zeros(2, 1, 100, 100, dtype=torch.uint8), TypeError, "uint8"),
    "doubles": (GOOD.double(), TypeError, "float64"),
    "an empty batch": (GOOD[:0], ValueError, r"empty.*\(0, 1, 100, 100\)"),
    "no pixels": (GOOD[:, :, :0], ValueError, r"empty.*\(2, 1, 0, 100\)"),
    "three channels": (torch.rand(2, 3, 100, 100), ValueError, r"3.*100.*100"),
    "too few pixels": (torch.rand(2, 1, 6, 6), ValueError, "6"),
}


@pytest.mark.parametrize("model", MODELS | RIVALS)
@table(ALWAYS_WRONG)
def test_wrong_images_are_refused_in_forward_and_loss(model, given, error, message):
    network = (MODELS | RIVALS)[model]().eval()
    with pytest.raises(error, match=message):
        network(given)
    with pytest.raises(error, match=message):
        network.loss(given, LABELS[: len(given)])


@table(ALWAYS_WRONG)
def test_wrong_images_are_refused_by_attend(given, error, message):
    with pytest.raises(error, match=message):
        MODELS["dcn"]().attend(given)


@pytest.mark.parametrize("model", ["single", "dcn", "ram", "draw"])
def test_images_of_another_size_than_the_models_are_refused_with_both_sizes(model):
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 100, 100\), got \(1, 90, 100\)"):
        (MODELS | RIVALS)[model]()(torch.rand(2, 1, 90, 100))


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_one_is_refused_in_training_and_taken_in_evaluation(model):
    network = MODELS[model]()
    for call in (network.train(), lambda images: network.loss(images, LABELS[:1])):
        with pytest.raises(ValueError, match=r"batch of one.*model\.eval\(\)"):
            call(GOOD[:1])
    assert network.eval()(GOOD[:1]).shape == (1, 10)


def shaped(network: type[nn.Module], **parts: nn.Module) -> Callable[[Any], nn.Module]:
    """What makes a network of the paper's layers, or of none, for an image shape."""
    return lambda image_shape: network(image_shape=image_shape, **parts)


TRIO = {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}
SHAPED = {
    "single": shaped(SingleCapacityNetwork, layers=CoarseLayers(), top=TopLayers()),
    "dcn": shaped(DynamicCapacityNetwork, **TRIO),
    "perturbed top-k": shaped(PerturbedTopKNetwork, **TRIO, scorer=ScoreLayers()),
    "soft attention": shaped(SoftAttentionNetwork, **TRIO, scorer=ScoreLayers()),
    "ram": shaped(RecurrentAttentionModel),
    "draw": shaped(DrawClassifier),
}


@pytest.mark.parametrize("network", SHAPED)
def test_an_image_shape_may_come_as_json_or_numpy_gives_it(network):
    for given in ([1, 100, 100], np.array([1, 100, 100]), GOOD.shape[1:]):
        model = SHAPED[network](given)
        assert model.image_shape == IMAGE_SHAPE
        assert [type(size) for size in model.image_shape] == [int] * 3
    assert model.eval()(GOOD).shape == (2, 10)


@pytest.mark.parametrize("network", SHAPED)
@table(
    {
        "no channels": ((100, 100), ValueError, r"got \(100, 100\)"),
        "a batch": ((2, 1, 100, 100), ValueError, r"\(channels, height, width\), got \(2, 1, 100, 100\)"),
        "no height": ((1, 0, 100), ValueError, r"got \(1, 0, 100\)"),
        "one number": (100, TypeError, "got 100"),
        "halves": ((1, 99.5, 100), TypeError, r"got \(1, 99\.5, 100\)"),
    }
)
def test_what_is_no_image_shape_is_refused(network, given, error, message):
    with pytest.raises(error, match=f"image_shape must be three positive whole .*{message}"):
        SHAPED[network](given)


BAD_VALUES = {"nan": float("nan"), "inf": float("inf"), "above one": 1.5, "below zero": -0.25}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_values_outside_0_to_1_are_refused_by_attend_evaluate_and_fit(value):
    images = GOOD.clone()
    images[1, 0, 50, 50] = value
    message = rf"\[0, 1\].*{'nan' if value != value else value:}"
    with pytest.raises(ValueError, match=message):
        MODELS["dcn"]().attend(images)
    for rival in (ram(), draw()):
        with pytest.raises(ValueError, match=message):
            rival.attend(images)
    data, settings = TensorDataset(images, LABELS), TrainingSettings(batch_size=2, device="cpu")
    with pytest.raises(ValueError, match=message):
        evaluate(MODELS["single"](), data)
    with pytest.raises(ValueError, match=message):
        fit(MODELS["single"](), data, DATA, settings)


@pytest.mark.parametrize("model", ["single", "dcn", "ram", "draw"])
@table(
    {
        "int32": (LABELS.int(), TypeError, "int32"),
        "floats": (LABELS.float(), TypeError, "float32"),
        "one too few": (LABELS[:1], ValueError, r"\(2,\), got \(1,\)"),
        "one-hot": (torch.eye(10, dtype=torch.int64)[LABELS], ValueError, r"\(2,\), got \(2, 10\)"),
        "a list": ([3, 1], TypeError, r"torch\.Tensor, got list"),
    }
)
def test_wrong_labels_are_refused(model, given, error, message):
    with pytest.raises(error, match=message):
        (MODELS | RIVALS)[model]().loss(GOOD, given)


# The number of patches, and where they are

WRONG_K = {
    "negative": (-1, ValueError, "-1"),
    "more than cells": (530, ValueError, r"0\.\.529, got 530"),
    "float": (8.0, TypeError, r"8\.0"),
    "bool": (True, TypeError, "True"),
    "text": ("8", TypeError, "'8'"),
    "tensor": (torch.tensor(8), TypeError, "tensor"),
}


@table(WRONG_K)
def test_a_wrong_k_is_refused_at_every_place_that_takes_one(given, error, message):
    network = MODELS["dcn"]()
    for take in (
        lambda: dcn(k=given, image_shape=IMAGE_SHAPE),
        lambda: network(GOOD, k=given),
        lambda: network.attend(GOOD, k=given),
        lambda: evaluate(network, DATA, k=given),
        lambda: select_patches(torch.rand(2, 23, 23), given),
    ):
        with pytest.raises(error, match=message):
            take()


def test_too_large_a_k_is_refused_at_the_first_call_if_the_image_shape_is_not_known_before():
    with pytest.raises(ValueError, match=r"0\.\.529, got 530"):
        dcn(k=530)(GOOD)


@table(
    {
        "int32": (torch.zeros(2, 3, dtype=torch.int32), ValueError, "int32"),
        "one-dimensional": (torch.zeros(2, dtype=torch.int64), ValueError, r"\(2, k\).*\(2,\)"),
        "of another batch": (torch.zeros(3, 3, dtype=torch.int64), ValueError, r"\(2, k\).*\(3, 3\)"),
        "beyond the map": (torch.tensor([[0], [529]]), ValueError, r"0\.\.528, got 0\.\.529"),
        "negative": (torch.tensor([[0], [-1]]), ValueError, r"0\.\.528, got -1\.\.0"),
        "a list": ([[0], [1]], TypeError, r"torch\.Tensor, got list"),
    }
)
def test_wrong_cells_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        MODELS["dcn"]()(GOOD, cells=given)
    with pytest.raises(error, match=message):
        MODELS["dcn"]().sweep(GOOD, (0, 1), cells=given)


def test_a_policy_must_give_a_tensor_of_scores():
    with pytest.raises(TypeError, match=r"scores must be a torch\.Tensor, got list"):
        select_patches([[[0.5, 0.25]]], 1)
    with pytest.raises(TypeError, match=r"scores must be a torch\.Tensor, got tuple"):
        MODELS["dcn"]()(GOOD, policy=lambda first: (first.saliency, first.entropy))


def test_cells_that_contradict_k_are_refused():
    with pytest.raises(ValueError, match=r"k = 8 contradicts cells of shape \(2, 3\)"):
        MODELS["dcn"]()(GOOD, k=8, cells=torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(10,), (2, 3, 4, 5)])
def test_scores_of_no_known_shape_have_no_entropy(shape):
    with pytest.raises(ValueError, match=rf"\(B, L\) or \(B, P, L\), got \({shape[0]},"):
        entropy(torch.rand(shape))


# Settings


@table(
    {
        "policy": (lambda: dcn(policy="entropy"), ValueError, "coarse-norm.*'entropy'"),
        "objective": (lambda: dcn(objective="max"), ValueError, "sum.*convex.*'max'"),
        "hint weight": (lambda: dcn(hint_weight=-0.1), ValueError, r"-0\.1"),
        "no hint weight": (lambda: dcn(hint_weight=float("nan")), ValueError, "nan"),
        "convex weight": (
            lambda: dcn(hint_weight=1.5, objective="convex"),
            ValueError,
            r"1\.5",
        ),
        "geometry": (lambda: dcn(geometry=(4, 0, 8)), TypeError, r"Geometry\(stride, offset, size\).*got \(4, 0, 8\)"),
        "dcn parameter": (lambda: dcn(patches=8), TypeError, "patches"),
        "layers parameter": (lambda: CoarseLayers(depth=3), TypeError, "depth"),
        "epochs": (lambda: TrainingSettings(epochs=0), ValueError, "epochs=0"),
        "no batch": (lambda: TrainingSettings(batch_size=0), ValueError, "batch_size=0"),
        "learning rate": (lambda: TrainingSettings(learning_rate=float("nan")), ValueError, "learning_rate=nan"),
        "weight decay": (lambda: TrainingSettings(weight_decay=-1), ValueError, "weight_decay=-1"),
        "seed": (lambda: TrainingSettings(seed=-1), ValueError, "seed=-1"),
        "no clipping": (lambda: TrainingSettings(clip_norm=0), ValueError, "clip_norm must be positive.*got 0"),
        "clip norm": (lambda: TrainingSettings(clip_norm=float("nan")), ValueError, "clip_norm.*nan"),
        "odd glimpse": (lambda: ram(glimpse_size=5), ValueError, "glimpse_size must be even.*got 5"),
        "no scales": (lambda: ram(scales=0), ValueError, "scales must be at least 1, got 0"),
        "no rollouts": (lambda: ram(rollouts=0), ValueError, "rollouts must be at least 1, got 0"),
        "half a glimpse": (lambda: ram(glimpses=0.5), TypeError, r"glimpses must be an int, got 0\.5"),
        "sigma": (lambda: ram(sigma=0.0), ValueError, r"sigma must be positive, got 0\.0"),
        "last sigma": (lambda: ram(last_sigma=-1.0), ValueError, r"last_sigma must be positive, got 0\.4 and -1\.0"),
        "sigma steps": (lambda: ram(sigma_steps=0), ValueError, "sigma_steps must be at least 1, got 0"),
        "discount": (lambda: ram(discount=1.1), ValueError, r"discount must be 0\.\.1, got 1\.1"),
        "warm-up": (lambda: TrainingSettings(warm_up=1.0), ValueError, r"warm_up must lie between 0 and 1, got 1\.0"),
        "glimpses at call": (lambda: ram()(GOOD, glimpses=0), ValueError, "glimpses must be at least 1, got 0"),
        "samples": (lambda: ram()(GOOD, samples=0), ValueError, "samples must be at least 1, got 0"),
        "one filter": (lambda: draw(glimpse_size=1), ValueError, "glimpse_size must be at least 2, got 1"),
        "no hidden": (lambda: draw(hidden=0), ValueError, "hidden must be at least 1, got 0"),
        "device": (lambda: TrainingSettings(device="tpu"), ValueError, "cuda.*'tpu'"),
        "precision": (lambda: TrainingSettings(precision="float16"), ValueError, "bfloat16.*'float16'"),
        "setting": (lambda: TrainingSettings(epoch=3), TypeError, "epoch"),
        "model": (lambda: spec_from_record({"kind": "dnc"}), ValueError, "dcn.*'dnc'"),
        "rule": (lambda: ClutterRules(clutter=3), TypeError, "clutter"),
        "record": (lambda: load_record("dcn-k9"), FileNotFoundError, "dcn-k9"),
        "nothing to evaluate": (
            lambda: evaluate(MODELS["single"](), TensorDataset(GOOD[:0], LABELS[:0])),
            ValueError,
            "empty",
        ),
        "less than a batch": (
            lambda: fit(MODELS["single"](), DATA, DATA, TrainingSettings(batch_size=3, device="cpu")),
            ValueError,
            "2 training.*3",
        ),
        "nothing to validate": (
            lambda: fit(
                MODELS["single"](),
                DATA,
                TensorDataset(GOOD[:0], LABELS[:0]),
                TrainingSettings(batch_size=2, device="cpu"),
            ),
            ValueError,
            "0 validation",
        ),
    }
)
def test_wrong_settings_and_unknown_parameter_names_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        given()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'cuda' is not available"):
        resolve_device("cuda")


# Data sets


@table(
    {
        "floats": (lambda: Digits(np.zeros((2, 28, 28)), np.zeros(2, int), "own", "all"), TypeError, "float64"),
        "one image": (lambda: Digits(np.zeros((28, 28), np.uint8), np.zeros(28, int), "own", "all"), TypeError, "28"),
        "too few labels": (
            lambda: Digits(np.zeros((2, 28, 28), np.uint8), np.zeros(1, int), "own", "all"),
            ValueError,
            r"2 images.*\(1,\)",
        ),
        "float labels": (
            lambda: Digits(np.zeros((2, 28, 28), np.uint8), np.zeros(2), "own", "all"),
            ValueError,
            "float64",
        ),
        "no digits": (
            lambda: Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, int), "own", "all"),
            ValueError,
            "empty",
        ),
        "unknown source": (lambda: load_digits("train", source="kmnist"), ValueError, "embedded.*mnist.*'kmnist'"),
        "unknown split": (lambda: load_digits("test", source="embedded"), ValueError, "'embedded'.*'test'"),
        "no canvas": (lambda: ClutterRules(size=0), ValueError, "size=0"),
        "no crop": (lambda: ClutterRules(crop=0), ValueError, "crop=0"),
        "negative distractors": (lambda: ClutterRules(distractors=-1), ValueError, "distractors=-1"),
    }
)
def test_wrong_digits_and_rules_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        given()


@table(
    {
        "canvas": ({"rules": ClutterRules(size=27)}, ValueError, "28x28.*27"),
        "crop": ({"rules": ClutterRules(crop=29)}, ValueError, "29"),
        "seed": ({"seed": -1}, ValueError, "-1"),
        "epoch": ({"epoch": -2}, ValueError, "-2"),
    }
)
def test_clutter_that_cannot_be_made_is_refused(digits, given, error, message):
    with pytest.raises(error, match=message):
        ClutteredMNIST(digits, **given)


@table(
    {
        "beyond": (64, IndexError, r"0\.\.63, got 64"),
        "negative": ([0, -1], IndexError, r"0\.\.63, got -1"),
        "two-dimensional": ([[0, 1]], ValueError, r"\(1, 2\)"),
        "a mask": (np.arange(64) == 5, (IndexError, TypeError), "bool"),
        "floats": ([0.0, 1.0], (IndexError, TypeError), "integer|float"),
    }
)
def test_wrong_indices_are_refused(digits, given, error, message):
    with pytest.raises(error, match=message):
        ClutteredMNIST(digits)[given]


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_subset_of_impossible_size_is_refused(digits, count):
    with pytest.raises(ValueError, match=rf"1\.\.64, got {count}"):
        digits.subset(count)


# Files

IDX = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def write_idx(path: Path, shape: tuple[int, ...], size: int) -> None:
    """An idx file whose header promises `shape` and which holds `size` zero bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(size))


def test_missing_mnist_files_are_named_with_the_ways_out(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_digits("test", source="mnist", root=tmp_path)
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path / 'data'} or {tmp_path / 'cache'}.*DCNLIB_DATA.*embedded"):
        load_digits("test", source="mnist", download=False)


@pytest.mark.parametrize("content", ["empty", "truncated", "text", "short"])
def test_damaged_mnist_files_are_refused(tmp_path, content):
    for name, shape in IDX.items():
        path = tmp_path / "MNIST" / "raw" / name
        if content == "short":  # whole, but of fewer digits
            write_idx(path, (10, *shape[1:]), 10 * int(np.prod(shape[1:])))
        else:
            write_idx(path, shape, 100)
        if content == "empty":
            path.write_bytes(b"")
        if content == "text":
            path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=f"{tmp_path}"):
        load_digits("test", source="mnist", root=tmp_path)


def test_training_digits_that_are_not_mnists_are_refused(tmp_path):
    for name, shape in IDX.items():
        write_idx(tmp_path / "MNIST" / "raw" / name, shape, int(np.prod(shape)))
    with pytest.raises(ValueError, match="not the original MNIST"):
        load_digits("train", source="mnist", root=tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "coarse.safetensors"
    save_weights(path, MODELS["single"]())
    fine_model = FineSpec().build()
    deeper = SingleCapacityNetwork(layers=CoarseLayers(out_channels=25), top=TopLayers(in_channels=25))
    for model in (fine_model, deeper, MODELS["dcn"]()):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=rf"{path} holds the weights of another model"):
            load_weights(path, model)
        assert before.keys() == model.state_dict().keys()


def test_missing_and_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "coarse.safetensors"
    with pytest.raises(FileNotFoundError, match=str(path)):
        load_weights(path, MODELS["single"]())
    save_weights(path, MODELS["single"]())
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"{path} is not a whole safetensors file"):
            load_weights(path, MODELS["single"]())


def test_a_truncated_checkpoint_is_refused(tmp_path, quadrants, make_dcn):
    settings = TrainingSettings(epochs=1, batch_size=16, device="cpu")
    model = make_dcn(image_shape=None).float()
    fit(model, *quadrants, settings, run_dir=tmp_path)
    checkpoint = tmp_path / "checkpoint.pt"
    shutil.copy(checkpoint, tmp_path / "whole.pt")
    for length in (0, 100, checkpoint.stat().st_size // 2):
        checkpoint.write_bytes((tmp_path / "whole.pt").read_bytes()[:length])
        with pytest.raises(ValueError, match=str(checkpoint)):
            fit(model, *quadrants, settings, run_dir=tmp_path)


@pytest.mark.parametrize("name", ["glimpses", "hidden", "rollouts"])
def test_a_recurrent_model_of_absurd_size_is_refused_before_it_takes_memory(name):
    with pytest.raises(ValueError, match=rf"{name} must be at most \d+, got 1000000000"):
        ram(**{name: 10**9})
    if name != "rollouts":
        with pytest.raises(ValueError, match=rf"{name} must be at most"):
            draw(**{name: 10**9})


def test_lists_are_refused_where_tensors_are_asked_for():
    with pytest.raises(TypeError, match=r"labels must be a torch\.Tensor, got list"):
        MODELS["dcn"]().loss(GOOD, [3, 7])
    with pytest.raises(TypeError, match=r"cells must be a torch\.Tensor, got list"):
        MODELS["dcn"]()(GOOD, cells=[[1], [2]])
