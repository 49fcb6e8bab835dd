"""The shipped weights: each loads, and errs on the embedded digits as often as its record says."""

import pytest

from dcnlib import (
    PRETRAINED,
    ClutteredMNIST,
    ClutterRules,
    DynamicCapacityNetwork,
    ErrorRate,
    SingleCapacityNetwork,
    evaluate,
    load_pretrained,
    load_record,
)


@pytest.mark.parametrize("name", PRETRAINED)
def test_shipped_weights_make_the_errors_of_their_record(name, embedded):
    """The 5,000 embedded digits are those that the best epoch was chosen by, in the record's own clutter."""
    record = load_record(name)
    model = load_pretrained(name)
    told = record["data"]["validation"]
    rules = ClutterRules(size=told["size"], distractors=told["distractors"], crop=told["crop"])
    rate = evaluate(model, ClutteredMNIST(embedded, rules=rules, seed=told["seed"])).rate
    recorded = ErrorRate.from_record(record["validation"])
    assert rate.count == recorded.count
    assert abs(rate.errors - recorded.errors) <= 3, f"{rate.errors} errors, the record says {recorded.errors}"


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_pretrained_model_is_built_as_its_record_says_and_comes_in_eval_mode(name):
    model, record = load_pretrained(name), load_record(name)
    assert not any(part.training for part in model.modules())
    assert record["model"] == PRETRAINED[name].describe()
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    if record["model"]["kind"] == "dcn":
        assert isinstance(model, DynamicCapacityNetwork)
        assert (model.k, model.hint_weight) == (record["model"]["k"], record["model"]["hint_weight"])
    else:
        assert isinstance(model, SingleCapacityNetwork)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"coarse, fine, dcn-k8-hints, dcn-k8-no-hints, got 'dcn'"):
        load_pretrained("dcn")
