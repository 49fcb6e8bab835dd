"""The shipped weights: each loads, and errs on validation images as often as its record says."""

from functools import cache

import pytest

from dcnlib import (
    ClutteredMNIST,
    DynamicCapacityNetwork,
    MultiScaleNetwork,
    SingleCapacityNetwork,
    evaluate,
    load_pretrained,
    load_record,
)
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.data.house_numbers.images import TEST_DISTURBANCE, load_house_number_images
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.utils.statistics import ErrorRate

CLASSES = {
    "dcn": DynamicCapacityNetwork,
    "ram": RecurrentAttentionModel,
    "draw": DrawClassifier,
    "perturbed-topk": PerturbedTopKNetwork,
    "soft-attention": SoftAttentionNetwork,
}


DIGIT_MODELS = [name for name, spec in PRETRAINED.items() if spec.task.name == "cluttered-mnist"]
NUMBER_MODELS = [name for name, spec in PRETRAINED.items() if spec.task.name == "house-numbers"]


@cache
def numbers(source):
    """Validation images of a source, and its test images, shifted and rescaled by a seed."""
    try:
        return (
            load_house_number_images("validation", source=source),
            load_house_number_images("test", source=source, disturbance=TEST_DISTURBANCE, seed=1),
        )
    except FileNotFoundError:
        pytest.skip("there is no SVHN in DCNLIB_DATA or the cache")


@pytest.mark.parametrize("name", DIGIT_MODELS)
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


@pytest.mark.parametrize("name", NUMBER_MODELS)
def test_shipped_weights_make_the_errors_of_their_record_on_numbers_shifted_or_not(name):
    """The best epoch was chosen by the validation images: there, the record's own errors. On disturbed test images,
    which had no part in the choice, no more errors than chance has."""
    record, model = load_record(name), load_pretrained(name)
    validation, disturbed = numbers(record["data"]["train"]["source"])
    if record["data"]["validation"] != validation.describe():
        pytest.skip("the numbers at hand are not those that the record was made with")
    recorded, rate = ErrorRate.from_record(record["validation"]), evaluate(model, validation).rate
    assert abs(rate.errors - recorded.errors) <= 1, f"{rate.errors} errors, the record says {recorded.errors}"
    assert evaluate(model, disturbed).rate.fraction <= ErrorRate.from_record(record["test"]).interval[1]


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_pretrained_model_is_built_as_its_record_says_and_comes_in_eval_mode(name):
    model, record = load_pretrained(name), load_record(name)
    assert not any(part.training for part in model.modules())
    assert record["model"] == PRETRAINED[name].describe()
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    kind = record["model"]["kind"]
    if record["model"].get("scales", 1) > 1:
        assert isinstance(model, MultiScaleNetwork)
        model = model.network
    assert type(model) is CLASSES.get(kind, SingleCapacityNetwork)
    for option in PRETRAINED[name].options():
        if option in ("k", "hint_weight", "sigma_steps", "discount"):
            assert getattr(model, option) == record["model"][option]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=f"{', '.join(PRETRAINED)}, got 'dcn'"):
        load_pretrained("dcn")
