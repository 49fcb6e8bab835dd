"""Images at several scales on one canvas: nothing mixes them, and every cell knows where it looks."""

import pytest
import torch
from torch import Tensor, nn

from dcnlib import DynamicCapacityNetwork, Geometry, MultiScaleNetwork, SingleCapacityNetwork, count_multiplications
from dcnlib.core.multiscale import Pyramid
from dcnlib.core.policies import POLICIES
from dcnlib.models.house_numbers import number_pyramid

FIELD, PATCH = Geometry(2, 0, 3), Geometry(2, -1, 5)
SCALES = 3


class RegionsTop(nn.Module):
    """Three positions of four classes from the cells of the scales alone."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.regions = pyramid.regions
        cells = sum((box.bottom - box.top) * (box.right - box.left) for box in self.regions)
        self.read = nn.Sequential(nn.Linear(5 * cells, 8), nn.Tanh(), nn.Linear(8, 12), nn.Unflatten(1, (3, 4)))

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.read(torch.cat([box.cut(feature_map).flatten(1) for box in self.regions], dim=1))


def small_pyramid(scales: int = SCALES) -> Pyramid:
    return Pyramid(16, 24, scales, FIELD, PATCH)


def small_dcn(pyramid: Pyramid, **options: object) -> DynamicCapacityNetwork:
    coarse = nn.Sequential(nn.Conv2d(1, 5, 3, stride=2), nn.Tanh())
    fine = nn.Sequential(nn.Conv2d(1, 5, 5), nn.Tanh())
    shape = (1, *pyramid.canvas_shape)
    return DynamicCapacityNetwork(coarse=coarse, fine=fine, top=RegionsTop(pyramid), k=4, image_shape=shape, **options)


def inside(pyramid: Pyramid, scale: int | None = None) -> Tensor:
    """Which cells of the canvas' map belong to a scale, or to any."""
    mask = torch.zeros(1, 1, *pyramid.map_shape, dtype=torch.bool)
    for number, region in enumerate(pyramid.regions):
        if scale in (None, number):
            region.cut(mask)[:] = True
    return mask[0, 0]


def means_by_hand(image: Tensor, scale: int) -> Tensor:
    """An image (H, W) at a scale, each pixel the mean of a square."""
    side = 2**scale
    return image.unflatten(0, (-1, side)).unflatten(2, (-1, side)).mean((1, 3))


@pytest.mark.parametrize("pyramid", [small_pyramid(), *(number_pyramid(scales) for scales in (1, 2, 3))])
def test_the_canvas_holds_every_scale_and_zeros_between_them(pyramid):
    images = torch.rand(2, 1, pyramid.height, pyramid.width) + 0.1
    canvas = pyramid.pack(images)
    assert canvas.shape[2:] == pyramid.canvas_shape
    rest = canvas.clone()
    for scale, frame in enumerate(pyramid.frames):
        for image, packed in zip(images, frame.cut(canvas), strict=True):
            torch.testing.assert_close(packed[0], means_by_hand(image[0], scale))
        frame.cut(rest)[:] = 0
    assert (rest == 0).all()


def test_one_scale_is_the_plain_network_exactly():
    pyramid = small_pyramid(1)
    network = small_dcn(pyramid).eval()
    wrapped = MultiScaleNetwork(network, pyramid)
    images, labels = torch.rand(3, 1, 16, 24), torch.randint(4, (3, 3))
    assert pyramid.canvas_shape == (16, 24)
    assert torch.equal(wrapped(images), network(images))
    assert torch.equal(wrapped(images, k=2), network(images, k=2))
    assert torch.equal(wrapped.loss(images, labels)[0], network.loss(images, labels)[0])
    assert torch.equal(wrapped.attend(images).cells, network.attend(images).cells)
    assert wrapped.image_shape == network.image_shape == (1, 16, 24)


@pytest.mark.parametrize("changed", range(SCALES))
@pytest.mark.parametrize("pyramid", [small_pyramid(), number_pyramid(SCALES)])
def test_pixels_of_one_scale_reach_no_cell_and_no_patch_of_another(pyramid, changed):
    """Against windows cut from the canvas: a cell's field and its patch hold pixels of its own scale alone."""
    canvas = torch.zeros(1, 1, *pyramid.canvas_shape)
    pyramid.frames[changed].cut(canvas)[:] = 1
    rows, columns = pyramid.map_shape
    for looks_at in (pyramid.field, pyramid.patch):
        touched = torch.zeros(rows, columns, dtype=torch.bool)
        boxes = looks_at.boxes(torch.arange(rows * columns), columns).clamp(min=0)
        for cell, (top, left, bottom, right) in enumerate(boxes.tolist()):
            touched[cell // columns, cell % columns] = bool(canvas[..., top:bottom, left:right].any())
        others = inside(pyramid) & ~inside(pyramid, changed)
        assert not touched[others].any()
        assert touched[inside(pyramid, changed)].all()


@pytest.mark.parametrize("changed", range(SCALES))
def test_in_a_network_too_no_vector_of_another_scale_changes(changed):
    pyramid = small_pyramid()
    network = small_dcn(pyramid).eval()
    cells = inside(pyramid).flatten().nonzero().T  # (1, k): all cells of all scales
    canvas = pyramid.pack(torch.rand(1, 1, 16, 24))
    other = canvas.clone()
    pyramid.frames[changed].cut(other)[:] = torch.rand(1)
    before, after = (network.attend(image, cells=cells).refined_map[0] for image in (canvas, other))
    own = inside(pyramid, changed)
    assert torch.equal(before[:, inside(pyramid) & ~own], after[:, inside(pyramid) & ~own])
    assert (before[:, own] != after[:, own]).any(0).all()


def test_cells_between_the_scales_have_no_saliency_and_are_not_chosen():
    pyramid = small_pyramid()
    network = MultiScaleNetwork(small_dcn(pyramid), pyramid)
    look = network.attend(torch.rand(3, 1, 16, 24))
    assert (look.saliency[:, ~inside(pyramid)] == 0).all()
    assert (look.saliency[:, inside(pyramid)] > 0).all()
    everywhere = network.attend(torch.rand(3, 1, 16, 24), k=int(inside(pyramid).sum())).cells
    assert (pyramid.locate(everywhere)[0] >= 0).all()


@pytest.mark.parametrize("pyramid", [small_pyramid(), number_pyramid(2), number_pyramid(3)])
def test_boxes_lead_back_to_what_the_patch_shows(pyramid):
    """A patch is the image's box, made smaller."""
    images = torch.rand(1, 1, pyramid.height, pyramid.width, dtype=torch.float64)
    canvas = pyramid.pack(images)
    cells = torch.arange(pyramid.map_shape[0] * pyramid.map_shape[1])
    scales, boxes = pyramid.locate(cells)
    assert torch.equal(scales.reshape(pyramid.map_shape) >= 0, inside(pyramid))
    compared = set()
    for cell, scale, (top, left, bottom, right) in zip(cells.tolist(), scales.tolist(), boxes.tolist(), strict=True):
        if scale < 0:
            assert (top, left, bottom, right) == (0, 0, 0, 0)
        elif top >= 0 and left >= 0 and bottom <= pyramid.height and right <= pyramid.width:
            patch = pyramid.patch.boxes(torch.tensor(cell), pyramid.map_shape[1]).tolist()
            shown = canvas[0, 0, patch[0] : patch[2], patch[1] : patch[3]]
            torch.testing.assert_close(shown, means_by_hand(images[0, 0, top:bottom, left:right], scale))
            compared.add(scale)
    assert 0 in compared
    assert 1 in compared


def test_counting_sees_the_network_on_its_canvas():
    pyramid = small_pyramid()
    network = small_dcn(pyramid)
    cost = count_multiplications(MultiScaleNetwork(network, pyramid))
    assert cost == count_multiplications(network)
    rows, columns = pyramid.map_shape
    assert (cost.layers, cost.k, cost.fine_per_patch) == (rows * columns * 5 * 9, 4, 5 * 25)
    assert count_multiplications(MultiScaleNetwork(network, pyramid), k=2).k == 2


@pytest.mark.parametrize("scales", [1, SCALES])
def test_the_boxes_of_a_look_are_those_of_the_image_as_it_is(scales):
    pyramid = small_pyramid(scales)
    network = MultiScaleNetwork(small_dcn(pyramid), pyramid)
    every = torch.arange(pyramid.map_shape[0] * pyramid.map_shape[1]).expand(2, -1)
    for options in ({}, {"cells": every}):  # those between the scales too
        look = network.attend(torch.rand(2, 1, 16, 24), **options)
        assert torch.equal(look.boxes, pyramid.locate(look.cells)[1])
        with pytest.warns(DeprecationWarning, match=r"look\.boxes"):
            assert network.patch_boxes(look) is look.boxes
    single = SingleCapacityNetwork(layers=network.network.coarse, top=network.network.top)
    look = MultiScaleNetwork(single, pyramid).attend(images := torch.rand(2, 1, 16, 24))
    assert look.boxes.shape == (2, 0, 4)
    assert torch.equal(look.logits, network(images, k=0))


@pytest.mark.parametrize("policy", ["entropy-gradient", "class-score-gradient"])
def test_a_sweep_at_several_scales_gives_what_each_k_gives(policy):
    pyramid, images = small_pyramid(), torch.rand(3, 1, 16, 24)
    network = MultiScaleNetwork(small_dcn(pyramid), pyramid).eval()
    for k, logits in network.sweep(images, (0, 3, 5), policy=policy).items():
        torch.testing.assert_close(logits, network(images, k=k, policy=policy))


@pytest.mark.parametrize("policy", POLICIES)
def test_at_several_scales_a_policy_looks_at_the_scales_alone_or_is_refused(policy):
    """With room for every cell of the scales, not one patch is spent between them."""
    pyramid, images = small_pyramid(), torch.rand(3, 1, 16, 24)
    network = small_dcn(pyramid, policy=policy)
    every = int(inside(pyramid).sum())
    if (pyramid.locate(network.attend(pyramid.pack(images), k=every).cells)[0] >= 0).all():
        MultiScaleNetwork(network, pyramid)
    else:
        by_gradient = MultiScaleNetwork(small_dcn(pyramid), pyramid)
        for use in (
            lambda: MultiScaleNetwork(network, pyramid),
            lambda: by_gradient(images, policy=policy),
            lambda: by_gradient.attend(images, policy=POLICIES[policy]),
            lambda: by_gradient.sweep(images, (1, 2), policy=policy),
        ):
            with pytest.raises(ValueError, match="would choose cells between the scales: at 3 scales"):
                use()
    one = small_pyramid(1)
    MultiScaleNetwork(small_dcn(one, policy=policy), one)
    assert MultiScaleNetwork(small_dcn(one), one)(images, policy=policy).shape == (3, 3, 4)


def test_wrong_images_and_pyramids_are_refused():
    pyramid = small_pyramid()
    network = MultiScaleNetwork(small_dcn(pyramid), pyramid)
    with pytest.raises(ValueError, match=r"\(1, 16, 24\), got \(1, 16, 32\)"):
        network(torch.rand(1, 1, 16, 32))
    with pytest.raises(ValueError, match="can't be seen at 4 scales"):
        small_pyramid(4)
    with pytest.raises(ValueError, match="at least 1"):
        small_pyramid(0)
    single = SingleCapacityNetwork(layers=nn.Conv2d(1, 5, 3, stride=2), top=RegionsTop(pyramid))
    with pytest.raises(TypeError, match="chooses no patches"):
        MultiScaleNetwork(single, pyramid).sweep(torch.rand(1, 1, 16, 24), (0, 1))
    with pytest.raises(ValueError, match="16x24 pixels, got"):
        MultiScaleNetwork(single, pyramid)(torch.rand(1, 1, 16, 32))
