"""Times are those of work that is done, not of work that is only asked for."""

import time
from types import SimpleNamespace

import pytest
import torch

from dcnlib.utils.timing import interleaved


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_call_ends_when_the_gpu_has_done_its_work(kind, monkeypatch):
    """A GPU whose work takes a second, on a clock that hardly moves otherwise."""
    clock = SimpleNamespace(now=0.0, asked=0)

    def ask():
        clock.asked += 1

    def wait():
        clock.now += clock.asked
        clock.asked = 0

    def read():
        clock.now += 0.001
        return clock.now

    monkeypatch.setattr(torch.cuda, "is_available", lambda: kind == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")
    monkeypatch.setattr(getattr(torch, kind), "synchronize", wait)
    monkeypatch.setattr(time, "perf_counter", read)
    seconds = interleaved({"one": ask, "two": lambda: (ask(), ask())}, rounds=2)
    assert seconds == pytest.approx({"one": 1.0, "two": 2.0}, abs=0.01)
