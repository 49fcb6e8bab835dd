"""Devices and what computing on them takes: precision, memory layout, seeds, compilers."""

import os
import shutil
import sys
import sysconfig
from contextlib import nullcontext
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


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, then MPS, then the CPU. Raises ValueError for a device that isn't there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available.get(device.type, False):
        raise ValueError(f"device {name!r} is not available here; use 'auto' or 'cpu'")
    return device


def autocast(device: torch.device, precision: Precision) -> Any:
    """The context that a step of this precision runs in; one object may be entered again and again."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
