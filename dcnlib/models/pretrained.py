"""Trained models: those shipped with the package by name, and one's own from a run's folder or a file of weights."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.core.budget import check_threshold
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.selection import check_k
from dcnlib.models.specs import (
    CoarseSpec,
    DCNSpec,
    DrawSpec,
    FineSpec,
    PerturbedTopKSpec,
    RAMSpec,
    SoftAttentionSpec,
    Spec,
    spec_from_record,
)
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.models.task import Images, Task
from dcnlib.models.tasks import CLUTTERED_MNIST, HouseNumbersTask
from dcnlib.training.run import Run, read_run_record
from dcnlib.utils.files import PACKAGE, user_path
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.weights import load_weights

EXPORTED = (".onnx", ".xml", ".pt2")  # how files end that `dcnlib.inference` writes for other runtimes
HOUSE_NUMBERS = HouseNumbersTask()
# The models of house numbers at one scale.
NUMBER_MODELS: dict[str, Spec] = {
    "coarse": CoarseSpec(task=HOUSE_NUMBERS),
    "fine": FineSpec(task=HOUSE_NUMBERS),
    "dcn-k8": DCNSpec(k=8, hint_weight=0.01, task=HOUSE_NUMBERS),
}
PRETRAINED: dict[str, Spec] = {
    "coarse": CoarseSpec(),
    "coarse-30-seed0": CoarseSpec(),
    "fine": FineSpec(),
    "fine-12-seed0": FineSpec(),
    "dcn-k8-hints": DCNSpec(k=8),
    "dcn-k8-hints-30-seed0": DCNSpec(k=8),
    "dcn-k8-no-hints": DCNSpec(k=8, hint_weight=0.0),
    "dcn-every-k": DCNSpec(k=16, first_share=0.5, training_k="uniform"),
    "ram": RAMSpec(sigma_steps=45000),
    "draw": DrawSpec(),
    "perturbed-topk": PerturbedTopKSpec(k=8),
    "soft-attention": SoftAttentionSpec(),
    "house-numbers-coarse": NUMBER_MODELS["coarse"],
    "house-numbers-fine": NUMBER_MODELS["fine"],
    "house-numbers-dcn-k8": NUMBER_MODELS["dcn-k8"],
    "rendered-numbers-dcn-k8": NUMBER_MODELS["dcn-k8"],
    "street-signs": DCNSpec(
        k=16, hint_weight=0.0, first_share=0.8, training_k="uniform", task=StreetSignsTask(window=0)
    ),
    "house-numbers-dcn-k8-scales3": DCNSpec(k=8, hint_weight=0.01, task=HouseNumbersTask(scales=3)),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model, in eval mode on the CPU, and what is known of it: everything that works on a model takes one."""

    name: str
    model: nn.Module
    spec: Spec
    record: Record

    @property
    def task(self) -> Task:
        """What the model is for."""
        return self.spec.task

    @property
    def source(self) -> str:
        """Where the images that it was trained on come from: the task's usual source, if the record doesn't say."""
        sources = [part["source"] for part in self._trained_on() if "source" in part]
        return str(next(iter([*sources, *self.task.sources])))

    @property
    def folder(self) -> str | None:
        """Where the pictures lay that it was trained on, of a user's own."""
        return next((str(part["folder"]) for part in self._trained_on() if "folder" in part), None)

    def load_data(
        self, split: str | None = None, *, source: str | None = None, root: str | Path | None = None, **options: Any
    ) -> Images:
        """Images to measure the model on: by default the validation images of the source that it was trained on, own
        pictures from where they lay then.

        See `check_unseen` for images that it was trained on. Pictures of one's own are told by their content: warns if
        some are among those of the training.
        """
        if source is None and self.source not in self.task.sources:
            known = ", ".join(self.task.sources)
            raise ValueError(
                f"the record of {self.name} says that its images came from {self.source!r:.60}, those of "
                f"{self.task.name} come from {known}"
            )
        source = source or self.source
        self.check_unseen(split, source)
        images = self.task.load(split or "validation", source=source, root=root or self.folder, **options)
        try:
            shared = sum(self.task.count_shared(images, part) for part in self._trained_on())
        except ValueError as error:
            raise ValueError(f"the record of {self.name} is damaged: {error}") from error
        if shared:
            warnings.warn(
                f"{self.name} was trained on {shared} of these {len(images)} pictures: the error says nothing about "
                "others",
                stacklevel=2,
            )
        return images

    def check_unseen(self, split: str | None, source: str) -> None:
        """Raise ValueError if the validation images of a source are among those that the model was trained on; where a
        split is named, warn. Warn too where the record doesn't say what it was trained on."""
        measured = f"source {source}, split {split or 'validation'}"
        for part in self._trained_on():
            if not {"source", "split"} <= part.keys():
                told = (
                    f"{self.name} was trained on a {part.get('name', 'data set')}, and its record doesn't say whether "
                )
                warnings.warn(f"{told}images of {measured}, are in it", stacklevel=3)
            elif self.task.shares_images(part, split or "validation", source):
                told = (
                    f"{self.name} was trained on images of source {part['source']}, split {part['split']}, which are "
                    f"among those of {measured}"
                )
                if split is None:
                    raise ValueError(f"{told}: name the split to measure on them all the same")
                warnings.warn(f"{told}: the error says nothing about other images", stacklevel=3)

    def _trained_on(self) -> list[Record]:
        """What the record says of the training images, of each part if they are of several sets."""
        train = self.record.get("data", {}).get("train")
        return [] if train is None else train.get("parts", [train])


Source = str | Path | Trained


def load_trained(source: Source) -> Trained:
    """A trained model from the name of a shipped one (a str; a Path is always a place), the folder of a finished run,
    or a file of weights beside its record (`record.json` in its folder, or a JSON file of its own name). One that is
    loaded already stays as it is.

    Raises FileNotFoundError, or ValueError for an unknown name, an exported or a damaged file, and weights of another
    model than the record says. Nothing in the files is executed.
    """
    if isinstance(source, Trained):
        return source
    if isinstance(source, str) and source in PRETRAINED:
        weights = PACKAGE / "weights" / f"{source}.safetensors"
        return _load(source, load_record(source), weights, f"the record of {source}")
    path = user_path(source)
    if path.is_dir():
        run = Run(path)
        record, record_path, weights = run.read_record(), run.record_path, run.weights_path
    elif path.suffix in EXPORTED:
        raise ValueError(
            f"{path} is an exported model, which predict, evaluate and benchmark take: give what it was exported from"
        )
    elif path.is_file():
        beside = [path.with_suffix(".json"), Run(path.parent).record_path]
        found = [candidate for candidate in beside if candidate.is_file()]
        if not found:
            raise FileNotFoundError(
                f"{path} has no record beside it that says which model it is: {beside[0].name} or {beside[1].name}"
            )
        record, record_path, weights = read_run_record(found[0]), found[0], path
    else:
        raise FileNotFoundError(
            f"{source} is neither a shipped model ({', '.join(PRETRAINED)}) nor a run's folder nor a file of weights"
        )
    if "kind" not in record.get("model", {}):
        raise ValueError(
            f"{record_path} names no model of this library: in Python, build your own network and read its weights "
            f"with load_weights({str(weights)!r}, network)"
        )
    return _load(str(record.get("name", path.stem)), record, weights, str(record_path))


def load_model(source: Source) -> nn.Module:
    """A trained model in eval mode on the CPU, from the name of a shipped one, a run's folder, or a file of weights
    beside its record: what `load_trained` takes."""
    return load_trained(source).model


def network_of_digits(trained: Trained) -> DynamicCapacityNetwork:
    """The network of a DCN of Cluttered MNIST, for what knows no other images. Raises ValueError for other models."""
    if not isinstance(trained.model, DynamicCapacityNetwork) or trained.task != CLUTTERED_MNIST:
        raise ValueError(
            f"this is for models of kind dcn and perturbed-topk for {CLUTTERED_MNIST.name}; {trained.name} is of kind "
            f"{trained.spec.kind} for {trained.task.name}"
        )
    return trained.model


def network_of_classes(trained: Trained) -> DynamicCapacityNetwork:
    """The network of a DCN that answers with one class, whatever its images are. Raises ValueError for other models."""
    if not isinstance(trained.model, DynamicCapacityNetwork) or trained.task.positions > 1:
        raise ValueError(
            "this is for models of kind dcn and perturbed-topk that answer with one class; "
            f"{trained.name} is of kind {trained.spec.kind} for {trained.task.name}"
        )
    return trained.model


def network_of_one_map(trained: Trained) -> DynamicCapacityNetwork:
    """The network of a DCN that sees whole images of one size at one scale, whether it answers with a class or with a
    sequence. Raises ValueError for other models."""
    if not isinstance(trained.model, DynamicCapacityNetwork) or trained.task.box_shape is None:
        raise ValueError(
            "this is for models of kind dcn and perturbed-topk that see whole images at one scale; "
            f"{trained.name} is of kind {trained.spec.kind} for {trained.task.name}"
        )
    return trained.model


def load_pretrained(name: str) -> nn.Module:
    """A shipped model in eval mode on the CPU. `load_record(name)` tells how it was trained and what errors it makes.

    Raises ValueError for an unknown name.
    """
    if name not in PRETRAINED:
        raise ValueError(f"name must be one of {', '.join(PRETRAINED)}, got {name!r}")
    return load_model(name)


def _load(name: str, record: Record, weights: Path, told_by: str) -> Trained:
    try:
        spec = spec_from_record(record["model"])
        model = spec.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{told_by} describes no model of this library: {error}") from error
    load_weights(weights, model)
    _take_threshold(record, model, told_by)
    return Trained(name, model.eval(), spec, record)


def _take_threshold(record: Record, model: nn.Module, told_by: str) -> None:
    """Give a network the threshold that its record was calibrated to, which `adaptive` stops at, and the most patches
    that it was calibrated for."""
    if "until_sure" not in record:
        return
    try:
        entropy_below = check_threshold(float(record["until_sure"]["entropy_below"]))
        if (max_k := record["until_sure"].get("max_k")) is not None:
            check_k(max_k)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{told_by} holds no threshold where it says that it does: {error!r}") from error
    network = model.network if isinstance(model, MultiScaleNetwork) else model
    if isinstance(network, DynamicCapacityNetwork):
        network.entropy_below, network.max_k = entropy_below, max_k
