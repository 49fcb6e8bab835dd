"""Every shipped model as every kind of exported file: does the file answer as the model does, image by image?"""

import copy
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.inference.export import export_model
from dcnlib.inference.exported import RUNTIMES, open_export
from dcnlib.inference.formats import SUFFIXES, Format, check_packages
from dcnlib.models.pretrained import PRETRAINED, Trained, load_trained
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.paper.markdown import markdown_table
from dcnlib.paper.profiles import validation_set
from dcnlib.training.loading import evaluation_batches, most_at_once
from dcnlib.utils.records import Record, environment, versions_of
from dcnlib.utils.weights import digest_of, weights_of

EXPORTS = "exports"  # the record
MOST_AT_ONCE = 100
# What scores may differ by, as a share of the image's largest, and saliencies that count as a tie, likewise: this, and
# so many times what the model's own rounding does to that image. DRAW passes it on from glimpse to glimpse; and where
# a prediction is sure, little is left of the saliency but rounding.
LIMIT, TIMES_ROUNDING = 1e-4, 3
Call = Callable[[Tensor], dict[str, Tensor]]


def check_exports(
    names: Collection[str] = tuple(PRETRAINED),
    *,
    formats: Collection[Format] = tuple(SUFFIXES),
    first: int | None = None,
    before: Record | None = None,
    keep: Callable[[Record], None] = lambda record: None,
    report: Callable[[Record], None] = lambda row: None,
) -> Record:
    """Compare shipped models with themselves exported for ONNX Runtime, OpenVINO and `torch.export`, or for some
    `formats`, on the validation images of what they were trained on: all of them, or the `first` so many.

    `keep` is given the record after each model, and `before` is one that was kept: its models aren't compared again,
    unless their weights have changed since. `report` is told each row as it comes. Raises FileNotFoundError where a
    model's images are missing, and ModuleNotFoundError for a missing runtime.
    """
    check_packages(*RUNTIMES.values(), "onnx")
    here = environment("cpu")
    here["versions"] |= versions_of(("onnx", "onnxscript", "onnxruntime", "openvino"))
    record: Record = {"name": EXPORTS, "models": [], **here}
    models = {name: load_trained(name) for name in names}
    weights = {name: digest_of(weights_of(trained.model)) for name, trained in models.items()}
    if before is not None:
        record["models"] = [row for row in before["models"] if row.get("weights") == weights.get(row["model"], 0)]
    known = {row["model"] for row in record["models"]}
    for name, trained in models.items():
        if name in known:
            continue
        for row in _compare(trained, formats, first):
            record["models"].append({**row, "weights": weights[name]})
            report(record["models"][-1])
        record["models"].sort(key=lambda row: list(models).index(row["model"]))
        keep(record)
    return record


def agrees(row: Record) -> bool:
    """Whether a file answers as its model: each image's class the same, and scores and cells, but for ties, too, up to
    `LIMIT` or the model's own rounding."""
    return row["other_answers"] == row["faults"] == 0


def exports_table(record: Record) -> str:
    """Markdown: in each format the largest difference of a score, and on how many images something is beyond `LIMIT`
    or looked at elsewhere."""
    rows = [["model", "images", *SUFFIXES]]
    by_model: dict[str, dict[str, Record]] = {}
    for row in record["models"]:
        by_model.setdefault(row["model"], {})[row["format"]] = row
    for name, formats in by_model.items():
        count = next(iter(formats.values()))["count"]
        rows.append([name, f"{count:,}", *(_told(formats[to]) if to in formats else "" for to in SUFFIXES)])
    return markdown_table(rows)


def _told(row: Record) -> str:
    told = f"{row['scores']:.0e}" if row["scores"] else "0"
    told += f" ({row['beyond']})" if row["beyond"] else ""
    told += f", {row['elsewhere']} elsewhere" if row["elsewhere"] else ""
    return told + (f", **{row['other_answers']} answered otherwise**" if row["other_answers"] else "")


def _compare(trained: Trained, formats: Collection[Format], first: int | None) -> list[Record]:
    data: Any = validation_set("fast") if trained.task == CLUTTERED_MNIST else trained.load_data()
    count = len(data) if first is None else min(first, len(data))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        calls: dict[Format, Call] = {to: _exported(trained, Path(folder), to) for to in formats}
        rows = {to: _Row(trained.model) for to in calls}
        shown = torch.utils.data.Subset(data, range(count))
        for images, _ in evaluation_batches(shown, min(MOST_AT_ONCE, most_at_once(data))):
            look = trained.model.attend(images)  # type: ignore[operator]
            for to, call in calls.items():
                rows[to].add(images, look, call(images))
    about = {"model": trained.name, "images": data.describe(), "count": count}
    return [{**about, "format": to, **row.told()} for to, row in rows.items()]


def _exported(trained: Trained, folder: Path, to: Format) -> Call:
    path = folder / f"{trained.name}{SUFFIXES[to]}"
    about = export_model(trained, path, to)
    if to == "pt2":  # which `open_export` doesn't run, since it may execute what is in it; this one is our own
        program = torch.export.load(path).module()
        return lambda images: dict(zip(about["outputs"], program(images), strict=True))
    run, about = open_export(path)

    def call(images: Tensor) -> dict[str, Tensor]:
        found = run({"images": images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(about["outputs"], found, strict=True)}

    return call


class _Row:
    """What comes of one file of a model, batch after batch."""

    def __init__(self, model: nn.Module) -> None:
        self.exact: Any = copy.deepcopy(model).double()
        self.counts = {"other_answers": 0, "elsewhere": 0, "beyond": 0, "faults": 0}
        self.largest = {"scores": 0.0, "tie": 0.0, "rounding": 0.0}

    def add(self, images: Tensor, look: Any, found: dict[str, Tensor]) -> None:
        same, tie = torch.ones(len(images), dtype=torch.bool), torch.zeros(len(images))
        if "cells" in found:
            same = (found["cells"].sort(1).values == look.cells.sort(1).values).all(1)
            saliency = look.saliency.flatten(1)
            tie = _apart(saliency.gather(1, found["cells"]), saliency.gather(1, look.cells), saliency)
        elif look.boxes.numel():
            same = ((found["boxes"] - look.boxes).abs() < 0.5).flatten(1).all(1)  # of a pixel
        scores = _apart(found["logits"], look.logits).where(same, 0)  # a tie may well lead to others
        beyond = ~((scores <= LIMIT) & (tie <= LIMIT))
        faults = beyond.clone()
        if beyond.any():
            exact = self.exact.attend(images[beyond].double())
            rounding = _apart(look.logits[beyond], exact.logits)
            fault = ~(scores[beyond] <= LIMIT + TIMES_ROUNDING * rounding)
            self._larger("rounding", rounding)
            if "cells" in found:
                rounding = _apart(look.saliency[beyond], exact.saliency)
                fault |= ~(tie[beyond] <= LIMIT + TIMES_ROUNDING * rounding)
            faults[beyond] = fault
        others = (found["logits"].argmax(-1) != look.logits.argmax(-1)).reshape(len(images), -1).any(1)
        counted = (("other_answers", others), ("elsewhere", ~same), ("beyond", beyond), ("faults", faults))
        for name, which in counted:
            self.counts[name] += int(which.sum())
        self._larger("scores", scores)
        self._larger("tie", tie)

    def told(self) -> Record:
        return self.counts | self.largest

    def _larger(self, name: str, values: Tensor) -> None:
        """The largest so far; what is no number stays one that is none."""
        before = torch.tensor([self.largest[name]], dtype=torch.float64)
        self.largest[name] = float(torch.cat([values.double(), before]).max())


def _apart(found: Tensor, wanted: Tensor, of: Tensor | None = None) -> Tensor:
    """An image's largest difference, as a share of the largest that is wanted, or is in `of` (B,)."""
    return (found - wanted).abs().flatten(1).amax(1) / (wanted if of is None else of).abs().flatten(1).amax(1)
