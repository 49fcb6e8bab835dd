"""Taking time fairly on a noisy machine."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch


def interleaved(competitors: Mapping[str, Callable[[], object]], rounds: int, turn: float = 0.1) -> dict[str, float]:
    """Median seconds of a call of each competitor, over all rounds; see `turns`."""
    times = turns(competitors, rounds, turn)
    return {name: statistics.median(itertools.chain(*values)) for name, values in times.items()}


def rounds_of(
    competitors: Mapping[str, Callable[[], object]], rounds: int, turn: float = 0.1
) -> dict[str, list[float]]:
    """Median seconds of a call of each competitor in each of the rounds; see `turns`."""
    times = turns(competitors, rounds, turn)
    return {name: [statistics.median(one) for one in values] for name, values in times.items()}


def turns(competitors: Mapping[str, Callable[[], object]], rounds: int, turn: float) -> dict[str, list[list[float]]]:
    """Seconds of each call of each competitor by round, when all take turns of `turn` seconds, but at least one call.

    A call that isn't timed begins each turn, so that nobody pays for what the one before left in the caches.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, call in competitors.items():
            call()
            synchronize()
            times[name].append([])
            end = time.perf_counter() + turn
            while True:
                started = time.perf_counter()
                call()
                synchronize()
                times[name][-1].append(time.perf_counter() - started)
                if time.perf_counter() >= end:
                    break
    return times


@contextmanager
def thread_count(count: int) -> Iterator[None]:
    """Let torch compute with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize() -> None:
    """Wait for the GPU, CUDA's or MPS, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
