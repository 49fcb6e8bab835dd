"""From pictures to answers: what a trained model says of each, how sure it is, and where in the picture it looked."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcnlib.core.budget import check_threshold
from dcnlib.core.saliency import entropy
from dcnlib.data.pictures import Picture, read_picture
from dcnlib.data.pictures import Source as PictureSource
from dcnlib.inference.runtimes import load_in_runtime
from dcnlib.models.pretrained import Source, Trained
from dcnlib.utils.device import resolve_device

Pictures = PictureSource | Picture | Iterable[PictureSource | Picture]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one picture.

    How sure it is stands in three figures, to be read together: a network that never saw anything like the picture may
    well give its answer a high probability. notes: what was done to the picture before the network saw it, and in what
    the result is unlike all images that networks of the task were trained on.
    """

    name: str
    answer: str
    probabilities: Tensor  # (L,), or (P, L) for P positions of a sequence
    entropy: float  # of the prediction in nats, summed over positions
    boxes: Tensor  # (n, 4) top, left, bottom, right of each place looked at, in pixels of the picture as it is seen
    first_answer: str | None = None  # the coarse prediction, of models that have one,
    first_entropy: float | None = None  # and its entropy in nats
    notes: tuple[str, ...] = ()

    @property
    def probability(self) -> float:
        """Of the whole answer: the product over positions."""
        return float(self.probabilities.max(-1).values.prod())

    @property
    def most_entropy(self) -> float:
        """The entropy in nats of knowing nothing: log L for each position."""
        classes = self.probabilities.shape[-1]
        return self.probabilities.numel() // classes * math.log(classes)

    def __str__(self) -> str:
        sure = [f"{100 * self.probability:.1f} %, entropy {self.entropy:.2f} of {self.most_entropy:.2f} nats"]
        if self.probabilities.ndim == 2:
            sure.append(f"by position {', '.join(f'{100 * p:.1f}' for p in self.probabilities.amax(-1).tolist())} %")
        return f"{self.name}: {self.answer} ({'; '.join([*sure, *self.notes])})"


@torch.no_grad()
def predict(
    source: Source,
    pictures: Pictures,
    *,
    invert: bool | None = None,
    k: int | None = None,
    until_sure: bool = False,
    entropy_below: float | None = None,
    max_k: int | None = None,
    device: str = "auto",
) -> list[Prediction]:
    """What a trained model says of pictures, in their order; one picture stands for a list of one.

    source: what `load_in_runtime` takes. pictures: what `read_picture` takes, each; an array or a tensor of four
    dimensions is several. They are pictures as a user has them: grey or in colour, of any size, and the model's task
    makes of each an image that its networks know (`Task.preprocess`). Each goes through the network alone, so that its
    answer depends on nothing else in the list.

    invert: whether to take light for dark; by default the task decides, and says so in the notes. k: patches, instead
    of the model's own number. until_sure: patches until the entropy is below `entropy_below` (by default the calibrated
    threshold that came with the weights), at most `max_k`; see `DynamicCapacityNetwork.adaptive`.

    Raises FileNotFoundError or ValueError, with its name, for the first picture that can't be read, and ValueError for
    k or until_sure with a model that chooses no patches, and for both at once.
    """
    if not isinstance(invert, bool | None):  # "no" would count as yes
        raise TypeError(f"invert must be True, False or None, got {invert!r}")
    trained = load_in_runtime(source)
    options = look_options(trained, k=k, until_sure=until_sure, entropy_below=entropy_below, max_k=max_k)
    at = resolve_device(device)
    with torch.inference_mode(False):  # or the copy could never be asked for its saliency
        model: Any = copy.deepcopy(trained.model).to(at).eval()  # the caller's own stays where it is

    predictions = []
    for number, given in enumerate(_each(pictures), start=1):
        named = isinstance(given, str | PathLike | Picture)
        picture = read_picture(given, name=None if named else f"picture {number}")
        prepared = trained.task.preprocess(picture, invert=invert)
        try:
            look = (model.adaptive if until_sure else model.attend)(prepared.image[None].to(at), **options)
        except ValueError as error:  # more patches than so small a picture has cells
            raise ValueError(f"{picture.name}: {error}") from error
        boxes = look.boxes[0][: look.patches_used[0]] if until_sure else look.boxes[0]
        first = getattr(look, "coarse_logits", None)
        predictions.append(
            Prediction(
                name=picture.name,
                answer=trained.task.answer(look.logits[0]),
                probabilities=look.logits[0].softmax(-1).cpu(),
                entropy=entropy(look.logits).item(),
                boxes=prepared.fit.to_picture(boxes),
                first_answer=None if first is None else trained.task.answer(first[0]),
                first_entropy=None if first is None else entropy(first).item(),
                notes=prepared.notes,
            )
        )
    return predictions


def _each(pictures: Pictures) -> Iterator[PictureSource | Picture]:
    """The pictures one by one, where one alone may be given too."""
    one = str | PathLike | bytes | bytearray | memoryview | Image.Image | Picture
    if isinstance(pictures, one) or (isinstance(pictures, np.ndarray | Tensor) and pictures.ndim < 4):
        yield pictures
    else:
        yield from pictures


def look_options(
    trained: Trained,
    *,
    k: int | None = None,
    until_sure: bool = False,
    entropy_below: float | None = None,
    max_k: int | None = None,
) -> dict[str, Any]:
    """The options of `model.attend` or, until sure, of `model.adaptive`.

    Raises ValueError for what doesn't go together.
    """
    if not until_sure and (entropy_below is not None or max_k is not None):
        raise ValueError("entropy_below and max_k are for looking until sure: give until_sure too")
    if until_sure and k is not None:
        raise ValueError("until_sure says how many patches: leave k out, or give max_k")
    if (until_sure or k is not None) and "k" not in trained.spec.options():
        without = "until_sure" if until_sure else "k"
        raise ValueError(
            f"{trained.name} is of kind {trained.spec.kind}, which chooses no patches: leave {without} out"
        )
    if not until_sure:
        return {} if k is None else {"k": k}
    if not hasattr(trained.model, "adaptive"):
        raise ValueError("looking until sure is for a model in torch itself: an exported one has one number of patches")
    model: Any = trained.model
    calibrated = model.entropy_below
    check_threshold(calibrated if entropy_below is None else entropy_below)
    return {"entropy_below": entropy_below, "max_k": max_k}
