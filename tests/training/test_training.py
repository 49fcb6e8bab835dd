"""Training, checkpoints that survive a kill, records, and evaluation."""

import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import needs_cuda
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import TensorDataset

from dcnlib import (
    ClutteredMNIST,
    CoarseLayers,
    SingleCapacityNetwork,
    TopLayers,
    TrainingSettings,
    evaluate,
    fit,
    seed_everything,
)
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.models.specs import SPECS, DCNSpec
from dcnlib.training import loop
from dcnlib.training.run import Run
from dcnlib.utils.files import atomic_write
from dcnlib.utils.records import save_record
from dcnlib.utils.statistics import ErrorRate
from dcnlib.utils.weights import load_weights, save_weights, weights_of

QUICK = TrainingSettings(epochs=2, batch_size=16, device="cpu")
LONG = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.02, device="cpu")


class Lookup(nn.Module):
    """A model whose answer is written in the image: its first row of pixels is the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :] * self.scale


@pytest.fixture
def dcn(make_dcn):
    return make_dcn(image_shape=None).float()


@pytest.fixture
def contrary(quadrants) -> tuple[TensorDataset, TensorDataset]:
    """Validation labels that contradict the training labels: the error rises, and the best epoch is not the last."""
    images, labels = quadrants[1].tensors
    return quadrants[0], TensorDataset(images, (labels + 1) % 4)


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


# Training


def test_training_learns_a_tiny_problem(dcn, quadrants):
    settings = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.02, device="cpu")
    record = fit(dcn, *quadrants, settings)
    curve = record["curves"]["train_loss"]
    assert curve[-1] < curve[0] / 2
    assert record["validation"]["error"] < 0.1


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_fit_does_to_the_bit_what_the_loop_written_out_does(make_dcn, quadrants, clip_norm):
    """Order, sums and steps, of a model that draws at random; resumed runs and records of long ago rely on them."""
    settings = replace(QUICK, seed=3, clip_norm=clip_norm)
    fitted, model = (make_dcn(image_shape=None, policy="random").float() for _ in range(2))
    record = fit(fitted, *quadrants, settings)

    (images, labels), (validation_images, validation_labels) = quadrants[0].tensors, quadrants[1].tensors
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings.learning_rate, total_steps=8)
    torch.manual_seed(3)
    losses, errors, weights = [], [], []
    for epoch in range(2):
        model.train()
        order = np.random.RandomState([3, epoch, 1]).permutation(64).reshape(4, 16)
        total = 0.0
        for batch in order:
            loss, _ = model.loss(images[batch].to(memory_format=torch.channels_last), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            schedule.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            answers = model(validation_images.to(memory_format=torch.channels_last)).argmax(1)
        losses.append(total / 4)
        errors.append((answers != validation_labels).float().mean().item())
        weights.append(weights_of(model))
    assert record["curves"]["train_loss"] == losses
    assert record["curves"]["validation_error"] == errors
    assert same_weights(weights_of(fitted), weights[errors.index(min(errors))])


def test_each_epoch_is_reported_once(dcn, quadrants):
    reports = []
    record = fit(dcn, *quadrants, QUICK, on_epoch=reports.append)
    assert [report["epoch"] for report in reports] == [1, 2]
    for part, curve in record["curves"].items():
        assert [report[part] for report in reports] == curve


def test_a_log_is_told_how_long_a_long_epoch_still_takes(dcn, quadrants, capsys):
    fit(dcn, *quadrants, QUICK, progress=1e-3)
    told = capsys.readouterr().err
    assert re.search(r"2/2: +\d+%\|.*\| \d+/\d+ \[\d\d:\d\d<\d\d:\d\d,", told)
    fit(dcn, *quadrants, QUICK, progress=3600.0)
    assert capsys.readouterr().err == ""


def test_a_seed_decides_the_weights(make_dcn, quadrants):
    """A random policy draws from torch's generator, which `fit` seeds, whatever was drawn before."""

    def train(seed: int) -> dict[str, Tensor]:
        model = make_dcn(image_shape=None, policy="random").float()
        torch.seed()
        fit(model, *quadrants, TrainingSettings(epochs=1, batch_size=16, seed=seed, device="cpu"))
        return weights_of(model)

    first, again, other = train(1), train(1), train(2)
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_seeding_decides_the_initial_weights():
    initial = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        initial.append(weights_of(DCNSpec().build()))
    assert same_weights(initial[0], initial[1])
    assert not same_weights(initial[0], initial[2])


def test_the_model_ends_with_the_weights_of_lowest_validation_error(dcn, contrary):
    history: list[dict[str, Tensor]] = []
    record = fit(dcn, *contrary, LONG, on_epoch=lambda _figures: history.append(weights_of(dcn)))
    errors = record["curves"]["validation_error"]
    best = record["validation"]["epoch"]
    assert best < LONG.epochs
    assert errors[best - 1] == min(errors) < errors[-1]
    assert same_weights(weights_of(dcn), history[best - 1])
    assert evaluate(dcn, contrary[1]).rate.fraction == record["validation"]["error"] == min(errors)
    assert not any(part.training for part in dcn.modules())


def test_every_epoch_shows_each_image_once_in_another_order(dcn, quadrants):
    class Watched(TensorDataset):
        def __getitem__(self, index):
            shown.append(index)
            return super().__getitem__(index)

    shown: list[int] = []
    fit(dcn, Watched(*quadrants[0].tensors), quadrants[1], QUICK)
    epochs = [shown[:64], shown[64:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(64))] * 2
    assert epochs[0] != epochs[1]


def test_training_on_fresh_clutter_sees_each_epochs_own_images(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(ClutteredMNIST, "at_epoch", lambda self, epoch: seen.append(epoch) or self)
    data = ClutteredMNIST(digits, rules=ClutterRules(size=40), fresh=True)
    model = SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers())
    fit(model, data, data, QUICK)
    assert seen == [0, 1]


def test_clipping_bounds_the_norm_of_all_gradients_together(dcn, quadrants):
    norms: list[float] = []

    def look(optimizer, _arguments, _options):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(torch.cat([parameter.grad.flatten() for parameter in parameters]).norm().item())

    hook = register_optimizer_step_pre_hook(look)
    try:
        fit(dcn, *quadrants, QUICK)
        free, norms = norms, []
        bound = min(free) / 2
        fit(dcn, *quadrants, replace(QUICK, clip_norm=bound))
    finally:
        hook.remove()
    assert len(free) == len(norms) == 8
    assert max(norms) <= bound * 1.001 < min(free)


@pytest.mark.parametrize("kind", SPECS)
def test_each_of_the_papers_models_and_rivals_trains(digits, kind):
    data = ClutteredMNIST(digits.subset(8))
    model = SPECS[kind]().build()
    before = weights_of(model)
    record = fit(model, data, data, TrainingSettings(epochs=1, batch_size=2, device="cpu"))
    assert np.isfinite(record["curves"]["train_loss"]).all()
    assert not any(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_bfloat16_trains_on_any_device(dcn, quadrants):
    settings = TrainingSettings(epochs=1, batch_size=16, precision="bfloat16")
    assert np.isfinite(fit(dcn, *quadrants, settings)["curves"]["train_loss"][0])


@pytest.mark.parametrize(("emulated", "precision"), [(True, "bfloat16"), (True, "float32"), (False, "bfloat16")])
def test_emulated_bfloat16_is_told(dcn, quadrants, monkeypatch, emulated, precision):
    monkeypatch.setattr(loop, "emulates_bfloat16", lambda device: emulated)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(dcn, *quadrants, TrainingSettings(epochs=1, batch_size=16, device="cpu", precision=precision))
    slow = [one for one in told if "no bfloat16" in str(one.message)]
    assert len(slow) == (emulated and precision == "bfloat16")


@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_of_model_takes_a_step_in_bfloat16(kind, digits):
    images, labels = ClutteredMNIST(digits, seed=1)[range(4)]
    model = SPECS[kind]().build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, parts = model.loss(images, labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(value.isfinite() for value in (loss, *parts.values()))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@needs_cuda
def test_auto_trains_on_cuda_where_there_is_one(dcn, quadrants):
    record = fit(dcn, *quadrants, TrainingSettings(epochs=1, batch_size=16))
    assert next(dcn.parameters()).is_cuda
    assert record["machine"]["device"] == torch.cuda.get_device_name()


def test_a_loss_that_is_no_number_stops_the_run(dcn, quadrants, monkeypatch):
    monkeypatch.setattr(dcn, "loss", lambda images, labels: (dcn(images).sum() * float("nan"), {}))
    with pytest.raises(FloatingPointError, match="epoch 1 is not finite"):
        fit(dcn, *quadrants, QUICK)


# Records


def test_a_record_tells_what_was_run_on_what_where_and_what_came_out(digits, tmp_path):
    data = ClutteredMNIST(digits, rules=ClutterRules(size=40), seed=5)
    model = SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers())
    record = fit(model, data, data, QUICK, name="trial", description={"kind": "coarse"}, run_dir=tmp_path)
    text = (tmp_path / "record.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["name"] == "trial"
    assert record["model"] == {"kind": "coarse"}
    assert TrainingSettings(**record["settings"]) == QUICK
    assert record["data"] == {"train": data.describe(), "validation": data.describe()}
    assert (record["data"]["train"]["source"], record["data"]["train"]["seed"]) == ("embedded", 5)
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert {part: len(curve) for part, curve in record["curves"].items()} == dict.fromkeys(
        ["train_loss", "train_cross_entropy", "validation_error", "validation_loss"], 2
    )
    assert record["validation"].keys() == {"epoch", "errors", "count", "error", "interval_95", "loss", "wrong"}
    assert record["wall_seconds"] > 0
    assert {"created", "git_revision", "git_dirty"} <= record.keys()
    assert {"python", "torch", "numpy", "dcnlib"} <= record["versions"].keys()
    assert record["machine"].keys() == {"system", "processor", "cores", "threads", "device"}
    assert str(Path.home()) not in text


def test_the_kept_weights_are_those_of_the_model(dcn, make_dcn, quadrants, tmp_path):
    fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    other = make_dcn(image_shape=None, seed=1).float()
    load_weights(tmp_path / "weights.safetensors", other)
    assert same_weights(weights_of(other), weights_of(dcn))


# Checkpoints

RUN = """
import os
import signal
import sys

import numpy as np
import torch
from torch import nn

from dcnlib import ClutteredMNIST, ClutterRules, Digits, DynamicCapacityNetwork, TrainingSettings, fit, seed_everything
from dcnlib.layers import GlobalMaxPool, conv_norm

torch.set_num_threads(1)
pixels = np.random.RandomState(0).randint(0, 256, (48, 8, 8)).astype(np.uint8)
digits = Digits(pixels, np.arange(48) % 4, "made up", "all")
train, validation = (
    ClutteredMNIST(digits, rules=ClutterRules(size=16, distractors=2, crop=3), seed=seed, fresh=True) for seed in (1, 2)
)

def run(run_dir, checkpoint_seconds, kill_at_step=0):
    seed_everything(0)
    model = DynamicCapacityNetwork(
        coarse=nn.Sequential(conv_norm(1, 6, 3, stride=2), nn.ReLU()),
        fine=nn.Sequential(conv_norm(1, 6, 5), nn.ReLU()),
        top=nn.Sequential(conv_norm(6, 8, 2), nn.ReLU(), GlobalMaxPool(), nn.Dropout(0.3), nn.Linear(8, 4)),
        image_shape=(1, 16, 16),
        k=2,
    )
    steps = 0

    def count(module, inputs):
        nonlocal steps
        steps += module.training
        if steps == kill_at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at_step:
        model.coarse.register_forward_pre_hook(count)
    settings = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.02, device="cpu")
    fit(model, train, validation, settings, run_dir=run_dir, checkpoint_seconds=checkpoint_seconds)

for arguments in sys.argv[1:]:
    run_dir, checkpoint_seconds, *kill_at_step = arguments.split(",")
    run(run_dir, float(checkpoint_seconds), *map(int, kill_at_step))
"""


def run_in_a_process(*runs: str) -> int:
    return subprocess.run([sys.executable, "-c", RUN, *runs], timeout=600).returncode


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_killed_in_mid_epoch_ends_bit_identical_to_an_uninterrupted_one(tmp_path):
    """Six steps an epoch, killed in the fourth step of the second: one run saves every step, the other every epoch."""
    every_step, every_epoch, whole = (tmp_path / name for name in ("every-step", "every-epoch", "whole"))
    assert run_in_a_process(f"{every_step},0,10") == -signal.SIGKILL
    assert run_in_a_process(f"{every_epoch},1e9,10") == -signal.SIGKILL
    progress = [torch.load(run / "checkpoint.pt")["progress"] for run in (every_step, every_epoch)]
    assert [(state["epoch"], state["step"]) for state in progress] == [(1, 3), (1, 0)]
    assert not any((run / "record.json").exists() for run in (every_step, every_epoch))

    assert run_in_a_process(f"{every_step},0", f"{every_epoch},1e9", f"{whole},1e9") == 0
    expected = json.loads((whole / "record.json").read_text())
    for run in (every_step, every_epoch):
        record = json.loads((run / "record.json").read_text())
        assert record["curves"] == expected["curves"]
        assert record["validation"] == expected["validation"]
        assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("kind", ["ram", "draw"])
def test_a_rivals_run_goes_on_from_its_checkpoint_bit_identical(kind, digits, tmp_path):
    """Interrupted in the second step of the second epoch; RAM's locations are drawn as if nothing had happened."""
    data = ClutteredMNIST(digits.subset(24), fresh=True)
    settings = TrainingSettings(epochs=2, batch_size=8, device="cpu", clip_norm=1.0)

    def train(run_dir: Path, stop_at: int = 0) -> tuple[dict[str, Tensor], dict]:
        torch.manual_seed(1)
        options = {"rollouts": 2} if kind == "ram" else {}
        model = SPECS[kind](glimpses=3, hidden=16, **options).build()
        loss, calls = model.loss, []

        def counted(images: Tensor, labels: Tensor):
            calls.append(None)
            if len(calls) == stop_at:
                raise Interrupted
            return loss(images, labels)

        model.loss = counted
        record = fit(model, data, data, settings, run_dir=run_dir, checkpoint_seconds=0)
        return weights_of(model), record["curves"]

    with pytest.raises(Interrupted):
        train(tmp_path / "resumed", stop_at=5)
    (weights, curves), (expected_weights, expected_curves) = train(tmp_path / "resumed"), train(tmp_path / "whole")
    assert curves == expected_curves
    assert same_weights(weights, expected_weights)


def test_a_finished_run_is_not_trained_again_and_gives_its_best_weights(dcn, make_dcn, contrary, tmp_path):
    record = fit(dcn, *contrary, LONG, run_dir=tmp_path)
    assert record["validation"]["epoch"] < LONG.epochs
    again, reports = make_dcn(image_shape=None).float(), []
    repeated = fit(again, *contrary, LONG, run_dir=tmp_path, on_epoch=reports.append)
    assert reports == []
    assert repeated["curves"] == record["curves"]
    assert same_weights(weights_of(again), weights_of(dcn))


def test_training_a_finished_run_again_keeps_its_record(dcn, make_dcn, quadrants, tmp_path):
    """With the test result in it, and when it was trained; without its checkpoint too, which only resuming needs."""
    path = tmp_path / "record.json"
    record = fit(dcn, *quadrants, QUICK, run_dir=tmp_path) | {"created": "long ago", "test": {"error": 0.25}}
    save_record(path, record)
    assert fit(dcn, *quadrants, QUICK, run_dir=tmp_path) == json.loads(path.read_text()) == record

    (tmp_path / "checkpoint.pt").unlink()
    best, again = weights_of(dcn), make_dcn(image_shape=None).float()
    for model in (dcn, again):
        assert fit(model, *quadrants, QUICK, run_dir=tmp_path) == json.loads(path.read_text()) == record
        assert same_weights(weights_of(model), best)
        assert not any(part.training for part in model.modules())
    with pytest.raises(ValueError, match=r"settings\.seed: 0 -> 1$"):
        fit(dcn, *quadrants, replace(QUICK, seed=1), run_dir=tmp_path)


def test_a_folder_that_holds_a_run_with_other_settings_is_refused(dcn, quadrants, tmp_path):
    fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    other = TrainingSettings(epochs=3, batch_size=16, device="cpu")
    with pytest.raises(ValueError, match=r"differs in settings\.epochs: 2 -> 3$"):
        fit(dcn, *quadrants, other, run_dir=tmp_path)
    with pytest.raises(
        ValueError, match=r"differs in name: 'run' -> 'other'; model\.class: .* -> nothing; model\.kind"
    ):
        fit(dcn, *quadrants, QUICK, run_dir=tmp_path, name="other", description={"kind": "dcn"})
    with pytest.raises(ValueError, match=r"differs in data\.validation\.count: 32 -> 64; digests\.validation: "):
        fit(dcn, quadrants[0], quadrants[0], QUICK, run_dir=tmp_path)


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_bomb_goes_off_when_unpickled_carelessly(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists()


def test_a_checkpoint_is_read_without_executing_code(dcn, quadrants, tmp_path):
    fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["progress"]["epoch"] == 2
    torch.save({"identity": Bomb(tmp_path / "exploded")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt"):
        fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_weights_are_read_without_executing_code(dcn, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a whole safetensors file"):
        load_weights(tmp_path / "weights.safetensors", dcn)
    assert not (tmp_path / "exploded").exists()


def test_weights_come_back_as_they_were_saved(dcn, make_dcn, tmp_path):
    save_weights(tmp_path / "w.safetensors", dcn.to(memory_format=torch.channels_last))
    other = make_dcn(image_shape=None, seed=1).float()
    assert not same_weights(weights_of(other), weights_of(dcn))
    load_weights(tmp_path / "w.safetensors", other)
    assert same_weights(weights_of(other), weights_of(dcn))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    def write_half(file):
        file.write(b"new, but not all of it")
        raise interruption

    atomic_write(tmp_path / "file", lambda file: file.write(b"old"))
    with pytest.raises(interruption):
        atomic_write(tmp_path / "file", write_half)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_write_makes_its_folders_and_replaces_the_old_file(tmp_path):
    for content in (b"old", b"new"):
        atomic_write(tmp_path / "a" / "b", lambda file, content=content: file.write(content))
    assert (tmp_path / "a" / "b").read_bytes() == b"new"
    assert os.listdir(tmp_path / "a") == ["b"]


# Evaluation


def test_known_predictions_are_counted():
    labels = torch.arange(10).repeat(3)
    answers = labels.clone()
    answers[[0, 7, 22, 29]] += 1
    answers %= 10
    data = TensorDataset(torch.eye(10)[answers][:, None, None, :], labels)
    for batch_size in (1, 7, 30, 250):
        evaluation = evaluate(Lookup(), data, batch_size=batch_size)
        assert evaluation.rate == ErrorRate(errors=4, count=30)
        assert torch.equal(evaluation.predictions, answers)
        assert evaluation.wrong.nonzero().flatten().tolist() == [0, 7, 22, 29]
        assert json.loads(json.dumps(evaluation.as_record()))["wrong"] == [0, 7, 22, 29]
        right, wrong = math.log(math.e + 9) - 1, math.log(math.e + 9)
        assert evaluation.loss == pytest.approx((26 * right + 4 * wrong) / 30)


def test_a_sequence_is_wrong_if_any_of_its_positions_is():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.eye(3)[[2, 0]])  # reads 2, 0

        def forward(self, images):
            return self.scores.expand(len(images), 2, 3)

    labels = torch.tensor([[2, 0], [2, 1], [1, 0], [2, 0], [0, 1]])
    result = evaluate(Constant(), TensorDataset(torch.rand(5, 1, 2, 2), labels), batch_size=2)
    assert (result.rate.errors, result.rate.count) == (3, 5)
    assert result.predictions.tolist() == [[2, 0]] * 5
    assert result.wrong.tolist() == [False, True, True, False, True]
    right, wrong = (-torch.eye(3)[0].log_softmax(0)[label].item() for label in (0, 1))
    assert result.loss == pytest.approx((6 * right + 4 * wrong) / 5)


def test_evaluation_uses_eval_mode_and_gives_every_part_its_own_mode_back(dcn, quadrants):
    expected = evaluate(dcn, quadrants[1])
    dcn.train()
    dcn.top.eval()
    modes, before = [part.training for part in dcn.modules()], weights_of(dcn)
    assert torch.equal(evaluate(dcn, quadrants[1]).predictions, expected.predictions)
    assert [part.training for part in dcn.modules()] == modes
    assert same_weights(weights_of(dcn), before)


def test_evaluation_passes_k_and_cells_on(dcn, quadrants):
    images, _ = quadrants[1].tensors
    cells = torch.stack([torch.randperm(35)[:4] for _ in images])
    for options in ({}, {"k": 0}, {"k": 35}, {"cells": cells}):
        seen: list[Tensor] = []
        hook = dcn.register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output))
        evaluate(dcn, quadrants[1], batch_size=5, **options)
        hook.remove()
        torch.testing.assert_close(torch.cat(seen), dcn(images, **options))


@pytest.mark.parametrize(
    ("errors", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_an_error_rate_is_wilsons(errors, count, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), Table I, method 3."""
    assert ErrorRate(errors, count).interval == pytest.approx((low, high), abs=5e-5)


def test_an_error_rate_comes_back_from_its_record():
    rate = ErrorRate(13, 1000)
    assert ErrorRate.from_record(json.loads(json.dumps(rate.as_record()))) == rate
    assert str(rate).startswith("1.30 % (")


def test_a_test_keeps_what_others_kept_meanwhile(dcn, quadrants, tmp_path):
    fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    run = Run(tmp_path)

    class Watched(TensorDataset):
        """A test set, of which the first image is asked for while another process keeps something in the record."""

        def describe(self):
            return {"name": "watched"}

        def __getitem__(self, index):
            run.save_record(run.read_record() | {"until_sure": {"entropy_below": 0.5}})
            return super().__getitem__(index)

    record = run.test(dcn, Watched(*quadrants[1].tensors))
    assert record == run.read_record()
    assert record["until_sure"] == {"entropy_below": 0.5}
    assert record["data"]["test"] == {"name": "watched"}
    assert record["test"]["count"] == 32
