"""The tasks by name: which images there are, what their labels mean, and which boxes the networks for them are made of.

What is particular to a task stands here and nowhere else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.multiscale import MultiScaleNetwork, Pyramid
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.data.cluttered_mnist import SEEDS, ClutteredMNIST, load_cluttered
from dcnlib.data.digits import SPLITS, load_digits
from dcnlib.data.house_numbers.images import (
    HouseNumberImages,
    load_house_number_images,
    project_images,
    standardise,
)
from dcnlib.data.house_numbers.numbers import FRAME, NUMBER_SPLITS, POSITIONS, in_frame, number_text
from dcnlib.data.pictures import Picture
from dcnlib.data.preparation import Fit, Prepared, fitted, inverted, levels, light_on_dark, size_text, to_grey, unlike
from dcnlib.models.cluttered_mnist import CoarseLayers, FineLayers, ScoreLayers, TopLayers
from dcnlib.models.house_numbers import (
    CoarseNumberLayers,
    FineNumberLayers,
    NumberTopLayers,
    fine_on_whole_images,
    number_pyramid,
)
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.models.task import Task, made
from dcnlib.utils.checks import ImageShape
from dcnlib.utils.records import Record

# Between what bounds the training images of the project's networks lie, measured on all of them, rounded outwards.
LIT = 0.007, 0.053  # share of pixels above 1/10 in the clutter of the 55,000 training digits
ASPECT = 1.0, 6.1  # width by height of SVHN's training photographs
SPREAD = 2.5, 89.0  # standard deviation of their levels of grey, of 0..255, in the frame

MOST_SCALES = 3  # of house numbers; at a fourth, they would be smaller than what a cell sees


@dataclass(frozen=True)
class ClutteredMNISTTask(Task):
    """Which digit lies among the fragments? Images of 1x100x100 pixels in [0, 1], ten classes."""

    name: ClassVar[str] = "cluttered-mnist"
    kinds: ClassVar[tuple[str, ...]] = ("coarse", "fine", "dcn", "ram", "draw", "perturbed-topk", "soft-attention")
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = SPLITS
    smoke_counts: ClassVar[Mapping[str, int]] = {"train": 256, "validation": 200}
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")

    @property
    def image_shape(self) -> ImageShape:
        return 1, 100, 100

    def load(self, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any) -> ClutteredMNIST:
        return load_cluttered(split, source=source or "mnist", root=root, **options)

    def smoke(self, split: Any) -> ClutteredMNIST:
        digits = load_digits(split, source="embedded").subset(self.smoke_counts[split])
        return ClutteredMNIST(digits, seed=SEEDS[split], fresh=split == "train")

    def preprocess(self, picture: Picture, *, invert: bool | None = None) -> Prepared:
        """Grey, light on dark, in the middle of the canvas: shrunk to fit if it is larger, else as it is."""
        prepared = fitted(light_on_dark(picture, invert), self.image_shape)
        lit = float((prepared.image > 0.1).float().mean())
        notes = unlike(
            (lit, *LIT, "{:.1%} of its pixels are brighter than 1/10, of theirs {:.1%} to {:.1%}"),
            (float(prepared.image.max()), 0.9, 1.0, "its brightest pixel is {:.2f}, theirs are at least {:.2f}"),
        )
        return replace(prepared, notes=(*prepared.notes, *notes))

    def answer(self, logits: Tensor) -> str:
        return str(int(logits.argmax()))

    def boxes(self, *names: str) -> list[nn.Module]:
        makers: dict[str, Callable[[], nn.Module]] = {
            "coarse": CoarseLayers,
            "fine": FineLayers,
            "fine on images": FineLayers,
            "top": TopLayers,
            "scorer": ScoreLayers,
        }
        return made(makers, names)

    def describe(self) -> Record:
        return {}

    def shares_images(self, data: Record, split: str, source: str) -> bool:
        return bool(_digits_of(data["source"], data["split"]) & _digits_of(source, split))


def _digits_of(source: str, split: str) -> set[str]:
    """Which of the disjoint sets of digits a split is made of: the embedded ones are MNIST's validation digits."""
    if split == "all" or (source, split) == ("mnist", "validation"):
        return {"embedded train", "embedded validation"}
    return {f"{source} {split}"}


@dataclass(frozen=True)
class HouseNumbersTask(Task):
    """Which number stands on the house? Standardised images of 1x64x128 pixels, five positions of eleven classes."""

    scales: int = 1
    """At how many scales, each half as large as the one before, a network sees them: 1..3."""

    name: ClassVar[str] = "house-numbers"
    kinds: ClassVar[tuple[str, ...]] = ("coarse", "fine", "dcn")
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = NUMBER_SPLITS
    smoke_counts: ClassVar[Mapping[str, int]] = {"train": 64, "validation": 100}
    positions: ClassVar[int] = POSITIONS
    classes: ClassVar[tuple[str, ...]] = (*"0123456789", "no digit")

    def __post_init__(self) -> None:
        if not 1 <= self.scales <= MOST_SCALES:
            raise ValueError(f"scales must be 1..{MOST_SCALES} for {self.name}, got {self.scales}")

    @property
    def image_shape(self) -> ImageShape:
        return 1, self.pyramid.height, self.pyramid.width

    @property
    def box_shape(self) -> ImageShape:
        """Of the canvas on which the scales lie."""
        return 1, *self.pyramid.canvas_shape

    @property
    def pyramid(self) -> Pyramid:
        """How the scales lie on the canvas."""
        return number_pyramid(self.scales)

    def load(
        self, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any
    ) -> HouseNumberImages:
        return load_house_number_images(split, source=source or "svhn", root=root, **options)

    def smoke(self, split: str) -> HouseNumberImages:
        from dcnlib.data.house_numbers.rendered import render_numbers  # draws with fonts of matplotlib

        return project_images(render_numbers(split, self.smoke_counts[split]))

    def preprocess(self, picture: Picture, *, invert: bool | None = None) -> Prepared:
        """Grey, the whole of it resized to the frame without regard to its aspect, standardised: exactly what the
        loader makes of a photograph. Light and dark stay as they are, since house numbers are painted in both."""
        picture = inverted(picture, "as asked") if invert else picture
        frame = torch.tensor(in_frame(Image.fromarray(levels(to_grey(picture)))))[None, None].float()
        height, width = picture.size
        notes = picture.notes
        if picture.size != FRAME:
            notes = (*notes, f"resized from {size_text(picture.size)} to {size_text(FRAME)} pixels")
        notes += unlike(
            (width / height, *ASPECT, "it is {:.1f} times as wide as high, they are {:.1f} to {:.1f} times"),
            (
                float(frame.std()),
                *SPREAD,
                "its grey levels of 0 to 255 spread by {:.1f}, theirs by {:.1f} to {:.1f}",
            ),
        )
        scale = FRAME[0] / height, FRAME[1] / width
        return Prepared(standardise(frame)[0], Fit(picture.size, scale), notes)

    def answer(self, logits: Tensor) -> str:
        return number_text(logits.argmax(-1).tolist())

    def boxes(self, *names: str) -> list[nn.Module]:
        makers: dict[str, Callable[[], nn.Module]] = {
            "top": lambda: NumberTopLayers(self.pyramid.regions),
            "coarse": CoarseNumberLayers,
            "fine": FineNumberLayers,
            "fine on images": fine_on_whole_images,
        }
        return made(makers, names)

    def network(self, network: SingleCapacityNetwork | DynamicCapacityNetwork) -> nn.Module:
        return network if self.scales == 1 else MultiScaleNetwork(network, self.pyramid)


CLUTTERED_MNIST = ClutteredMNISTTask()
TASKS: dict[str, type[Task]] = {task.name: task for task in (ClutteredMNISTTask, HouseNumbersTask, StreetSignsTask)}


def make_task(name: str, **options: Any) -> Task:
    """A task by name, with its options; `OwnPicturesTask` has a name, too. Raises ValueError for an unknown name or
    option."""
    tasks = TASKS | {OwnPicturesTask.name: OwnPicturesTask}
    if name not in tasks:
        raise ValueError(f"data must be one of {', '.join(tasks)}, got {name!r}")
    if strange := options.keys() - {field.name for field in fields(tasks[name])}:
        raise ValueError(f"{name} has no {', '.join(sorted(strange))}")
    return tasks[name](**options)
