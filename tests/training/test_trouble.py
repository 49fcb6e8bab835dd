"""What goes wrong while training: values that aren't finite, signals, full disks, damaged files. Nothing is lost, and
nothing wrong is kept."""

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from jupyter_client.manager import start_new_kernel

from dcnlib import TrainingSettings, evaluate, fit
from dcnlib.training.interrupt import SIGNALS, Stopped, stopping_between_steps
from dcnlib.utils.weights import load_weights, save_weights, weights_of

QUICK = TrainingSettings(epochs=3, batch_size=16, device="cpu")  # four steps an epoch


@pytest.fixture
def make(make_dcn):
    return lambda **options: make_dcn(image_shape=None, **options).float()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def at_call(model, number, act):
    """Let a model's loss do something else at a call: `act(loss, images, labels)`."""
    loss, calls = model.loss, []

    def acting(images, labels):
        calls.append(None)
        return act(loss, images, labels) if len(calls) == number else loss(images, labels)

    model.loss = acting
    return model


# Not finite


def infinite_gradient(loss, images, labels):
    value, parts = loss(images, labels)
    return value + (value - value.detach()).sqrt(), parts  # zero, of infinite slope


@pytest.mark.parametrize(
    "act",
    [
        lambda loss, images, labels: (loss(images, labels)[0] * float("nan"), {}),
        lambda loss, images, labels: (loss(images, labels)[0] + float("inf"), {}),
        infinite_gradient,
    ],
    ids=["nan loss", "infinite loss", "infinite gradient"],
)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_loss_or_gradient_that_is_not_finite_stops_at_its_step_and_changes_nothing(
    make, quadrants, tmp_path, act, clip_norm
):
    model, good = at_call(make(), 7, act), []
    settings = replace(QUICK, clip_norm=clip_norm)
    whole = fit(make(), *quadrants, settings)
    with pytest.raises(FloatingPointError, match=r"step 3 of epoch 2 is not finite.*learning_rate=0\.003"):
        fit(model, *quadrants, settings, run_dir=tmp_path, checkpoint_seconds=0, on_epoch=good.append)
    assert len(good) == 1
    assert all(tensor.isfinite().all() for tensor in weights_of(model).values())
    assert torch.load(tmp_path / "checkpoint.pt")["progress"]["step"] == 2
    survivor = make()
    assert fit(survivor, *quadrants, settings, run_dir=tmp_path)["curves"] == whole["curves"]


def test_weights_that_are_not_finite_never_become_the_best(make, quadrants, tmp_path):
    model = make()

    def spoil(loss, images, labels):
        with torch.no_grad():
            model.top[0][1].running_var.fill_(float("nan"))  # which the training pass doesn't use
        return loss(images, labels)

    at_call(model, 6, spoil)
    with pytest.raises(FloatingPointError, match=r"epoch 2: weights that aren't finite, in top\.0\.1\.running_var"):
        fit(model, *quadrants, QUICK, run_dir=tmp_path, checkpoint_seconds=0)
    saved = torch.load(tmp_path / "checkpoint.pt")
    assert all(tensor.isfinite().all() for part in ("model", "best_weights") for tensor in saved[part].values())
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_of_weights_that_are_not_finite_is_not_evaluated_saved_or_loaded(make, quadrants, tmp_path, value):
    model, other = make(), make()
    path = tmp_path / "w.safetensors"
    save_weights(path, model)
    content = path.read_bytes()
    with torch.no_grad():
        model.fine[0][0].weight[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"weights that aren't finite, in fine\.0\.0\.weight"):
        evaluate(model, quadrants[1])
    with pytest.raises(ValueError, match=r"w\.safetensors is not written: weights that aren't finite"):
        save_weights(path, model)
    assert path.read_bytes() == content

    safetensors.torch.save_file(weights_of(model), path)
    before = weights_of(other)
    with pytest.raises(ValueError, match=r"w\.safetensors: weights that aren't finite"):
        load_weights(path, other)
    assert same(weights_of(other), before)


def test_a_validation_that_is_not_finite_stops_the_run(make, quadrants, monkeypatch):
    model = make()
    forward = model.forward

    def answer(images, **options):
        return forward(images, **options) * (float("nan") if not model.training and len(images) > 1 else 1)

    model.forward = answer
    with pytest.raises(FloatingPointError, match="validation loss of epoch 1 is not finite"):
        fit(model, *quadrants, QUICK)


# Damaged files


def test_a_flipped_bit_is_found_in_weights_and_checkpoints(make, quadrants, tmp_path):
    """And nothing of the file has gone into the model then."""
    trained = make()
    fit(trained, *quadrants, replace(QUICK, epochs=1), run_dir=tmp_path)
    trained = weights_of(trained)
    random = np.random.RandomState(0)
    for name in ("weights.safetensors", "checkpoint.pt"):
        whole = (tmp_path / name).read_bytes()
        for place in random.randint(0, len(whole), 40):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << random.randint(8)
            (tmp_path / name).write_bytes(bytes(damaged))
            model = make()
            before, told = weights_of(model), ""
            try:
                if name == "checkpoint.pt":
                    fit(model, *quadrants, replace(QUICK, epochs=1), run_dir=tmp_path)
                else:
                    load_weights(tmp_path / name, model)
            except ValueError as error:
                told = str(error)
            # A bit between the parts of a file says nothing.
            assert same(weights_of(model), before if told else trained)
            assert name in told or not told
        (tmp_path / name).write_bytes(whole)


@pytest.mark.parametrize("change", ["dtype", "shape", "name", "less"])
def test_weights_of_another_kind_change_nothing(make, tmp_path, change):
    model = make()
    before, weights = weights_of(model), weights_of(make(seed=1))
    last = list(weights)[-1]
    tensor = weights.pop(last)
    if change != "less":
        weights["else" if change == "name" else last] = tensor.double() if change == "dtype" else tensor[None]
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=rf"w\.safetensors holds the weights of another model: .*{last}"):
        load_weights(tmp_path / "w.safetensors", model)
    assert same(weights_of(model), before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_finds_no_place_says_so(make, quadrants, tmp_path, monkeypatch, number):
    def full(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"checkpoint\.pt can't be written: {os.strerror(number)}") as caught:
        fit(make(), *quadrants, QUICK, run_dir=tmp_path)
    assert caught.value.errno == number
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


# Signals


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("call", [6, 8])
def test_a_signal_stops_between_two_steps_and_the_run_goes_on(make, quadrants, tmp_path, number, call):
    """In mid-epoch, and in an epoch's last step; with the same model, as in Jupyter, and in another process."""

    def told(loss, images, labels):
        signal.raise_signal(number)
        return loss(images, labels)

    whole = make()
    expected = fit(whole, *quadrants, QUICK)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    for fresh in (False, True):
        model, folder = make(), tmp_path / str(fresh)
        loss = model.loss
        with pytest.raises(Stopped, match=f"stopped by {signal.Signals(number).name} after 1 epochs") as stopped:
            fit(at_call(model, call, told), *quadrants, QUICK, run_dir=folder)
        assert isinstance(stopped.value, KeyboardInterrupt)
        assert stopped.value.exit_status == 128 + number
        progress = torch.load(folder / "checkpoint.pt")["progress"]
        assert (progress["epoch"], progress["step"]) == (1, call - 4)
        model.loss = loss
        if fresh:
            model = make()
        record = fit(model, *quadrants, QUICK, run_dir=folder)
        assert record["curves"] == expected["curves"]
        assert same(weights_of(model), weights_of(whole))
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


IN_JUPYTER = """
import time
import torch
from torch import nn
from torch.utils.data import TensorDataset
from dcnlib import TrainingSettings, fit

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(9, 2)

    def forward(self, images):
        return self.linear(images.flatten(1))

    def loss(self, images, labels):
        time.sleep(pause)
        return nn.functional.cross_entropy(self(images), labels), {}

pause = 0.1  # until it was interrupted
images = torch.rand(64, 1, 3, 3)
data = TensorDataset(images, (images.mean((1, 2, 3)) > 0.5).long())
settings = TrainingSettings(epochs=200, device="cpu")

def train(net, folder=None):
    return fit(net, data, data, settings, run_dir=folder, on_epoch=lambda figures: print(figures["epoch"], flush=True))
"""
GO_ON = """
pause = 0
stopped = {name: value.clone() for name, value in net.state_dict().items()}
assert all(value.isfinite().all() for value in stopped.values())
record, whole = train(net, "run"), Net()
assert record["curves"] == train(whole)["curves"]
assert all(value.equal(whole.state_dict()[name]) for name, value in net.state_dict().items())
"""


def test_an_interrupt_in_jupyter_leaves_a_model_and_a_run_that_go_on(tmp_path):
    """By the kernel's own interrupt, as the button sends it."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))

    def told(code, until=None):
        """How a cell ended, which is interrupted when its output says so."""
        asked = client.execute(code)
        while True:
            message = client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != asked:
                continue
            if until is not None and until in message["content"].get("text", "").split():
                manager.interrupt_kernel()
                until = None
            if message["content"].get("execution_state") == "idle":
                break
        while (reply := client.get_shell_msg(timeout=120))["parent_header"].get("msg_id") != asked:
            pass
        return reply["content"]

    try:
        assert told(IN_JUPYTER)["status"] == "ok"
        stopped = told("net = Net()\ntrain(net, 'run')", until="3")
        assert (stopped["ename"], stopped["evalue"][:24]) == ("Stopped", "stopped by SIGINT after ")
        ended = told(GO_ON)
        assert ended["status"] == "ok", ended
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_second_signal_no_longer_waits():
    with stopping_between_steps() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_who_handles_a_signal_already_keeps_it(make, quadrants):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with stopping_between_steps() as stop:
            signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM]
        assert stop.signal is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_training_works_in_a_thread_of_its_own(make, quadrants):
    records = []
    thread = threading.Thread(target=lambda: records.append(fit(make(), *quadrants, replace(QUICK, epochs=1))))
    thread.start()
    thread.join()
    assert len(records[0]["curves"]["train_loss"]) == 1


def test_a_resumption_on_another_number_of_threads_stands_in_the_record(make, quadrants, tmp_path):
    def interrupt(loss, images, labels):
        signal.raise_signal(signal.SIGINT)
        return loss(images, labels)

    threads = torch.get_num_threads()
    with pytest.raises(Stopped):
        fit(at_call(make(), 6, interrupt), *quadrants, QUICK, run_dir=tmp_path)
    torch.set_num_threads(threads + 1)
    try:
        record = fit(make(), *quadrants, QUICK, run_dir=tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert record["resumed"] == [{"epoch": 2, "step": 2, "changed": {"machine.threads": [threads, threads + 1]}}]


# Writes that were killed

WRITE = """
import os, signal, sys
from dcnlib.utils.files import atomic_write
def half(file):
    file.write(b"new, but not all of it")
    file.flush()
    if "die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
atomic_write(sys.argv[1], half)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_what_a_killed_write_left_is_cleaned_up_by_the_next(tmp_path):
    path = tmp_path / "file"
    (tmp_path / ".file.mine").write_bytes(b"another's hidden file")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WRITE, str(path), "die"])
        assert len(list(tmp_path.glob(".file.*.tmp"))) == 1
        assert not path.exists()
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".file.mine", "file"]


@pytest.mark.skipif(os.name != "posix", reason="this system has no umask to speak of")
@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_a_written_file_has_the_rights_that_the_umask_leaves_it(make, tmp_path, mask):
    before = os.umask(mask)
    try:
        save_weights(tmp_path / "w.safetensors", make())
    finally:
        os.umask(before)
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask
