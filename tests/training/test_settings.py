"""Settings: plain values of the right type, whatever they were given as."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dcnlib import TrainingSettings, fit
from dcnlib.training.schedule import one_cycle
from dcnlib.utils.weights import digest_of, weights_of

PLAIN = TrainingSettings(epochs=3, batch_size=16, learning_rate=0.5, seed=1, device="cpu", compile=True, clip_norm=2.0)


def test_numbers_of_numpy_and_devices_of_torch_are_taken_for_what_they_are():
    given = TrainingSettings(
        epochs=np.int16(3),
        batch_size=np.uint8(16),
        learning_rate=np.float32(0.5),
        seed=np.arange(1, 2)[0],
        device=torch.device("cpu"),
        compile=np.bool_(True),
        clip_norm=np.int64(2),
    )
    assert given == PLAIN
    assert json.dumps(asdict(given)) == json.dumps(asdict(PLAIN))
    assert {name: type(value) for name, value in asdict(given).items()} == {
        name: type(value) for name, value in asdict(PLAIN).items()
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", True),
        ("epochs", 3.0),
        ("epochs", "3"),
        ("epochs", np.bool_(True)),
        ("epochs", None),
        ("batch_size", [16]),
        ("learning_rate", "0.1"),
        ("learning_rate", True),
        ("learning_rate", None),
        ("weight_decay", torch.tensor(0.1)),
        ("seed", 1.5),
        ("compile", 1),
        ("clip_norm", False),
        ("clip_norm", "none"),
        ("warm_up", 0.3j),
        ("precision", 32),
        ("device", 0),
        ("device", None),
        ("workers", 1.0),
    ],
)
def test_values_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(TypeError, match=f"{name} must be"):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, float("nan")) for name in ("learning_rate", "weight_decay", "clip_norm", "warm_up")),
        *((name, float("inf")) for name in ("learning_rate", "weight_decay", "clip_norm", "warm_up")),
        ("batch_size", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("workers", -1),
        *(("device", name) for name in ("cpu:x", "cpu:", "auto:0", "gpu", "", "cuda:-1", "meta", "cpu ")),
        ("device", torch.device("meta")),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(("epochs", "warm_up"), [(8, 0.125), (1, 0.3), (10, 0.1), (3, 1 / 3), (5, 0.01), (4, 0.5)])
def test_the_learning_rate_of_every_step_lies_between_nothing_and_its_peak(epochs, warm_up):
    """Whatever the warm-up: less than a step of it, one, or several; the peak is where it ends."""
    settings = TrainingSettings(epochs=epochs, learning_rate=0.5, warm_up=warm_up)
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule, rates = one_cycle(optimizer, settings, steps=1), []
    for _ in range(epochs):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        if len(rates) < epochs:
            schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates)
    if epochs == 1:
        assert rates == [pytest.approx(0.5)]
    else:
        peak = max(0, round(warm_up * epochs) - 1)
        assert rates.index(max(rates)) == peak
        assert rates[peak] == pytest.approx(0.5, rel=0.01) or warm_up * epochs < 1


def test_the_first_beta_goes_against_the_rate_as_the_page_says():
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule, betas, rates = one_cycle(optimizer, TrainingSettings(epochs=100), steps=1), [], []
    for _ in range(100):
        betas.append(optimizer.param_groups[0]["betas"][0])
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert betas.index(min(betas)) == rates.index(max(rates))
    told = f"from {betas[0]:.2f} to {min(betas):.2f} at the peak and back"
    assert betas[-1] == pytest.approx(betas[0])
    assert told in (Path(__file__).parents[2] / "docs" / "method.md").read_text()


def test_a_training_of_a_single_step_makes_it_at_the_peak(make_dcn, quadrants):
    settings = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.01, device="cpu")
    fitted, model = (make_dcn(image_shape=None).float() for _ in range(2))
    fit(fitted, *quadrants, settings)
    images, labels = (tensor[np.random.RandomState([0, 0, 1]).permutation(64)] for tensor in quadrants[0].tensors)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=settings.weight_decay)
    model.train().loss(images, labels)[0].backward()
    optimizer.step()
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(fitted.state_dict()[name], weights, msg=name)


class Scattering(nn.Module):
    """A network with an operation that has no deterministic form."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(165, 4)

    def forward(self, images):
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
        return self.linear(images.flatten(1))

    def loss(self, images, labels):
        return nn.functional.cross_entropy(self(images), labels), {}


def test_deterministic_training_gives_the_same_bits_and_says_what_cannot(make_dcn, quadrants):
    usual = TrainingSettings(epochs=1, batch_size=16, device="cpu")
    trained = []
    for settings in (usual, *[replace(usual, deterministic=True)] * 2):
        model = make_dcn(image_shape=None).float()
        record = fit(model, *quadrants, settings)
        assert "not_deterministic" not in record
        trained.append(digest_of(weights_of(model)))
    assert len(set(trained)) == 1
    with pytest.warns(UserWarning, match="don't give the same bits each time here: put_"):
        record = fit(Scattering(), *quadrants, replace(usual, deterministic=True))
    assert record["not_deterministic"] == ["put_"]
    assert not torch.are_deterministic_algorithms_enabled()
