"""Do new coarse layers learn to stand in for a trained network's first layers, from pictures without labels?

The fine model that is shipped is cut in two: its first layers look at patches, the rest is the top. Coarse layers that
know nothing yet learn by hints alone on unlabelled clutter, and then everything is trained together. Beside it stands
the same network without that first step, trained together from the beginning for as many epochs.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.utils.data import Subset

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.core.one_cell import OneCell
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.digits import load_digits
from dcnlib.models.cluttered_mnist import CoarseLayers
from dcnlib.models.pretrained import load_pretrained
from dcnlib.paper.markdown import markdown_table
from dcnlib.training.contents import describe
from dcnlib.training.distil import distil_coarse
from dcnlib.training.evaluation import evaluate
from dcnlib.training.loop import fit
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import seed_everything
from dcnlib.utils.records import Record, environment

KS = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class StandInSettings:
    """How long to train, and on which of the digits to choose and to test."""

    hints: int = 8
    """Epochs by hints alone."""
    together: int = 3
    """Epochs of everything together after that."""
    choosing: int = 500
    """Digits that choose the epoch that is kept, and are no part of training."""
    draws: int = 2
    """How often each of the other digits is cluttered for the test."""
    seed: int = 0
    """Of new weights and of the clutter."""


def run_stand_in(
    settings: StandInSettings = StandInSettings(),
    *,
    run_dir: str | Path | None = None,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Errors of the network at each k before, after hints alone, after training together, and without the hints.

    On the embedded digits, which the shipped weights were not trained on, though they were chosen among on them: the
    digits of training teach, but for those that choose the epoch; the others test. run_dir: keeps the three trainings,
    each in a folder of its own, so that a call that was stopped goes on.
    """
    start = time.perf_counter()
    train, choose, test = _data(settings)
    trained = load_pretrained("fine")
    assert isinstance(trained, SingleCapacityNetwork)
    seed_everything(settings.seed)
    dcn = _cut_in_two(trained)
    errors = {"new coarse layers": _errors(dcn, test)}
    alone = copy.deepcopy(dcn)

    def how(epochs: int, learning_rate: float) -> TrainingSettings:
        return TrainingSettings(epochs=epochs, learning_rate=learning_rate, seed=settings.seed, device="cpu")

    def folder(name: str) -> Path | None:
        return None if run_dir is None else Path(run_dir) / name

    report("hints")
    by_hints = distil_coarse(dcn, train, choose, how(settings.hints, 3e-3), name="hints", run_dir=folder("hints"))
    errors["after hints alone"] = _errors(dcn, test)
    report("together")
    fit(dcn, train, choose, how(settings.together, 1e-3), name="together", run_dir=folder("together"))
    errors["and then together"] = _errors(dcn, test)
    report("without hints before")
    epochs = settings.hints + settings.together
    fit(alone, train, choose, how(epochs, 1e-3), name="alone", run_dir=folder("alone"))
    errors["together from the beginning"] = _errors(alone, test)
    return {
        "name": "stand-in",
        "settings": asdict(settings),
        "data": {"train": describe(train), "test": test[0].describe(), "count": sum(map(len, test))},
        "trained": sum(evaluate(trained, data).rate.errors for data in test),
        "errors": errors,
        "curves": by_hints["curves"],
        "wall_seconds": round(time.perf_counter() - start, 1),
        **environment("cpu"),
    }


def stand_in_table(record: Record) -> str:
    """Markdown: test errors in % by k, and that of the network that was cut in two."""
    count = record["data"]["count"]
    rows = [["error, %", *(f"k = {k}" for k in KS)]]
    rows += [[name, *(f"{100 * by_k[f'k{k}'] / count:.1f}" for k in KS)] for name, by_k in record["errors"].items()]
    return (
        f"{markdown_table(rows)}\n\nOf {count:,} images of digits that nothing was trained on; the network that was "
        f"cut in two errs on {100 * record['trained'] / count:.1f} %."
    )


def _data(settings: StandInSettings) -> tuple[Subset, Subset, list[ClutteredMNIST]]:
    """Images to train on, to choose the epoch by, and to test on."""
    digits, others = (load_digits(split, source="embedded") for split in ("train", "validation"))
    data = ClutteredMNIST(digits, seed=settings.seed, fresh=True)
    kept = len(data) - settings.choosing
    fixed = ClutteredMNIST(digits, seed=settings.seed + 1, fresh=False)
    tests = [ClutteredMNIST(others, seed=settings.seed + 2 + draw) for draw in range(settings.draws)]
    return Subset(data, range(kept)), Subset(fixed, range(kept, len(data))), tests


def _cut_in_two(trained: SingleCapacityNetwork) -> DynamicCapacityNetwork:
    fine = OneCell(trained.layers)
    return DynamicCapacityNetwork(
        coarse=CoarseLayers(), fine=fine, top=trained.top, geometry=fine.geometry, image_shape=(1, 100, 100)
    ).eval()


def _errors(dcn: DynamicCapacityNetwork, test: list[ClutteredMNIST]) -> dict[str, int]:
    """Wrong answers by k."""
    return {f"k{k}": sum(evaluate(dcn, data, k=k, batch_size=100).rate.errors for data in test) for k in KS}
