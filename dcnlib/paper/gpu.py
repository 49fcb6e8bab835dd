"""What is measured in a few minutes of a machine with a GPU: tests, inference, training, and a beginning of Table 1.

Each part writes what it has after every step, so that one that is stopped leaves what it found. Nothing is imported
that such a machine may lack: see `pack`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcnlib.analysis.speed import per_image, training_step
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.inference.compile import compile_for_inference
from dcnlib.models.pretrained import load_pretrained
from dcnlib.paper.experiments import EXPERIMENTS, experiment_job, run_experiment
from dcnlib.paper.profiles import validation_set
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import ROWS, STUDY_RUNS
from dcnlib.training.loading import training_batches
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import can_compile, resolve_device, to_device
from dcnlib.utils.files import cache_folder, data_roots
from dcnlib.utils.records import Record, environment, save_record
from dcnlib.utils.timing import interleaved, synchronize

DATA_LIMITS = 1.15  # a step that takes so many times longer with the loader than without waits for its images


@dataclass(frozen=True)
class GpuSettings:
    """device: where. workers: processes that draw training images. quick: a little of everything, for a rehearsal."""

    device: str = "auto"
    workers: int = 8
    quick: bool = False

    @property
    def batches(self) -> tuple[int, ...]:
        return (4,) if self.quick else (1, 128)

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 9

    @property
    def steps(self) -> int:
        return 2 if self.quick else 40

    @property
    def models(self) -> tuple[str, ...]:
        return ("coarse", "dcn-k8-hints") if self.quick else ROWS


Save = Callable[[Record], None]


def test(settings: GpuSettings, save: Save) -> None:
    """The tests that need CUDA, by pytest where there is one and the tests are; and, everywhere, that shipped models
    score images there as they do on the CPU."""
    device = resolve_device(settings.device)
    tests = Path("tests")
    record: Record = {"pytest": None}
    if device.type == "cuda" and tests.is_dir() and importlib.util.find_spec("pytest"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-k", "cuda", "-p", "no:cacheprovider", str(tests)],
            capture_output=True,
            text=True,
        )
        record["pytest"] = {"status": done.returncode, "tail": done.stdout.splitlines()[-30:]}
        save(record)
    images = validation_set("fast")[np.arange(50)][0]
    record["largest_difference"] = {}
    for name in settings.models:
        model = load_pretrained(name)
        with torch.no_grad():
            here = model(images)
            there = model.to(device)(images.to(device)).cpu()
        record["largest_difference"][name] = (here - there).abs().max().item()
        save(record)


def benchmark(settings: GpuSettings, save: Save) -> None:
    """Milliseconds an image in float32 and bfloat16, as the model is and compiled, which uses CUDA graphs on a GPU.
    Where compiling fails, its error stands in the place of the time."""
    device = resolve_device(settings.device)
    pool = validation_set("fast")
    rows: list[Record] = []
    for name in settings.models:
        for batch in settings.batches:
            images = to_device(pool[np.arange(batch)], device)[0]
            row: Record = {"model": name, "batch": batch, "milliseconds": {}}
            rows.append(row)
            for dtype in (torch.float32, torch.bfloat16):
                model, like = load_pretrained(name).to(device, dtype), images.to(dtype)
                ways: dict[str, Callable[[Tensor], Tensor]] = {"eager": model}
                told = str(dtype).removeprefix("torch.")
                if can_compile() and not settings.quick:
                    torch.compiler.reset()
                    try:
                        ways["compiled"] = compile_for_inference(deepcopy(model), like)
                    except Exception as error:  # compilers fail in many ways; the minutes left are for the others
                        row["milliseconds"][f"{told} compiled"] = f"{type(error).__name__}: {error}"[:500]
                times = per_image(ways, like, settings.rounds)
                row["milliseconds"] |= {f"{told} {way}": time for way, time in times.items()}
                save({"models": rows})


def throughput(settings: GpuSettings, save: Save) -> None:
    """Training images a second of every model by its recipe: with a batch that lies on the device, and with batches as
    training draws them, in its own process and in others beside it. `limit` says which of the two is waited for."""
    device = resolve_device(settings.device)
    rows: Record = {}
    for name in settings.models if settings.quick else TITLES:
        experiment = EXPERIMENTS[name]
        usual = {"epochs": experiment.epochs, "precision": "bfloat16", "workers": settings.workers}
        training = TrainingSettings(**experiment.settings | usual)
        step = training_step(experiment.spec.build(), replace(training, compile=False), device)
        batch = to_device(next(_batches(training, 0)), device)
        step(batch)  # warms up
        seconds = {"drawn beforehand": interleaved({"": partial(step, batch)}, settings.steps, turn=0)[""]}
        for workers in sorted({0, settings.workers}):
            batches = _batches(training, workers)
            step(to_device(next(batches), device))  # the processes have begun
            told = f"drawn by {workers or 'no'} other processes"
            seconds[told] = _seconds(step, (to_device(batch, device) for batch in batches), settings.steps)
        best = min(value for way, value in seconds.items() if way != "drawn beforehand")
        rows[name] = {
            "images_per_second": {way: training.batch_size / value for way, value in seconds.items()},
            "limit": "data" if best > DATA_LIMITS * seconds["drawn beforehand"] else "model",
        }
        save({"precision": "bfloat16", "models": rows})


def table(settings: GpuSettings, save: Save, folder: Path) -> None:
    """Runs of Table 1 with several seeds, one after another in `folder`, each going on where an earlier time left it.

    Quick: one smoke run, which is not kept.
    """
    done: Record = {}
    if settings.quick:
        _, record = run_experiment("coarse", profile="smoke", device=settings.device)
        done["smoke"] = {"validation_error": record["validation"]["error"], "seconds": record["wall_seconds"]}
        save({"runs": done})
        return
    for name in (run.name for run in STUDY_RUNS.values()):
        job = experiment_job(name, device=settings.device)
        # Compiling would take a good part of the minutes that there are.
        job = replace(job, settings=replace(job.settings, workers=settings.workers, compile=False))
        run = Run(folder / name)
        job.run(run, checkpoint_seconds=20)
        record = run.read_record()
        done[name] = {"test_error": record["test"]["error"], "seconds": record["wall_seconds"]}
        save({"runs": done})


PARTS: dict[str, tuple[Callable[..., None], int]] = {  # with the seconds that each may take
    "tests": (test, 60),
    "benchmark": (benchmark, 150),
    "throughput": (throughput, 90),
    "table": (table, 180),
}


def run_part(part: str, settings: GpuSettings, folder: Path) -> Record:
    """One of `PARTS`; what it finds is written to PART.json of the folder as it comes, and returned at its end."""
    record: Record = {}
    here = environment(resolve_device(settings.device).type)

    def save(found: Record) -> None:
        record.update({"name": f"gpu-{part}", **found, **here})
        save_record(folder / f"{part}.json", record)

    work, _ = PARTS[part]
    extra = {"folder": folder / "runs"} if part == "table" else {}
    work(settings, save, **extra)
    return record


def pack(folder: Path) -> list[Path]:
    """Copy what a machine without a package index and a network lacks: MNIST's four files, the 5,000 embedded digits as
    the cache keeps them, and platformdirs. Returns the files and folders written, some 25 MiB in all.

    Raises FileNotFoundError if MNIST or the cache aren't there.
    """
    validation_set("fast")  # fills the cache
    cache = cache_folder()
    digits = None if cache is None else cache / "embedded-digits.npz"
    mnist = next((root / "MNIST" / "raw" for root in data_roots() if (root / "MNIST" / "raw").is_dir()), None)
    spec = importlib.util.find_spec("platformdirs")
    if digits is None or not digits.is_file() or mnist is None or spec is None or spec.origin is None:
        raise FileNotFoundError("MNIST/raw in $DCNLIB_DATA or the cache, and a cache to write to, are needed to pack")
    written = [folder / "cache" / "dcnlib" / digits.name, folder / "MNIST" / "raw", folder / "site" / "platformdirs"]
    written[0].parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(digits, written[0])
    written[1].mkdir(parents=True, exist_ok=True)
    for file in sorted(mnist.glob("*-ubyte.gz")) or sorted(mnist.glob("*-ubyte")):
        shutil.copyfile(file, written[1] / file.name)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(spec.origin).parent, written[2], dirs_exist_ok=True, ignore=skipped)
    return written


def unpacked(folder: Path) -> dict[str, str]:
    """The environment variables with which a process finds what `pack` brought along, beside those it has."""
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
    return {"DCNLIB_DATA": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": path}


def _batches(settings: TrainingSettings, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after another, as `fit` has them, of the digits that are always at hand in fresh clutter."""
    fresh = ClutteredMNIST(validation_set("fast").digits, seed=0, fresh=True)
    epoch = 0
    while True:
        yield from training_batches(fresh, settings.batch_size, seed=0, epoch=epoch, workers=workers)
        epoch += 1


def _seconds(step: Callable[[Any], None], batches: Iterator[Any], steps: int) -> float:
    """Mean seconds of a step that takes the next batch; the GPU is waited for at the end alone, as in training."""
    synchronize()
    started = time.perf_counter()
    for batch in islice(batches, steps):
        step(batch)
    synchronize()
    return (time.perf_counter() - started) / steps
