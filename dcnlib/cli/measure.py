"""Commands that measure models: count, benchmark and controls."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.analysis.ablation import ControlSettings, run_controls
from dcnlib.analysis.cost import count_multiplications
from dcnlib.analysis.speed import SMOKE, BenchmarkSettings, run_benchmark
from dcnlib.cli.model_options import IMAGES_FROM, ModelOptions
from dcnlib.cli.options import ANY_SOURCE, SOURCE, Flag, Root, by_default, differences, flag, one_of
from dcnlib.cli.own_pictures import PictureOptions
from dcnlib.inference.runtimes import load_in_runtime
from dcnlib.models.pretrained import Trained, load_trained, network_of_classes
from dcnlib.models.tasks import CLUTTERED_MNIST, HouseNumbersTask
from dcnlib.paper.benchmark_tables import (
    benchmark_tables,
    model_benchmark_table,
    number_benchmark_table,
    rivals_benchmark_table,
)
from dcnlib.paper.benchmarks import (
    count_experiments,
    run_model_benchmark,
    run_number_benchmark,
    run_rivals_benchmark,
)
from dcnlib.paper.tables import controls_table
from dcnlib.training.run import Run
from dcnlib.utils.records import Record

SHIPPED = "dcn-k8-hints"
READ_BY_ALL = {"batches", "rounds", "device"}  # of the settings; the others are those of the whole benchmark


def count(*, model: ModelOptions, pictures: PictureOptions = PictureOptions(), all: Flag = False) -> None:
    """Count a model's multiplications for one image, part by part.

    Args:
        all: the total of every experiment, kept in runs/multiplications
    """
    if all:
        if given := model.flags_given():
            raise ValueError(f"--all counts every experiment; leave out {', '.join(given)}")
        record = count_experiments()
        for name, total in record["models"].items():
            print(f"{name:<35}{total:>12,}")
        _keep(record, None)
        return
    spec, _ = pictures.open(model)
    cost = count_multiplications(spec.build(), spec.task.image_shape)
    for part in ("layers", "top", "saliency", "fine_per_patch", "fine", "second_pass", "total", "discarded"):
        print(f"{part:<15}{getattr(cost, part):>12,}")
    for number, glimpse in enumerate(cost.glimpses, start=1):
        print(f"{f'glimpse_{number}':<15}{glimpse:>12,}")


def benchmark(
    *,
    weights: Annotated[str | None, by_default("the models of --data", **ANY_SOURCE)] = None,
    data: Annotated[str, one_of([CLUTTERED_MNIST.name, HouseNumbersTask.name])] = CLUTTERED_MNIST.name,
    rivals: Flag = False,
    quick: Flag = False,
    settings: BenchmarkSettings = BenchmarkSettings(),
    run_dir: Annotated[Path | None, by_default("runs/NAME of the record", metavar="FOLDER")] = None,
) -> None:
    """Measure speed on this machine; competitors take turns.

    Without other options: the DCN, the coarse and the fine model, whole and in parts, in a quarter of an hour on two
    CPU cores. A model of --weights is measured as it is and compiled, on batches of --batches.

    Args:
        data: what is measured are the models for this
        rivals: measure the models of Table 1, rivals and all, on the largest of --batches
        quick: a little of everything, in few rounds; not for figures
        run_dir: keeps record.json
    """
    if sum([weights is not None, data != CLUTTERED_MNIST.name, rivals]) > 1:
        raise ValueError("--weights, --data and --rivals say what is measured: give one of them")
    changed = differences(settings, BenchmarkSettings())
    if quick:
        settings = replace(SMOKE, **changed)
    run: Callable[..., Record]
    run, tables, read = run_benchmark, benchmark_tables, {*changed}
    if weights is not None:
        run, tables, read = partial(run_model_benchmark, load_in_runtime(weights)), model_benchmark_table, READ_BY_ALL
    elif data != CLUTTERED_MNIST.name:
        run, tables, read = run_number_benchmark, number_benchmark_table, READ_BY_ALL - {"batches"}
    elif rivals:
        run, tables, read = run_rivals_benchmark, rivals_benchmark_table, READ_BY_ALL
    if unread := changed.keys() - read:
        raise ValueError(f"{', '.join(map(flag, sorted(unread)))} would change nothing here")
    record = run(settings, report=_measuring)
    print(tables(record))
    _keep(record, run_dir)


def controls(
    runs: Positional[Annotated[tuple[str, ...], arg(metavar="[RUN...]", help_behavior_hint="(default: none)")]] = (),
    *,
    weights: Annotated[str | None, by_default(f"{SHIPPED}, unless RUN knows other images", **SOURCE)] = None,
    split: Annotated[str | None, by_default("test, or validation if it has none", metavar="NAME")] = None,
    source: Annotated[str | None, by_default("that of --weights", **IMAGES_FROM)] = None,
    root: Root = None,
    settings: ControlSettings = ControlSettings(),
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "controls",
) -> None:
    """Give the layers of a DCN other choices of patches on the same images: does it matter where it looks?

    Args:
        runs: other DCNs to measure too: folders of finished runs, or what else --weights takes
        split: of the images
        run_dir: keeps record.json
    """
    named: dict[str, Trained] = {}
    for name in dict.fromkeys((weights or SHIPPED, *runs)):
        trained = load_trained(name)
        if trained.name in named:
            raise ValueError(
                f"{name} holds a run named {trained.name}, and so is another model here: train it with a --name"
            )
        named[trained.name] = trained
    if weights is None and runs and load_trained(runs[0]).task != CLUTTERED_MNIST:
        del named[SHIPPED]
    networks = {name: network_of_classes(trained) for name, trained in named.items()}
    first, *others = named.values()
    if strange := [each.name for each in others if each.task != first.task]:
        raise ValueError(f"{', '.join(strange)} and {first.name} know different images: measure them one by one")
    source = source or first.source
    if split is None and "test" in first.task.sources.get(source, ()):
        split = "test"
    for trained in others:
        trained.check_unseen(split, source)
    record = run_controls(networks, first.load_data(split, source=source, root=root), settings, report=_measuring)
    for name in networks:
        print(f"{name}\n\n{controls_table(record, name)}\n")
    _keep(record, run_dir)


def _measuring(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)


def _keep(record: Record, run_dir: Path | None) -> None:
    # A model of a stranger's brings its own name.
    name = "".join(letter if letter.isalnum() or letter in " ._-" else "-" for letter in record["name"]).lstrip(".")
    run = Run(run_dir or Path("runs") / name)
    run.save_record(record)
    print(f"\nkept in {run.folder}")
