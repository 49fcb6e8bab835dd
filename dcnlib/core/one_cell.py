"""The first layers of a network on patches: one cell of the map that they would make of the whole image."""

from torch import Tensor, nn

from dcnlib.core.measuring import field_of
from dcnlib.utils.checks import ImageShape


class OneCell(nn.Module):
    """Layers that make a map of an image, as fine layers: of each patch the vector of one cell, (N, C, p, q) -> (N, D).

    layers: (B, C, H, W) -> (B, D, s1, s2), with any padding of their own. `geometry` says where the patches lie: each
    begins at a multiple of the stride, and is as large as the cell's field needs, so that the vector is that of the
    same cell of the map of the whole image. Only near the image's border does it differ, where layers with padding see
    their own zeros on the whole image, and what they make of black pixels on the patch.

    image_shape: see `dcnlib.core.measuring.measure_field`. Raises ValueError for layers whose cells see no patch.
    """

    def __init__(self, layers: nn.Module, image_shape: ImageShape | None = None) -> None:
        super().__init__()
        self.layers = layers
        field = field_of(layers, image_shape)
        sides = zip(field.strides, field.offsets, strict=True)
        self.cell = tuple(max(0, -(offset // stride)) for stride, offset in sides)
        before = tuple(
            cell * stride + offset for cell, stride, offset in zip(self.cell, field.strides, field.offsets, strict=True)
        )
        self.geometry = field.extended((before[0], before[1]), 0)

    def forward(self, patches: Tensor) -> Tensor:
        row, column = self.cell
        return self.layers(patches)[:, :, row, column]
