"""What several tests share: digits, small and full-sized networks, a tiny learnable task, and MNIST where it lies."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dcnlib import CoarseLayers, DynamicCapacityNetwork, FineLayers, TopLayers
from dcnlib.core.passes import GlobalMaxPool
from dcnlib.data.digits import SPLITS, Digits, find_mnist, load_digits
from dcnlib.models.cluttered_mnist import conv_norm

# The same examples on every run, and no deadline: a loaded machine is slow, not wrong.
settings.register_profile("dcnlib", deadline=None, derandomize=True, max_examples=30, database=None)
settings.load_profile("dcnlib")

# Whoever starts the tests may have these ignored, as nohup and a shell's background jobs do; children inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

MakeDCN = Callable[..., DynamicCapacityNetwork]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def embedded() -> Digits:
    """The 5,000 digits that are always at hand."""
    return load_digits("all", source="embedded")


@pytest.fixture(scope="session")
def digits(embedded: Digits) -> Digits:
    return embedded.subset(64)


@pytest.fixture(scope="session")
def mnist() -> dict[str, Digits]:
    """All splits of MNIST by name, from $DCNLIB_DATA."""
    try:
        root = find_mnist(os.environ["DCNLIB_DATA"])
    except (KeyError, FileNotFoundError):
        pytest.skip("DCNLIB_DATA does not hold MNIST")
    return {split: load_digits(split, source="mnist", root=root) for split in SPLITS["mnist"]}


@pytest.fixture(scope="session")
def make_dcn() -> MakeDCN:
    """Build a small DCN in double precision and eval mode: images of 11x15 pixels, 5x7 cells, patches of 5x5 pixels."""

    def make(*, channels: int = 1, k: int = 3, depth: int = 6, seed: int = 0, **options: Any) -> DynamicCapacityNetwork:
        torch.manual_seed(seed)
        trio = {
            "coarse": nn.Sequential(conv_norm(channels, depth, 3, stride=2), nn.ReLU()),
            "fine": nn.Sequential(
                conv_norm(channels, depth, 3), nn.ReLU(), conv_norm(depth, depth, 3), nn.ReLU(), nn.Flatten()
            ),
            "top": nn.Sequential(conv_norm(depth, 8, 2), nn.ReLU(), GlobalMaxPool(), nn.Linear(8, 4)),
        }
        arguments = {**trio, "k": k, "image_shape": (channels, 11, 15), **options}
        return with_lively_norms(DynamicCapacityNetwork(**arguments).double()).eval()

    return make


@pytest.fixture
def paper_dcn() -> DynamicCapacityNetwork:
    """The paper's layers in double precision and eval mode, k = 8."""
    trio = {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}
    return with_lively_norms(DynamicCapacityNetwork(**trio, image_shape=(1, 100, 100)).double()).eval()


@pytest.fixture
def images() -> Tensor:
    """Four images for the small DCN."""
    return torch.rand(4, 1, 11, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 3, 1, 2])


@pytest.fixture(scope="session")
def quadrants() -> tuple[TensorDataset, TensorDataset]:
    """A task a small net learns in seconds: which quarter of 11x15 pixels is bright. For training and validation."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(96, 1, 11, 15, generator=generator) / 2
    labels = torch.arange(96) % 4
    for image, label in zip(images, labels, strict=True):
        top, left = 6 * (label // 2), 8 * (label % 2)
        image[:, top : top + 5, left : left + 7] += 0.5
    return TensorDataset(images[:64], labels[:64]), TensorDataset(images[64:], labels[64:])


def with_lively_norms(model: DynamicCapacityNetwork) -> DynamicCapacityNetwork:
    """Give batch norms statistics and weights as after training: at their initial values they would hide mistakes."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.3, 0.3),
                (part.running_var, 0.3, 1.0),
                (part.weight, 0.5, 1.5),
                (part.bias, 0.1, 0.5),
            ):
                nn.init.uniform_(tensor, low, high)
    return model
