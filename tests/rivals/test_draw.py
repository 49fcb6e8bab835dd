"""DRAW's attention: the filter bank against a plain loop and finite differences, and its behaviour at extremes."""

import math

import pytest
import torch
from torch import Tensor

from dcnlib import TrainingSettings, fit
from dcnlib.rivals.draw import DrawClassifier, Window, WindowNetwork, filter_bank, read


def tiny_draw(**options) -> DrawClassifier:
    arguments = {"image_shape": (1, 7, 9), "classes": 3, "glimpses": 3, "glimpse_size": 4, "hidden": 8}
    return DrawClassifier(**arguments | options).double()


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(5, 1, 7, 9, dtype=torch.float64)


def test_the_filter_bank_agrees_with_equations_19_25_and_26():
    center, stride, variance = (torch.tensor(v, dtype=torch.float64) for v in ([4.2, -1.0], [1.5, 0.3], [0.7, 2.0]))
    count, length = 4, 9
    bank = filter_bank(center, stride, variance, count, length)
    for b in range(2):
        for i in range(1, count + 1):
            mu = center[b].item() + (i - count / 2 - 0.5) * stride[b].item()
            row = [math.exp(-((a - mu) ** 2) / (2 * variance[b].item())) for a in range(1, length + 1)]
            expected = torch.tensor(row, dtype=torch.float64) / sum(row)
            torch.testing.assert_close(bank[b, i - 1], expected)


def test_the_filter_banks_gradient_agrees_with_finite_differences():
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([3.1, 6.0], [0.8, 1.7], [0.5, 3.0])]
    assert torch.autograd.gradcheck(lambda *given: filter_bank(*given, 3, 8), inputs)


def test_the_gradient_of_a_read_by_the_windows_parameters_agrees_with_finite_differences(pictures):
    network = WindowNetwork(hidden=4, count=4, height=7, width=9)
    parameters = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: read(pictures, network.window(given), 4), parameters)


def test_a_narrow_window_reads_the_pixels_themselves(pictures):
    """Filters one pixel apart and far narrower than a pixel, around the middle of pixels 2..5: a crop."""
    like = torch.ones(5, dtype=torch.float64)
    window = Window(center_y=3.5 * like, center_x=4.5 * like, stride=like, variance=1e-3 * like, intensity=2 * like)
    torch.testing.assert_close(read(pictures, window, 4), 2 * pictures[:, :, 1:5, 2:6])


def test_zero_parameters_stand_for_the_whole_image():
    window = WindowNetwork(hidden=4, count=12, height=100, width=100).window(torch.zeros(1, 5))
    bank = filter_bank(window.center_y, window.stride, window.variance, 12, 100)[0]
    assert bank.argmax(1).tolist() == [9 * i for i in range(12)]  # from pixel 0 to pixel 99, both ends included
    seen = bank.sum(0)[10:90]
    assert seen.max() < 1.5 * seen.min()  # the filters overlap: no pixel falls between them
    assert window.intensity.item() == 1


@pytest.mark.parametrize("size", [1e2, 1e6, 1e20, 3e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_parameters_give_finite_values_and_gradients(size, dtype):
    network = WindowNetwork(hidden=4, count=12, height=100, width=100)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=dtype)] * 5)  # (243, 5)
    parameters = (size * signs).requires_grad_()
    images = torch.rand(len(signs), 1, 100, 100, dtype=dtype)
    glimpses = read(images, network.window(parameters), 12)
    glimpses.square().sum().backward()
    assert glimpses.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


def test_windows_stay_in_float32_under_autocast():
    network, state = WindowNetwork(hidden=4, count=4, height=100, width=100), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        windows = network(state)
    for value, expected in zip(windows, network(state), strict=True):
        assert torch.equal(value, expected)


def test_a_state_that_blew_up_still_trains():
    draw, images = tiny_draw(), torch.rand(4, 1, 7, 9, dtype=torch.float64)
    torch.nn.init.normal_(draw.window_network.linear.weight, std=1e8)
    loss, _ = draw.loss(images, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in draw.parameters())


def test_permuting_the_batch_permutes_the_output_and_answers_are_deterministic(pictures):
    draw, order = tiny_draw().eval(), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(draw(pictures[order]), draw(pictures)[order])
    assert torch.equal(draw(pictures), draw(pictures))


def test_the_loss_reaches_every_weight(pictures):
    draw = tiny_draw()
    draw.loss(pictures, torch.arange(5) % 3)[0].backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in draw.parameters())


def test_a_look_tells_what_was_read_where(pictures):
    draw = tiny_draw()
    look = draw.attend(pictures)
    torch.testing.assert_close(look.logits, draw(pictures))
    assert look.glimpses.shape == (5, 3, 1, 4, 4)
    assert look.sigmas.shape == (5, 3)
    # The first window is the whole image; its filters are (9 - 1) / (4 - 1) pixels apart.
    torch.testing.assert_close(look.centers[0, 0], torch.tensor([3.5, 4.5], dtype=torch.float64))
    half = 2 * 8 / 3
    expected = torch.tensor([3.5 - half, 4.5 - half, 3.5 + half, 4.5 + half], dtype=torch.float64)
    torch.testing.assert_close(look.boxes[0, 0], expected)
    with pytest.warns(DeprecationWarning, match=r"draw\.attend"):
        assert torch.equal(draw.look(pictures, glimpses=2).boxes, look.boxes[:, :2])


def test_a_tiny_task_is_learned_with_clipped_gradients(quadrants):
    model = DrawClassifier(image_shape=(1, 11, 15), classes=4, glimpses=3, glimpse_size=4, hidden=32)
    settings = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.01, device="cpu", clip_norm=5.0)
    curve = fit(model, *quadrants, settings)["curves"]["train_loss"]
    assert curve[-1] < curve[0] / 2
