"""A user's own pictures as a task: what a record tells of them is enough to build their networks without the pictures.

The layers are convolutional and take images of any shape. The larger the images, the larger are cells and patches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from dcnlib.core.geometry import derive_geometry
from dcnlib.data.folder_reading import prepare
from dcnlib.data.image_folder import LEAST_SIDE, MOST_CLASSES, MOST_SIDE, FolderImages, PictureFolder
from dcnlib.data.pictures import Picture
from dcnlib.data.preparation import Prepared, inverted
from dcnlib.models.cluttered_mnist import ScoreLayers, TopLayers, conv_norm
from dcnlib.models.task import Images, Task, made
from dcnlib.utils.checks import ImageShape, check_whole
from dcnlib.utils.records import Record

MOST_TEXT = 500  # letters of a class's name
DEPTH = 32  # of the maps' vectors
# The longest side of images for which cells lie so many halvings of the image apart.
HALVINGS = {160: 2, 400: 3, MOST_SIDE: 4}


class CoarsePictureLayers(nn.Sequential):
    """Cheap, on the whole image: (B, C, H, W) -> (B, D, s1, s2). Each of its convolutions halves the map.

    With two of them, a cell sees 12x12 pixels, and neighbours lie 4 pixels apart; with three, 24x24, 8 apart.
    """

    def __init__(self, *, in_channels: int, halvings: int) -> None:
        widths = [in_channels, *(12 * 2**number for number in range(halvings - 1)), DEPTH]
        layers: list[nn.Module] = []
        for number in range(halvings):
            layers += [conv_norm(widths[number], widths[number + 1], 4 if number else 6, stride=2)]
            layers += [nn.ReLU(inplace=True)]
        super().__init__(*layers)


class FinePictureLayers(nn.Sequential):
    """Expensive, on a patch: (N, C, p, p) -> (N, D, 1, 1). 3x3 convolutions with a pool for each halving, after the
    first and then each next one; two stand before the last pool. p is 22, 46 or 94 with two, three or four halvings."""

    def __init__(self, *, in_channels: int, halvings: int) -> None:
        layers: list[nn.Module] = [conv_norm(in_channels, 16, 3), nn.ReLU(inplace=True)]
        width = 16
        for _ in range(halvings - 1):
            layers += [nn.MaxPool2d(2), conv_norm(width, 2 * width, 3), nn.ReLU(inplace=True)]
            width *= 2
        layers += [conv_norm(width, 64, 3), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2), conv_norm(64, DEPTH, 3), nn.ReLU(inplace=True)]
        super().__init__(*layers)


@dataclass(frozen=True)
class OwnPicturesTask(Task):
    """Which of your classes does the picture show? Images in [0, 1] of your pictures' shape."""

    class_names: tuple[str, ...]
    """Of each class score."""
    height: int
    """Of the images in pixels."""
    width: int
    """Of the images in pixels."""
    channels: int = 3
    """1 for grey, 3 for colour."""
    windows: bool = False
    """Whether an image is a window of a picture, instead of the whole picture resized."""
    split_seed: int = 0
    """Divides pictures into training, validation and test where their folder doesn't."""

    name: ClassVar[str] = "own-pictures"
    kinds: ClassVar[tuple[str, ...]] = ("coarse", "fine", "dcn", "perturbed-topk")
    sources: ClassVar[Mapping[str, tuple[str, ...]]] = {"folder": ("train", "validation", "test", "all")}
    smoke_counts: ClassVar[Mapping[str, int]] = {}

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not 2 <= len(set(self.class_names)) == len(self.class_names) <= MOST_CLASSES:
            raise ValueError(f"class_names must be 2..{MOST_CLASSES} different names, got {self.class_names!r:.200}")
        if not all(isinstance(name, str) and 0 < len(name) <= MOST_TEXT for name in self.class_names):
            raise ValueError(f"class_names must be texts of 1..{MOST_TEXT} letters, got {self.class_names!r:.200}")
        if unseen := [name for name in self.class_names if not name.isprintable()]:
            raise ValueError(f"class_names must be letters that can be seen, got {unseen[0]!r:.200}")
        check_whole("height", self.height, least=LEAST_SIDE, most=MOST_SIDE)
        check_whole("width", self.width, least=LEAST_SIDE, most=MOST_SIDE)
        check_whole("split_seed", self.split_seed, least=0, most=2**32 - 1)
        if self.channels not in (1, 3) or not isinstance(self.windows, bool):
            raise ValueError(f"channels must be 1 or 3, and windows True or False, got {self.channels, self.windows}")

    @classmethod
    def of(cls, folder: PictureFolder) -> "OwnPicturesTask":
        """The task of a folder's pictures."""
        channels, height, width = folder.image_shape
        return cls(folder.class_names, height, width, channels, folder.windows, folder.split_seed)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_names

    @property
    def image_shape(self) -> ImageShape:
        return self.channels, self.height, self.width

    @property
    def halvings(self) -> int:
        """How many times the coarse layers halve the image."""
        return next(times for side, times in HALVINGS.items() if max(self.height, self.width) <= side)

    def load(
        self, split: Any, *, source: Any = None, root: str | Path | None = None, strict: bool = False, **options: Any
    ) -> FolderImages:
        """The pictures of a split in the folder `root`, as the task's images. The options go to `PictureFolder.images`.

        Raises ValueError for labels that aren't among the task's classes.
        """
        if source not in (None, *self.sources):
            raise ValueError(f"source must be one of {sorted(self.sources)}, got {source!r}")
        if root is None:
            raise FileNotFoundError("own pictures are where their owner has them: name the folder as root")
        return self.open(root, strict=strict).images(split, **options)

    def open(self, place: str | Path, *, strict: bool = False) -> PictureFolder:
        """A folder of pictures of the task's classes."""
        return PictureFolder(
            place,
            size=(self.height, self.width),
            channels=self.channels,
            windows=self.windows,
            split_seed=self.split_seed,
            class_names=self.class_names,
            strict=strict,
        )

    def smoke(self, split: str) -> FolderImages:
        raise ValueError("no pictures of one's own are always at hand: name their folder")

    def preprocess(self, picture: Picture, *, invert: bool | None = None) -> Prepared:
        """The picture in the task's channels, the whole of it resized without regard to its aspect, or the window in
        its middle: exactly what training made of it. Light and dark stay as they are."""
        picture = inverted(picture, "as asked") if invert else picture
        return prepare(picture, self.image_shape, windows=self.windows)

    def answer(self, logits: Tensor) -> str:
        return self.class_names[int(logits.argmax())]

    def boxes(self, *names: str) -> list[nn.Module]:
        layers = {"in_channels": self.channels, "halvings": self.halvings}
        makers: dict[str, Callable[[], nn.Module]] = {
            "coarse": lambda: CoarsePictureLayers(**layers),
            "fine": lambda: FinePictureLayers(**layers),
            "fine on images": lambda: self._fine_on_images(**layers),
            "top": lambda: TopLayers(in_channels=DEPTH, classes=len(self.class_names)),
            "scorer": lambda: ScoreLayers(in_channels=DEPTH),
        }
        return made(makers, names)

    def shares_images(self, data: Record, split: str, source: str) -> bool:
        return False  # told by content, see `count_shared`

    def count_shared(self, images: Images, data: Record) -> int:
        return images.count_shared(data) if isinstance(images, FolderImages) else 0

    def _fine_on_images(self, **layers: int) -> nn.Sequential:
        """The fine layers in a frame of zeros, so that they make the cells of the coarse map: with the same weights, in
        each cell the vector of its patch."""
        fine = FinePictureLayers(**layers)
        geometry = derive_geometry(CoarsePictureLayers(**layers), fine)
        return nn.Sequential(nn.ZeroPad2d(-geometry.offsets[0]), fine)
