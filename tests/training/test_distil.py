"""New coarse layers learn from a trained network's first layers alone, on pictures whose labels nobody looks at."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dcnlib import DynamicCapacityNetwork, TrainingSettings, evaluate, fit
from dcnlib.core.one_cell import OneCell
from dcnlib.models.cluttered_mnist import conv_norm
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.training.distil import distil_coarse

SETTINGS = TrainingSettings(epochs=6, batch_size=16, learning_rate=0.02, device="cpu")


class Images:
    """The images of a data set of pairs."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index][0]


@pytest.fixture
def trained() -> nn.Sequential:
    """A network of two halves whose norms have seen something: without padding, so that every cell is the same."""
    torch.manual_seed(1)
    first = nn.Sequential(conv_norm(1, 6, 3), nn.ReLU(), conv_norm(6, 6, 3, stride=2), nn.ReLU())
    rest = nn.Sequential(conv_norm(6, 8, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    network = nn.Sequential(first, rest)
    for _ in range(5):
        network(torch.rand(32, 1, 11, 15))
    return network.eval()


def from_trained(trained: nn.Sequential, seed: int = 0) -> DynamicCapacityNetwork:
    """The trained network with new coarse layers."""
    torch.manual_seed(seed)
    first, rest = copy.deepcopy(trained)
    fine = OneCell(first)
    coarse = nn.Sequential(conv_norm(1, 6, 5, stride=2), nn.ReLU())
    return DynamicCapacityNetwork(
        coarse=coarse, fine=fine, top=rest, k=2, geometry=fine.geometry, image_shape=(1, 11, 15)
    ).eval()


def test_with_all_patches_the_network_is_the_one_that_was_trained(trained):
    images = torch.rand(3, 1, 11, 15)
    dcn = from_trained(trained)
    with torch.no_grad():
        torch.testing.assert_close(dcn(images, k=dcn.coarse(images)[0, 0].numel()), trained(images))


@pytest.fixture
def own_answers(trained, quadrants) -> TensorDataset:
    """Validation images with what the trained network says of them."""
    images = quadrants[1].tensors[0]
    with torch.no_grad():
        return TensorDataset(images, trained(images).argmax(1))


def test_coarse_layers_learn_to_stand_in_and_nothing_else_moves(trained, quadrants, own_answers):
    dcn = from_trained(trained)
    dcn.fine.layers[0][0].weight.requires_grad_(False)
    frozen = [parameter.requires_grad for parameter in dcn.parameters()]
    before = copy.deepcopy(dcn.state_dict())
    record = distil_coarse(dcn, quadrants[0], own_answers, SETTINGS, cells=8, name="stand-in")
    curve = record["curves"]["train_hint"]
    assert curve[-1] < 0.5 * curve[0]
    for name, value in dcn.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("coarse.")), name
    assert [parameter.requires_grad for parameter in dcn.parameters()] == frozen
    assert not any(part.training for part in dcn.modules())
    assert record["data"]["train"]["labels"] == "none"
    assert record["validation"]["error"] == evaluate(dcn, own_answers).rate.fraction


def test_what_torch_compile_wraps_learns_as_itself(trained, quadrants, own_answers):
    plain, wrapped = from_trained(trained), torch.compile(from_trained(trained), backend="eager")
    record, expected = (distil_coarse(dcn, quadrants[0], own_answers, SETTINGS) for dcn in (wrapped, plain))
    assert record["curves"] == expected["curves"]
    assert record["architecture"] == expected["architecture"]
    assert all(value.equal(wrapped._orig_mod.state_dict()[name]) for name, value in plain.state_dict().items())


class Stopped(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_everything_may_be_trained_together(trained, quadrants, own_answers, fails):
    """Of a network as it was built, in training mode, and whether the coarse layers came to their end or not."""
    dcn = from_trained(trained).train()

    def stop(figures: dict[str, float]) -> None:
        if fails:
            raise Stopped

    with pytest.raises(Stopped) if fails else nullcontext():
        distil_coarse(dcn, quadrants[0], own_answers, SETTINGS, on_epoch=stop)
    assert not any(part.training for part in dcn.modules())
    assert dcn.adaptive(quadrants[1].tensors[0][:2], entropy_below=0.5, max_k=2).logits.shape == (2, 4)
    before = copy.deepcopy(dcn.state_dict())
    record = fit(dcn, *quadrants, SETTINGS)
    assert record["frozen"] == []
    assert not any(value.equal(before[name]) for name, value in dcn.state_dict().items() if "running" in name)


def test_labels_are_not_looked_at(trained, quadrants, own_answers):
    images, labels = quadrants[0].tensors
    curves = []
    for pictures in (quadrants[0], TensorDataset(images, labels.flip(0)), TensorDataset(images), Images(quadrants[0])):
        curves.append(distil_coarse(from_trained(trained), pictures, own_answers, SETTINGS)["curves"])
    assert all(curve == curves[0] for curve in curves)


def test_a_networks_own_scorer_says_where_it_looks_and_stays_as_it_is(trained, quadrants, own_answers):
    plain = from_trained(trained)
    network = PerturbedTopKNetwork(
        **{name: getattr(plain, name) for name in ("coarse", "fine", "top", "k", "geometry", "image_shape")},
        scorer=nn.Sequential(nn.Conv2d(6, 1, 1), nn.Flatten(1, 2)),
    )
    before = copy.deepcopy(network.state_dict())
    record = distil_coarse(network, quadrants[0], own_answers, SETTINGS)
    assert record["validation"]["error"] == evaluate(network, own_answers).rate.fraction
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("coarse.")), name
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_interrupted_run_goes_on(trained, quadrants, own_answers, tmp_path):
    whole = from_trained(trained)
    expected = distil_coarse(whole, quadrants[0], own_answers, SETTINGS)

    def stop(figures: dict[str, float]) -> None:
        if figures["epoch"] == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        distil_coarse(from_trained(trained), quadrants[0], own_answers, SETTINGS, run_dir=tmp_path, on_epoch=stop)
    resumed = from_trained(trained)
    record = distil_coarse(resumed, quadrants[0], own_answers, SETTINGS, run_dir=tmp_path)
    assert record["curves"] == expected["curves"]
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    other = [image[0] + 0.1 for image in quadrants[0].tensors[0] / 2]
    with pytest.raises(ValueError, match="holds another run"):
        distil_coarse(from_trained(trained), torch.stack(other)[:, None], own_answers, SETTINGS, run_dir=tmp_path)


def test_a_loader_no_cells_and_what_wraps_a_network_are_refused(trained, quadrants, own_answers):
    with pytest.raises(TypeError, match="must be a DynamicCapacityNetwork itself, got DataParallel"):
        distil_coarse(nn.DataParallel(from_trained(trained)), quadrants[0], own_answers, SETTINGS)
    with pytest.raises(TypeError, match="not a DataLoader"):
        distil_coarse(from_trained(trained), DataLoader(quadrants[0]), own_answers, SETTINGS)
    with pytest.raises(ValueError, match="cells must be at least 1"):
        distil_coarse(from_trained(trained), quadrants[0], own_answers, SETTINGS, cells=0)
