"""RAM: what it sees against a slow loop, and its gradients against an exact expectation."""

from itertools import product

import pytest
import torch
from torch import Tensor

from dcnlib import TrainingSettings, evaluate, fit
from dcnlib.rivals.ram import GlimpseSensor, RecurrentAttentionModel, discounted, summed_areas, to_pixels


def tiny_ram(**options) -> RecurrentAttentionModel:
    arguments = {"image_shape": (1, 6, 8), "classes": 3, "glimpses": 3, "glimpse_size": 2, "scales": 2, "hidden": 12}
    return RecurrentAttentionModel(**arguments | options).double()


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(5, 1, 6, 8, dtype=torch.float64)


# What it sees


@pytest.mark.parametrize("channels", [1, 3])
def test_glimpses_agree_with_a_slow_loop_at_the_borders_too(channels):
    height, width, size, scales = 10, 13, 4, 3
    images = torch.rand(2, channels, height, width, dtype=torch.float64)
    places = torch.tensor([-1.0, -0.83, -0.21, 0.0, 0.34, 0.9, 1.0], dtype=torch.float64)
    locations = torch.cartesian_prod(places, places)  # (49, 2), the same for both images
    sensor = GlimpseSensor(size=size, scales=scales)
    seen = sensor(summed_areas(images), locations.repeat(2, 1)).unflatten(0, (2, -1))

    slow = torch.zeros(2, len(locations), scales, channels, size, size, dtype=torch.float64)
    for image, (n, (y, x)), scale in product(range(2), enumerate(locations.tolist()), range(scales)):
        factor = 2**scale
        top = round((y + 1) / 2 * height) - factor * size // 2
        left = round((x + 1) / 2 * width) - factor * size // 2
        for row, column in product(range(factor * size), range(factor * size)):
            if 0 <= top + row < height and 0 <= left + column < width:
                pixel = images[image, :, top + row, left + column]
                slow[image, n, scale, :, row // factor, column // factor] += pixel / factor**2
    torch.testing.assert_close(seen, slow)


def test_glimpses_of_the_papers_size_are_exact_in_single_precision():
    images = torch.rand(1, 1, 100, 100)
    seen = GlimpseSensor(size=12, scales=4)(summed_areas(images), torch.tensor([[0.0, 0.0]]))
    assert seen.dtype == torch.float32
    for scale, glimpse in enumerate(seen[0]):
        half = 6 * 2**scale
        crop = images[0, :, 50 - half : 50 + half, 50 - half : 50 + half]
        torch.testing.assert_close(glimpse, torch.nn.functional.avg_pool2d(crop, 2**scale))


def test_locations_run_from_edge_to_edge():
    corners = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [-1.0, 0.5]])
    assert to_pixels(corners, 100, 60).tolist() == [[0, 0], [50, 30], [100, 60], [0, 45]]


def test_a_look_tells_what_was_seen_where(pictures):
    ram = tiny_ram()
    look = ram.attend(pictures)
    assert look.locations.shape == (5, 3, 2)
    assert look.locations[:, 0].tolist() == [[3, 4]] * 5  # the first is at the middle
    assert look.crops.shape == (5, 3, 2, 4)
    assert look.crops[0, 0].tolist() == [[2, 3, 4, 5], [1, 2, 5, 6]]
    assert torch.equal(look.boxes, look.crops[:, :, 0])  # what it sees in full resolution
    torch.testing.assert_close(look.glimpses[:, 0, 0], pictures[:, :, 2:4, 3:5])
    torch.testing.assert_close(look.logits, ram(pictures))
    middles = (look.crops[..., :2] + look.crops[..., 2:]) / 2
    assert (middles - look.locations[:, :, None]).abs().max() <= 0.5
    with pytest.warns(DeprecationWarning, match=r"ram\.attend"):
        assert torch.equal(ram.look(pictures, glimpses=2).crops, ram.attend(pictures, glimpses=2).crops)


# Its answers


def test_permuting_the_batch_permutes_the_output(pictures):
    ram, order = tiny_ram(), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(ram(pictures[order]), ram(pictures)[order])


def test_mean_locations_are_deterministic_and_the_others_reproducible_under_a_seed(pictures):
    ram = tiny_ram().eval()
    assert torch.equal(ram(pictures), ram(pictures))
    for options in ({"policy": "sampled"}, {"policy": "random"}, {"policy": "sampled", "samples": 4}):
        torch.manual_seed(3)
        first, other = ram(pictures, **options), ram(pictures, **options)
        torch.manual_seed(3)
        assert torch.equal(ram(pictures, **options), first)
        assert not torch.equal(first, other)


def test_samples_are_averaged_as_probabilities(pictures):
    ram = tiny_ram()
    torch.manual_seed(1)
    averaged = ram(pictures, policy="sampled", samples=6)
    torch.manual_seed(1)
    rollout = ram.roll_out(pictures, lambda mean: mean + ram.sigma * torch.randn_like(mean), 6)
    torch.testing.assert_close(averaged.exp(), ram.classifier(rollout.states[:, :, -1]).softmax(-1).mean(1))
    torch.testing.assert_close(ram(pictures, samples=2).exp(), ram(pictures).softmax(-1))


def test_sampled_locations_lie_around_the_mean_and_random_ones_anywhere(pictures):
    ram = tiny_ram(sigma=0.05)
    rollout = ram.roll_out(pictures, ram._chooser("sampled"), 2000)
    deviation = rollout.choices[:, :, 0] - rollout.means[:, :, 0]
    assert deviation.std().item() == pytest.approx(0.05, rel=0.03)
    everywhere = ram.roll_out(pictures, ram._chooser("random"), 2000).locations[:, :, 1:]
    assert everywhere.min() < -0.99
    assert everywhere.max() > 0.99
    assert everywhere.std().item() == pytest.approx(3**-0.5, rel=0.02)


def test_evaluation_passes_the_policy_on(pictures):
    data = torch.utils.data.TensorDataset(pictures, torch.arange(5) % 3)
    ram = tiny_ram()
    assert evaluate(ram, data, policy="sampled", samples=2).rate.count == 5
    with pytest.raises(ValueError, match="mean, sampled, random, got 'greedy'"):
        evaluate(ram, data, policy="greedy")


# Its gradients


def test_reinforce_agrees_with_the_gradient_of_the_exact_expectation():
    """One chosen location. Crops lie on whole pixels, so the expected gain is a finite sum over them.

    The surrogate is averaged over 400 x 400 locations at the quantiles of the normal distribution.
    """
    torch.manual_seed(4)
    ram = tiny_ram(image_shape=(1, 4, 4), glimpses=2, scales=1, sigma=0.7)
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    torch.nn.init.normal_(ram.baseline.weight)
    torch.nn.init.zeros_(ram.glimpse_network.where[0].weight)  # what is remembered depends on the crop alone
    with torch.no_grad():
        ram.classifier.weight *= 20  # so that the crops differ in what they tell
    locator, label = list(ram.location_network.parameters()), torch.tensor([1])

    # Clamped and rounded, a location is seen as one of the pixels 0..4 each way.
    cells = torch.cartesian_prod(*[torch.arange(5, dtype=torch.float64)] * 2)  # (25, 2)
    rollout = ram.roll_out(image, lambda mean: cells / 4 * 2 - 1, len(cells))
    gain = ram.classifier(rollout.states[0]).softmax(-1)[..., 1].diff(dim=1).detach().unflatten(0, (5, 5))[..., 0]
    assert gain.std() > 0.02
    mean = rollout.means[0, 0, 0]
    edges = (torch.arange(6, dtype=torch.float64) - 0.5) / 4 * 2 - 1
    edges[0], edges[-1] = -torch.inf, torch.inf
    down, across = (torch.special.ndtr((edges - m) / ram.sigma).diff() for m in mean)
    expected = torch.autograd.grad(-(down @ gain @ across), locator)

    quantiles = torch.special.ndtri((torch.arange(400, dtype=torch.float64) + 0.5) / 400)
    noise = torch.cartesian_prod(quantiles, quantiles)
    rollout = ram.roll_out(image, lambda mean: mean + ram.sigma * noise, len(noise))
    gradient = torch.autograd.grad(ram.objective(rollout, label)[0], locator)
    for ours, exact in zip(gradient, expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.03, atol=0.03 * exact.abs().max().item())
    assert max(exact.abs().max() for exact in expected) > 1e-3


def test_undiscounted_reinforce_is_the_gradient_of_the_reward_at_the_end():
    """Two chosen locations, the second from a state that the first led to: a choice answers for all that follows.

    The expectation is a sum over all pairs of places, the surrogate a mean over a low-discrepancy sequence.
    """
    torch.manual_seed(4)
    ram = tiny_ram(image_shape=(1, 2, 2), glimpses=3, scales=1, sigma=0.7, discount=1.0)
    image, label = torch.rand(1, 1, 2, 2, dtype=torch.float64), torch.tensor([1])
    torch.nn.init.normal_(ram.baseline.weight)
    torch.nn.init.zeros_(ram.glimpse_network.where[0].weight)  # what is remembered depends on the crops alone
    with torch.no_grad():
        ram.classifier.weight *= 20
        ram.location_network[2].weight *= 10  # so that the second location hangs on the first
    locator = list(ram.location_network.parameters())

    cells = torch.cartesian_prod(*[torch.arange(3)] * 2)  # (9, 2): clamped and rounded, the pixels 0..2 each way
    pairs = torch.cartesian_prod(*[torch.arange(9)] * 2).T  # (2, 81)
    places = iter(cells[pairs].double() - 1)
    rollout = ram.roll_out(image, lambda mean: next(places), pairs.shape[1])
    reward = ram.classifier(rollout.states[0, :, -1]).softmax(-1)[:, 1].detach()
    edges = torch.tensor([-torch.inf, -0.5, 0.5, torch.inf], dtype=torch.float64)
    chances = torch.special.ndtr((edges - rollout.means[0, ..., None]) / ram.sigma).diff()  # (81, 2, 2, 3)
    chance = chances.gather(-1, cells[pairs.T][..., None]).flatten(1).prod(1)
    assert chance.sum().item() == pytest.approx(1)
    expected = torch.autograd.grad(-(chance * reward).sum(), locator)

    uniform = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(2**17, dtype=torch.float64)
    noise = iter(torch.special.ndtri(uniform).unflatten(1, (2, 2)).unbind(1))
    rollout = ram.roll_out(image, lambda mean: mean + ram.sigma * next(noise), len(uniform))
    gradient = torch.autograd.grad(ram.objective(rollout, label)[0], locator)
    for ours, exact in zip(gradient, expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.02 * exact.abs().max().item())
    assert max(exact.abs().max() for exact in expected) > 1e-3


def test_gains_are_discounted_as_by_a_slow_loop():
    gains = torch.randn(2, 3, 5, dtype=torch.float64)
    for discount in (0.0, 0.3, 1.0):
        slow = torch.zeros_like(gains)
        for t in range(5):
            for s in range(t, 5):
                slow[..., t] += discount ** (s - t) * gains[..., s]
        torch.testing.assert_close(discounted(gains, discount), slow)
    assert discounted(gains[..., :0], 0.5).shape == (2, 3, 0)


def test_without_a_discount_the_credit_is_the_reward_at_the_end(pictures):
    """The gains add up to R_T - R_t, and what was known before a choice moves nothing."""
    labels = torch.tensor([0, 1, 2, 0, 1])
    ram = tiny_ram(discount=1.0)
    torch.nn.init.zeros_(ram.baseline.weight)
    torch.nn.init.zeros_(ram.baseline.bias)
    rollout = ram.roll_out(pictures, ram._chooser("sampled"), 3)
    locator = list(ram.location_network.parameters())
    ours = torch.autograd.grad(ram.objective(rollout, labels)[0], locator, retain_graph=True)

    right = ram.classifier(rollout.states).softmax(-1)[torch.arange(5), ..., labels].detach()  # (B, M, T)
    log_p = torch.distributions.Normal(rollout.means, ram.sigma).log_prob(rollout.choices).sum(-1)
    paper = -(log_p * (right[..., -1:] - right[..., :-1])).sum(-1).mean()
    for one, other in zip(ours, torch.autograd.grad(paper, locator), strict=True):
        torch.testing.assert_close(one, other)


def test_which_weights_each_part_of_the_loss_moves(pictures):
    ram, labels = tiny_ram(), torch.tensor([0, 1, 2, 0, 1])
    rollout = ram.roll_out(pictures, ram._chooser("sampled"), 3)
    logits = ram.classifier(rollout.states)
    target = labels[:, None, None].expand(-1, 3, 3)
    cross_entropy = torch.nn.functional.cross_entropy(logits.flatten(0, 2), target.flatten())
    rest = ram.objective(rollout, labels)[0] - cross_entropy
    moved = {}
    for name, part in {"cross_entropy": cross_entropy, "rest": rest}.items():
        gradients = torch.autograd.grad(part, list(ram.parameters()), retain_graph=True, allow_unused=True)
        names = [name for name, _ in ram.named_parameters()]
        moved[name] = {
            n.split(".")[0] for n, g in zip(names, gradients, strict=True) if g is not None and g.abs().max() > 1e-12
        }
    assert moved == {
        "cross_entropy": {"glimpse_network", "core", "classifier"},
        "rest": {"glimpse_network", "core", "location_network", "baseline"},
    }


def test_the_baseline_learns_from_its_error_alone_and_takes_what_it_foresees_out_of_reinforce(pictures):
    ram, labels = tiny_ram(discount=0.0), torch.tensor([0, 1, 2, 0, 1])
    rollout = ram.roll_out(pictures, ram._chooser("sampled"), 3)
    baseline, locator = list(ram.baseline.parameters()), list(ram.location_network.parameters())
    loss, parts = ram.objective(rollout, labels)
    by_loss = torch.autograd.grad(loss, baseline, retain_graph=True)
    right = ram.classifier(rollout.states).softmax(-1)[torch.arange(5), ..., labels].detach()
    value = ram.baseline(rollout.states[:, :, :-1].detach())[..., 0]
    error = (right.diff(dim=-1) - value).square().sum(-1).mean()
    for ours, alone in zip(by_loss, torch.autograd.grad(error, baseline), strict=True):
        torch.testing.assert_close(ours, alone)
    assert parts["reward"].item() == pytest.approx(right[..., -1].mean().item())

    # States that no choice changes gain nothing, as a baseline of zero foresees: nothing is left for REINFORCE.
    torch.nn.init.zeros_(ram.baseline.weight)
    torch.nn.init.zeros_(ram.baseline.bias)
    same = rollout._replace(states=rollout.states[:, :, :1].expand_as(rollout.states))
    for gradient in torch.autograd.grad(ram.objective(same, labels)[0], locator):
        assert gradient.abs().max() == 0


def test_sigma_falls_in_training_only_and_is_kept_with_the_weights(pictures):
    ram, labels = tiny_ram(sigma=0.5, last_sigma=0.1, sigma_steps=4), torch.tensor([0, 1, 2, 0, 1])
    sigmas = []
    for _ in range(6):
        ram.loss(pictures, labels)
        sigmas.append(ram.sigma.item())
    assert sigmas == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0.1])
    ram.eval().loss(pictures, labels)
    assert ram.step == 6
    other = tiny_ram(sigma=0.5, last_sigma=0.1, sigma_steps=4)
    other.load_state_dict(ram.state_dict())
    assert other.sigma.item() == pytest.approx(0.1)
    assert other.step == 6


# Training


def test_a_tiny_task_is_learned_with_clipped_gradients(quadrants):
    model = RecurrentAttentionModel(
        image_shape=(1, 11, 15), classes=4, glimpses=3, glimpse_size=4, scales=2, hidden=32, sigma=0.2, rollouts=2
    )
    settings = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.01, device="cpu", clip_norm=5.0)
    record = fit(model, *quadrants, settings)
    curves = record["curves"]
    assert curves["train_cross_entropy"][-1] < curves["train_cross_entropy"][0] / 2
    assert curves["train_reward"][-1] > 2 * curves["train_reward"][0]
    assert record["settings"]["clip_norm"] == 5.0


def test_the_location_network_learns_where_the_answer_is():
    """One scale, two glimpses, one bright pixel pair far from the middle: only a look there tells the classes apart."""
    images = torch.zeros(64, 1, 16, 16)
    labels = torch.arange(64) % 2
    images[:, 0, 2:4, 2:4] = labels.float()[:, None, None]
    data = torch.utils.data.TensorDataset(images, labels)
    model = RecurrentAttentionModel(
        image_shape=(1, 16, 16), classes=2, glimpses=2, glimpse_size=4, scales=1, hidden=16, sigma=0.3, rollouts=8
    )
    settings = TrainingSettings(epochs=40, batch_size=16, learning_rate=0.01, device="cpu")
    fit(model, data, data, settings)
    (y, x) = model.attend(images[:1]).locations[0, 1].tolist()
    assert abs(y - 3) <= 3
    assert abs(x - 3) <= 3
    assert evaluate(model, data).rate.errors == 0
