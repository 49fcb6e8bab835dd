"""Numbers under stress: sure predictions, ties, constant images, weights that are no numbers, half precision."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dcnlib import TrainingSettings, evaluate, fit, load_model
from dcnlib.core.selection import select_patches
from dcnlib.data.cluttered_mnist import load_cluttered
from dcnlib.utils.weights import weights_of

NAMES = ("coarse", "dcn-k8-hints", "ram", "draw", "perturbed-topk", "soft-attention")
CHOOSERS = ("dcn-k8-hints", "perturbed-topk")


@pytest.fixture(scope="module")
def models():
    return {name: load_model(name) for name in NAMES}


@pytest.fixture
def model(models, request):
    return copy.deepcopy(models[request.param])


@pytest.fixture(scope="module")
def sixteen():
    return load_cluttered("all", source="embedded")[list(range(16))]


def sure(model, factor):
    """Make a model as sure of its answers as the factor is large."""
    last = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 10][-1]
    with torch.no_grad():
        last.weight.mul_(factor)
        last.bias.mul_(factor)
    return model


every = pytest.mark.parametrize("model", NAMES, indirect=True)
choosers = pytest.mark.parametrize("model", CHOOSERS, indirect=True)


@every
def test_a_model_sure_beyond_float32_answers_and_trains(model, sixteen):
    images, labels = sixteen
    answers = model(images).argmax(1)
    assert torch.equal(sure(model, 1e6)(images).argmax(1), answers)
    loss, _ = model.train().loss(images, labels)
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_where_no_cell_would_change_a_sure_prediction_the_first_ones_are_looked_at(models, sixteen):
    """The entropy's gradient is zero in all cells then: a tie."""
    look = sure(copy.deepcopy(models["dcn-k8-hints"]), 1e6).attend(sixteen[0])
    flat = look.saliency.flatten(1).amax(1) == 0
    assert flat.any()
    assert (look.cells[flat] == torch.arange(8)).all()
    assert look.entropy.isfinite().all()


@every
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_images_of_one_grey_are_answered(model, level):
    look = model.attend(torch.full((2, 1, 100, 100), level))
    assert look.logits.isfinite().all()
    torch.testing.assert_close(look.logits[0], look.logits[1])
    assert torch.equal(look.boxes[0], look.boxes[1])


@every
def test_a_batch_of_one_answers_as_its_image_does_among_others(model, sixteen):
    images = sixteen[0][:4]
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(alone, model(images), rtol=1e-3, atol=1e-3)


@choosers
def test_no_cell_and_all_cells(model, sixteen):
    images, labels = sixteen[0][:2], sixteen[1][:2]
    nothing, all_of_them = model.attend(images, k=0), model.attend(images, k=529)
    assert torch.equal(nothing.refined_map, nothing.coarse_map)
    assert nothing.boxes.shape == (2, 0, 4)
    torch.testing.assert_close(nothing.logits, nothing.coarse_logits)
    assert torch.equal(all_of_them.cells.sort(1).values, torch.arange(529).expand(2, -1))
    for k in (0, 529):
        loss, parts = model.train().loss(images, labels, k=k)
        assert loss.isfinite()
        assert ("hint" in parts) == (k > 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_scores_that_are_no_numbers_still_choose_cells_that_there_are(dtype):
    scores = torch.tensor([[float("nan"), 1.0, float("inf"), -float("inf"), float("nan"), 0.0]], dtype=dtype)
    assert select_patches(scores[:, None], 4).tolist() == [[0, 4, 2, 1]]
    assert sorted(select_patches(torch.full((1, 2, 3), float("nan"), dtype=dtype), 6)[0].tolist()) == list(range(6))


@every
def test_weights_that_are_no_numbers_are_never_measured(model, sixteen):
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match="aren't finite"):
        evaluate(model, TensorDataset(*sixteen))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_as_the_model_itself_does(model, sixteen, dtype):
    """Up to the images whose answer is close, and to places of looks that rounding moves."""
    images = sixteen[0]
    answers = model(images).argmax(1)
    with torch.no_grad():
        look = model.to(dtype).attend(images.to(dtype))
    assert look.logits.dtype == dtype
    assert look.logits.isfinite().all()
    assert (look.logits.argmax(1) == answers).sum() >= 14


@pytest.mark.parametrize("model", ["draw"], indirect=True)
def test_windows_lie_where_they_lie_in_half_precision_too(model, sixteen):
    """Not on the grid of half a pixel that bfloat16 has in the middle of an image."""
    centers = model.to(torch.bfloat16).attend(sixteen[0].bfloat16()).centers
    assert centers.dtype == torch.float32
    assert not torch.equal(centers, centers.bfloat16().float())


@every
def test_half_precision_trains(model, sixteen):
    images, labels = sixteen
    data = TensorDataset(images.bfloat16(), labels)
    before = weights_of(model.to(torch.bfloat16))
    fit(model, data, data, TrainingSettings(epochs=1, batch_size=8, device="cpu"))
    assert not any(weight.equal(before[name]) for name, weight in model.named_parameters())
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_soft_attention_that_sees_one_cell_only_is_finite(models, sixteen):
    model = copy.deepcopy(models["soft-attention"])
    with torch.no_grad():
        for weight in model.scorer.parameters():
            weight.mul_(100)
    look = model.attend(sixteen[0])
    assert look.weights.isfinite().all()
    assert look.logits.isfinite().all()
    torch.testing.assert_close(look.weights.sum((1, 2)), torch.full((16,), float(look.weights[0].numel())))


def test_equal_scores_of_all_cells_have_a_finite_derivative(models, sixteen):
    model = copy.deepcopy(models["perturbed-topk"]).train()
    with torch.no_grad():
        for weight in model.scorer.parameters():
            weight.zero_()
    loss, _ = model.loss(*sixteen)
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in model.scorer.parameters())
