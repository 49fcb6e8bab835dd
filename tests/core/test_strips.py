"""Large images: coarse layers in strips and tops in bands do what they do on the whole, in the room of a part."""

import subprocess
import sys
from statistics import median

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from dcnlib import DynamicCapacityNetwork
from dcnlib.core import dcn as dcn_module
from dcnlib.core import passes
from dcnlib.core.geometry import receptive_field
from dcnlib.core.passes import GlobalMaxPool
from dcnlib.core.strips import Strips, in_strips, rows_at_once


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Convolutions with padding and biases, rectifiers, and pools, in double precision."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        layers += [nn.Conv2d(2, 2, kernel, stride, draw(st.integers(0, kernel))), nn.LeakyReLU()]
        if draw(st.booleans()):
            layers.append(nn.MaxPool2d(2, draw(st.integers(1, 2)), draw(st.integers(0, 1))))
    return nn.Sequential(*layers).double()


@settings(max_examples=60)
@given(layers=stacks(), height=st.integers(20, 90), rows=st.integers(1, 5), seed=st.integers(0, 100))
def test_strips_make_the_map_of_the_whole_image(layers, height, rows, seed):
    image = torch.rand(1, 2, height, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    try:
        whole = layers(image)
    except RuntimeError:  # too few pixels
        assume(False)
    torch.testing.assert_close(in_strips(layers, image, receptive_field(layers), rows), whole)


class Scaled(nn.Module):
    """Layers whose map is scaled by its mean over the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        return x / x.abs().mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (lambda: models.convnext_tiny(weights=None).features[:2], True),
        (lambda: nn.Sequential(*list(models.resnet18(weights=None).children())[:5]), True),
        (lambda: nn.Conv2d(3, 8, 5, 2, 2, padding_mode="circular"), False),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.GroupNorm(2, 8)), False),
        (lambda: models.mobilenet_v3_small(weights=None).features[:4], False),
        (Scaled, False),
    ],
    ids=["convnext", "resnet", "circular", "group norm", "squeezed", "scaled"],
)
def test_layers_that_mix_the_whole_map_are_not_run_in_strips(make, allowed):
    torch.manual_seed(0)
    layers = make().eval()
    assert (Strips.of(layers, torch.empty(1, 3, 800, 800)).field is not None) == allowed


def large_image_dcn(**parts: nn.Module) -> DynamicCapacityNetwork:
    torch.manual_seed(0)
    coarse = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
    fine = nn.Sequential(nn.Conv2d(3, 12, 11), nn.ReLU(), nn.Flatten())
    top = nn.Sequential(nn.Conv2d(12, 16, 4, 2), nn.ReLU(), GlobalMaxPool(), nn.Linear(16, 4))
    return DynamicCapacityNetwork(**{"coarse": coarse, "fine": fine, "top": top, **parts}, k=6).eval()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_look_in_strips_is_the_look_at_the_whole_image(monkeypatch, in_place):
    coarse = large_image_dcn().coarse
    dcn = large_image_dcn(coarse=nn.Sequential(nn.ReLU(inplace=True), *coarse) if in_place else coarse)
    images = torch.rand(2, 3, 120, 90)
    given_images = images.clone()
    whole = dcn.attend(images)
    heights = []
    dcn.coarse.register_forward_hook(lambda _module, inputs, _output: heights.append(inputs[0].shape[2]))
    monkeypatch.setattr(dcn_module, "LARGE", 90 * 100)
    monkeypatch.setattr("dcnlib.core.strips.STRIP", 90 * 40)
    strips = dcn.attend(images)
    assert max(heights[2:]) <= 60  # but for the trial
    assert torch.equal(images, given_images)
    assert torch.equal(strips.cells, whole.cells)
    torch.testing.assert_close(strips.logits, whole.logits)
    assert torch.equal(strips.patches, whole.patches)
    dcn(images, k=0)
    assert rows_at_once(receptive_field(large_image_dcn().coarse), 90) > 1


@pytest.mark.parametrize("band", [1, 40, 200])
def test_a_top_in_bands_is_exactly_that_on_the_whole_map(monkeypatch, band):
    dcn = large_image_dcn()
    images = torch.rand(3, 3, 120, 90)
    images[0, :, 40:] = images[0, :, :80].clone()  # the same maxima in several places: the first one counts
    whole = dcn.attend(images)
    monkeypatch.setattr(passes, "BAND", band)
    bands = dcn.attend(images)
    for name in ("coarse_logits", "entropy", "saliency", "cells", "logits"):
        assert torch.equal(getattr(bands, name), getattr(whole, name)), name


# As on 12 million pixels, with all sizes a sixth of theirs. What is measured is the whole process: its most memory
# since the model was there.
MEMORY = """
import re
from pathlib import Path
import torch
from dcnlib import CoarseLayers, DynamicCapacityNetwork, FineLayers, TopLayers
from dcnlib.core import dcn, passes, strips

def status(what):
    return 1024 * int(re.search(rf"{what}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

dcn.LARGE, strips.STRIP, passes.BAND = dcn.LARGE // 6, strips.STRIP // 6, passes.BAND // 6
parts = {"coarse": CoarseLayers(in_channels=3), "fine": FineLayers(in_channels=3), "top": TopLayers()}
model = DynamicCapacityNetwork(**parts).eval()
with torch.inference_mode():
    model.attend(torch.rand(1, 3, 640, 640))
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    image = torch.rand(1, 3, 1220, 1640)
    model.attend(image)
print((status("VmHWM") - before) / (4 * image.numel()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process its memory in files")
def test_a_look_takes_less_than_three_times_the_memory_of_the_image():
    """The image, two maps of half its size each, what the top's convolution makes of one, and little else.

    Of three processes the middle one, since what the C library keeps of freed memory differs by a tenth of the image.
    """
    command = [sys.executable, "-c", MEMORY]
    done = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    assert 1 < median(map(float, done)) < 3
