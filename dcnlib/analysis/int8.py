"""What int8 costs in answers, and gains in time: exported models beside themselves in float32."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dcnlib.analysis.clock import MODELS, RUNTIMES
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.inference.export import export_model
from dcnlib.inference.exported import ExportedNetwork
from dcnlib.inference.formats import SUFFIXES, check_packages
from dcnlib.inference.quantised import calibration_images
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.training.evaluation import evaluate
from dcnlib.utils.records import Record, environment, versions_of
from dcnlib.utils.statistics import mcnemar_p_value
from dcnlib.utils.timing import interleaved, thread_count

PRECISIONS = ("float32", "int8")


@dataclass(frozen=True)
class Int8Settings:
    """What is compared on the validation images of Cluttered MNIST that are always at hand."""

    models: tuple[str, ...] = MODELS
    """Shipped ones of Cluttered MNIST."""
    images: int = 5000
    """How many images the errors are counted on."""
    batches: tuple[int, ...] = (1, 16, 128)
    """Images a timed call."""
    rounds: int = 9
    """How many turns each gets at each batch."""


def run_int8(settings: Int8Settings, *, report: Callable[[str], None] = lambda what: None) -> Record:
    """Errors, and milliseconds an image with as many threads as torch has, all taking turns.

    Ranges are those of 256 fresh images of embedded training digits. Raises ModuleNotFoundError for missing packages.
    """
    check_packages(*RUNTIMES, "onnx")
    data = CLUTTERED_MNIST.load("all", source="embedded")
    shown = data if settings.images >= len(data) else torch.utils.data.Subset(data, range(settings.images))
    ranges = calibration_images(CLUTTERED_MNIST)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[tuple[str, str, str], ExportedNetwork] = {}
        for model in settings.models:
            for runtime, to in RUNTIMES.items():
                wrong = {}
                for precision in PRECISIONS:
                    report(f"{model}, {runtime}, {precision}")
                    file = Path(folder) / f"{model}-{precision}{SUFFIXES[to]}"
                    export_model(
                        model, file, to, outputs=["logits"], calibration=ranges if precision == "int8" else None
                    )
                    calls[model, runtime, precision] = ExportedNetwork.load(file)
                    wrong[precision] = evaluate(calls[model, runtime, precision], shown).wrong.numpy()
                rows.append({"model": model, "runtime": runtime, **_compared(wrong)})
        times = [_timed(calls, data, batch, settings.rounds, report) for batch in settings.batches]
    for row in rows:
        row["milliseconds"] = {
            precision: {str(batch): by_call[row["model"], row["runtime"], precision] for batch, by_call in times}
            for precision in PRECISIONS
        }
    here = environment("cpu")
    here["versions"] |= versions_of(("onnx", "onnxruntime", "openvino"))
    return {"name": "int8", "settings": asdict(settings), "calibrated_on": len(ranges), "models": rows, **here}


def _compared(wrong: dict[str, np.ndarray]) -> Record:
    before, after = (wrong[precision] for precision in PRECISIONS)
    only = int((before & ~after).sum()), int((after & ~before).sum())
    return {
        "count": len(before),
        "errors": {precision: int(wrong[precision].sum()) for precision in PRECISIONS},
        "only_float32_wrong": only[0],
        "only_int8_wrong": only[1],
        "p_value": mcnemar_p_value(*only),
    }


def _timed(
    calls: dict[tuple[str, str, str], ExportedNetwork],
    data: ClutteredMNIST,
    batch: int,
    rounds: int,
    report: Callable[[str], None],
) -> tuple[int, dict[tuple[str, str, str], float]]:
    report(f"batch {batch}: {len(calls)} forms take turns")
    images = data[np.arange(batch)][0]
    names = {str(key): key for key in calls}
    with torch.no_grad(), thread_count(torch.get_num_threads()):
        seconds = interleaved({name: partial(calls[key], images) for name, key in names.items()}, rounds)
    return batch, {names[name]: 1e3 * value / batch for name, value in seconds.items()}
