"""Budgets and thresholds: what is told of a threshold is what the network does at it; what a budget may ask for."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import t
from torch import nn
from torch.utils.data import TensorDataset

from dcnlib import count_multiplications
from dcnlib.analysis.budgets import budget_curves, calibrate
from dcnlib.analysis.cost import count_rounds
from dcnlib.analysis.doubt import (
    answer_margin,
    answer_probability,
    compare_stops,
    doubt_record,
    reliability,
    temperature,
)
from dcnlib.analysis.until_sure import collect_answers, evaluate_until_sure, point_of, stops
from dcnlib.core.passes import GlobalMaxPool
from dcnlib.models.specs import CoarseSpec, DCNSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.utils.statistics import mean_interval


@pytest.fixture
def dcn(make_dcn):
    return make_dcn().float()


@pytest.fixture
def data(quadrants):
    return quadrants[0]


def test_every_threshold_comes_to_what_the_network_does_with_it(dcn, data):
    answers = collect_answers(dcn, data, max_k=6, batch_size=10)
    assert answers.ks == (0, 1, 2, 4, 6)
    assert 0 < answers.right.float().mean() < 1
    for threshold in (0.0, *answers.doubt.flatten().quantile(torch.tensor([0.2, 0.5, 0.8])).tolist(), math.inf):
        told = point_of(answers, stops(answers.doubt, threshold), threshold)
        done = evaluate_until_sure(dcn, data, threshold, max_k=6, batch_size=7)
        assert told.rate == done.rate
        assert told.patches == pytest.approx(done.patches)
        if threshold > 0:  # with 0 nobody is asked on the way, which saves a few products
            assert told.multiplications == pytest.approx(done.multiplications)


@pytest.mark.parametrize("scales", [1, 2])
def test_answers_of_a_compiled_network_are_its_own(scales):
    model = DCNSpec(k=1, task=HouseNumbersTask(scales=scales)).build().eval()
    data = TensorDataset(torch.rand(3, 1, 64, 128), torch.full((3, 5), 10))
    compiled = torch.compile(model, backend="eager")
    mine, its = (collect_answers(each, data, max_k=2) for each in (model, compiled))
    assert (its.ks, its.costs) == (mine.ks, mine.costs)
    torch.testing.assert_close(its.logits, mine.logits)
    assert evaluate_until_sure(compiled, data, 0.1, max_k=2) == evaluate_until_sure(model, data, 0.1, max_k=2)


@pytest.mark.parametrize("budget", [{"error": np.float32(0.9)}, {"multiplications": np.int64(10**9)}])
def test_a_record_holds_a_calibration_whose_numbers_are_of_numpy(dcn, data, budget):
    record = calibrate(dcn, data, **budget, max_k=np.int64(4), batch_size=np.int64(20)).as_record()
    assert json.loads(json.dumps(record))["asked"] == pytest.approx(budget)


def test_rounds_cost_what_their_patches_and_predictions_do(dcn, make_dcn):
    costs = count_rounds(dcn, (1, 2, 4))
    linear = 8 * 4
    assert costs[0] == count_multiplications(dcn, k=0).total
    for n, k in enumerate((1, 2, 4), start=1):
        # The attention pass predicts once more than the first look, and each round once.
        extra = costs[n] - count_multiplications(dcn, k=k).total
        assert extra == (n - 1) * linear + (costs[1] - count_multiplications(dcn, k=1).total)
    assert costs[1] - count_multiplications(dcn, k=1).total in (0, linear)
    assert count_rounds(dcn, (1, 2, 4), anew=True)[1] == costs[1]
    assert count_rounds(dcn, (1, 2, 4), anew=True)[2] > costs[2]
    other = make_dcn(top=nn.Sequential(nn.Conv2d(6, 8, 2), nn.Tanh(), GlobalMaxPool(), nn.Linear(8, 4)))
    top, per_patch = count_multiplications(other, k=0).top, count_multiplications(other).fine_per_patch
    costs = count_rounds(other, (1, 4))
    assert costs[2] - costs[1] == top + 3 * per_patch


def test_the_curves_run_from_no_patches_to_all(dcn, data):
    curves = budget_curves(collect_answers(dcn, data, max_k=6), points=20)
    assert [point.patches for point in curves.anytime] == [0, 1, 2, 4, 6]
    costs = [point.multiplications for point in curves.budgeted]
    assert costs == sorted(costs, reverse=True)
    first, last = curves.budgeted[0], curves.budgeted[-1]
    assert (first.patches, last.patches) == (6, 0)
    assert (first.rate, last.rate) == (curves.anytime[-1].rate, curves.anytime[0].rate)
    for point in curves.budgeted:
        low, high = point.multiplications_interval
        assert low <= point.multiplications <= high
    json.dumps([point.as_record() for point in curves.budgeted], allow_nan=False)


def test_a_threshold_keeps_within_each_budget(dcn, data):
    curves = budget_curves(collect_answers(dcn, data, max_k=6))
    fewest, most = curves.budgeted[-1].multiplications, curves.budgeted[0].multiplications
    found = calibrate(dcn, data, multiplications=(fewest + most) / 2, max_k=6)
    assert fewest < found.point.multiplications <= (fewest + most) / 2
    assert evaluate_until_sure(dcn, data, found.entropy_below, max_k=6).rate == found.point.rate

    errors = [point.rate.fraction for point in curves.budgeted]
    found = calibrate(dcn, data, error=min(errors), max_k=6)
    assert found.point.rate.fraction == min(errors)
    assert found.point.multiplications == min(
        point.multiplications for point in curves.budgeted if point.rate.fraction == min(errors)
    )
    # More time than anything takes: all patches for everybody.
    assert calibrate(dcn, data, milliseconds=1e6, max_k=6).entropy_below == 0
    with pytest.raises(ValueError, match=r"within milliseconds of 1e-09 .* the least is"):
        calibrate(dcn, data, milliseconds=1e-9, max_k=6)
    with pytest.raises(ValueError, match=r"within multiplications of 1 .* the fewest are"):
        calibrate(dcn, data, multiplications=1, max_k=6)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({}, "give one of multiplications, error and milliseconds, got none"),
        ({"error": 0.1, "milliseconds": 1}, "got error, milliseconds"),
        ({"multiplications": math.nan}, "multiplications must be a positive number, got nan"),
        ({"milliseconds": -1}, "milliseconds must be a positive number, got -1"),
        ({"error": 0.1, "max_k": 36}, r"must be 0\.\.35, got 36"),
        ({"error": 0.1, "max_k": 0}, "max_k must be at least 1"),
        ({"error": 0.1, "batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(dcn, data, budgets, message):
    with pytest.raises(ValueError, match=message):
        calibrate(dcn, data, **budgets)


def test_models_without_patches_and_data_without_images_are_refused(dcn, data):
    with pytest.raises(TypeError, match="SingleCapacityNetwork chooses no patches"):
        calibrate(CoarseSpec().build(), data, error=0.5)
    for measure in (collect_answers, lambda *given: evaluate_until_sure(*given, 0.1)):
        with pytest.raises(ValueError, match="the data set is empty"):
            measure(dcn, [])


def test_sequences_are_right_in_all_positions_or_wrong():
    task = HouseNumbersTask(scales=2)
    torch.manual_seed(0)
    model, data = DCNSpec(task=task).build().eval(), task.smoke("validation")
    data = [data[n] for n in range(6)]
    answers = collect_answers(model, data, max_k=2)
    assert answers.logits.shape == (6, 3, 5, 11)
    threshold = answers.doubt.median().item()
    told, done = (
        point_of(answers, stops(answers.doubt, threshold)),
        evaluate_until_sure(model, data, threshold, max_k=2),
    )
    assert (told.rate, told.patches) == (done.rate, pytest.approx(done.patches))
    record = compare_stops(answers, threshold)
    assert record["random"]["multiplications"] == pytest.approx(record["entropy"]["multiplications"])


def test_an_interval_of_a_mean_is_students():
    values = np.array([1.0, 2.0, 4.0])
    half = t.ppf(0.975, 2) * values.std(ddof=1) / 3**0.5
    assert mean_interval(values) == pytest.approx((values.mean() - half, values.mean() + half))
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0) == mean_interval([2.0])


def test_reliability_is_a_count_by_hand():
    diagram = reliability(torch.tensor([0.55, 0.95, 1.0, 0.95]), torch.tensor([False, True, True, False]), bins=10)
    low, high = diagram.bins
    assert (low.low, low.high, low.rate.errors, low.rate.count) == (0.5, 0.6, 1, 1)
    assert (high.rate.errors, high.rate.count) == (1, 3)
    assert high.confidence == pytest.approx(2.9 / 3)
    assert diagram.expected_error == pytest.approx((0.55 + abs(2 - 2.9)) / 4)


def test_a_temperature_undoes_what_made_a_model_too_sure():
    """Labels drawn from the model's own probabilities, then its logits made three times as large."""
    logits = 2 * torch.randn(20_000, 4)
    labels = torch.multinomial(logits.softmax(1), 1)[:, 0]
    assert temperature(logits, labels) == pytest.approx(1, abs=0.05)
    assert temperature(3 * logits, labels) == pytest.approx(3, abs=0.15)
    right = logits.argmax(1) == labels
    assert reliability(answer_probability(logits), right).expected_error < 0.015
    assert reliability(answer_probability(3 * logits), right).expected_error > 0.05


def test_what_one_may_stop_by():
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]]).log()
    torch.testing.assert_close(answer_probability(logits), torch.tensor([0.5, 0.9]))
    torch.testing.assert_close(answer_margin(logits), torch.tensor([0.2, 0.85]))
    torch.testing.assert_close(answer_probability(logits[None]), torch.tensor([0.45]))
    torch.testing.assert_close(answer_margin(logits[None]), torch.tensor([0.2]))


def test_stops_are_compared_at_equal_cost(dcn, data):
    answers = collect_answers(dcn, data, max_k=6)
    record = compare_stops(answers, answers.doubt.median().item())
    usual = record["entropy"]["multiplications"]
    assert record["random"]["multiplications"] == pytest.approx(usual)
    assert record["random"]["patches"] == pytest.approx(record["entropy"]["patches"])
    assert 0 <= record["random"]["mean_error"] <= 1
    for other in ("probability", "margin"):
        assert record[other]["multiplications"] == pytest.approx(usual, rel=0.1)
    assert [row["k"] for row in doubt_record(answers)] == [0, 1, 2, 4, 6]
    json.dumps([record, doubt_record(answers)], allow_nan=False)


@pytest.mark.parametrize("scales", [1, 2])
def test_a_calibrated_network_keeps_to_its_budget_by_itself(scales):
    torch.manual_seed(0)
    model = DCNSpec(task=HouseNumbersTask(scales=scales)).build().eval()
    data = HouseNumbersTask(scales=scales).smoke("validation")
    few, many = (count_rounds(model, (1, 2)[:n])[-1] for n in (1, 2))
    found = calibrate(model, data, multiplications=(few + many) / 2, max_k=2)
    model.entropy_below, model.max_k = found.entropy_below, found.max_k
    done = evaluate_until_sure(model, data)
    assert done.multiplications == pytest.approx(found.point.multiplications)
    assert done.multiplications <= (few + many) / 2
    assert model.adaptive(data[[0, 1]][0], 0.0).patches_used.tolist() == [2, 2]
    assert model.adaptive(data[[0, 1]][0], 0.0, max_k=np.int64(3)).patches_used.tolist() == [3, 3]


def test_fewer_cells_than_patches_are_all_looked_at(make_dcn):
    dcn = make_dcn(image_shape=None).float()
    images = torch.rand(8, 1, 7, 7)
    data = TensorDataset(images, torch.arange(8) % 4)
    assert collect_answers(dcn, data).ks == (0, 1, 2, 4, 8, 9)
    assert calibrate(dcn, data, error=1.0).max_k == 9


def test_the_policy_of_the_call_is_what_is_paid_for(dcn, data):
    costs = {
        policy: evaluate_until_sure(dcn, data, 0.0, max_k=3, policy=policy).multiplications
        for policy in ("random", "class-score-gradient")
    }
    for policy, cost in costs.items():
        assert cost == count_rounds(dcn, (3,), policy=policy)[-1]
    assert costs["random"] < costs["class-score-gradient"]
