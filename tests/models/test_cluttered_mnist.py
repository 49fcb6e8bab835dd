"""The paper's three boxes: what goes in, what comes out, and who takes the gradient at a tie."""

import pytest
import torch
from torch import nn

from dcnlib import CoarseLayers, FineLayers, TopLayers
from dcnlib.core.passes import GlobalMaxPool


def convolutions(layers: nn.Module) -> list[tuple[int, int, int, int]]:
    """Input channels, filters, kernel side and stride of each convolution in turn."""
    return [
        (part.in_channels, part.out_channels, part.kernel_size[0], part.stride[0])
        for part in layers.modules()
        if isinstance(part, nn.Conv2d)
    ]


def shapes_after_each_layer(layers: nn.Sequential, x: torch.Tensor) -> list[tuple[int, ...]]:
    shapes = []
    for layer in layers:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def test_the_coarse_layers_are_the_papers():
    coarse = CoarseLayers()
    assert convolutions(coarse) == [(1, 12, 7, 2), (12, 24, 3, 2)]
    assert shapes_after_each_layer(coarse, torch.rand(2, 1, 100, 100))[1::2] == [(12, 47, 47), (24, 23, 23)]


def test_the_fine_layers_are_the_papers():
    fine = FineLayers()
    assert convolutions(fine) == [(1, 24, 3, 1)] + [(24, 24, 3, 1)] * 4
    sides = [shape[1] for shape in shapes_after_each_layer(fine, torch.rand(2, 1, 14, 14))]
    assert sides == [12, 12, 12, 12, 6, 6, 6, 6, 6, 3, 1, 1]


def test_the_fine_layers_map_a_whole_image_to_22_by_22_vectors():
    assert FineLayers()(torch.rand(2, 1, 100, 100)).shape == (2, 24, 22, 22)


def test_the_top_layers_are_the_papers():
    top = TopLayers()
    assert convolutions(top) == [(24, 96, 4, 2)]
    assert shapes_after_each_layer(top, torch.rand(2, 24, 23, 23)) == [(96, 10, 10), (96, 10, 10), (96,), (10,)]


@pytest.mark.parametrize(
    "layers", [CoarseLayers(), FineLayers(), TopLayers()], ids=lambda layers: type(layers).__name__
)
def test_every_convolution_is_followed_by_batch_norm_and_relu(layers):
    kinds = [type(part) for part in layers.modules() if not list(part.children())]
    for place, kind in enumerate(kinds):
        if kind is nn.Conv2d:
            assert kinds[place + 1 : place + 3] == [nn.BatchNorm2d, nn.ReLU]


def test_channels_depth_and_classes_can_be_chosen():
    coarse = CoarseLayers(in_channels=3, hidden=5, out_channels=7)
    fine = FineLayers(in_channels=3, channels=7)
    top = TopLayers(in_channels=7, hidden=9, classes=4)
    assert fine(torch.rand(2, 3, 14, 14)).shape == (2, 7, 1, 1)
    assert top(coarse(torch.rand(2, 3, 64, 48))).shape == (2, 4)


def test_the_last_pixel_row_and_column_never_reach_the_coarse_map():
    images = torch.rand(2, 1, 100, 100)
    changed = images.clone()
    changed[:, :, 99, :] = changed[:, :, :, 99] = 1
    coarse = CoarseLayers().eval()
    assert torch.equal(coarse(images), coarse(changed))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_at_a_tie_the_first_winner_takes_the_whole_gradient(memory_format):
    feature_map = torch.zeros(2, 3, 4, 5)
    feature_map[:, :, 1, 3] = feature_map[:, :, 2, 0] = 1
    feature_map = feature_map.contiguous(memory_format=memory_format).requires_grad_()
    GlobalMaxPool()(feature_map).sum().backward()
    expected = torch.zeros(2, 3, 4, 5)
    expected[:, :, 1, 3] = 1
    assert torch.equal(feature_map.grad, expected)
