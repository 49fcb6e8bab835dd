"""What a cell of any layers sees: measured, and held to what can be read off the longest path through them."""

from collections.abc import Callable
from types import MethodType

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import SqueezeExcitation

from dcnlib import DynamicCapacityNetwork, Geometry
from dcnlib.core.geometry import receptive_field
from dcnlib.core.measuring import field_of, find_geometry, measure_field
from dcnlib.core.one_cell import OneCell


@st.composite
def windows(draw: st.DrawFn) -> nn.Module:
    """A convolution or a pool of one channel, rectangular ones and padding by name among them."""
    side = st.integers(1, 4)
    kernel, stride = (draw(side), draw(side)), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, length // 2)) for length in kernel)
    kind = draw(st.sampled_from(["conv", "same", "max", "avg"]))
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding)
    if kind == "avg":
        return nn.AvgPool2d(kernel, stride, padding)
    dilation = draw(st.integers(1, 2))
    if kind == "same":
        return nn.Conv2d(1, 1, kernel, padding="same", dilation=dilation)
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation)


@pytest.mark.filterwarnings("ignore:Using padding")
@settings(max_examples=15)
@given(layers=st.lists(windows(), min_size=1, max_size=3).map(lambda layers: nn.Sequential(*layers)))
def test_measured_is_what_can_be_read_off(layers):
    field = receptive_field(layers)
    assume(all(step <= size for step, size in zip(field.strides, field.sizes, strict=True)))
    assert measure_field(layers, (1, 64, 64)) == field


def features(model: nn.Module, end: int) -> nn.Sequential:
    return model.features[:end]


def resnet(model: nn.Module, end: int) -> nn.Sequential:
    return nn.Sequential(*list(model.children())[: 4 + end])


def regnet(model: nn.Module, end: int) -> nn.Sequential:
    return nn.Sequential(model.stem, *list(model.trunk_output)[:end])


def with_group_norm() -> nn.Sequential:
    return resnet(models.resnet18(weights=None, norm_layer=lambda channels: nn.GroupNorm(4, channels)), 2)


def shufflenet() -> nn.Sequential:
    model = models.shufflenet_v2_x0_5(weights=None)
    return nn.Sequential(model.conv1, model.maxpool, model.stage2)


class Squeezed(nn.Module):
    """Squeeze-and-excitation written out in a forward, in two ways that need no module."""

    def __init__(self, pool: bool) -> None:
        super().__init__()
        self.conv, self.scale, self.pool = nn.Conv2d(3, 8, 5, stride=2), nn.Conv2d(8, 8, 1), pool

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv(images))
        whole = F.avg_pool2d(x, x.shape[2:]) if self.pool else x.flatten(2).mean(-1)[:, :, None, None]
        return x * self.scale(whole).sigmoid()


class PixelNorm(nn.Module):
    """A norm over channels, at each position."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(1, keepdim=True).sqrt()


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "resnet18, stem": lambda: resnet(models.resnet18(weights=None), 0),
    "resnet18, layer1": lambda: resnet(models.resnet18(weights=None), 1),
    "resnet18, layer2": lambda: resnet(models.resnet18(weights=None), 2),
    "resnet18, layer3": lambda: resnet(models.resnet18(weights=None), 3),
    "resnet18, group norm": with_group_norm,
    "resnet50, layer1": lambda: resnet(models.resnet50(weights=None), 1),
    "resnet50, dilated": lambda: resnet(
        models.resnet50(weights=None, replace_stride_with_dilation=[True, False, False]), 2
    ),
    "vgg11, 2 pools": lambda: features(models.vgg11(weights=None), 6),
    "vgg16, 3 pools": lambda: features(models.vgg16_bn(weights=None), 24),
    "mobilenet v2, stride 4": lambda: features(models.mobilenet_v2(weights=None), 4),
    "mobilenet v2, stride 8": lambda: features(models.mobilenet_v2(weights=None), 7),
    "mobilenet v2, stride 16": lambda: features(models.mobilenet_v2(weights=None), 12),
    "mobilenet v3 small, stride 4": lambda: features(models.mobilenet_v3_small(weights=None), 2),
    "mobilenet v3 small, stride 16": lambda: features(models.mobilenet_v3_small(weights=None), 6),
    "efficientnet b0, stride 4": lambda: features(models.efficientnet_b0(weights=None), 3),
    "efficientnet b0, stride 8": lambda: features(models.efficientnet_b0(weights=None), 4),
    "efficientnet v2 s, stride 4": lambda: features(models.efficientnet_v2_s(weights=None), 3),
    "convnext tiny, stem": lambda: features(models.convnext_tiny(weights=None), 1),
    "convnext tiny, stride 4": lambda: features(models.convnext_tiny(weights=None), 2),
    "convnext tiny, stride 8": lambda: features(models.convnext_tiny(weights=None), 4),
    "regnet x 400mf, stride 4": lambda: regnet(models.regnet_x_400mf(weights=None), 1),
    "regnet y 400mf, stride 8": lambda: regnet(models.regnet_y_400mf(weights=None), 2),
    "densenet121, 1 block": lambda: features(models.densenet121(weights=None), 5),
    "mnasnet 0.5, stride 8": lambda: models.mnasnet0_5(weights=None).layers[:10],
    "shufflenet v2, stride 8": shufflenet,
    "depthwise": lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, groups=3), nn.Conv2d(12, 12, 5, padding=2, groups=12), nn.Conv2d(12, 6, 1), nn.GELU()
    ),
    "instance norm": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), nn.Conv2d(8, 8, 3)
    ),
    "layer norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), LayerNorm2d(8), nn.Conv2d(8, 8, 7, padding="same")),
    "pixel norm": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), PixelNorm(), nn.Conv2d(8, 8, (3, 1))),
    "batch norm without statistics": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 4, 2), nn.BatchNorm2d(8, track_running_stats=False), nn.AvgPool2d(2)
    ),
    "padding by name, even kernel": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, padding="same"), nn.MaxPool2d((2, 1))),
    "squeezed by a mean": lambda: Squeezed(pool=False),
    "squeezed by a pool": lambda: Squeezed(pool=True),
    "shut rectifiers": lambda: shut(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.ReLU())),
    "reflected": lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2, padding_mode="reflect"), nn.Hardswish()),
}


def shut(layers: nn.Module) -> nn.Module:
    """With rectifiers that let nothing through, and half of all weights zero: a gradient would see nothing."""
    for part in layers.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.bias, -100)
            part.weight.data[:, :, 0] = 0
    return layers


def longest_path(layers: nn.Module) -> nn.Sequential:
    """The convolutions and pools of a network in their order, without short cuts, side branches and squeezing."""
    squeezed = {inner for part in layers.modules() if isinstance(part, SqueezeExcitation) for inner in part.modules()}
    return nn.Sequential(
        *(
            part
            for name, part in layers.named_modules()
            if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and part not in squeezed
            if not any(aside in name.split(".") for aside in ("downsample", "proj", "branch1", "scale"))
        )
    )


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("make", BACKBONES.values(), ids=BACKBONES)
def test_a_backbones_cells_see_what_its_longest_path_says(make):
    torch.manual_seed(0)
    layers = make()
    state, mode = {name: value.clone() for name, value in layers.state_dict().items()}, layers.training
    assert measure_field(layers) == receptive_field(longest_path(layers))
    assert layers.training == mode
    assert all(torch.equal(value, state[name]) for name, value in layers.state_dict().items())


def test_a_gradient_sees_the_measured_field_of_a_backbone():
    """In the middle and at the border: of cell (i, j) nothing else has a gradient, and the field's corners do."""
    body = features(models.convnext_tiny(weights=None), 2).double().eval()
    field = measure_field(body)
    image = torch.rand(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
    feature_map = body(image)
    for cell in (0, 12, 23):
        (gradient,) = torch.autograd.grad(feature_map[0, :, cell, cell].square().sum(), image, retain_graph=True)
        seen = gradient[0].abs().sum((0, 2)).nonzero().flatten()
        first = cell * field.stride + field.offset
        assert (int(seen[0]), int(seen[-1])) == (max(0, first), min(95, first + field.size - 1))


class Enlarged(nn.Module):
    """A map of stride 4, doubled, beside one of stride 2: neighbours share what the first one says."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 2, stride=2), nn.Conv2d(8, 8, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        return x + F.interpolate(self.down(x), scale_factor=2)


@pytest.mark.parametrize("make", [Enlarged, lambda: nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.PixelShuffle(2))])
def test_behind_an_enlarged_map_a_field_holds_what_any_neighbour_sees(make):
    """Of cells 2i and 2i + 1, both see pixels 4i to 4i + 3."""
    assert measure_field(make()) == Geometry(stride=2, offset=-2, size=6)


class Attending(nn.Module):
    """A vision transformer in small: every cell looks at all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Conv2d(3, 8, 4, stride=4), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens)[0].transpose(1, 2).view_as(x)


class Fixed(nn.Module):
    """Layers for images of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.where = nn.Conv2d(3, 8, 6, stride=4, padding=1), nn.Parameter(torch.zeros(1, 8, 12, 20))

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images) + self.where


def test_layers_for_one_size_are_measured_at_that_size():
    assert measure_field(Fixed(), (3, 48, 80)) == Geometry(4, -1, 6)
    with pytest.raises(ValueError, match=r"run on no image that was tried.*geometry="):
        measure_field(Fixed())


REFUSED = {
    "attention": (Attending, "every cell sees the whole image"),
    "global pool": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(7)), "only through pools"),
    "vectors": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), r"a map \(B, D, s1, s2\), got \(1, "),
    "no channels known": (nn.Upsample, r"give image_shape=\(C, H, W\)"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError, match=message):
        measure_field(make())


def test_a_network_with_any_body_finds_its_patches():
    torch.manual_seed(0)
    coarse = features(models.mobilenet_v2(weights=None), 4)
    fine = nn.Sequential(
        *resnet(models.resnet18(weights=None), 1), nn.Conv2d(64, 24, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    top = nn.Sequential(nn.Conv2d(24, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    dcn = DynamicCapacityNetwork(coarse=coarse, fine=fine, top=top, k=4, image_shape=(3, 96, 128)).eval()
    assert dcn.geometry == measure_field(coarse)
    assert dcn(torch.rand(2, 3, 96, 128)).shape == (2, 5)


@pytest.mark.parametrize("body", ["resnet18, layer1", "mobilenet v2, stride 8"])
def test_one_cell_of_a_patch_is_that_cell_of_the_whole_map(body):
    """So a network whose first layers look at all patches is the network that they were taken from."""
    torch.manual_seed(0)
    layers = BACKBONES[body]().double().eval()
    fine = OneCell(layers)
    image = torch.rand(1, 3, 160, 192, dtype=torch.float64)
    with torch.no_grad():
        feature_map = layers(image)
        middle = [side // 2 for side in feature_map.shape[2:]]
        box = fine.geometry.boxes(torch.tensor(middle[0] * feature_map.shape[3] + middle[1]), feature_map.shape[3])
        top, left, bottom, right = box.tolist()
        vector = fine(image[:, :, top:bottom, left:right])
    torch.testing.assert_close(vector[0], feature_map[0, :, middle[0], middle[1]])


def test_rectangular_layers_make_a_whole_network():
    """Against a slow loop over cells: strides, fields and patches that are wider than they are high."""
    torch.manual_seed(0)
    coarse = nn.Sequential(nn.Conv2d(1, 6, (3, 6), stride=(2, 4), padding=(0, 1)), nn.Tanh())
    fine = nn.Sequential(nn.Conv2d(1, 6, (4, 7)), nn.Tanh(), nn.Flatten())
    top = nn.Sequential(nn.Conv2d(6, 4, 2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    dcn = DynamicCapacityNetwork(coarse=coarse, fine=fine, top=top, k=5, image_shape=(1, 11, 30)).double().eval()
    assert dcn.geometry == find_geometry(coarse, fine) == Geometry(stride=(2, 4), offset=(0, -1), size=(4, 7))
    images = torch.rand(2, 1, 11, 30, dtype=torch.float64)
    look = dcn.attend(images)
    for b, cells in enumerate(look.cells.tolist()):
        expected = look.coarse_map[b].clone()
        for n, cell in enumerate(cells):
            i, j = divmod(cell, expected.shape[2])
            padded = F.pad(images[b], (1, 20, 0, 20))
            patch = padded[:, 2 * i : 2 * i + 4, 4 * j : 4 * j + 7]
            assert torch.equal(look.patches[b, n], patch)
            expected[:, i, j] = fine(patch[None])[0]
        torch.testing.assert_close(look.refined_map[b], expected)


class Same(nn.Conv2d):
    """Pads as it likes before it convolves."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, F.pad(images, (3, 3, 3, 3)))


class SameInside(nn.Conv2d):
    """The same in the method that torch's own forward calls."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(F.pad(input, (3, 3, 3, 3)), weight, bias)


def with_own_forward() -> nn.Conv2d:
    """A convolution of torch, whose instance was given another forward."""
    conv = nn.Conv2d(1, 4, 8, 4)
    conv.forward = MethodType(Same.forward, conv)
    return conv


class Pooled(nn.MaxPool2d):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, :, 1:, 1:]


@pytest.mark.parametrize(
    "layers",
    [
        nn.Sequential(Same(1, 4, 8, 4), nn.ReLU()),
        nn.Sequential(SameInside(1, 4, 8, 4), nn.ReLU()),
        nn.Sequential(with_own_forward(), nn.ReLU()),
        nn.Sequential(Pooled(2)),
    ],
    ids=["forward", "inner method", "forward of the instance", "pool"],
)
def test_layers_that_derive_from_known_ones_and_do_more_are_measured(layers):
    with pytest.raises(ValueError, match="can't be read off"):
        receptive_field(layers)
    assert field_of(layers, (1, 60, 60)) == measure_field(Wrapped(layers), (1, 60, 60))


class Wrapped(nn.Module):
    """Layers whose class says nothing of what they do."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.parametrize(
    "fine",
    [nn.Sequential(nn.Flatten(), nn.Linear(280, 8)), Wrapped(nn.Conv2d(1, 8, (14, 20)))],
    ids=["flat", "wrapped"],
)
def test_a_patch_may_be_rectangular_where_fine_layers_take_no_other(fine):
    coarse = nn.Sequential(nn.Conv2d(1, 8, (11, 13), stride=4), nn.ReLU())
    geometry = find_geometry(coarse, fine)
    assert geometry.sizes == (14, 20)
    assert geometry.strides == (4, 4)
