"""What a task is: which images there are, what their labels mean, and which boxes the networks for them are made of.

Those that have a name stand in `tasks.py`. Preprocessing travels with the weights, because a trained model knows its
task.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.data.pictures import Picture
from dcnlib.data.preparation import Prepared
from dcnlib.training.loading import Data
from dcnlib.utils.checks import ImageShape
from dcnlib.utils.records import Record


class Images(Data, Protocol):
    """A task's images with their labels, which say in a record what they are."""

    def describe(self) -> Record: ...


@dataclass(frozen=True)
class Task(ABC):
    """What a network is for. Its fields are what may be chosen about the task."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]  # of models that there are for it; see `SPECS`
    sources: ClassVar[Mapping[str, tuple[str, ...]]]  # where its images come from, the usual one first, with splits
    smoke_counts: ClassVar[Mapping[str, int]]  # how many images the smoke profile takes of what is always at hand
    positions: ClassVar[int] = 1  # of a sequence that an answer has, a class for each

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """What each class score is for, in each position."""

    @property
    @abstractmethod
    def image_shape(self) -> ImageShape:
        """Of the images that a network is given: channels, height and width in pixels."""

    @abstractmethod
    def load(self, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any) -> Images:
        """The images of a split, from the usual source unless another is named. The options go to the data's loader."""

    @abstractmethod
    def smoke(self, split: str) -> Images:
        """A few images that are always at hand; those of "train" are fresh each epoch."""

    @abstractmethod
    def preprocess(self, picture: Picture, *, invert: bool | None = None) -> Prepared:
        """A user's picture as an image that the task's networks know, with where its pixels went and what was done.

        invert: whether to take light for dark, or None for what the task does by itself.
        """

    @abstractmethod
    def answer(self, logits: Tensor) -> str:
        """What class scores (L,) or (P, L) of one image say, as text."""

    @abstractmethod
    def boxes(self, *names: str) -> list[nn.Module]:
        """Freshly initialised parts of networks: of "coarse", "fine", "top", and what else the task's kinds need."""

    def network(self, network: SingleCapacityNetwork | DynamicCapacityNetwork) -> nn.Module:
        """A network of such boxes as a network of the task's images."""
        return network

    @property
    def box_shape(self) -> ImageShape | None:
        """Of what the coarse layers are given, where it isn't the image itself; None for images of any size."""
        return self.image_shape

    def describe(self) -> Record:
        """What a record says of the task beside its model; nothing for Cluttered MNIST, as records began with it."""
        return {"data": self.name, **asdict(self)}

    def shares_images(self, data: Record, split: str, source: str) -> bool:
        """Whether a split of a source holds images of those that a record describes, such as a run's training set."""
        return (data["source"], data["split"]) == (source, split)

    def count_shared(self, images: Images, data: Record) -> int:
        """How many of some images are among those that a record describes, where only their content tells it."""
        return 0


def made(makers: Mapping[str, Callable[[], nn.Module]], names: Collection[str]) -> list[nn.Module]:
    """The boxes asked for. They are made in the makers' order, so that a seed gives a box the same initial weights
    whatever order they are asked for in."""
    boxes = {name: make() for name, make in makers.items() if name in names}
    return [boxes[name] for name in names]
