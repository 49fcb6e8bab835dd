"""Intervals and p values, against the records that an earlier formula made, and against what they mean."""

import json

import numpy as np
import pytest

from dcnlib.utils.records import records_folder
from dcnlib.utils.statistics import ErrorRate, average_precision, mcnemar_p_value, paired_difference


def parts_of(record):
    """All dictionaries in a record."""
    if isinstance(record, dict):
        yield record
    for part in record.values() if isinstance(record, dict) else record if isinstance(record, list) else ():
        yield from parts_of(part)


PARTS = [part for path in records_folder().glob("*.json") for part in parts_of(json.loads(path.read_text()))]


def test_the_intervals_of_all_records_come_out_again():
    rates = [part for part in PARTS if "interval_95" in part]
    assert len(rates) > 250
    for rate in rates:
        assert ErrorRate.from_record(rate).interval == pytest.approx(rate["interval_95"], abs=1e-9)


def test_the_p_values_of_all_records_come_out_again():
    pairs = [part for part in PARTS if "p_value" in part]
    assert len(pairs) > 200
    for pair in pairs:
        wrong_alone = [count for name, count in pair.items() if name.startswith("only_")]
        assert len(wrong_alone) == 2
        assert mcnemar_p_value(*wrong_alone) == pytest.approx(pair["p_value"], rel=1e-9)


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_an_interval_holds_its_fraction_and_stays_in_0_to_1(count):
    for errors in {0, 1, count // 2, count}:
        low, high = ErrorRate(errors, count).interval
        assert 0 <= low <= errors / count <= high <= 1
        assert ErrorRate(count - errors, count).interval == pytest.approx((1 - high, 1 - low))
    assert ErrorRate(0, count).interval[0] == 0


def test_two_models_that_err_alike_are_not_told_apart():
    assert mcnemar_p_value(0, 0) == mcnemar_p_value(7, 7) == 1
    assert mcnemar_p_value(3, 9) == mcnemar_p_value(9, 3) == pytest.approx(2 * (1 + 12 + 66 + 220) / 2**12)


def test_a_paired_difference_is_that_of_the_images_one_by_one():
    wrong = np.zeros((2, 200))
    wrong[0, :30], wrong[1, 20:36] = 1, 1  # wrong alone: 20 and 6
    apart = wrong[0] - wrong[1]
    half = 1.96 * apart.std() / 200**0.5
    assert paired_difference(20, 6, 200) == pytest.approx((apart.mean(), apart.mean() - half, apart.mean() + half))
    assert paired_difference(6, 20, 200)[0] == -paired_difference(20, 6, 200)[0]


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_its_definition(seed):
    random = np.random.RandomState(seed)
    scores, positive = random.randint(0, 6, 30).astype(float), random.random_sample(30) < 0.4  # many ties
    expected = np.mean([positive[scores >= score].mean() for score in scores[positive]])
    assert average_precision(scores, positive)[0] == pytest.approx(expected)
    weights = random.randint(0, 3, (4, 30))
    drawn = [np.repeat(np.arange(30), row) for row in weights]
    each = [average_precision(scores[rows], positive[rows])[0] for rows in drawn]
    assert average_precision(scores, positive, weights) == pytest.approx(each)
    assert average_precision(scores, scores >= 4)[0] == 1
