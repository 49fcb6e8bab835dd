"""Stopping between two steps: what was asked for in the middle of one waits until it is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# What a terminal, a scheduler and a closed connection send.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Training was asked to stop by a signal, and did so between two steps; or a sweep was, and ended its processes.
    `exit_status` is what shells call that."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}")
        self.signal = number
        self.exit_status = 128 + number


class Stop:
    """Whether a signal has come; a second one no longer waits."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stopping_between_steps() -> Iterator[Stop]:
    """Note signals that ask to stop, instead of stopping at once."""
    stop = Stop()
    with _receiving(stop.receive):
        yield stop


@contextmanager
def stopping_cleanly(where: str) -> Iterator[None]:
    """Raise Stopped where a signal that asks to stop comes, so that what was begun is ended on the way out."""

    def receive(number: int, frame: FrameType | None) -> None:
        raise Stopped(number, where)

    with _receiving(receive):
        yield


@contextmanager
def _receiving(receive: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have signals that ask to stop received, and give them back to who handled them before.

    Only signals that nobody else handles, and only in the main thread, which is the only one that gets any.
    """
    usual: tuple[Any, ...] = (signal.SIG_DFL, signal.default_int_handler)
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS if here}
    ours = {number: handler for number, handler in before.items() if handler in usual}
    for number in ours:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
