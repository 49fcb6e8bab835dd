"""Commands about budgets: calibrate, and the curves of networks that look until they are sure."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.analysis.budgets import calibrate as calibrate_model
from dcnlib.cli.model_options import IMAGES_FROM
from dcnlib.cli.options import Device, Flag, Root, Weights, by_default
from dcnlib.models.pretrained import load_trained
from dcnlib.paper.budgets import BudgetSettings, run_budgets
from dcnlib.training.run import Run
from dcnlib.utils.device import resolve_device
from dcnlib.utils.records import Record

Budget = Annotated[float | None, by_default("none; give one budget", metavar="FLOAT")]


def calibrate(
    run_dir: Positional[Annotated[Path, arg(metavar="RUN")]],
    *,
    multiplications: Budget = None,
    error: Budget = None,
    milliseconds: Budget = None,
    max_k: Annotated[int | None, by_default("16, or all cells if there are fewer", metavar="INT")] = None,
    batch_size: int = 50,
    split: Annotated[str | None, by_default("validation", metavar="NAME")] = None,
    source: Annotated[str | None, by_default("the one that the model was trained on", **IMAGES_FROM)] = None,
    root: Root = None,
    device: Device = "auto",
) -> None:
    """Find the entropy below which a network is sure enough for a budget, on validation images.

    It is kept in the run's record and travels with the weights: predict --until-sure takes it from there.

    Args:
        run_dir: folder of a finished run
        multiplications: at most so many an image, on average
        error: at most this share of wrong answers, such as 0.01
        milliseconds: at most so long an image, on average, in batches of that size
        max_k: most patches an image
        batch_size: images a call
        split: of the images
    """
    run = Run(run_dir)
    run.read_record()  # a missing one is told before the images are loaded
    trained = load_trained(run.folder)
    data = trained.load_data(split, source=source, root=root)
    budgets = {"multiplications": multiplications, "error": error, "milliseconds": milliseconds}
    model = trained.model.to(resolve_device(device))
    found = calibrate_model(model, data, **budgets, max_k=max_k, batch_size=batch_size)
    run.save_record(run.read_record() | {"until_sure": {**found.as_record(), "data": data.describe()}})
    print(
        f"sure below {found.entropy_below:.4g} nats: error {found.point.rate}, {found.point.patches:.2f} patches and "
        f"{found.point.multiplications / 1e6:.2f}M multiplications an image, on {len(data)} images"
    )
    print(f"kept in {run.record_path}")


def budgets(
    runs: Positional[Annotated[tuple[str, ...], arg(metavar="[RUN...]", help_behavior_hint="(default: none)")]] = (),
    *,
    weights: Weights = "dcn-k8-hints",
    test: Flag = False,
    source: Annotated[str | None, by_default("that of --weights", **IMAGES_FROM)] = None,
    root: Root = None,
    settings: BudgetSettings = BudgetSettings(),
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "budgets",
) -> None:
    """Measure DCNs at every budget: with each fixed k, and with patches until they are sure, chosen on validation.

    Of digits in clutter beyond the images of training too: other numbers of fragments, larger canvases.

    Args:
        runs: other DCNs to measure too: folders of finished runs, or what else --weights takes
        test: look at the test images too, with the threshold that validation chose
        run_dir: keeps record.json
    """
    trained = [load_trained(name) for name in dict.fromkeys((weights, *runs))]
    networks = {each.name: each.model for each in trained}
    if len(networks) < len(trained):
        raise ValueError("two of these runs have one name: train them with a --name each")
    if strange := [each.name for each in trained if each.task != trained[0].task]:
        raise ValueError(f"{trained[0].name} and {', '.join(strange)} are for other images")
    source = source or trained[0].source
    for each in trained:
        each.check_unseen(None, source)
    validation = trained[0].load_data(source=source, root=root)
    data = trained[0].task.load("test", source=source, root=root) if test else None
    record = run_budgets(networks, validation, data, settings, report=_measuring)
    for name, told in record["models"].items():
        print(f"{name}")
        shown = told["data" if test else "validation"]
        for row in shown["fixed"]:
            print(f"  k = {row['k']:<10}{_told(row)}")
        print(f"  until sure    {_told(shown['until_sure'])}")
        print(f"  anew          {_told(shown['anew'])}")
    Run(run_dir).save_record(record)
    print(f"\nkept in {run_dir}")


def _told(row: Record) -> str:
    return (
        f"{100 * row['error']:.2f} %  {row['patches']:.2f} patches  {row['multiplications'] / 1e6:.2f}M multiplications"
    )


def _measuring(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)
