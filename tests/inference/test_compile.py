"""Models prepared and compiled for inference answer as they did before."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from needs import needs_compiler, needs_cuda
from torch import nn

from dcnlib import DynamicCapacityNetwork, compile_for_inference, load_cluttered, load_pretrained
from dcnlib.core.passes import MaxPoolTop
from dcnlib.inference.compile import MatmulConv2d, fold_norms, prepare_for_inference


@pytest.fixture(scope="module")
def images():
    return load_cluttered("all", source="embedded")[torch.arange(3)][0]


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    filters=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    bias=st.booleans(),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_a_convolution_is_a_product_of_windows(
    batch, channels, filters, kernel, stride, padding, size, bias, memory_format
):
    conv = nn.Conv2d(channels, filters, kernel, stride, padding, bias=bias).double()
    maps = torch.rand(batch, channels, *size, dtype=torch.float64).contiguous(memory_format=memory_format)
    torch.testing.assert_close(MatmulConv2d.of(conv)(maps), conv(maps))


def test_folded_norms_leave_the_answers_and_no_norm(images):
    model = load_pretrained("dcn-k8-hints").double()
    folded = copy.deepcopy(model)
    fold_norms(folded)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert MaxPoolTop.find(folded.top) is not None  # the quick passes still apply
    torch.testing.assert_close(folded(images.double()), model(images.double()))


def test_norms_that_follow_no_convolution_are_kept():
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)).eval()
    maps = torch.rand(2, 2, 3, 3)
    expected = model(maps)
    fold_norms(model)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in model) == 2
    assert torch.equal(model(maps), expected)


def test_preparing_copies_the_model_and_rewrites_small_convolutions_only(images):
    model = load_pretrained("dcn-k8-hints")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    one, many = (prepare_for_inference(model, images[:1].repeat(count, 1, 1, 1)) for count in (1, 64))
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    rewritten = [
        [name for name, part in fast.named_modules() if isinstance(part, MatmulConv2d)] for fast in (one, many)
    ]
    assert "top.0.0" in rewritten[0]
    assert "fine.2.0" not in rewritten[0]  # 6 million multiplications for one image
    assert rewritten[1] == ["fine.10.0"]  # the last fine layer
    for fast in (one, many):
        torch.testing.assert_close(fast(images), model(images), atol=1e-4, rtol=1e-4)


@needs_compiler
def test_compiled_for_inference_a_dcn_answers_alike_on_other_batches_too(images):
    model = load_pretrained("dcn-k8-hints")
    predict = compile_for_inference(model, images)
    with torch.no_grad():
        torch.testing.assert_close(predict(images), model(images), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(predict(images[:2]), model(images[:2]), atol=1e-4, rtol=1e-4)
    assert not predict(images).requires_grad
    assert isinstance(model, DynamicCapacityNetwork)
    with pytest.raises(ValueError, match=r"\(1, 100, 100\)"):
        predict(torch.rand(2, 1, 50, 50))


@needs_cuda
def test_on_cuda_a_graph_is_replayed_in_mixed_precision(images):
    model, images = load_pretrained("dcn-k8-hints").cuda(), images.cuda()
    predict = compile_for_inference(model, images)
    first = predict(images)
    again = predict(images.flip(0))
    torch.testing.assert_close(again.flip(0).float(), first.float(), atol=0.1, rtol=0.1)
    torch.testing.assert_close(first.float(), model(images), atol=0.5, rtol=0.1)


@pytest.mark.parametrize("name", ["dcn-k8-hints", "house-numbers-dcn-k8"])
def test_a_model_prepared_in_inference_mode_answers_anywhere(name):
    model, images = load_pretrained(name), torch.rand(2, 1, *((64, 128) if "house" in name else (100, 100)))
    expected = model(images)
    with torch.inference_mode():
        fast = prepare_for_inference(model, images)
        torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-4)


class Centred(nn.Conv2d):
    """A convolution whose weights are centred at each call."""

    def forward(self, maps):
        return self._conv_forward(maps, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class CentredInside(nn.Conv2d):
    """The same in the method that torch's own forward calls."""

    def _conv_forward(self, maps, weight, bias):
        return super()._conv_forward(maps, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Skip(nn.Sequential):
    """A sequence that doesn't run in order."""

    def forward(self, maps):
        once = self[0](maps)
        return once + self[1](once)


def shared_rectifier():
    act = nn.ReLU()
    return nn.Sequential(nn.Conv2d(2, 8, 3), act, nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), act, nn.BatchNorm2d(8))


def shared_convolution():
    conv = nn.Conv2d(2, 2, 3)
    return nn.Sequential(conv, nn.BatchNorm2d(2), nn.ReLU(), conv, nn.BatchNorm2d(2), conv)


def weight_norm():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    "make",
    [
        shared_rectifier,
        shared_convolution,
        weight_norm,
        lambda: nn.Sequential(Centred(2, 2, 3), nn.BatchNorm2d(2)),
        lambda: nn.Sequential(CentredInside(2, 2, 3), nn.BatchNorm2d(2)),
        lambda: Skip(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)),
    ],
    ids=[
        *("shared rectifier", "shared convolution", "weight norm", "own convolution", "own convolution inside"),
        "own sequence",
    ],
)
def test_what_only_looks_like_a_convolution_before_its_norm_is_left_alone(make):
    model = make().double()
    maps = torch.rand(4, 2, 9, 9, dtype=torch.float64)
    for _ in range(5):
        model(maps)  # statistics that aren't 0 and 1
    expected = model.eval()(maps)
    torch.testing.assert_close(prepare_for_inference(model, maps)(maps), expected)
