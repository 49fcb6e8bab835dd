"""How much memory a pass takes at its peak."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.data.cluttered_mnist import ClutteredMNIST, ClutterRules
from dcnlib.data.digits import load_digits
from dcnlib.models.pretrained import load_model, load_pretrained
from dcnlib.utils.checks import ImageShape
from dcnlib.utils.device import to_device

CLEAR = Path("/proc/self/clear_refs")


def peak_memory(name: str, size: int, device: torch.device) -> int | None:
    """Bytes that a model needs at its peak for one image of `size` pixels a side, not compiled, beyond its weights.

    On CUDA as torch's allocator counts them; elsewhere as the system counts a fresh process, give or take 0.2 MB, and
    None if it isn't Linux.
    """
    if device.type == "cuda":
        return peak_of_pass(name, size, device)
    return _in_fresh_process(f"peak_of_pass({name!r}, {size}, 'cpu')")


def peak_memory_of(source: str | Path, image_shape: ImageShape, **options: Any) -> int | None:
    """Bytes that a trained model needs at its peak to answer one image of this shape on a CPU, beyond its weights and
    the image. options: of the call, such as k. As the system counts a fresh process; None if it isn't Linux."""
    return _in_fresh_process(f"peak_of_call({str(source)!r}, {image_shape!r}, **{options!r})")


def _in_fresh_process(call: str) -> int | None:
    """What a function of this module counts."""
    if not CLEAR.exists():
        return None
    code = f"from dcnlib.analysis import memory; print(memory.{call})"
    # The C library gives large blocks back as soon as they are free, so that what is counted is what is in use.
    environ = os.environ | {"MALLOC_MMAP_THRESHOLD_": "16384"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return int(done.stdout)


def load_sized(name: str, images: Tensor) -> SingleCapacityNetwork | DynamicCapacityNetwork:
    """A shipped model, on the device of the images and for images of their size."""
    model = load_pretrained(name)
    assert isinstance(model, SingleCapacityNetwork | DynamicCapacityNetwork)
    _, channels, height, width = images.shape
    model.image_shape = (channels, height, width)  # the layers take any size
    return model.to(images.device).to(memory_format=torch.channels_last)


def cluttered_scene(size: int, count: int, device: torch.device) -> Tensor:
    """Cluttered images of any size, with as much clutter an area as at 100 pixels (at 800 pixels, half of it)."""
    rules = ClutterRules(size=size, distractors=min(256, 8 * size**2 // 100**2))
    data = ClutteredMNIST(load_digits("all", source="embedded"), rules=rules, seed=0)
    return to_device(data[np.arange(count)], device)[0]


@torch.no_grad()
def peak_of_pass(name: str, size: int, device: torch.device | str) -> int:
    """See `peak_memory`; on a CPU it counts all that the process holds, so it must be a fresh one."""
    device = torch.device(device)
    small, images = cluttered_scene(100, 1, device), cluttered_scene(size, 1, device)
    load_sized(name, small)(small)  # what the first call sets up is not of the pass
    model = load_sized(name, images)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        model(images)
        return torch.cuda.max_memory_allocated() - before
    return _peak_of(lambda: model(images))


@torch.no_grad()
def peak_of_call(source: str | Path, image_shape: ImageShape, **options: Any) -> int:
    """See `peak_memory_of`."""
    model = load_model(source).to(memory_format=torch.channels_last)
    images = torch.rand(1, *image_shape).contiguous(memory_format=torch.channels_last)
    model(images, **options)  # what the first call sets up is not of it
    return _peak_of(lambda: model(images, **options))


def _peak_of(call: Callable[[], object]) -> int:
    """How much more this process holds at the peak of a call."""
    CLEAR.write_text("5")  # forgets the peak so far
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
