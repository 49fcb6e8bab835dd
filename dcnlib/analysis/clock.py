"""The clock of every form: each model in every runtime, with every splitting of the batch and number of threads.

A ratio of two models says little unless each runs in its fastest form. So all forms of all models take turns, round
after round, at each size of the batch; the baseline is the fastest form of the fine model, and ratios are taken round
by round.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.analysis.memory import load_sized
from dcnlib.analysis.speed import DCN, check_compiler
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.digits import load_digits
from dcnlib.inference.compile import compile_for_inference, compile_frozen, fold_norms, multiply_small_convolutions
from dcnlib.inference.exported import ExportedNetwork
from dcnlib.inference.formats import SUFFIXES, Format, check_packages
from dcnlib.utils.records import Record, environment, versions_of
from dcnlib.utils.timing import rounds_of, thread_count

MODELS = ("fine", "coarse", DCN)
RUNTIMES: dict[str, Format] = {"onnxruntime": "onnx", "openvino": "openvino"}
# In torch: as it is; compiled with its weights frozen; and that after folding the norms, after making small
# convolutions matrix products, and after both, which is `compile_for_inference`.
FORMS = ("eager", "compiled", "folded", "multiplied", "prepared", *RUNTIMES)
Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClockSettings:
    """What takes turns."""

    batches: tuple[int, ...] = (1, 16, 128)
    """Images a call; a larger batch is also cut into pieces of each smaller one that divides it."""
    forms: tuple[str, ...] = ("compiled", "prepared", *RUNTIMES)
    """Of eager, compiled, folded, multiplied, prepared, onnxruntime and openvino."""
    rounds: int = 9
    """How many turns each gets at each batch."""

    def __post_init__(self) -> None:
        if strange := [form for form in self.forms if form not in FORMS]:
            raise ValueError(f"forms are {', '.join(FORMS)}, got {', '.join(strange)}")
        if not self.forms or not self.batches or self.rounds < 1:
            raise ValueError("give at least one form, one batch and one round")


def run_clock(
    settings: ClockSettings,
    *,
    before: Record | None = None,
    keep: Callable[[Record], None] = lambda record: None,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Measure on this machine's CPU, in ten minutes on two cores. `keep` is given the record after each batch, and
    `before` is one that was kept: its batches aren't measured again, if it is of the same settings and machine.

    Raises ValueError where torch.compile has no C++ compiler, ModuleNotFoundError for a missing runtime.
    """
    pool = ClutteredMNIST(load_digits("all", source="embedded"), seed=0)

    def measure(batch: int, forms: Forms) -> Record:
        return measure_batch(pool[np.arange(batch)][0], settings, forms, report)

    return measure_batches("clock", settings, measure, before=before, keep=keep, report=report)


def measure_batches(
    name: str,
    settings: ClockSettings,
    measure: Callable[[int, "Forms"], Record],
    *,
    before: Record | None,
    keep: Callable[[Record], None],
    report: Callable[[str], None],
) -> Record:
    """A record of this name with what `measure` tells of each batch of the settings; see `run_clock`."""
    check_compiler()
    check_packages(*[form for form in settings.forms if form in RUNTIMES], "onnx")
    here = environment("cpu")
    here["versions"] |= versions_of(("onnx", "onnxruntime", "openvino"))
    record: Record = {"name": name, "settings": asdict(settings), "batches": [], **here}
    same = ("name", "settings", "machine", "versions", "git_revision")
    record = json.loads(json.dumps(record))  # as it is when it is read again
    if before is not None and all(before.get(key) == record[key] for key in same):
        record = before
    done = [row["batch"] for row in record["batches"]]
    with tempfile.TemporaryDirectory() as folder:
        forms = Forms(Path(folder), report)
        for batch in settings.batches:
            if batch not in done:
                record["batches"].append(measure(batch, forms))
                keep(record)
    return record


class Forms:
    """The models in their forms, each made once. Exported files lie in a folder."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self.folder, self.report = folder, report
        self.made: dict[tuple[str, str, int, int], Call] = {}

    def get(self, name: str, form: str, images: Tensor, threads: int) -> Call:
        """A model in a form, for batches like these and a number of threads."""
        key = name, form, 0 if form in RUNTIMES else len(images), threads  # runtimes take batches of any size
        if key not in self.made:
            self.report(f"{name}, {form}, {len(images)} images, {threads} threads")
            with thread_count(threads):
                self.made[key] = self._exported(name, form) if form in RUNTIMES else _in_torch(name, form, images)
        return self.made[key]

    def _exported(self, name: str, runtime: str) -> nn.Module:
        from dcnlib.inference.export import export_model  # brings what traces graphs

        file = self.folder / f"{name}{SUFFIXES[RUNTIMES[runtime]]}"
        if not file.exists():
            export_model(name, file, RUNTIMES[runtime], outputs=["logits"])
        return ExportedNetwork.load(file)


def measure_batch(images: Tensor, settings: ClockSettings, forms: Forms, report: Callable[[str], None]) -> Record:
    """Milliseconds an image of every form of every model on these images: the median of the rounds, and the range that
    four fifths of them lie in. times_faster: than the fine model, both in their fastest form, likewise."""
    batch = len(images)
    calls = calls_of(MODELS, images, settings, forms)
    report(f"batch {batch}: {len(calls)} forms take turns")
    with thread_count(torch.get_num_threads()):
        names = {str(key): key for key in calls}
        seconds = rounds_of({name: calls[key] for name, key in names.items()}, settings.rounds)
    times = {key: 1e3 * np.asarray(seconds[name]) / batch for name, key in names.items()}
    rows = [{**named(key), **spread(times[key])} for key in times]
    fastest = {
        model: min((key for key in times if key[0] == model), key=lambda key: float(np.median(times[key])))
        for model in MODELS
    }
    return {
        "batch": batch,
        "forms": rows,
        "fastest": {model: rows[list(times).index(key)] for model, key in fastest.items()},
        "times_faster": {model: spread(times[fastest["fine"]] / times[key], "ratio") for model, key in fastest.items()},
    }


Key = tuple[str, str, int, int]  # model, form, size of the pieces, threads


def calls_of(
    models: Sequence[str], images: Tensor, settings: ClockSettings, forms: Forms
) -> dict[Key, Callable[[], object]]:
    """Every form of some models at work on images: in pieces of each size, with one thread and with all."""
    batch = len(images)
    pieces = [size for size in sorted({*settings.batches, batch}) if batch % size == 0]
    return {
        (model, form, size, threads): in_pieces(forms.get(model, form, images[:size], threads), images, size, threads)
        for model in models
        for form in settings.forms
        for size in pieces
        for threads in sorted({1, torch.get_num_threads()})
    }


def named(key: Key) -> Record:
    """A form as a record has it."""
    return dict(zip(("model", "form", "pieces", "threads"), key, strict=True))


def _in_torch(name: str, form: str, images: Tensor) -> Call:
    images = images.contiguous(memory_format=torch.channels_last)
    model = load_sized(name, images)
    if form == "eager":
        return model
    if form == "prepared":
        return compile_for_inference(model, images)
    model.requires_grad_(False)
    if form == "folded":
        fold_norms(model)
    elif form == "multiplied":
        multiply_small_convolutions(model, images)
    return compile_frozen(model.to(memory_format=torch.channels_last).forward, images)


def in_pieces(call: Call, images: Tensor, size: int, threads: int) -> Callable[[], object]:
    """A turn: a call for each piece of the images, with so many threads."""
    pieces = [piece.contiguous(memory_format=torch.channels_last) for piece in images.split(size)]

    def turn() -> object:
        torch.set_num_threads(threads)
        with torch.no_grad():
            return [call(piece) for piece in pieces]

    return turn


def spread(values: np.ndarray, what: str = "milliseconds") -> dict[str, float]:
    """The median of the rounds, and the range that four fifths of them lie in."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return {what: float(middle), "low": float(low), "high": float(high)}
