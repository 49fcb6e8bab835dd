"""The command that trains many models: sweep."""

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from dcnlib.cli.model_options import DATA, IMAGES_FROM, check_data
from dcnlib.cli.options import Device, Flag, Root, by_default, flag, one_of
from dcnlib.cli.own_pictures import fit_for, name_of
from dcnlib.data.image_folder import PictureFolder
from dcnlib.models.grid import SpecJob, grid, run_name
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.specs import SPECS
from dcnlib.models.tasks import CLUTTERED_MNIST, TASKS
from dcnlib.paper.experiments import EXPERIMENTS, STUDIES, experiment_job
from dcnlib.training.jobs import JobStatus
from dcnlib.training.settings import TrainingSettings
from dcnlib.training.sweep import run_sweep, sweep_status

Experiments = Annotated[
    tuple[Annotated[str, one_of(["all", *EXPERIMENTS, *STUDIES])], ...],
    by_default(
        "none",
        metavar="NAME...",
        help=f"of the project: {', '.join(EXPERIMENTS)}, all of these; or {', '.join(STUDIES)}",
    ),
]


def sweep(
    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]],
    *,
    models: Annotated[tuple[Annotated[str, one_of(SPECS)], ...], by_default("none", metavar="MODEL...")] = (),
    data: Annotated[str, DATA] = CLUTTERED_MNIST.name,
    experiments: Experiments = (),
    k: Annotated[tuple[int, ...], by_default("as they are", metavar="K...")] = (),
    seeds: Annotated[tuple[int, ...], by_default("as they are", metavar="SEED...")] = (),
    vary: Annotated[tuple[str, ...], by_default("nothing", metavar="NAME=VALUE,...")] = (),
    source: Annotated[str | None, by_default("the first", **IMAGES_FROM)] = None,
    root: Root = None,
    device: Device = "auto",
    test: Flag = False,
    workers: int = 1,
    scheduler: Annotated[str | None, by_default("none: on this machine", metavar="ADDRESS")] = None,
    status: Flag = False,
) -> int:
    """Train every combination of models, patches, seeds and settings, each as a run of its own in FOLDER/NAME.

    The same command again skips what is done, goes on with what was interrupted and tries again what failed. A worker
    that dies costs its job what it did since the last checkpoint, of one a minute. The exit status is 1 if a job
    failed; its folder's error.txt tells why.

    Args:
        folder: of the sweep; every machine must see it at this path
        models: which of the paper's models, or of their rivals
        k: patches per image, of models that choose some
        seeds: of initial weights, order and clutter
        vary: settings of training and options of models with their values, as in epochs=3 hint_weight=0,0.01,0.1
        test: evaluate each model once on the test set at its end; experiments always are
        workers: processes on this machine, each with one thread
        scheduler: of a Dask cluster, such as tcp://host:8786, whose workers do the jobs, one at a time each
        status: only print what is done, running, interrupted, failed and waiting
    """
    if status:
        statuses = sweep_status(folder)
    else:
        options = _options(vary, k=k, seed=seeds, device=(device,))
        jobs = [
            *_of_models(models, data, options, source=source, root=root, test=test),
            *_of_experiments(experiments, options, source=source, root=root),
        ]
        if not jobs:
            raise ValueError(f"name --models ({', '.join(SPECS)}) or --experiments (see --help) to train")
        statuses = run_sweep(jobs, folder, workers=workers, scheduler=scheduler, on_end=_tell)
    print(status_table(statuses))
    return int(any(one.state == "failed" for one in statuses))


def status_table(statuses: Sequence[JobStatus]) -> str:
    """A line a job, and how many there are of each state."""
    rows = [("job", "state", "epoch", "validation %", "test %", "error")]
    for one in statuses:
        errors = (_percent(one.validation_error), _percent(one.test_error), one.error or "")
        rows.append((one.name, one.state, f"{one.epoch}/{one.epochs}", *errors))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = Counter(one.state for one in statuses)
    return "\n".join([*lines, "", ", ".join(f"{count} {state}" for state, count in counts.items())])


def _of_models(
    models: Sequence[str],
    data: str,
    options: dict[str, tuple[Any, ...]],
    *,
    source: str | None,
    root: Path | None,
    **how: Any,
) -> list[SpecJob]:
    if not models:
        return []
    check_data(data)
    folder = None if data in TASKS else PictureFolder(data)
    if folder is None:
        task, of = TASKS[data](), None
    elif source is not None or root is not None:
        raise ValueError("--source and --root are not for pictures of your own: --data says where they are")
    else:
        task, of, root = OwnPicturesTask.of(folder), name_of(folder), folder.place
    how |= {"settings": TrainingSettings(), "source": source, "root": root}
    jobs = grid([SpecJob(name=kind, spec=SPECS[kind](task=task), **how) for kind in models], options)
    jobs = [replace(job, name=run_name(job.spec, job.settings, source=source, of=of)) for job in jobs]
    return jobs if folder is None else [replace(job, settings=fit_for(folder, (), job.settings)) for job in jobs]


def _of_experiments(
    experiments: Sequence[str], options: dict[str, tuple[Any, ...]], *, source: str | None, root: Path | None
) -> list[SpecJob]:
    if not experiments:
        return []
    if source is not None:
        raise ValueError("--source is for --models: experiments are trained on what their records say")
    names = EXPERIMENTS if "all" in experiments else experiments
    return grid([replace(experiment_job(name), root=root) for name in names], options)


def _options(vary: Sequence[str], **given: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """What is varied, by name, with its values."""
    options = {name: values for name, values in given.items() if values}
    for text in vary:
        name, equals, values = text.partition("=")
        name = name.replace("-", "_")
        if not (equals and values):
            raise ValueError(f"--vary takes NAME=VALUE,..., as in epochs=3 or hint_weight=0,0.1; got {text!r}")
        if name in options:
            raise ValueError(f"{flag(name)} is given twice")
        options[name] = tuple(_value(value) for value in values.split(","))
    return options


def _value(text: str) -> Any:
    """A number, True, False or None, and else the word itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.2f}"


def _tell(status: JobStatus) -> None:
    print(f"{status.name}: {status.state}" + (f": {status.error}" if status.error else ""), flush=True)
