"""Devices and what computing on them takes: precision, memory layout, seeds, compilers."""

import os
import re
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor


def to_device(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch on the device, in the memory layout that convolutions like best."""
    images, labels = batch
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    return images, labels.to(device, non_blocking=True)


def can_compile() -> bool:
    """Whether torch.compile has what it needs here: a GPU, or a C++ compiler and Python's headers for the CPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return torch.cuda.is_available() or (shutil.which(compiler) is not None and headers.is_file())


Precision = Literal["auto", "float32", "bfloat16"]
DEVICES = ("auto", "cpu", "cuda", "mps")


def seed_everything(seed: int) -> None:
    """Seed torch on every device. Data sets draw from seeds of their own."""
    torch.manual_seed(seed)


def device_name(device: str | torch.device) -> str:
    """A device's name, which can be written down. Raises TypeError or ValueError unless it is one of `DEVICES`."""
    name = str(device) if isinstance(device, torch.device) else device
    if not isinstance(name, str):
        raise TypeError(f"device must be the name of a device or a torch.device, got {device!r}")
    if name != "auto" and not re.fullmatch(rf"({'|'.join(DEVICES[1:])})(:\d{{1,3}})?", name):
        raise ValueError(f"device must be one of {', '.join(DEVICES)} (or cuda:N), got {name!r}")
    return name


def resolve_device(name: str | torch.device) -> torch.device:
    """`auto` is CUDA where there is one, then MPS, then the CPU. Raises ValueError for a device that isn't there."""
    name = device_name(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if (device.index or 0) >= there[device.type]:
        raise ValueError(f"device {name!r} is not available here; use 'auto' or 'cpu'")
    return device


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether this is an x86 processor without instructions for bfloat16, where it takes several times as long as
    float32. False too where torch doesn't tell what the processor has."""
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in the oldest torch that is allowed
    lacks = has.get("architecture") == "x86_64" and not (has["avx512_bf16"] or has["amx_bf16"])
    return device.type == "cpu" and lacks


def autocast(device: torch.device, precision: Precision) -> Any:
    """The context that a step of this precision runs in; one object may be entered again and again."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def deterministic(wanted: bool) -> Iterator[set[str]]:
    """Let torch take operations that give the same bits each time on one machine, where it has them. The names of those
    that were used and have no such form are added to the set as they are met."""
    varying: set[str] = set()
    if not wanted:
        yield varying
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or CUDA's products of matrices vary
    torch.use_deterministic_algorithms(True, warn_only=True)
    told = r"(\S+) does not have a deterministic implementation"
    with warnings.catch_warnings():
        warnings.filterwarnings("always", told, UserWarning)
        usual = warnings.showwarning

        def note(message: Any, *where: Any, **how: Any) -> None:
            if found := re.match(told, str(message)):
                varying.add(found[1])
            else:
                usual(message, *where, **how)

        warnings.showwarning = note
        try:
            yield varying
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
