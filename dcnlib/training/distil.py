"""New coarse layers for a network that is trained already, taught by its own first layers on unlabelled pictures.

The first layers of a trained network become the fine layers, the rest of it the top, and new coarse layers learn by
hints alone (section 3.3) to stand in for the fine ones in every cell. Then everything can be trained together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.hints import Hint, hint_between, vector_curves
from dcnlib.core.patches import extract_patches, gather_cells
from dcnlib.training.contents import describe, digest
from dcnlib.training.loading import Batched, Data, at_epoch
from dcnlib.training.loop import fit
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.checks import check_whole
from dcnlib.utils.modules import train_keeping_frozen, uncompiled
from dcnlib.utils.records import Record


def distil_coarse(
    dcn: DynamicCapacityNetwork,
    pictures: Data,
    validation_data: Data | DataLoader,
    settings: TrainingSettings,
    *,
    cells: int = 16,
    hint: Hint = "relative",
    **options: Any,
) -> Record:
    """Train the coarse layers of `dcn`, and nothing else of it, to make the vectors of its fine layers.

    pictures: a map-style data set of images, or of (image, label) pairs whose labels nobody looks at. Each step
    compares coarse and fine vectors in so many `cells` of each picture, drawn at random, and minimises their `hint`,
    see `hint_between`. validation_data, with labels, says which epoch's weights are kept: those with the lowest
    error of `dcn` itself, at its own k. Without labels, give the answers of the trained network.

    options: those of `fit`, which does the training: `run_dir`, `progress`, ...; a run goes on from its checkpoint, and
    returns its record. Fine and top layers stay as they are, norm statistics included; afterwards, however it ends,
    each parameter may be trained that could before, and all of `dcn` is in eval mode. Raises as `fit` does.
    """
    if isinstance(pictures, DataLoader):
        raise TypeError("pictures must be a map-style data set, not a DataLoader: give loader.dataset")
    network = uncompiled(dcn)
    if not isinstance(network, DynamicCapacityNetwork):
        raise TypeError(f"dcn must be a DynamicCapacityNetwork itself, got {type(network).__name__}")
    apprentice = CoarseApprentice(network, cells, hint)
    with _only_coarse(network):
        return fit(apprentice, Unlabelled(pictures), validation_data, settings, **options)


class CoarseApprentice(DynamicCapacityNetwork):
    """A network of another's own layers, whose loss is the hint in random cells, and moves the coarse layers alone."""

    def __init__(self, dcn: DynamicCapacityNetwork, cells: int, hint: Hint) -> None:
        check_whole("cells", cells)
        super().__init__(
            coarse=dcn.coarse,
            fine=dcn.fine,
            top=dcn.top,
            k=dcn.k,
            geometry=dcn.geometry,
            policy=dcn.policy,
            hint=hint,
        )
        for name, part in dcn.named_children():  # its policy may ask for more than the three, such as a scorer
            self.add_module(name, part)
        self.image_shape = dcn.image_shape
        self.cells = cells

    def loss(self, images: Tensor, labels: Tensor, k: int | Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The hint in `cells` random cells of each image, and curves of the vectors; the labels don't count."""
        self._check_images(images)
        coarse_map = self.coarse(self._own("coarse", images))
        batch, _, rows, columns = coarse_map.shape
        cells = torch.rand(batch, rows * columns, device=images.device).topk(min(self.cells, rows * columns)).indices
        with torch.no_grad():
            patches = extract_patches(images, cells, self.geometry, (rows, columns))
            fine_vectors = self._fine_vectors(patches, coarse_map)
        coarse_vectors = gather_cells(coarse_map, cells)
        hint = hint_between(coarse_vectors, fine_vectors, self.hint)
        return hint, {"hint": hint.detach(), **vector_curves(coarse_vectors, fine_vectors)}


class Unlabelled:
    """The pictures of a data set of images, or of pairs that begin with them, in batches, each labelled 0."""

    vectorised = True

    def __init__(self, data: Data) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        batch = Batched(self.data)[indices]
        images = batch if isinstance(batch, Tensor) else batch[0]
        return images, torch.zeros(len(images), dtype=torch.int64)

    def at_epoch(self, epoch: int) -> "Unlabelled":
        """The pictures that this epoch sees."""
        return Unlabelled(at_epoch(self.data, epoch))

    def describe(self) -> Record:
        """What a record says of them."""
        return {**describe(self.data), "labels": "none"}

    @property
    def contents(self) -> tuple[str | None]:
        """What stands for the pictures in a run's identity."""
        return (digest(self.data),)


@contextmanager
def _only_coarse(dcn: DynamicCapacityNetwork) -> Iterator[None]:
    """Leave only the coarse layers to be trained, and nothing of the others changed; all is in eval mode afterwards."""
    train_keeping_frozen(dcn.coarse)
    others = [part.eval() for part in dcn.children() if part is not dcn.coarse]
    trainable = [parameter for part in others for parameter in part.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        # A network in training mode with parts in eval mode would say that its owner froze those.
        dcn.eval()
