"""The boxes for house numbers: geometry, cost, and what they have in common."""

import pytest
import torch
from torch import nn

from dcnlib import Geometry, count_multiplications
from dcnlib.core.geometry import derive_geometry, receptive_field
from dcnlib.models.house_numbers import CoarseNumberLayers, FineNumberLayers, fine_on_whole_images, number_pyramid
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec, FineSpec, spec_from_record
from dcnlib.models.tasks import HouseNumbersTask

NUMBERS = {"data": "house-numbers"}


def test_cells_see_the_whole_image_and_look_at_22_pixels_around_it():
    assert receptive_field(CoarseNumberLayers()) == Geometry(stride=4, offset=0, size=12)
    assert derive_geometry(CoarseNumberLayers(), FineNumberLayers()) == Geometry(stride=4, offset=-5, size=22)
    images = torch.rand(2, 1, 64, 128, requires_grad=True)
    coarse_map = CoarseNumberLayers().eval()(images)
    assert coarse_map.shape == (2, 32, 14, 30)
    coarse_map.sum().backward()
    assert (images.grad.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_the_fine_model_is_the_dcn_that_looks_everywhere(scales):
    """Fine layers make the same vectors of patches as of the whole image or canvas, in the cells of the scales."""
    fine_model = FineSpec(task=HouseNumbersTask(scales=scales)).build().double().eval()
    dcn = DCNSpec(task=HouseNumbersTask(scales=scales)).build().double().eval()
    images = torch.rand(1, 1, 64, 128, dtype=torch.float64)
    single, network = (model if scales == 1 else model.network for model in (fine_model, dcn))
    network.fine.load_state_dict(single.layers[1].state_dict())
    network.top.load_state_dict(single.top.state_dict())
    rows, columns = number_pyramid(scales).map_shape
    torch.testing.assert_close(dcn(images, k=rows * columns), fine_model(images))


@pytest.mark.parametrize(
    ("scales", "cells", "places"),
    [(1, 14 * 30, 4 * 15), (2, 14 * 48, 4 * 15 + 2 * 7), (3, 14 * 48, 4 * 15 + 2 * 7 + 1 * 3)],
)
def test_parts_agree_with_counts_by_hand(scales, cells, places):
    cost = count_multiplications(DCNSpec(task=HouseNumbersTask(scales=scales)).build())
    height, width = number_pyramid(scales).canvas_shape
    first = ((height - 6) // 2 + 1) * ((width - 6) // 2 + 1)
    assert cost.layers == first * 12 * 36 + cells * 32 * 12 * 16
    assert cost.fine_per_patch == 400 * 16 * 9 + 64 * 32 * 16 * 9 + 36 * 64 * 32 * 9 + 32 * 64 * 9
    halved = [7 * 15, 3 * 7, 1 * 3][:scales]
    convolutions = sum(halved) * 32 * 32 * 9 + places * 64 * 32 * 9
    top = convolutions + places * 64 * (10 + 8) + places * 8 * 64 + 64 * 5 * (places + 1)
    assert (cost.top, cost.saliency, cost.second_pass) == (top, top, top)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_a_dcn_costs_at_most_a_third_of_the_fine_model(scales):
    totals = {
        kind: count_multiplications(SPECS[kind](task=HouseNumbersTask(scales=scales)).build()).total
        for kind in ("coarse", "fine", "dcn")
    }
    assert totals["dcn"] <= totals["fine"] / 3
    assert totals["coarse"] <= totals["fine"] / 10


@pytest.mark.parametrize("scales", [1, 3])
@pytest.mark.parametrize("kind", ["coarse", "fine", "dcn"])
def test_every_part_of_every_model_learns(kind, scales):
    model = SPECS[kind](task=HouseNumbersTask(scales=scales)).build().train()
    images, labels = torch.rand(4, 1, 64, 128), torch.randint(11, (4, 5))
    model.loss(images, labels)[0].backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert model.eval()(images).shape == (4, 5, 11)


def test_the_top_sees_where_a_digit_stands():
    top = CoarseSpec(task=HouseNumbersTask()).build().top.eval()
    feature_map = torch.zeros(2, 32, 14, 30)
    feature_map[0, :, 4:8, 4:8] = feature_map[1, :, 4:8, 20:24] = torch.rand(32, 4, 4)
    first, second = top(feature_map)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_digits_score_is_a_mean_over_places_of_what_is_there_and_where_the_number_stands():
    """A loop over digits, positions and places, and what it is for: one place decides."""
    top = CoarseSpec(task=HouseNumbersTask(scales=2)).build().network.top.double().eval()
    feature_map = torch.rand(1, 32, *number_pyramid(2).map_shape, dtype=torch.float64)
    seen = [layers(box.cut(feature_map)) for box, layers in zip(top.regions, top.scales, strict=True)]
    places = torch.cat(seen, dim=2)[0].T
    where = top.where(top.summarise(places).flatten()[None])[0]
    scores = top(feature_map)[0]
    for position in range(5):
        for digit in range(10):
            terms = [top.what(place)[digit] + where[position, s] for s, place in enumerate(places)]
            expected = torch.stack(terms).exp().mean().log()
            assert scores[position, digit].item() == pytest.approx(expected.item(), abs=1e-9)
        assert scores[position, 10] == where[position, -1]


def test_fine_layers_on_whole_images_make_the_cells_of_the_coarse_map():
    layers = fine_on_whole_images()
    assert isinstance(layers[0], nn.ZeroPad2d)
    assert layers(torch.rand(2, 1, 64, 128)).shape == CoarseNumberLayers()(torch.rand(2, 1, 64, 128)).shape


def test_a_spec_describes_data_and_scales_where_the_data_is_house_numbers():
    spec = DCNSpec(task=HouseNumbersTask(scales=3), k=6)
    assert spec.describe() == {
        **{"kind": "dcn", "k": 6, "hint_weight": 0.1, "objective": "sum"},
        **{"data": "house-numbers", "scales": 3},
    }
    assert spec_from_record(spec.describe()) == spec
    assert CoarseSpec().describe() == {"kind": "coarse"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "ram", **NUMBERS}, "coarse, fine, dcn, got 'ram'"),
        ({"kind": "coarse", "scales": 2}, "cluttered-mnist has no scales"),
        ({"kind": "coarse", **NUMBERS, "scales": 4}, r"1\.\.3 for house-numbers, got 4"),
        ({"kind": "coarse", "data": "svhn"}, "cluttered-mnist, .*, own-pictures, got 'svhn'"),
        ({"kind": "dcn", **NUMBERS, "scales": 2, "policy": "random"}, "random_cells would choose cells between"),
    ],
)
def test_models_that_do_not_exist_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        spec_from_record(given).build()
