"""What networks ask of their parts before the first answer, and parts that work in place."""

import copy

import pytest
import torch
from torch import Tensor, nn

from dcnlib import DynamicCapacityNetwork, SingleCapacityNetwork, saliency_map
from dcnlib.models.cluttered_mnist import ScoreLayers
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.rivals.soft_attention import SoftAttentionNetwork

# That parts fit


class Spy(nn.Module):
    """Coarse layers that keep the shapes that they were given in which mode, and draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5)).double()
        self.seen: list[tuple[tuple[int, ...], bool]] = []

    def forward(self, given: Tensor) -> Tensor:
        self.seen.append((tuple(given.shape), self.training))
        return self.layers(given) + 0 * torch.randn(1, dtype=given.dtype)


def spied_dcn(make_dcn, **options: object) -> DynamicCapacityNetwork:
    trio = make_dcn()
    parts = {"coarse": Spy(), "fine": trio.fine, "top": trio.top, "geometry": trio.geometry, **options}
    return DynamicCapacityNetwork(**parts, k=2)


def test_parts_are_tried_once_without_numbers_and_images_of_other_sizes_cost_no_second_trial(make_dcn):
    dcn = spied_dcn(make_dcn)
    for height in (11, 13, 11, 17):
        dcn(torch.rand(2, 1, height, 15, dtype=torch.float64))
    shapes = [(2, 1, height, 15) for height in (11, 13, 11, 17)]
    assert dcn.coarse.seen == [(shape, True) for shape in shapes]  # the trial is a copy's, and of shapes alone
    assert list(dcn._tried) == [(1, 11, 15)]


def test_trying_parts_changes_no_statistics_no_modes_and_no_random_numbers(make_dcn):
    dcn = spied_dcn(make_dcn)
    dcn.top.eval()
    before, modes = copy.deepcopy(dcn.state_dict()), [part.training for part in dcn.modules()]
    generator = torch.get_rng_state()
    assert dcn._check_fit((1, 11, 15)) == 35
    assert torch.equal(torch.get_rng_state(), generator)
    assert [part.training for part in dcn.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in dcn.state_dict().items())


def test_what_does_not_fit_images_of_another_size_is_told_all_the_same(make_dcn):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(6 * 35, 4)).double()
    dcn, single = spied_dcn(make_dcn, top=flat), SingleCapacityNetwork(layers=Spy(), top=flat)
    for network in (dcn, single):
        assert network(torch.rand(2, 1, 11, 15, dtype=torch.float64)).shape == (2, 4)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"top layers don't take an input of shape \(1, 6, 6, 7\)"):
                network(torch.rand(2, 1, 13, 15, dtype=torch.float64))
            with pytest.raises(ValueError, match=r"layers don't take an input of shape \(1, 3, 11, 15\)"):
                network(torch.rand(2, 3, 11, 15, dtype=torch.float64))
    with pytest.raises(ValueError, match="5x5 pixels are larger than the image of 3x15"):
        dcn(torch.rand(2, 1, 3, 15, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"must be 0\.\.42, got 43"):  # what fits keeps its own error
        spied_dcn(make_dcn)(torch.rand(2, 1, 13, 15, dtype=torch.float64), k=43)


@pytest.mark.parametrize("first", ["forward", "attend", "loss"])
def test_a_first_call_in_inference_mode_leaves_nothing_that_training_trips_over(make_dcn, images, labels, first):
    plain_top = nn.Sequential(nn.Flatten(), nn.Linear(6 * 35, 4))  # its saliency goes through autograd
    for network in (make_dcn(image_shape=None), make_dcn(image_shape=None, top=plain_top)):
        with torch.inference_mode():
            call = getattr(network, first)
            call(images.clone(), labels) if first == "loss" else call(images.clone())
        network.train().loss(images, labels)[0].backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert not any(value.is_inference() for value in network.state_dict().values())


# Parts that work in place


class Halve(nn.Module):
    """Half of what it is given, in place through a view; only in training if so wished."""

    def __init__(self, only_in_training: bool = False) -> None:
        super().__init__()
        self.only_in_training = only_in_training

    def forward(self, given: Tensor) -> Tensor:
        if self.training or not self.only_in_training:
            given[:, 0].mul_(0.5)
            return given
        return torch.cat([given[:, :1] * 0.5, given[:, 1:]], dim=1)


class Copied(nn.Module):
    """Layers on a copy of what they are given: what a part that works in place must be as good as."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, given: Tensor) -> Tensor:
        return self.layers(given.clone())


BEGINNINGS = {
    "ReLU": lambda: nn.ReLU(inplace=True),
    "a view": Halve,
    "in training": lambda: Halve(only_in_training=True),
}
in_place = pytest.mark.parametrize("beginning", BEGINNINGS)


def test_only_parts_that_work_in_place_are_given_copies(make_dcn, images):
    """In eval mode; in training copies cost next to nothing, and no one image in eval mode tells what happens there."""
    for begin, copied in ((nn.ReLU(inplace=True), True), (nn.ReLU(), False), (nn.Tanh(), False)):
        for part in ("coarse", "fine"):
            dcn = networks(make_dcn, part, begin)[0].eval()
            dcn(images)
            assert (part in dcn._in_place) == copied
            assert (dcn._own(part, images) is not images) == copied
            assert dcn.train()._own(part, images) is not images


def networks(make_dcn, part: str, beginning: nn.Module) -> list[nn.Module]:
    """Every kind of network whose `part` begins with these layers."""
    dcn, score = make_dcn(), ScoreLayers(in_channels=6, hidden=5).double()
    parts = {"coarse": dcn.coarse, "fine": dcn.fine, "top": dcn.top, "scorer": score}
    parts[part] = nn.Sequential(beginning, *copy.deepcopy(parts[part]))
    common = {"geometry": dcn.geometry, "k": 3}
    trio = {name: parts[name] for name in ("coarse", "fine", "top")}
    whole_fine = nn.Sequential(*([beginning] if part == "fine" else []), nn.Conv2d(1, 6, 4, stride=2)).double()
    return [
        DynamicCapacityNetwork(**trio, **common),
        PerturbedTopKNetwork(**trio, scorer=parts["scorer"], **common),
        SoftAttentionNetwork(**{**parts, "fine": whole_fine}),
        SingleCapacityNetwork(layers=parts["coarse"], top=parts["top"]),
    ]


@in_place
@pytest.mark.parametrize("part", ["coarse", "fine", "top", "scorer"])
@pytest.mark.parametrize("training", [False, True])
def test_a_part_that_works_in_place_is_as_good_as_on_a_copy(make_dcn, images, labels, part, beginning, training):
    """Answers, looks, losses and gradients; and the caller's images stay as they were."""
    images = images - 0.5  # else ReLU has nothing to do
    found = networks(make_dcn, part, BEGINNINGS[beginning]())
    for network, expected in zip(found, copy.deepcopy(found), strict=True):
        names = [name for name, _ in expected.named_children()]
        for name in names:
            setattr(expected, name, Copied(getattr(expected, name)))
        given = images.clone()
        results = []
        for model in (network.train(training), expected.train(training)):
            torch.manual_seed(0)
            loss, parts = model.loss(given, labels)
            gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            results.append((model(given), loss, parts, [gradient for gradient in gradients if gradient is not None]))
            assert torch.equal(given, images), type(model).__name__
        torch.testing.assert_close(results[0], results[1])


@in_place
@pytest.mark.parametrize("part", ["coarse", "fine", "top"])
def test_a_look_through_parts_that_work_in_place_is_that_through_copies(make_dcn, images, part, beginning):
    for training in (False, True):
        for k in (0, 3):
            dcn = networks(make_dcn, part, BEGINNINGS[beginning]())[0].train(training)
            other = networks(make_dcn, part, Copied(BEGINNINGS[beginning]()))[0].train(training)
            look, expected = (vars(model.attend(images, k)) for model in (dcn, other))
            torch.testing.assert_close(look, expected)
            if part == "fine" and k:
                assert torch.equal(look["patches"], dcn.attend(images, cells=expected["cells"]).patches)


def test_a_top_cut_after_a_norm_may_begin_with_relu_in_place(make_dcn, images, labels):
    """Its saliency is that of any ReLU, the map stays as it was, and training works with and without patches."""
    dcn = make_dcn()
    coarse, clean = nn.Sequential(*dcn.coarse, nn.Tanh()), nn.Sequential(nn.ReLU(), *dcn.top)
    top = nn.Sequential(nn.ReLU(inplace=True), *dcn.top)
    coarse_map = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    before = coarse_map.clone()
    torch.testing.assert_close(saliency_map(top, coarse_map), saliency_map(clean, coarse_map))
    assert torch.equal(coarse_map, before)
    cut = DynamicCapacityNetwork(coarse=coarse, fine=dcn.fine, top=top, image_shape=(1, 11, 15), k=3)
    for training in (False, True):
        for k in (0, 3):
            cut.train(training).loss(images, labels, k=k)[0].backward()
            with torch.inference_mode():
                cut.attend(images.clone(), k=k)
