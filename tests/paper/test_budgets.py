"""The measurement at every budget: what its record holds, and what the images beyond training are."""

import json

import pytest

from dcnlib import ClutteredMNIST, load_pretrained
from dcnlib.paper.budgets import BudgetSettings, beyond, run_budgets

SMALL = BudgetSettings(distractors=(4,), sizes=(120,), beyond=8, max_k=2, multiplications=7e6, device="cpu")


def test_a_record_holds_all_curves_and_what_lies_beyond(digits):
    validation, data = ClutteredMNIST(digits.subset(24), seed=1), ClutteredMNIST(digits.subset(16), seed=2)
    reports: list[str] = []
    record = run_budgets({"dcn": load_pretrained("dcn-k8-hints")}, validation, data, SMALL, report=reports.append)
    json.dumps(record, allow_nan=False)
    told = record["models"]["dcn"]
    assert told["threshold"]["multiplications"] <= SMALL.multiplications
    for part, count in (("validation", 24), ("data", 16)):
        assert [row["k"] for row in told[part]["fixed"]] == [0, 1, 2]
        assert told[part]["until_sure"]["count"] == told[part]["anew"]["count"] == count
        assert told[part]["until_sure"]["entropy_below"] == told["threshold"]["entropy_below"]
    assert told["validation"]["until_sure"]["error"] == told["threshold"]["error"]
    assert [row["data"]["size"] for row in told["beyond"]] == [100, 120]
    assert reports[0] == "dcn"


def test_images_beyond_training_have_other_fragments_and_canvases_as_densely_strewn(digits):
    sets = beyond(ClutteredMNIST(digits, seed=1), BudgetSettings(beyond=10))
    assert [(each.rules.size, each.rules.distractors) for each in sets] == [
        *((100, 4), (100, 16), (100, 32)),
        *((150, 18), (200, 32), (400, 128)),
    ]
    assert {len(each) for each in sets} == {10}


def test_a_budget_below_the_first_look_is_refused(digits):
    data = ClutteredMNIST(digits.subset(8), seed=1)
    settings = BudgetSettings(multiplications=10, max_k=1, device="cpu")
    with pytest.raises(ValueError, match="no threshold keeps within 10 multiplications"):
        run_budgets({"dcn": load_pretrained("dcn-k8-hints")}, data, settings=settings)
