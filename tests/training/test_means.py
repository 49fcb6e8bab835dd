"""Running means of the weights: what they are, who answers with them, and that a resumed run goes on with them."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dcnlib import TrainingSettings, evaluate, fit, load_record
from dcnlib.training.identity import differences, identify
from dcnlib.training.means import as_weights, first_means, in_place_of_weights, update_means
from dcnlib.training.run import Run
from dcnlib.utils.weights import weights_of

SETTINGS = TrainingSettings(epochs=2, batch_size=16, device="cpu", mean_decay=0.6, seed=3)


class Interrupted(Exception):
    pass


def test_the_first_means_are_plain_and_later_ones_fade():
    net = nn.BatchNorm1d(2)
    means = first_means(net)
    expected = None
    for step in range(1, 6):
        with torch.no_grad():
            net.weight.fill_(2.0**step)
            net.num_batches_tracked += 1
        update_means(means, net, 0.6, step)
        # 1 / step of the new one, until that is less than 1 - 0.6: from the third step on.
        share = max(1 / step, 0.4)
        expected = 2.0**step if expected is None else (1 - share) * expected + share * 2.0**step
        torch.testing.assert_close(means["weight"], torch.full((2,), expected))
        assert means["num_batches_tracked"] == step


def test_a_model_answers_with_the_means_and_gets_its_weights_back():
    net = nn.Linear(2, 1)
    own = weights_of(net)
    means = {name: weights + 1 for name, weights in own.items()}

    def broken_off():
        with in_place_of_weights(means, net):
            assert net.weight.equal(means["weight"])
            raise Interrupted

    with pytest.raises(Interrupted):
        broken_off()
    assert all(weights.equal(own[name]) for name, weights in weights_of(net).items())
    with in_place_of_weights({}, net):
        assert net.weight.equal(own["weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_means_move_by_less_than_half_precision_can_tell(dtype):
    net = nn.Linear(2, 1).to(dtype)
    nn.init.ones_(net.weight)
    means = first_means(net)
    nn.init.constant_(net.weight, 2.0)
    for step in range(2001, 2301):
        update_means(means, net, 0.999, step)
    expected = torch.full((1, 2), 2 - 0.999**300, dtype=torch.float64)
    torch.testing.assert_close(means["weight"].double(), expected, rtol=1e-5, atol=0)
    with in_place_of_weights(means, net):
        assert net.weight.equal(means["weight"].to(dtype))
        assert net.weight.dtype == dtype


def train(make_dcn, quadrants, settings, run_dir=None, stop_at=None, dtype=torch.float32, compiled=False):
    """A run of eight steps with a drawn k and a share for the first prediction; the weights after each step."""
    model = make_dcn(image_shape=None, k=6, training_k="reciprocal", first_share=0.5).to(dtype)
    if compiled:
        model.fine = torch.compile(model.fine, backend="eager")
    loss, seen = model.loss, []

    def watched(images, labels):
        seen.append(weights_of(model))
        if len(seen) == stop_at:
            raise Interrupted
        return loss(images, labels)

    model.loss = watched
    record = fit(model, *quadrants, settings, run_dir=run_dir, checkpoint_seconds=0)
    return model, record, seen


def test_validation_and_the_saved_weights_are_of_the_means_and_training_is_as_without(make_dcn, quadrants):
    one_epoch = replace(SETTINGS, epochs=1, batch_size=32)
    model, record, seen = train(make_dcn, quadrants, one_epoch)
    plain, plain_record, plainly = train(make_dcn, quadrants, replace(one_epoch, mean_decay=None))
    assert record["curves"]["train_loss"] == plain_record["curves"]["train_loss"]
    assert all(one[name].equal(other[name]) for one, other in zip(seen, plainly, strict=True) for name in one)
    # Two steps: the mean of the weights after the first and after the second.
    after = [seen[1], weights_of(plain)]
    for name, mean in weights_of(model).items():
        if mean.is_floating_point():
            torch.testing.assert_close(mean, (after[0][name] + after[1][name]) / 2)
    assert evaluate(model, quadrants[1]).rate.fraction == record["validation"]["error"]


@pytest.mark.parametrize("stop_at", [3, 6])
def test_a_run_goes_on_from_its_checkpoint_bit_identical(make_dcn, quadrants, tmp_path, stop_at):
    with pytest.raises(Interrupted):
        train(make_dcn, quadrants, SETTINGS, tmp_path / "resumed", stop_at=stop_at)
    resumed, record, _ = train(make_dcn, quadrants, SETTINGS, tmp_path / "resumed")
    whole, expected, _ = train(make_dcn, quadrants, SETTINGS, tmp_path / "whole")
    assert record["curves"] == expected["curves"]
    assert all(weights.equal(weights_of(whole)[name]) for name, weights in weights_of(resumed).items())


def test_a_run_with_a_compiled_part_goes_on_compiled_or_not(make_dcn, quadrants, tmp_path):
    with pytest.raises(Interrupted):
        train(make_dcn, quadrants, SETTINGS, tmp_path, stop_at=6, compiled=True)
    resumed, record, _ = train(make_dcn, quadrants, SETTINGS, tmp_path)
    whole, expected, _ = train(make_dcn, quadrants, SETTINGS, compiled=True)
    assert record["curves"] == expected["curves"]
    assert all(weights.equal(weights_of(whole)[name]) for name, weights in weights_of(resumed).items())


def test_a_run_in_bfloat16_goes_on_with_means_in_float32_or_with_those_of_earlier_versions(
    make_dcn, quadrants, tmp_path
):
    halves = [TensorDataset(data.tensors[0].bfloat16(), data.tensors[1]) for data in quadrants]
    whole, expected, _ = train(make_dcn, halves, SETTINGS, dtype=torch.bfloat16)
    for earlier in (False, True):
        run = Run(tmp_path / f"earlier-{earlier}")
        with pytest.raises(Interrupted):
            train(make_dcn, halves, SETTINGS, run.folder, stop_at=6, dtype=torch.bfloat16)
        content = torch.load(run.checkpoint_path)
        kept = {mean.dtype for mean in content["means"].values() if mean.is_floating_point()}
        assert kept == {torch.float32}
        if earlier:
            model = make_dcn(image_shape=None).bfloat16()
            torch.save(content | {"means": as_weights(content["means"], model)}, run.checkpoint_path)
        resumed, record, _ = train(make_dcn, halves, SETTINGS, run.folder, dtype=torch.bfloat16)
        assert record["curves"]["train_loss"] == expected["curves"]["train_loss"]
        same = all(weights.equal(weights_of(whole)[name]) for name, weights in weights_of(resumed).items())
        assert same or earlier


def test_runs_that_knew_none_of_these_options_are_the_same_experiments_still(make_dcn, quadrants):
    identity = identify("run", {}, make_dcn(), *quadrants, replace(SETTINGS, mean_decay=None))
    assert not {"first_share", "training_k"} & identity["architecture"]["model"].keys()
    old = identity | {"settings": {key: value for key, value in identity["settings"].items() if key != "mean_decay"}}
    assert differences(old, identity) == []
    other = identify("run", {}, make_dcn(first_share=0.5), *quadrants, SETTINGS)
    assert [told.split(":")[0] for told in differences(old, other)] == [
        "settings.mean_decay",
        "architecture.model.first_share",
    ]
    assert "mean_decay" not in load_record("dcn-k8-hints")["settings"]


@pytest.mark.parametrize("decay", [0.0, 1.0, float("nan")])
def test_a_decay_lies_between_0_and_1(decay):
    with pytest.raises(ValueError, match="mean_decay must lie between 0 and 1"):
        TrainingSettings(mean_decay=decay)
