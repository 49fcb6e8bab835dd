"""Runs cases in a process with limits, starts another where one is killed, and counts how they ended."""

import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
SECONDS = 10
STILL = 120  # seconds without an answer: the worker is waiting for something, and uses no processor's time
FINE = ("result", "refused")


@dataclass(frozen=True)
class Ended:
    """How a case ended: one of `FINE`, or a fault. told: the error, or what else is known."""

    case: dict[str, Any]
    ended: str
    told: str

    @property
    def fine(self) -> bool:
        return self.ended in FINE


def run(cases: Iterable[dict[str, Any]], seconds: int = SECONDS) -> Iterator[Ended]:
    """How each case ended, in their order. seconds: of the processor's time that a case may take."""
    worker: subprocess.Popen[str] | None = None
    try:
        for case in cases:
            if worker is None:
                worker = _start(seconds)
            assert worker.stdin is not None
            worker.stdin.write(json.dumps(case) + "\n")
            worker.stdin.flush()
            answer = _answer(worker)
            if isinstance(answer, dict):
                yield Ended(case, answer["ended"], answer["told"])
            else:
                worker = None
                yield Ended(case, "crash or hang", str(answer))
    finally:
        if worker is not None:
            worker.stdin.close()  # type: ignore[union-attr]
            worker.wait()


def _start(seconds: int) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "hostile.worker", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    ready = _answer(worker)
    if ready != "ready":
        raise RuntimeError(f"the reading process didn't come up: {ready}")
    return worker


def _answer(worker: "subprocess.Popen[str]") -> Any:
    """The worker's answer, or how it ended without one, as text."""
    assert worker.stdout is not None
    if not select.select([worker.stdout], [], [], STILL)[0]:
        worker.kill()
        worker.wait()
        return f"no answer in {STILL} s"
    if line := worker.stdout.readline():
        return json.loads(line)
    code = worker.wait()
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def mutated_cases(count: int, seed: int, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
    """So many cases, of all kinds in turn."""
    kinds = list(kinds)
    for number in range(count):
        yield {"kind": kinds[number % len(kinds)], "seed": seed + number // len(kinds)}


def table(ended: Iterable[Ended]) -> str:
    """How many cases of each kind ended how."""
    counts = Counter((str(one.case.get("kind", "attacks")), one.ended) for one in ended)
    lines = []
    for kind in sorted({kind for kind, _ in counts}):
        told = ", ".join(f"{count} {how}" for (of, how), count in sorted(counts.items()) if of == kind)
        lines.append(f"{kind:14} {told}")
    return "\n".join(lines)
