"""The options of pictures of one's own: how images are made of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from dcnlib.cli.model_options import ModelOptions
from dcnlib.cli.options import Flag, by_default, differences, flag
from dcnlib.data.image_folder import PictureFolder
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.specs import Spec
from dcnlib.training.settings import TrainingSettings

WORKERS = 2  # their start takes as long as augmenting some hundred pictures does:
WORTH_WORKERS = 1000


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How images are made of pictures of one's own."""

    size: Annotated[str | None, by_default("after the pictures, at most 128 a side", metavar="WIDTHxHEIGHT")] = None
    """Of the images in pixels, for pictures of your own."""
    channels: Annotated[int | None, by_default("1 if the pictures are grey, else 3", metavar="INT")] = None
    """Of the images, for pictures of your own: 1 for grey, 3 for colour."""
    windows: Flag = False
    """Make images of windows of the pictures as they are, instead of whole ones resized; for pictures of your own."""
    augment: Annotated[tuple[str, ...], by_default("none", metavar="TRANSFORM...")] = ()
    """Transforms of torchvision.transforms.v2 for training images, such as RandomHorizontalFlip or RandomRotation(10),
    for pictures of your own."""
    split_seed: int = 0
    """Divides pictures of your own into training, validation and test, where their folder or table doesn't."""
    strict: Flag = False
    """Refuse pictures of your own of which some can't be read, instead of skipping those."""

    def open(self, model: ModelOptions) -> tuple[Spec, PictureFolder | None]:
        """The spec that is asked for, and the pictures if they are one's own. Raises ValueError for these options with
        any other data."""
        if not model.is_own:
            if given := differences(self, PictureOptions()):
                raise ValueError(f"{', '.join(map(flag, given))} is for pictures of your own, not for {model.data}")
            return model.spec, None
        options: dict[str, Any] = {name: getattr(self, name) for name in ("windows", "split_seed", "strict")}
        folder = PictureFolder(model.data, size=_size(self.size), channels=self.channels, **options)
        return replace(model.spec, task=OwnPicturesTask.of(folder)), folder

    def named(self) -> dict[str, str | int]:
        """What a run's name tells of them, beside what the task tells."""
        augment = ("".join(letter for letter in text if letter.isalnum()) for text in self.augment)
        told: dict[str, str | int | None] = {
            "size": self.size,
            "channels": self.channels,
            "augment": "-".join(augment) or None,
        }
        return {option: value for option, value in told.items() if value is not None}


def name_of(folder: PictureFolder) -> str:
    """What pictures of one's own are called in names of runs: as their folder, or as their table without its ending."""
    return folder.place.name if folder.place.is_dir() else folder.place.stem


def _size(text: str | None) -> tuple[int, int] | None:
    """Height and width of a size as people write it."""
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)):
        raise ValueError(f"--size is WIDTHxHEIGHT in pixels, as in 128x96, or one number for a square; got {text!r}")
    width, height = int(found[1]), int(found[2] or found[1])
    return height, width


def fit_for(folder: PictureFolder, augment: Sequence[str], settings: TrainingSettings) -> TrainingSettings:
    """The settings, where they are as usual, with batches that the training pictures fill, and with processes that make
    batches beside the training, where pictures aren't kept decoded or many are augmented."""
    usual, count = TrainingSettings(), len(folder.images("train"))
    if settings.batch_size == usual.batch_size:
        settings = replace(settings, batch_size=min(usual.batch_size, max(2, count // 4)))
    if (not folder.stored or (augment and count >= WORTH_WORKERS)) and settings.workers == usual.workers:
        settings = replace(settings, workers=WORKERS)
    return settings
