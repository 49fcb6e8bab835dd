"""Notebook 2, exercises 1 and 3."""

import torch
from torch import nn

from dcnlib import CoarseLayers, DynamicCapacityNetwork, FineLayers, count_multiplications
from dcnlib.core.geometry import covered_size, derive_geometry, receptive_field
from dcnlib.core.passes import GlobalMaxPool


def block(in_channels, out_channels, kernel, stride=1):
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def exercise_1(count: int = 23) -> str:
    """Other kernels and strides of the top layers: dead cells of a map of so many cells a side, and the DCN's price."""
    rows, dead = [], {}
    for kernel, stride in ((4, 2), (3, 2), (4, 1)):
        window = nn.Sequential(nn.Conv2d(24, 96, kernel, stride=stride, bias=False), nn.BatchNorm2d(96))
        top = nn.Sequential(window, nn.ReLU(), GlobalMaxPool(), nn.Linear(96, 10))  # which the library reads
        dead[kernel, stride] = count**2 - covered_size(top[0], count) ** 2
        dcn = DynamicCapacityNetwork(coarse=CoarseLayers(), fine=FineLayers(), top=top, image_shape=(1, 100, 100))
        cost = count_multiplications(dcn).total / 1e6
        rows.append(
            f"kernel {kernel}, stride {stride}: {dead[kernel, stride]} dead cells, {cost:.1f} million for k = 8"
        )
    if count == 23:
        assert list(dead.values()) == [45, 0, 0]  # (23 - 3) is even, and steps of 1 reach everything
    return "\n".join(rows)


def exercise_3(count: int = 100) -> str:
    """Coarse layers whose cells see 15 x 15 pixels, one every 4, on images of so many pixels a side."""
    coarse = nn.Sequential(block(1, 12, 7, 2), block(12, 12, 3), block(12, 24, 3, 2))
    field = receptive_field(coarse)
    assert (field.stride, field.size) == (4, 15)  # 7, then + 2 * 2, then + 2 * 2

    # The library's fine layers map 15 pixels to one vector as they do 14; a pool then leaves out a row and a column.
    fine = nn.Sequential(block(1, 24, 4), block(24, 24, 3), nn.MaxPool2d(2), block(24, 24, 3), block(24, 24, 3))
    assert fine(torch.zeros(2, 1, 15, 15)).shape == (2, 24, 1, 1)  # 15 - 3 - 2 = 10, 5, 3, 1: nothing is left out
    sizes = [derive_geometry(coarse, layers).size for layers in (FineLayers(), fine)]
    assert sizes == [15, 15]
    cells = coarse(torch.zeros(1, 1, count, count)).shape[2]
    return f"a cell sees {field.size} pixels, {cells} x {cells} cells; patches of {sizes[0]} and {sizes[1]} pixels"


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_3())
