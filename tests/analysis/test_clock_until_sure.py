"""The clock of looking until sure: what is compared with what, and that no more errors are made."""

import json

import numpy as np
import pytest
import torch

from dcnlib.analysis import clock, clock_until_sure
from dcnlib.analysis.clock import ClockSettings, Forms
from dcnlib.analysis.clock_until_sure import closer_look, run_until_sure_clock
from dcnlib.analysis.until_sure import Answers
from dcnlib.inference.until_sure import UntilSure
from dcnlib.paper.benchmark_tables import until_sure_clock_tables

SETTINGS = ClockSettings(batches=(1, 4), forms=("eager", "prepared"), rounds=3)


def answers_of(right, doubts, costs=(1, 5, 9)):
    """Answers at k = 0, 8, 16 of two classes, of which 0 is right."""
    doubts = torch.tensor(doubts, dtype=torch.float64)
    sure = (1 - doubts / 2).clamp(min=0.5)  # more doubt, less probability: only the order counts
    logits = torch.stack([sure.log(), (1 - sure).log()], dim=-1)
    right = torch.tensor(right)
    logits = torch.where(right[..., None], logits, logits.flip(-1))
    return Answers((0, 8, 16), costs, logits, torch.zeros(len(right), dtype=torch.int64))


def test_the_threshold_is_the_highest_that_makes_no_more_errors():
    first = [True, True, False, True, False]
    doubts = [[0.1] * 3, [0.2] * 3, [0.3] * 3, [0.4] * 3, [0.5] * 3]
    usual = [[one, eight, eight] for one, eight in zip(first, [True, True, True, True, False], strict=True)]
    look = closer_look(answers_of(usual, doubts))
    # One error is allowed; the third image has to go on, so the two after it, which are in greater doubt, do too.
    assert (look.k, look.errors, look.going_on) == (8, 1, pytest.approx(0.6))
    assert look.multiplications == pytest.approx((1 + 1 + 5 + 5 + 5) / 5)
    # 16 patches repair the last one, so that the third may stay wrong; the fourth is right at once.
    better = [[one, eight, True] for one, eight, _ in usual]
    look = closer_look(answers_of(better, doubts, costs=(1, 5, 6)))
    assert (look.k, look.going_on) == (16, pytest.approx(0.2))


@pytest.fixture
def quick(monkeypatch):
    """The models as they are in the place of every form, and few images."""
    monkeypatch.setattr(clock, "check_compiler", lambda: None)
    monkeypatch.setattr(Forms, "get", lambda self, name, form, images, threads: clock.load_sized(name, images))
    monkeypatch.setattr(clock_until_sure, "IMAGES", 8)
    usual = clock_until_sure.load_cluttered("all", source="embedded")
    few = clock_until_sure.ClutteredMNIST(usual.digits.subset(40), seed=usual.seed)
    monkeypatch.setattr(clock_until_sure, "load_cluttered", lambda *_, **__: few)

    def as_it_is(model, images, entropy_below, k):
        return UntilSure(lambda some: model(some, k=0), lambda some: model(some, k=k), entropy_below)

    monkeypatch.setattr(clock_until_sure, "compile_until_sure", as_it_is)
    monkeypatch.setattr(clock_until_sure, "rounds_of", in_turn)


def in_turn(calls, rounds):
    """Seconds that rise from turn to turn, and from one competitor to the next; each is called once."""
    return {
        name: [call() is None or 0.001 * (place + 1) * (1 + turn) for turn in range(rounds)]
        for place, (name, call) in enumerate(calls.items())
    }


def test_the_fine_model_and_looking_until_sure_take_turns(quick):
    kept = []
    record = run_until_sure_clock(SETTINGS, keep=lambda record: kept.append(json.loads(json.dumps(record))))
    assert kept[-1] == json.loads(json.dumps(record))
    assert [row["batch"] for row in record["batches"]] == [1, 4]
    for row in record["batches"]:
        models = {form["model"] for form in row["forms"]}
        assert {"fine", "until sure", "glance", "rounds up to 0", "rounds up to 16"} <= models
        fine, own = row["fastest"]["fine"], row["fastest"]["own"]
        assert (fine["model"], own["model"]) == ("fine", "until sure")
        assert fine["milliseconds"] == min(f["milliseconds"] for f in row["forms"] if f["model"] == "fine")
        # The turns rise alike, so that the ratio of the medians is that of each round.
        assert row["times_faster"]["ratio"] == pytest.approx(fine["milliseconds"] / own["milliseconds"])
        shares = list(row["going_on"].values())
        assert shares == sorted(shares, reverse=True)
        assert row["look"]["errors"] <= record["validation"]["errors"]
    # The fine model is timed on one batch, and looking until sure on all images.
    first = record["batches"][1]["forms"][0]
    assert first["milliseconds"] == pytest.approx(1000 * 0.001 * 2 / 4)
    told = until_sure_clock_tables(record)
    assert f"{np.round(record['batches'][0]['times_faster']['ratio'], 2):.2f} (" in told
    assert "| first look | 100.0 % |" in told
