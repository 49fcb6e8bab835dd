"""Where a cell looks: receptive-field arithmetic against real modules, and patches against a slow loop."""

from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from dcnlib import CoarseLayers, FineLayers, Geometry, TopLayers, extract_patches
from dcnlib.core.geometry import covered_size, derive_geometry, output_size, receptive_field


@st.composite
def windows(draw: st.DrawFn) -> nn.Module:
    """A convolution or a pool of one channel; all weights are positive, so that whatever is seen lights up."""
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    dilation, padding = draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2))
    kind = draw(st.sampled_from(["conv", "max", "avg"]))
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, dilation)
    if kind == "avg":
        return nn.AvgPool2d(kernel, stride, padding)
    conv = nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    return conv


stacks = st.lists(windows(), min_size=1, max_size=4).map(lambda layers: nn.Sequential(*layers))


def rows_seen_by_each_cell(layers: nn.Module, pixels: int) -> list[list[int]]:
    """Light one row of a black image at a time: a cell sees those rows that make it light up."""
    lit = torch.eye(pixels)[:, None, :, None].expand(-1, 1, -1, pixels)
    with torch.no_grad():
        lights_up = layers(lit).amax(3)[:, 0] > 0  # (pixels, s1)
    return [column.nonzero().flatten().tolist() for column in lights_up.T]


@given(layers=stacks, pixels=st.integers(8, 24))
def test_a_cells_field_is_what_really_moves_it(layers, pixels):
    assume(runs_on(layers, pixels))
    field = receptive_field(layers)
    for cell, seen in enumerate(rows_seen_by_each_cell(layers, pixels)):
        first = cell * field.stride + field.offset
        last = first + field.size - 1
        assert all(first <= row <= last for row in seen)
        if first >= 0 and last < pixels:
            assert (seen[0], seen[-1]) == (first, last)


def runs_on(layers: nn.Module, pixels: int) -> bool:
    try:
        layers(torch.zeros(1, 1, pixels, pixels))
    except RuntimeError:
        return False
    return True


@given(layers=stacks, pool=st.sampled_from([None, 1, 3]), pixels=st.integers(1, 24))
def test_the_output_size_is_what_really_comes_out(layers, pool, pixels):
    if pool is not None:
        layers = nn.Sequential(layers, nn.ReLU(), nn.AdaptiveAvgPool2d(pool))
    image = torch.zeros(1, 1, pixels, pixels)
    assert output_size(layers, pixels) == (layers(image).shape[2] if runs_on(layers, pixels) else 0)


@given(layers=stacks, pixels=st.integers(8, 24))
def test_positions_beyond_the_covered_ones_reach_no_output(layers, pixels):
    assume(runs_on(layers, pixels))
    covered = covered_size(layers, pixels)
    last = max((row for seen in rows_seen_by_each_cell(layers, pixels) for row in seen), default=-1)
    assert last < covered <= pixels
    assert last == covered - 1 or covered == pixels


def test_the_papers_top_layers_cover_22_of_23_cells():
    assert covered_size(TopLayers()[0], 23) == 22


def test_the_papers_layers_look_at_14_by_14_pixels_every_4():
    assert receptive_field(CoarseLayers()) == Geometry(stride=4, offset=0, size=11)
    assert derive_geometry(CoarseLayers(), FineLayers()) == Geometry(stride=4, offset=-1, size=14)


def test_a_patch_is_never_smaller_than_what_the_fine_layers_take():
    fine = nn.Sequential(nn.Conv2d(1, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert derive_geometry(nn.Conv2d(1, 4, 3), fine) == Geometry(stride=1, offset=-1, size=5)


def test_a_global_pool_makes_the_fine_layers_look_at_what_the_cell_sees():
    fine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert derive_geometry(nn.Conv2d(1, 4, 7, stride=2, padding=3), fine) == Geometry(stride=2, offset=-3, size=7)


@pytest.mark.parametrize(
    ("layers", "culprit"),
    [
        (nn.Upsample(scale_factor=2), "Upsample"),
        (nn.ConvTranspose2d(1, 1, 3), "ConvTranspose2d"),
        (nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d"),
        (nn.MultiheadAttention(4, 1), "MultiheadAttention"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_cannot_be_read_off_is_refused_with_the_way_out(layers, culprit):
    with pytest.raises(ValueError, match=f"{culprit}.*give geometry="):
        receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3), layers))


def test_fine_layers_that_make_one_vector_of_no_patch_are_refused():
    with pytest.raises(ValueError, match=r"sees 3 pixels.*no patch of 3\.\.12 pixels.*geometry="):
        derive_geometry(nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 15))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, Tensor, Geometry, tuple[int, int]]:
    """Images, cells, a geometry that may reach outside the image on every side, and the map it belongs to."""
    size, stride = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    offset = draw(st.integers(1 - size, 3))
    map_shape = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    # At least one pixel of the last row's and column's patches lies in the image.
    height, width = (max(1, (cells - 1) * stride + offset + draw(st.integers(1, 9))) for cells in map_shape)
    batch, k, channels = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.sampled_from([1, 3]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    images = torch.rand(batch, channels, height, width, generator=generator)
    cells = torch.randint(map_shape[0] * map_shape[1], (batch, k), generator=generator)
    return images, cells, Geometry(stride, offset, size), map_shape


@given(scene=scenes())
def test_patches_agree_with_a_slow_loop(scene):
    images, cells, geometry, map_shape = scene
    patches = extract_patches(images, cells, geometry, map_shape)
    batch, channels, height, width = images.shape
    assert patches.shape == (batch, cells.shape[1], channels, geometry.size, geometry.size)
    for b in range(batch):
        for n, cell in enumerate(cells[b].tolist()):
            top = cell // map_shape[1] * geometry.stride + geometry.offset
            left = cell % map_shape[1] * geometry.stride + geometry.offset
            for y in range(geometry.size):
                for x in range(geometry.size):
                    inside = 0 <= top + y < height and 0 <= left + x < width
                    pixel = images[b, :, top + y, left + x] if inside else torch.zeros(channels)
                    assert torch.equal(patches[b, n, :, y, x], pixel)


def cut_from_a_padded_copy(images: Tensor, cells: Tensor, geometry: Geometry, map_shape: tuple[int, int]) -> Tensor:
    """As windows of the image with zeros (or, with negative numbers, less) around it."""
    (rows, columns), (stride, offset, size) = map_shape, (geometry.stride, geometry.offset, geometry.size)
    below = (rows - 1) * stride + offset + size - images.shape[2]
    right = (columns - 1) * stride + offset + size - images.shape[3]
    padded = nn.functional.pad(images, (-offset, right, -offset, below))
    windows = padded.unfold(2, size, stride).unfold(3, size, stride)
    return windows[torch.arange(len(images))[:, None], :, cells // columns, cells % columns]


@given(scene=scenes(), channels_last=st.booleans())
def test_patches_and_gradients_are_those_of_a_padded_copy(scene, channels_last):
    """Whatever lies at the border, not a number included, never shows beyond it."""
    images, *place = scene
    images = images - 0.5
    images[:, :, 0] = torch.inf
    images[:, :, :, -1] = torch.nan
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    results = []
    for cut in (extract_patches, cut_from_a_padded_copy):
        given_images = images.clone().requires_grad_()
        patches = cut(given_images, *place)
        weights = torch.randn(patches.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).float()
        results.append(
            (patches.detach(), *torch.autograd.grad((patches.nan_to_num(0, 0) * weights).sum(), given_images))
        )
    (patches, gradient), (expected, expected_gradient) = results
    assert torch.equal(patches.view(torch.int32), expected.view(torch.int32))
    torch.testing.assert_close(gradient, expected_gradient)


@given(scene=scenes())
def test_boxes_say_where_the_patches_were_cut(scene):
    """In an image whose pixels hold their own row (from 1 on), a patch's brightest row is the last one in its box."""
    images, cells, geometry, map_shape = scene
    batch, _, height, width = images.shape
    rows_and_columns = torch.stack(
        [torch.arange(height)[:, None].expand(height, width), torch.arange(width).expand(height, width)]
    )
    patches = extract_patches((rows_and_columns + 1.0).expand(batch, -1, -1, -1), cells, geometry, map_shape)
    boxes = geometry.boxes(cells, map_shape[1])
    assert (boxes[..., 2:] - boxes[..., :2] == geometry.size).all()
    last = torch.minimum(boxes[..., 2:], torch.tensor([height, width]))
    assert torch.equal(patches.amax((-2, -1)).long(), last)


def test_neighbouring_cells_lie_one_stride_apart():
    boxes = Geometry(stride=4, offset=-1, size=14).boxes(torch.arange(23), map_width=23)
    assert boxes[0].tolist() == [-1, -1, 13, 13]
    assert all(right[1] - left[1] == 4 for left, right in pairwise(boxes.tolist()))


def test_extending_a_field_moves_its_corner_and_keeps_its_stride():
    assert Geometry(4, 0, 11).extended(1, 2) == Geometry(4, -1, 14)


@pytest.mark.parametrize("bad", [{"stride": 0, "size": 3}, {"stride": 2, "size": 0}])
def test_a_geometry_of_no_pixels_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Geometry(offset=0, **bad)
