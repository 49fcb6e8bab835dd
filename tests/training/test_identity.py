"""A run folder belongs to one experiment and to one process: everything else is refused, with what differs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from dcnlib import ClutteredMNIST, TrainingSettings, evaluate, fit
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.training.contents import describe, digest
from dcnlib.training.identity import differences, identify
from dcnlib.training.run import Run
from dcnlib.utils.records import save_record
from dcnlib.utils.weights import digest_of, read_weights, weights_of

QUICK = TrainingSettings(epochs=1, batch_size=32, device="cpu")
RULES = ClutterRules(size=40)


@pytest.fixture
def make(make_dcn):
    return lambda **options: make_dcn(image_shape=None, **options).float()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


class Net(nn.Module):
    """A network with an option that no layer shows, and one layer that may differ."""

    def __init__(self, sharpness=1.0, hidden=4, activation=None):
        super().__init__()
        torch.manual_seed(0)
        self.sharpness = sharpness
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(165, hidden), activation or nn.ReLU(), nn.Linear(hidden, 4))

    def forward(self, images):
        return self.sharpness * self.layers(images)

    def loss(self, images, labels):
        loss = nn.functional.cross_entropy(self(images), labels)
        return loss, {}


def trained_otherwise():
    net = Net()
    with torch.no_grad():
        net.layers[1].weight[0, 0] += 1e-6
    return net


def frozen():
    net = Net()
    net.layers[1].weight.requires_grad_(False)
    return net


OTHER_MODELS = {
    "an option": (lambda: Net(sharpness=2.0), r"architecture\.model\.sharpness: '1\.0' -> '2\.0'"),
    "a size": (
        lambda: Net(hidden=5),
        r"architecture\.layers\.1: 'Linear\(in_features=165, out_features=4.*out_features=5",
    ),
    "a layer without weights": (
        lambda: Net(activation=nn.Tanh()),
        r"architecture\.layers\.2: 'ReLU\(\)' -> 'Tanh\(\)'",
    ),
    "double precision": (lambda: Net().double(), r"float32 \(4, 165\).*float64 \(4, 165\)"),
    "initial weights": (trained_otherwise, r"digests\.initial_weights: '\w+' -> '\w+'$"),
    "a frozen layer": (frozen, r"weight float32 \(4, 165\) frozen"),
}


@pytest.mark.parametrize("gone", ["checkpoint.pt", "record.json", None])
@pytest.mark.parametrize("kind", OTHER_MODELS)
def test_another_model_is_refused_before_a_step_with_what_differs(quadrants, tmp_path, kind, gone):
    """In the folder of a finished run, and of one without its record, as an unfinished one is."""
    fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    if gone:
        (tmp_path / gone).unlink()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    make_other, message = OTHER_MODELS[kind]
    other = make_other()
    before = weights_of(other)
    other.loss = lambda images, labels: pytest.fail("a step was made")
    with pytest.raises(ValueError, match=f"holds another run.*{message}"):
        fit(other, *quadrants, QUICK, run_dir=tmp_path)
    assert same(weights_of(other), before)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"} == {
        path: content for path, content in files.items() if path.name != ".lock"
    }


def test_the_number_of_patches_is_part_of_the_experiment(make, quadrants, tmp_path):
    fit(make(k=2), *quadrants, QUICK, run_dir=tmp_path)
    with pytest.raises(ValueError, match=r"differs in architecture\.model\.k: 2 -> 6$"):
        fit(make(k=6), *quadrants, QUICK, run_dir=tmp_path)
    with pytest.raises(ValueError, match=r"model\.policy: 'entropy_gradient' -> '\w+'"):
        fit(make(k=2, policy="random"), *quadrants, QUICK, run_dir=tmp_path)


class Measured(Dataset):
    """A data set of one's own: an option, a transform, and items that are made when they are asked for."""

    def __init__(self, pairs, gain=1.0, transform=None):
        self.gain, self.transform, self._pairs = gain, transform, pairs

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, index):
        image, label = self._pairs[index]
        image = self.gain * image
        return (image if self.transform is None else self.transform(image)), label


def by(factor):
    return lambda image: factor * image


def test_functions_of_ones_own_are_told_by_what_they_do(quadrants, tmp_path):
    """Two lambdas have one name."""

    def net(activation):
        net = Net()
        net.activation = activation
        return net

    fit(net(lambda images: images * 2), *quadrants, QUICK, run_dir=tmp_path / "written")
    for other in (lambda images: images * 3, lambda images: images + 2, torch.relu):
        with pytest.raises(ValueError, match=r"differs in architecture\.model\.activation: '.*lambda.* -> '"):
            fit(net(other), *quadrants, QUICK, run_dir=tmp_path / "written")
    fit(net(by(2)), *quadrants, QUICK, run_dir=tmp_path / "made")
    fit(net(by(2)), *quadrants, QUICK, run_dir=tmp_path / "made")
    with pytest.raises(ValueError, match=r"differs in architecture\.model\.activation"):
        fit(net(by(3)), *quadrants, QUICK, run_dir=tmp_path / "made")


SETS = """
from dcnlib.training.plain import plain

one = lambda name: name in {"cat", "dog", "eel", "fox", "gnu"}
within = lambda names: [name for name in names if name in {("cat", 1), ("dog", 2), ("eel", 3), ("fox", 4)}]
other = lambda name: name in {"cat", "dog", "eel", "fox", "hen"}
default = lambda name, known={"cat", "dog", "eel"}: name in known
another = lambda name, known={"cat", "dog", "fox"}: name in known
attributes = {"cat", "dog", "eel"}, frozenset({("cat", 1), ("dog", 2), ("eel", 3)}), {"cat", "dog", "fox"}
print(*map(plain, (one, within, other, default, another, *attributes)), sep="\\n")
"""


def test_sets_are_the_same_in_every_process():
    """Python orders the strings of a set by a hash that is drawn anew in each."""
    told = [
        subprocess.run(
            [sys.executable, "-c", SETS],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in "12"
    ]
    assert told[0] == told[1]
    assert len(set(told[0])) == 8


def test_options_of_data_of_ones_own_are_part_of_the_experiment(quadrants, tmp_path):
    train, validation = quadrants
    run = fit(Net(), Measured(train), validation, QUICK, run_dir=tmp_path)
    assert run["data"]["train"] == {"name": "Measured", "count": 64, "gain": "1.0"}
    assert fit(Net(), Measured(train), validation, QUICK, run_dir=tmp_path) == run
    for other, differing in ((Measured(train, gain=0.5), "gain"), (Measured(train, transform=by(0.5)), "transform")):
        with pytest.raises(ValueError, match=rf"differs in data\.train\.{differing}: "):
            fit(Net(), other, validation, QUICK, run_dir=tmp_path)


def test_the_order_of_a_loader_is_part_of_the_experiment(quadrants, tmp_path):
    train, validation = quadrants
    even, uneven = [1.0] * 64, [1.0] * 32 + [2.0] * 32
    loaders = {
        "in order": lambda: DataLoader(train, 16),
        "shuffled": lambda: DataLoader(train, 16, shuffle=True),
        "seed 3": lambda: DataLoader(train, 16, shuffle=True, generator=torch.Generator().manual_seed(3)),
        "seed 4": lambda: DataLoader(train, 16, shuffle=True, generator=torch.Generator().manual_seed(4)),
        "sampler of seed 3": lambda: DataLoader(
            train, 16, sampler=RandomSampler(train, replacement=True, generator=torch.Generator().manual_seed(3))
        ),
        "even": lambda: DataLoader(train, 16, sampler=WeightedRandomSampler(even, 64)),
        "uneven": lambda: DataLoader(train, 16, sampler=WeightedRandomSampler(uneven, 64)),
        "batches": lambda: DataLoader(train, batch_sampler=BatchSampler(RandomSampler(train), 16, False)),
        "lists": lambda: DataLoader(train, batch_sampler=[[1, 2, 3], [4, 5]]),
        "other lists": lambda: DataLoader(train, batch_sampler=[[1, 2, 3], [4, 6]]),
    }
    same = {"batches": "shuffled"}
    told = {name: (describe(make()), digest(make())) for name, make in loaders.items()}
    for one, what in told.items():
        assert what == (describe(loaders[one]()), digest(loaders[one]()))
        for other in told.keys() - {one, same.get(one)} - {name for name, twin in same.items() if twin == one}:
            assert what != told[other], (one, other)
    fit(Net(), loaders["even"](), validation, QUICK, run_dir=tmp_path)
    with pytest.raises(ValueError, match=r"differs in digests\.train: "):
        fit(Net(), loaders["uneven"](), validation, QUICK, run_dir=tmp_path)


def test_every_setting_that_changes_the_result_is_part_of_the_experiment(quadrants, tmp_path):
    fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    others = {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "seed": 1,
        "precision": "bfloat16",
        "compile": True,
        "clip_norm": 1.0,
        "warm_up": 0.2,
        "deterministic": True,
        "device": "auto",
    }
    for name, value in others.items():
        with pytest.raises(ValueError, match=rf"differs in settings\.{name}: "):
            fit(Net(), *quadrants, replace(QUICK, **{name: value}), run_dir=tmp_path)
    record = fit(Net(), *quadrants, replace(QUICK, workers=1), run_dir=tmp_path)  # the same batches, made elsewhere
    assert record["settings"]["workers"] == 0


def test_other_data_of_the_same_name_and_size_are_refused(quadrants, tmp_path):
    train, validation = quadrants
    fit(Net(), train, validation, QUICK, run_dir=tmp_path)
    images, labels = (tensor.clone() for tensor in train.tensors)
    images[7, 0, 3, 3] += 1e-3
    with pytest.raises(ValueError, match=r"differs in digests\.train: '\w+' -> '\w+'$"):
        fit(Net(), TensorDataset(images, labels), validation, QUICK, run_dir=tmp_path)


def test_a_digest_tells_contents_apart_and_nothing_else(digits):
    images, labels = torch.rand(6, 1, 4, 4), torch.arange(6)
    plain = TensorDataset(images, labels)

    def told(data):
        return [data, Subset(data, [1, 2]), ConcatDataset([data, data]), DataLoader(data, batch_size=2)]

    again = TensorDataset(images.clone(), labels.clone())
    other = TensorDataset(images, labels.flip(0))
    for one, twin, different in zip(told(plain), told(again), told(other), strict=True):
        assert digest(one) == digest(twin) != digest(different)
    assert digest(Subset(plain, [1, 2])) == digest(Subset(plain, np.array([1, 2]))) != digest(Subset(plain, [2, 1]))
    assert digest(list(plain)) == digest(list(again)) != digest(list(other))
    assert digest([(object(), 1)]) is None
    assert digest([1, 2]) != digest([2, 1])

    class Strange:
        """With attributes of other meanings."""

        contents, labels = 3, print

    assert digest(Strange()) is None
    ours = {seed: ClutteredMNIST(digits, rules=RULES, seed=seed) for seed in (1, 2)}
    assert digest(ours[1]) == digest(ClutteredMNIST(digits, rules=RULES, seed=1)) != digest(ours[2])
    part = digits.subset(63)
    assert digest(ClutteredMNIST(part, rules=RULES, seed=1)) != digest(ours[1])


def test_records_of_earlier_versions_tell_less_and_still_belong_to_their_run(quadrants, tmp_path):
    """They know no architecture, no digests and no workers, and hold a result on the test set."""
    record = fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    old = {part: value for part, value in record.items() if part not in ("architecture", "frozen", "digests")}
    for later in ("workers", "deterministic"):
        old["settings"].pop(later)
    old["data"]["test"] = {"name": "TensorDataset", "count": 5}
    save_record(tmp_path / "record.json", old)
    assert fit(Net(), *quadrants, QUICK, run_dir=tmp_path) == old
    (tmp_path / "checkpoint.pt").unlink()
    assert fit(Net(), *quadrants, QUICK, run_dir=tmp_path) == old
    with pytest.raises(ValueError, match=r"settings\.seed: 0 -> 3"):
        fit(Net(), *quadrants, replace(QUICK, seed=3), run_dir=tmp_path)


def test_an_identity_does_not_differ_from_itself_in_json(make, quadrants):
    identity = identify("run", {"ks": (1, 2)}, make(), *quadrants, QUICK)
    assert differences(json.loads(json.dumps(identity)), identity) == []
    assert list(differences(identity, identity | {"name": "other"})) == ["name: 'run' -> 'other'"]


@pytest.mark.parametrize("description", [{"k": np.int64(3)}, {"rate": float("nan")}, {"who": object()}])
def test_a_description_that_no_record_can_hold_is_found_out_before_training(quadrants, tmp_path, description):
    net = Net()
    net.loss = lambda images, labels: pytest.fail("a step was made")
    with pytest.raises(TypeError, match="the record can't hold the description"):
        fit(net, *quadrants, QUICK, run_dir=tmp_path, description=description)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_found_out_before_training(quadrants, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o500)
    net = Net()
    net.loss = lambda images, labels: pytest.fail("a step was made")
    with pytest.raises(PermissionError, match=r"run.*can't be written"):
        fit(net, *quadrants, QUICK, run_dir=folder)


# What is trained


def test_a_finished_run_is_read_where_nothing_can_be_written(quadrants, tmp_path, monkeypatch):
    record = fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    monkeypatch.setattr(Run, "lock", lambda self: pytest.fail("a lock was written"))
    net = Net()
    assert fit(net, *quadrants, QUICK, run_dir=tmp_path) == record
    assert digest_of(net.state_dict()) == digest_of(read_weights(tmp_path / "weights.safetensors", net))
    with pytest.raises(ValueError, match=r"sharpness: '1\.0' -> '2\.0'"):
        fit(Net(sharpness=2.0), *quadrants, QUICK, run_dir=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_training_doesnt_mind_where_it_is_called(quadrants, context):
    expected = fit(Net(), *quadrants, QUICK)["curves"]
    net = Net()
    with context():
        assert fit(net, *quadrants, QUICK)["curves"] == expected


def test_what_cannot_be_trained_is_refused_before_a_step(quadrants):
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        fit(Net().requires_grad_(False), *quadrants, QUICK)
    with torch.inference_mode():
        net = Net()
    with pytest.raises(ValueError, match=r"made in torch\.inference_mode\(\) can't be trained"):
        fit(net, *quadrants, QUICK)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: net.layers])
def test_a_model_without_a_loss_is_refused_before_anything_starts(quadrants, tmp_path, wrap):
    model = wrap(Net())
    before = weights_of(model)
    message = rf"must have loss\(images, labels\).* which {type(model).__name__} hasn't.*torchrun"
    with pytest.raises(TypeError, match=message):
        fit(model, *quadrants, QUICK, run_dir=tmp_path / "run")
    assert same(weights_of(model), before)
    assert not (tmp_path / "run").exists()


def test_float16_weights_are_refused_before_a_step(quadrants):
    halves = [TensorDataset(data.tensors[0].half(), data.tensors[1]) for data in quadrants]
    net = Net().half()
    net.loss = lambda images, labels: pytest.fail("a step was made")
    with pytest.raises(TypeError, match=r"float16 weights can't be trained, such as layers\.1\.weight: .*bfloat16"):
        fit(net, *halves, QUICK)
    beside = Net()
    beside.frozen = nn.Parameter(torch.ones(1, dtype=torch.float16), requires_grad=False)
    assert np.isfinite(fit(beside, *quadrants, QUICK)["curves"]["train_loss"]).all()


def test_frozen_parts_keep_their_weights_and_statistics(make, quadrants):
    """Whether the model around them is in training mode or, as trained ones are, in eval mode."""
    for mode in (True, False):
        dcn = make().train(mode)
        dcn.coarse.requires_grad_(False).eval()
        before = weights_of(dcn)
        fit(dcn, *quadrants, QUICK)
        after = weights_of(dcn)
        kept = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
        assert kept == {name for name in before if name.startswith("coarse.")}


def test_a_model_in_eval_mode_is_trained_whole(make, quadrants):
    one, other = make().train(), make().eval()
    fit(one, *quadrants, QUICK)
    fit(other, *quadrants, QUICK)
    assert same(weights_of(one), weights_of(other))


def test_norms_in_eval_mode_keep_their_statistics_and_learn(make, quadrants, tmp_path):
    dcn = make().train()
    norms = [part for part in dcn.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    before = weights_of(dcn)
    record = fit(dcn, *quadrants, QUICK, run_dir=tmp_path)
    kept = {name for name, tensor in weights_of(dcn).items() if torch.equal(tensor, before[name])}
    assert kept == {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert len(record["frozen"]) == len(norms)
    assert fit(dcn, *quadrants, QUICK, run_dir=tmp_path) == record  # asked again with the model that came out of it
    with pytest.raises(ValueError, match="differs in frozen"):
        fit(make().train(), *quadrants, QUICK, run_dir=tmp_path)


def test_a_compiled_model_is_saved_under_its_plain_names(make, quadrants, tmp_path):
    plain, wrapped, inside = make(), make(), make()
    inside.fine = torch.compile(inside.fine, backend="eager")
    fit(plain, *quadrants, QUICK, run_dir=tmp_path / "plain")
    fit(torch.compile(wrapped, backend="eager"), *quadrants, QUICK, run_dir=tmp_path / "wrapped")
    curves = fit(inside, *quadrants, QUICK, run_dir=tmp_path / "inside")["curves"]
    expected = (tmp_path / "plain" / "weights.safetensors").read_bytes()
    assert (tmp_path / "wrapped" / "weights.safetensors").read_bytes() == expected
    assert (tmp_path / "inside" / "weights.safetensors").read_bytes() == expected
    record = fit(make(), *quadrants, QUICK, run_dir=tmp_path / "inside")  # whose experiment it is, compiled or not
    assert (record["curves"], record["architecture"]) == (
        curves,
        identify("run", None, make(), *quadrants, QUICK)["architecture"],
    )
    assert evaluate(torch.compile(plain, backend="eager"), quadrants[1]).rate == evaluate(plain, quadrants[1]).rate


# One process at a time

HOLD = """
import sys, time
from dcnlib.training.run import Run
with Run(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no locks that a test could hold")
def test_a_second_process_is_refused_by_name_and_a_dead_one_keeps_nothing(quadrants, tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=rf"{tmp_path} is in use.*process {holder.pid}\)"):
            fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    finally:
        holder.kill()
        holder.wait()
    record = fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    assert json.loads((tmp_path / "record.json").read_text()) == record


WITH_WORKERS = """
import os, signal, sys
import torch
from torch.utils.data import DataLoader, TensorDataset
from dcnlib.training.run import Run
with Run(sys.argv[1]).lock():
    loader = iter(DataLoader(TensorDataset(torch.zeros(8)), num_workers=2))
    next(loader), next(loader)  # one of each: a worker that is still starting would not notice that nobody waits for it
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork workers")
def test_the_workers_of_a_killed_process_keep_nothing_either(quadrants, tmp_path):
    killed = subprocess.run([sys.executable, "-c", WITH_WORKERS, str(tmp_path)], stdout=subprocess.PIPE, timeout=120)
    assert killed.stdout == b"held\n"
    started = time.monotonic()
    fit(Net(), *quadrants, QUICK, run_dir=tmp_path)
    assert time.monotonic() - started < 60
