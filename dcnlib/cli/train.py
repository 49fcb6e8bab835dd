"""Commands that make trained models: train, test, experiment and promote."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from dcnlib.cli.model_options import IMAGES_FROM, ModelOptions
from dcnlib.cli.options import Device, Flag, Root, by_default, one_of
from dcnlib.cli.own_pictures import PictureOptions, fit_for, name_of
from dcnlib.data.house_numbers.images import COMPOSED
from dcnlib.models.grid import run_name
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import seeded_model
from dcnlib.models.task import Images
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.experiments import EXPERIMENTS, STUDIES, find_experiment, run_experiment
from dcnlib.paper.promote import promote as promote_run
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import Precision
from dcnlib.utils.records import Record

SECONDS_IN_A_LOG = 60.0  # between two states of an epoch that takes longer


def train(
    *,
    model: ModelOptions,
    settings: TrainingSettings = TrainingSettings(),
    pictures: PictureOptions = PictureOptions(),
    source: Annotated[str | None, by_default("the first", **IMAGES_FROM)] = None,
    root: Root = None,
    composed: Annotated[float | None, by_default(f"{COMPOSED} for house-numbers", metavar="FLOAT")] = None,
    name: Annotated[str | None, by_default("made from what isn't as usual", metavar="NAME")] = None,
    run_dir: Annotated[Path | None, by_default("runs/NAME", metavar="FOLDER")] = None,
    test: Flag = False,
) -> None:
    """Train a model of the paper, or a rival, or one for pictures of your own, and keep it with its record in a folder.

    The same command again goes on where the run was interrupted.

    Args:
        composed: share of composed numbers in training, for house-numbers
        name: of the run
        run_dir: where the run is kept
        test: evaluate once on the test set at the end
    """
    spec, folder = pictures.open(model)
    options: dict[str, Any] = {} if composed is None else {"composed": composed}
    if options and not isinstance(spec.task, HouseNumbersTask):
        raise ValueError(f"--composed is for models of {HouseNumbersTask.name}, this one is for {spec.task.name}")
    load: Callable[..., Images]
    if folder is None:
        load = partial(spec.task.load, source=source, root=root)
        name = name or run_name(spec, settings, source=source, **options)
    else:
        if source is not None or root is not None:
            raise ValueError("--source and --root are not for pictures of your own: --data says where they are")
        load, options = folder.images, {"augment": pictures.augment}
        name = name or run_name(spec, settings, of=name_of(folder), also=pictures.named())
        settings = fit_for(folder, pictures.augment, settings)
        print(f"{folder}\nbatches of {settings.batch_size}, {settings.workers} workers", flush=True)
    run = Run(run_dir or Path("runs") / name)
    test_data = load("test") if test else None  # a missing one is told before training
    trained = seeded_model(spec, settings)
    record = fit(
        trained,
        load("train", seed=settings.seed, **options),
        load("validation"),
        settings,
        name=name,
        description=spec.describe(),
        run_dir=run.folder,
        **_reporting(),
    )
    if test_data is not None and "test" not in record:
        record = run.test(trained, test_data)
    _print_outcome(record)
    print(f"kept in {run.folder}")


def test(
    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN...", help_behavior_hint="(required)")]],
    *,
    root: Root = None,  # noqa: PT028 (no test of pytest)
) -> None:
    """Evaluate finished runs once on the test set of the source that they were trained on.

    The results are kept in the runs' records.

    Args:
        runs: folders of finished runs
    """
    if not runs:
        raise ValueError("name at least one folder of a finished run")
    for run_dir in runs:
        trained = load_trained(run_dir)
        data = trained.load_data("test", root=root)
        print(f"== {trained.name}")
        _print_outcome(Run(run_dir).test(trained.model, data))


def experiment(
    names: Positional[
        Annotated[
            tuple[Annotated[str, one_of(["all", *EXPERIMENTS, *STUDIES])], ...],
            arg(
                metavar="NAME...",
                help=f"one of {', '.join(EXPERIMENTS)}; all, for these; or of the studies: {', '.join(STUDIES)}",
                help_behavior_hint="(required)",
            ),
        ]
    ],
    *,
    device: Device = "auto",
    precision: Annotated[Precision | None, by_default("the experiment's own")] = None,
) -> None:
    """Train models of the project in full, in runs/NAME; one that was interrupted goes on, a finished one is loaded.

    Each is evaluated once on the test set, at its end.

    Args:
        precision: many experiments take bfloat16, which is slow on processors without it: take float32 there
    """
    if not names:
        raise ValueError(f"name at least one of {', '.join(EXPERIMENTS)}, or all")
    chosen = list(EXPERIMENTS) if "all" in names else names
    found = map(find_experiment, chosen)
    for task, source in {(one.spec.task, one.source) for one in found}:  # what is missing is told before training
        for split in ("validation", "test"):
            task.load(split, source=source)
    for name in chosen:
        print(f"== {name}", flush=True)
        _, record = run_experiment(name, profile="paper", device=device, precision=precision, **_reporting())
        _print_outcome(record)


def promote(
    run_dir: Positional[Annotated[Path, arg(metavar="RUN")]],
    *,
    name: Annotated[str | None, by_default("that of its record", metavar="NAME")] = None,
) -> None:
    """Make a finished, tested run the project's own: its record goes to results/, its weights into the package.

    Args:
        run_dir: folder of the run
        name: of the record in the project, such as clock-again for a measurement's second run
    """
    for path in promote_run(run_dir, name):
        print(path)


def _reporting() -> dict[str, Any]:
    def report(figures: Record) -> None:
        told = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(told, flush=True)

    return {"progress": sys.stderr.isatty() or SECONDS_IN_A_LOG, "on_epoch": report}


def _print_outcome(record: Record) -> None:
    for part in ("validation", "test"):
        if part in record:
            print(f"{part} error {100 * record[part]['error']:.2f} % of {record[part]['count']}")
