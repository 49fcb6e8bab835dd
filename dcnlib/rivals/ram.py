"""The Recurrent Attention Model (Mnih et al. 2014, section 3, arXiv 1406.6247): hard attention, trained by REINFORCE.

One class per box of the paper's figure 1. A location is (y, x) in [-1, 1], from edge to edge of the image; only
`to_pixels` turns it into pixels. N, in shapes, is B images times M rollouts, those of an image side by side.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib.utils.checks import (
    MOST_LOOKS,
    MOST_UNITS,
    ImageShape,
    check_images,
    check_labels,
    check_values,
    check_whole,
    checked_image_shape,
)

# How the next location comes from the location network's mean: that itself, drawn around it as in training, or, as a
# control, anywhere in the image.
LocationPolicy = Literal["mean", "sampled", "random"]


def to_pixels(locations: Tensor, height: int, width: int) -> Tensor:
    """Locations (..., 2) in [-1, 1] as y, x in pixels from the image's top left corner: -1 is 0, 1 the other edge."""
    return (locations + 1) / 2 * locations.new_tensor([height, width])


def summed_areas(images: Tensor) -> Tensor:
    """The sum of all pixels above and to the left of each corner between pixels: (B, C, H, W) -> (B, C, H + 1, W + 1).

    The sum over any rectangle is then a difference of four numbers. In double precision, where the device has it, since
    a difference of large sums is small.
    """
    precise = images.dtype if images.device.type == "mps" else torch.float64
    return F.pad(images.to(precise).cumsum(2).cumsum(3), (1, 0, 1, 0))


class GlimpseSensor(nn.Module):
    """Figure 1A, the retina: square crops around one place, each twice the size of the last, pooled to the same size.

    size: side of each pooled crop in pixels, even. scales: how many crops; the widest shows size * 2**(scales - 1)
    pixels. Crops lie on whole pixels; beyond the image's border they see zeros.
    """

    def __init__(self, *, size: int, scales: int) -> None:
        super().__init__()
        check_whole("glimpse_size", size, least=2)
        check_whole("scales", scales)
        if size % 2:
            raise ValueError(f"glimpse_size must be even, so that all crops have one middle, got {size}")
        self.size = size
        self.factors = [2**scale for scale in range(scales)]

    def forward(self, areas: Tensor, locations: Tensor) -> Tensor:
        """From `summed_areas` of B images and N locations, N / B an image: (N, S, C, size, size)."""
        batch, channels, corners_down, corners_across = areas.shape
        scale = torch.tensor(self.factors, device=areas.device)
        offsets = scale[:, None] * (torch.arange(self.size + 1, device=areas.device) - self.size // 2)  # (S, size + 1)
        middle = to_pixels(locations, corners_down - 1, corners_across - 1).round().long()[:, :, None, None] + offsets
        # A corner outside has the sum of its nearest one on the border, since all that lies between is zero.
        rows, columns = middle[:, 0].clamp(0, corners_down - 1), middle[:, 1].clamp(0, corners_across - 1)
        index = rows[..., :, None] * corners_across + columns[..., None, :]  # (N, S, size + 1, size + 1)
        picked = areas.flatten(2).gather(2, index.view(batch, 1, -1).expand(-1, channels, -1))
        picked = picked.view(batch, channels, -1, *index.shape[1:])  # (B, C, M, S, size + 1, size + 1)
        means = picked.diff(dim=-1).diff(dim=-2) / scale[:, None, None] ** 2
        return means.permute(0, 2, 3, 1, 4, 5).flatten(0, 1).to(locations.dtype)

    def boxes(self, locations: Tensor, height: int, width: int) -> Tensor:
        """(..., S, 4) int64: top, left, bottom, right in pixels of what each scale sees; bottom and right exclusive."""
        middle = to_pixels(locations, height, width).round().long()[..., None, :]  # (..., 1, 2)
        half = self.size // 2 * torch.tensor(self.factors, device=locations.device)[:, None]  # (S, 1)
        return torch.cat([middle - half, middle + half], dim=-1)


class GlimpseNetwork(nn.Module):
    """Figure 1B: what was seen, (N, S, C, size, size), and where, (N, 2), made one vector (N, hidden)."""

    def __init__(self, *, inputs: int, hidden: int) -> None:
        super().__init__()
        self.what = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, hidden)
        )
        self.where = nn.Sequential(nn.Linear(2, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, hidden))

    def forward(self, glimpses: Tensor, locations: Tensor) -> Tensor:
        return F.relu(self.what(glimpses) + self.where(locations))


class CoreNetwork(nn.Module):
    """Figure 1C: h_t = relu(Linear(h_t-1) + Linear(g_t)), both (N, hidden)."""

    def __init__(self, *, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.Linear(hidden, hidden)
        self.glimpse = nn.Linear(hidden, hidden, bias=False)  # the other one's bias is added too

    def forward(self, state: Tensor, glimpse: Tensor) -> Tensor:
        return F.relu(self.recurrent(state) + self.glimpse(glimpse))


class LocationNetwork(nn.Sequential):
    """Figure 1C, f_l: the mean of the next location, (N, hidden) -> (N, 2). The paper's has no layer in between."""

    def __init__(self, *, hidden: int) -> None:
        super().__init__(nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, 2), nn.Tanh())


def discounted(gains: Tensor, discount: float) -> Tensor:
    """sum_s>=t discount^(s - t) gains_s, along the last axis."""
    sums = [gains[..., -1:]] if gains.shape[-1] else [gains]
    for gain in gains[..., :-1].unbind(-1)[::-1]:
        sums.append(gain[..., None] + discount * sums[-1])
    return torch.cat(sums[::-1], dim=-1)


class Rollout(NamedTuple):
    """M rollouts for each image. T glimpses; the first is always at the middle, so T - 1 locations are chosen."""

    states: Tensor  # h_t  (B, M, T, hidden)
    locations: Tensor  # l_t  (B, M, T, 2), inside the image
    means: Tensor  # (B, M, T - 1, 2)
    choices: Tensor  # (B, M, T - 1, 2), around the means; those beyond the image are moved to its edge


@dataclass(frozen=True)
class RamLook:
    """Where RAM looked in each image of a batch, and what it saw there."""

    locations: Tensor  # (B, T, 2) y, x in pixels
    boxes: Tensor  # (B, T, 4) top, left, bottom, right in pixels of the smallest crop, which it sees in full resolution
    crops: Tensor  # (B, T, S, 4) the same of each crop, the smallest first
    glimpses: Tensor  # (B, T, S, C, size, size)
    logits: Tensor  # (B, L), before the softmax


class RecurrentAttentionModel(nn.Module):
    """Looks at an image (C, H, W) in `glimpses` places, one after another, and classifies from what it remembers.

    images (B, C, H, W) floating point in [0, 1] -> logits (B, L). sigma: standard deviation of a location around the
    location network's mean. sigma_steps: training steps in which it falls linearly to last_sigma, since at first any
    look at the digit is luck and at last a near miss is a loss; None keeps it as it is. rollouts: how often `loss`
    looks at each image. discount: what a gain one glimpse later counts, see `objective`. The defaults are the paper's
    for 100x100 pixels, with our own sigma, rollouts and discount.
    """

    # How else than at the mean locations it may answer; random is a control.
    ways: ClassVar[dict[str, dict[str, Any]]] = {
        "sampled": {"policy": "sampled"},
        "averaged": {"policy": "sampled", "samples": 16},
        "random": {"policy": "random"},
    }
    sigma: Tensor
    step: Tensor  # training steps so far

    def __init__(
        self,
        *,
        image_shape: ImageShape,
        classes: int = 10,
        glimpses: int = 8,
        glimpse_size: int = 12,
        scales: int = 4,
        hidden: int = 256,
        sigma: float = 0.4,
        last_sigma: float = 0.1,
        sigma_steps: int | None = None,
        rollouts: int = 4,
        discount: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole("glimpses", glimpses, most=MOST_LOOKS)
        check_whole("hidden", hidden, least=2, most=MOST_UNITS)
        check_whole("rollouts", rollouts, most=MOST_LOOKS)
        if not (0 < sigma < math.inf and 0 < last_sigma < math.inf):
            raise ValueError(f"sigma and last_sigma must be positive, got {sigma} and {last_sigma}")
        if sigma_steps is not None:
            check_whole("sigma_steps", sigma_steps)
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be 0..1, got {discount}")
        self.image_shape = checked_image_shape(image_shape)
        self.glimpses, self.rollouts, self.discount = glimpses, rollouts, discount
        self.sigmas, self.sigma_steps = (sigma, last_sigma), sigma_steps
        self.sensor = GlimpseSensor(size=glimpse_size, scales=scales)
        self.glimpse_network = GlimpseNetwork(inputs=scales * self.image_shape[0] * glimpse_size**2, hidden=hidden)
        self.core = CoreNetwork(hidden=hidden)
        self.location_network = LocationNetwork(hidden=hidden)
        self.classifier = nn.Linear(hidden, classes)  # f_a, the action network
        self.baseline = nn.Linear(hidden, 1)
        # In the state, so that a resumed run goes on from its sigma, and trained weights are sampled with their last.
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def forward(
        self, images: Tensor, *, glimpses: int | None = None, policy: LocationPolicy = "mean", samples: int = 1
    ) -> Tensor:
        """Class scores (B, L). With several samples, the logarithm of their class probabilities' mean.

        `glimpses` overrides the model's number. Policies other than "mean" draw from torch's generator.
        """
        check_whole("samples", samples)
        states = self.roll_out(images, self._chooser(policy), samples, glimpses).states
        logits = self.classifier(states[:, :, -1])  # (B, M, L)
        return logits[:, 0] if samples == 1 else logits.log_softmax(-1).logsumexp(1) - math.log(samples)

    def attend(self, images: Tensor, *, glimpses: int | None = None, policy: LocationPolicy = "mean") -> RamLook:
        """As forward, but with where and what it saw, in pixels, and with a check of the images' values."""
        rollout = self.roll_out(images, self._chooser(policy), 1, glimpses)
        check_values(images)
        locations = rollout.locations[:, 0]  # (B, T, 2)
        seen = self.sensor(summed_areas(images), locations.flatten(0, 1)).unflatten(0, locations.shape[:2])
        size = images.shape[2:]
        crops = self.sensor.boxes(locations, *size)
        logits = self.classifier(rollout.states[:, 0, -1])
        return RamLook(to_pixels(locations, *size), crops[:, :, 0], crops, seen, logits)

    def look(self, images: Tensor, *, glimpses: int | None = None, policy: LocationPolicy = "mean") -> RamLook:
        """What `attend` was called before this release."""
        warnings.warn("ram.look is now ram.attend, and its boxes now crops", DeprecationWarning, stacklevel=2)
        return self.attend(images, glimpses=glimpses, policy=policy)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The hybrid loss (section 3.2), and its named parts: the contract that `fit` trains by."""
        check_images(self, images, self.image_shape)
        check_labels(labels, (len(images),))
        if self.training and self.sigma_steps is not None:
            first, last = self.sigmas
            self.sigma.copy_(first + (last - first) * (self.step / self.sigma_steps).clamp(max=1))
            self.step += 1
        return self.objective(self.roll_out(images, self._chooser("sampled"), self.rollouts), labels)

    def objective(self, rollout: Rollout, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy, REINFORCE and the baseline's squared error.

        The classes are asked for after every glimpse, and the cross-entropy is the mean over glimpses. The reward after
        glimpse t is the probability R_t of the right class: what an answer drawn from it would earn on average.
        A choice of location is credited with the gains that follow, discounted, G_t = sum_s>t d^(s-t-1) (R_s - R_s-1).
        With d = 1 that is R_T - R_t, the reward at the end up to what was known before the choice, and the gradient of
        -sum_t log p(l_t+1) (G_t - b_t) is, in expectation, that of -E[R_T]. A smaller d keeps the luck of later choices
        out of a choice's credit, and is no gradient of one expectation: each choice follows the gains it leads to soon.
        b_t, the baseline, foresees G_t from the state and moves no other weights.
        """
        logits = self.classifier(rollout.states)  # (B, M, T, L)
        target = labels[:, None, None].expand(logits.shape[:3])
        cross_entropy = F.cross_entropy(logits.flatten(0, 2), target.flatten())
        reward = logits.detach().softmax(-1).gather(-1, target[..., None])[..., 0]  # R_t  (B, M, T)
        gain = discounted(reward.diff(dim=-1), self.discount)  # G_t  (B, M, T - 1)
        baseline = self.baseline(rollout.states[:, :, :-1].detach())[..., 0]  # b_t
        deviation = rollout.choices - rollout.means
        log_p = -deviation.square().sum(-1) / (2 * self.sigma**2)  # up to a constant
        reinforce = -(log_p * (gain - baseline).detach()).sum(-1).mean()
        squared_error = (gain - baseline).square().sum(-1).mean()
        parts = {
            "cross_entropy": cross_entropy,
            "reinforce": reinforce,
            "baseline": squared_error,
            "reward": reward[..., -1],
        }
        loss = cross_entropy + reinforce + squared_error
        return loss, {name: part.detach().mean() for name, part in parts.items()}

    def roll_out(
        self, images: Tensor, choose: Callable[[Tensor], Tensor], samples: int, glimpses: int | None = None
    ) -> Rollout:
        """Look at each image `samples` times; `choose` gives the next locations from their means, both (N, 2)."""
        check_images(self, images, self.image_shape)
        glimpses = self.glimpses if glimpses is None else glimpses
        check_whole("glimpses", glimpses)
        areas = summed_areas(images)
        location = images.new_zeros(images.shape[0] * samples, 2)
        state = images.new_zeros(location.shape[0], self.baseline.in_features)
        states, locations, means, choices = [], [], [], []
        for step in range(glimpses):
            if step > 0:
                means.append(self.location_network(state).to(images.dtype))
                choices.append(choose(means[-1]).detach())  # the cross-entropy's gradient can't pass through a choice
                location = choices[-1].clamp(-1, 1)
            seen = self.glimpse_network(self.sensor(areas, location), location)  # g_t
            state = self.core(state, seen)  # h_t
            states.append(state)
            locations.append(location)

        def by_image(steps: list[Tensor], width: int) -> Tensor:
            together = torch.stack(steps, dim=1) if steps else images.new_zeros(location.shape[0], 0, width)
            return together.unflatten(0, (images.shape[0], samples))

        return Rollout(
            by_image(states, state.shape[1]),
            by_image(locations, 2),
            by_image(means, 2),
            by_image(choices, 2),
        )

    def _chooser(self, policy: LocationPolicy) -> Callable[[Tensor], Tensor]:
        if policy == "mean":
            return lambda mean: mean
        if policy == "sampled":
            return lambda mean: mean + self.sigma * torch.randn_like(mean)
        if policy == "random":
            return lambda mean: 2 * torch.rand_like(mean) - 1
        raise ValueError(f"policy must be one of mean, sampled, random, got {policy!r}")
