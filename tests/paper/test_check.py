"""Shipped weights are held to their records: a sample of them here, all of them by `make paper-check`."""

import copy

import pytest

from dcnlib.cli import check as command
from dcnlib.cli.main import main
from dcnlib.models.pretrained import PRETRAINED, load_trained
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.paper import check
from dcnlib.paper.check import LISTS, Outcome, check_weights, list_wrong_images
from dcnlib.paper.profiles import validation_set
from dcnlib.training.evaluation import evaluate
from dcnlib.utils.records import load_record
from dcnlib.utils.weights import digest_of, weights_of

NAME, FIRST = "coarse", 300


@pytest.fixture(scope="module")
def listed():
    """What the record of wrong images says of a model, of its validation images."""
    trained = load_trained(NAME)
    wrong = evaluate(trained.model, validation_set("fast")).wrong.nonzero().flatten().tolist()
    return {"weights": digest_of(weights_of(trained.model)), "validation": {"wrong": wrong}, "test": {"wrong": []}}


def loader(listed=None):
    def load(name):
        if name != LISTS:
            return load_record(name)
        if listed is None:
            raise FileNotFoundError(name)
        return {"models": {NAME: listed}}

    return load


@pytest.fixture
def no_mnist(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("no MNIST here")

    monkeypatch.setattr("dcnlib.models.tasks.load_cluttered", missing)


def test_weights_that_err_as_recorded_agree_and_missing_images_are_told(listed, no_mnist):
    assert len(listed["validation"]["wrong"]) == load_record(NAME)["validation"]["errors"]
    seen = []
    validation, test = check_weights([NAME], first=FIRST, load=loader(listed), report=seen.append)
    count = sum(image < FIRST for image in listed["validation"]["wrong"])
    assert validation == Outcome(NAME, "validation", True, f"{count} of {FIRST} wrong, {count} in the record")
    assert test == Outcome(NAME, "test", None, "can't be checked: no MNIST here")
    assert seen == [validation, test]


def test_an_image_that_is_answered_otherwise_is_named(listed, no_mnist):
    changed = copy.deepcopy(listed)
    gone, *_ = changed["validation"]["wrong"]
    new = next(image for image in range(FIRST) if image not in listed["validation"]["wrong"])
    changed["validation"]["wrong"] = [new, *changed["validation"]["wrong"][1:]]
    validation, _ = check_weights([NAME], first=FIRST, load=loader(changed))
    assert validation.agrees is False
    assert validation.told.endswith(f"wrong now: {gone}; right now: {new}")


def test_other_weights_than_the_listed_ones_differ(listed):
    outcomes = check_weights([NAME], load=loader(listed | {"weights": "0" * 64}))
    assert [outcome.agrees for outcome in outcomes] == [False, False]


def test_without_lists_only_all_images_can_be_compared(no_mnist, monkeypatch, digits):
    validation, _ = check_weights([NAME], first=FIRST, load=loader())
    assert validation.agrees is None
    record = load_record(NAME)
    few = validation_set("smoke")
    monkeypatch.setattr(check, "validation_set", lambda profile: few)
    errors = int(evaluate(load_trained(NAME).model, few).wrong.sum())
    for recorded in (errors, errors + 1):
        told = {**record, "validation": {"errors": recorded}}
        validation, _ = check_weights([NAME], load=lambda name, told=told: loader()(name) if name == LISTS else told)
        assert validation.agrees is (recorded == errors)
        assert validation.told == f"{errors} of {len(few)} wrong, {recorded} in the record"


def test_images_that_are_not_the_record_s_are_not_taken_for_them(monkeypatch):
    few = validation_set("smoke")
    monkeypatch.setattr("dcnlib.models.tasks.load_cluttered", lambda *_, **__: few)
    _, test = check_weights([NAME], load=lambda name: loader()(name))
    assert test.agrees is None
    assert "the images differ from the record's in source, split, count, seed" in test.told


def test_the_command_ends_with_1_if_a_model_differs(monkeypatch, capsys):
    for agrees, status in ((True, 0), (None, 0), (False, 1)):
        outcome = Outcome(NAME, "test", agrees, "told")
        monkeypatch.setattr(command, "check_weights", lambda report, outcome=outcome: [report(outcome), outcome][1:])
        assert main(["check"]) == status
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        [NAME, "test", "agrees"],
        [NAME, "test", "not"],
        [NAME, "test", "DIFFERS"],
    ]


def test_wrong_images_are_listed_with_the_weights_they_are_of(monkeypatch, listed):
    few = validation_set("smoke")
    monkeypatch.setattr(check, "_images", lambda trained, split, told: few)
    record = list_wrong_images([NAME])
    told = record["models"][NAME]
    assert told["weights"] == listed["weights"]
    wrong = evaluate(load_trained(NAME).model, few).wrong.nonzero().flatten().tolist()
    assert told["validation"]["wrong"] == told["test"]["wrong"] == wrong
    assert told["test"]["errors"] == len(wrong)
    assert record["name"] == LISTS
    assert record["versions"]["torch"]


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_sample_of_the_images_is_answered_by_each_shipped_weight_as_the_committed_lists_say(name):
    """Of all splits that are at hand; the validation images of Cluttered MNIST and rendered numbers always are."""
    validation, test = check_weights([name], first=FIRST)
    assert validation.agrees is not False, validation.told
    assert test.agrees is not False, test.told
    trained = load_trained(name)
    listed = "wrong" in trained.record["validation"] or name in load_record(LISTS)["models"]
    if listed and (trained.task == CLUTTERED_MNIST or trained.source == "rendered"):
        assert validation.agrees, validation.told
    if validation.agrees is test.agrees is None:
        pytest.skip(f"neither split: {validation.told}; {test.told}")


def test_lists_of_wrong_images_agree_with_the_records_of_the_runs():
    lists = load_record(LISTS)["models"]
    assert lists.keys() == {name for name in PRETRAINED if "wrong" not in load_record(name)["test"]}
    for name, told in lists.items():
        assert told["weights"] == digest_of(weights_of(load_trained(name).model))
        for split in ("validation", "test"):
            assert len(set(told[split]["wrong"])) == told[split]["errors"] == load_record(name)[split]["errors"]
