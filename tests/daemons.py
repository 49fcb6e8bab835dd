"""Work in a daemonic process: as a worker of Dask is one, it may start none itself."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
import torch

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")


def in_a_daemon(work: Callable[[], Any]) -> Any:
    """What the work gives there. Raises EOFError if it fails, whose error is printed."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)

    def send() -> None:
        torch.set_num_threads(1)  # what more threads share with their parent can hang after a fork
        there.send(work())

    process = fork.Process(target=send, daemon=True)
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()
