"""The clock: inference, parts, training, and growth with the size of the image, as ratios measured side by side.

Machines are noisy, so competitors take turns, round after round, in one process, and medians are kept. The baseline is
the fine model with its trained weights, in channels-last, under torch.compile with frozen weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.analysis.cost import count_multiplications
from dcnlib.analysis.memory import cluttered_scene, load_sized, peak_memory
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.passes import passes_through
from dcnlib.core.patches import extract_patches
from dcnlib.core.selection import select_patches
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.digits import load_digits
from dcnlib.inference.compile import compile_for_inference, compile_frozen, prepare_for_inference
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import autocast, can_compile, resolve_device, to_device
from dcnlib.utils.records import Record, environment
from dcnlib.utils.timing import interleaved, thread_count

EPOCH = 55_000  # training images
DCN = "dcn-k8-hints"
Milliseconds = dict[str, float]  # an image, by competitor
Batch = tuple[Tensor, Tensor]  # images and labels


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is measured."""

    batches: tuple[int, ...] = (1, 16, 128)
    """Images a call."""
    ks: tuple[int, ...] = (0, 2, 4, 8, 16, 24)
    """Patches an image, at the largest batch."""
    sizes: tuple[int, ...] = (100, 200, 400, 800)
    """Pixels a side, at 640,000 pixels a batch."""
    rounds: int = 15
    """How many turns each competitor gets."""
    steps: int = 15
    """Timed training steps of 64 images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU."""


SMOKE = BenchmarkSettings(batches=(4,), ks=(0, 4), sizes=(100, 200), rounds=2, steps=2)


def run_benchmark(settings: BenchmarkSettings, *, report: Callable[[str], None] = lambda what: None) -> Record:
    """Measure everything, in a quarter of an hour on two CPU cores. `report` is told what is being measured.

    Raises ValueError where torch.compile has no C++ compiler, or the device isn't there.
    """
    device = resolve_device(settings.device)
    check_compiler()
    threads = sorted({1, torch.get_num_threads()}) if device.type == "cpu" else [torch.get_num_threads()]
    pool = ClutteredMNIST(load_digits("all", source="embedded"), seed=0)
    images = to_device(pool[np.arange(max(settings.batches))], device)[0]
    record: Record = {"name": "benchmark", "settings": asdict(settings)}

    report("convolution rate")
    record["convolution_rate"] = {str(count): convolution_rate(device, count) for count in threads}
    record["inference"] = []
    for batch in settings.batches:
        report(f"inference, batch {batch}")
        record["inference"].append(measure_inference(images[:batch], threads, settings.rounds))
    report("parts")
    record["parts"] = measure_parts(images, settings.rounds)
    report("patches")
    record["patches"] = measure_patches(images, settings.ks, settings.rounds)
    record["training"] = {}
    for name in ("coarse", DCN, "fine"):
        report(f"training, {name}")
        record["training"][name] = measure_training(name, device, settings.steps)
    record["growth"] = []
    for size in settings.sizes:
        report(f"growth, {size} pixels")
        record["growth"].append(measure_growth(size, device, settings.rounds))
    return {**record, **environment(device.type)}


def check_compiler() -> None:
    """Raise ValueError where torch.compile can't make code."""
    if not can_compile():
        raise ValueError("the benchmark compares compiled models: install a C++ compiler such as g++")


def convolution_rate(device: torch.device, threads: int) -> float:
    """Multiplications a second of this machine in a convolution like the fine layers': 24 to 24 channels, 3x3."""
    conv = nn.Conv2d(24, 24, 3, padding=1).to(device).to(memory_format=torch.channels_last)
    maps = torch.rand(128, 24, 49, 49, device=device).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), thread_count(threads):
        seconds = interleaved({"conv": lambda: conv(maps)}, 5)["conv"]
    return maps.numel() * conv.weight[0].numel() / seconds


def measure_inference(images: Tensor, threads: list[int], rounds: int) -> Record:
    """Milliseconds an image of a batch by number of threads, each competitor's best, and how much faster that is."""
    models = {name: load_sized(name, images) for name in ("coarse", "fine", DCN)}
    by_threads: dict[str, Milliseconds] = {}
    for count in threads:
        torch.compiler.reset()
        with thread_count(count):
            competitors: dict[str, Callable[[Tensor], Tensor]] = {
                "fine": compile_frozen(models["fine"].forward, images),
                "fine, prepared": compile_for_inference(models["fine"], images),
                "coarse, prepared": compile_for_inference(models["coarse"], images),
                "dcn, prepared": compile_for_inference(models[DCN], images),
                "fine, eager": models["fine"],
                "dcn, eager": models[DCN],
            }
            by_threads[str(count)] = per_image(competitors, images, rounds)
    best = {name: min(times[name] for times in by_threads.values()) for name in by_threads[str(threads[0])]}
    return {
        "batch": len(images),
        "milliseconds": by_threads,
        "best": best,
        "times_faster": {name: best["fine"] / value for name, value in best.items()},
        "dcn_multiplications_per_second": 1e3 * count_multiplications(models[DCN]).total / best["dcn, prepared"],
    }


def measure_parts(images: Tensor, rounds: int) -> Record:
    """Where a DCN's time goes: milliseconds an image and multiplications of each part, each compiled on its own."""
    torch.compiler.reset()
    dcn = prepare_for_inference(load_sized(DCN, images), images)
    assert isinstance(dcn, DynamicCapacityNetwork)
    with torch.no_grad():
        look = dcn.attend(images)
        passes = passes_through(dcn.top, look.coarse_map)
    map_shape = (look.coarse_map.shape[2], look.coarse_map.shape[3])
    patches = look.patches.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    cost = count_multiplications(dcn)
    parts: dict[str, tuple[int, Callable[[Tensor], object], Tensor]] = {
        "coarse layers": (cost.layers, dcn.coarse.forward, images),
        "first pass": (
            cost.top + cost.saliency,
            lambda coarse_map: passes_through(dcn.top, coarse_map).attention(),
            look.coarse_map,
        ),
        "selection": (0, lambda saliency: select_patches(saliency, dcn.k), look.saliency),
        "patches": (0, lambda cells: extract_patches(images, cells, dcn.geometry, map_shape), look.cells),
        "fine layers": (cost.fine, dcn.fine.forward, patches),
        "second pass": (cost.second_pass, lambda vectors: passes.refined(look.cells, vectors), look.fine_vectors),
        "whole": (cost.total, dcn.forward, images),
    }
    calls = {}
    for name, (_, function, argument) in parts.items():
        compiled = compile_frozen(function, argument)
        calls[name] = lambda compiled=compiled, argument=argument: compiled(argument)
    seconds = interleaved(calls, rounds)
    return {
        "batch": len(images),
        "milliseconds": {name: 1e3 * value / len(images) for name, value in seconds.items()},
        "multiplications": {name: multiplications for name, (multiplications, _, _) in parts.items()},
    }


def measure_patches(images: Tensor, ks: tuple[int, ...], rounds: int) -> Record:
    """Milliseconds an image of the DCN by its number of patches, and beside it of the baseline and the coarse model."""
    torch.compiler.reset()
    competitors = {
        "fine": compile_frozen(load_sized("fine", images).forward, images),
        "coarse": compile_for_inference(load_sized("coarse", images), images),
    }
    for k in ks:
        dcn = load_sized(DCN, images)
        assert isinstance(dcn, DynamicCapacityNetwork)
        dcn.k = k
        competitors[str(k)] = compile_for_inference(dcn, images)
    return {"batch": len(images), "milliseconds": per_image(competitors, images, rounds)}


def measure_training(name: str, device: torch.device, steps: int) -> Record:
    """A training step, eager and compiled, data included: milliseconds an image, seconds an epoch of 55,000 images.

    data_share is the part of a compiled step that drawing its images takes.
    """
    torch.compiler.reset()
    settings = TrainingSettings()
    data = ClutteredMNIST(load_digits("all", source="embedded"), seed=0, fresh=True)
    draw = drawer(data, settings, device)
    eager, compiled = (
        training_step(PRETRAINED[name].build(), replace(settings, compile=way), device) for way in (False, True)
    )
    competitors = {"eager": lambda: eager(draw()), "compiled": lambda: compiled(draw()), "data": draw}
    competitors["compiled"]()  # compiles
    seconds = interleaved(competitors, steps, turn=0)
    result: Record = {"data_share": seconds["data"] / seconds["compiled"]}
    for way in ("eager", "compiled"):
        an_image = seconds[way] / settings.batch_size
        result[way] = {"milliseconds": 1e3 * an_image, "epoch_seconds": EPOCH * an_image}
    return result


def images_per_second(model: nn.Module, data: ClutteredMNIST, settings: TrainingSettings, *, steps: int = 15) -> float:
    """Images a second in so many training steps, on the settings' device and in their precision, drawing included."""
    device = resolve_device(settings.device)
    draw, step = drawer(data, settings, device), training_step(model, settings, device)
    return settings.batch_size / interleaved({"": lambda: step(draw())}, steps, turn=0)[""]


def training_step(model: nn.Module, settings: TrainingSettings, device: torch.device) -> Callable[[Batch], None]:
    """One step of training on a batch that lies on the device, as `fit` makes it, but for its checks and its record."""
    model.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    precision = autocast(device, settings.precision)
    loss_of: Callable[..., Any] = torch.compile(model.loss) if settings.compile else model.loss  # type: ignore

    def step(batch: Batch) -> None:
        with precision:
            loss, _ = loss_of(*batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def drawer(data: ClutteredMNIST, settings: TrainingSettings, device: torch.device) -> Callable[[], Batch]:
    """Draws batches at random, one with each call, onto the device."""
    order = np.random.RandomState(0)
    return lambda: to_device(data[order.randint(len(data), size=settings.batch_size)], device)


def measure_growth(size: int, device: torch.device, rounds: int) -> Record:
    """The prepared DCN and the baseline on images of `size` pixels a side, k the same: count, time, peak memory."""
    torch.compiler.reset()
    images = cluttered_scene(size, max(1, 640_000 // size**2), device)
    models = {name: load_sized(name, images) for name in ("fine", DCN)}
    competitors = {
        "fine": compile_frozen(models["fine"].forward, images),
        DCN: compile_for_inference(models[DCN], images),
    }
    return {
        "size": size,
        "batch": len(images),
        "multiplications": {name: count_multiplications(model).total for name, model in models.items()},
        "milliseconds": per_image(competitors, images, rounds),
        "peak_memory": {name: peak_memory(name, size, device) for name in models},
    }


def per_image(competitors: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, rounds: int) -> Milliseconds:
    """Milliseconds an image of a batch that each competitor takes, in turns; see `interleaved`."""
    calls = {name: lambda model=model: model(images) for name, model in competitors.items()}
    with torch.no_grad():
        return {name: 1e3 * seconds / len(images) for name, seconds in interleaved(calls, rounds).items()}
