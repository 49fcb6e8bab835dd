"""A modern rival: patches chosen by learned scores, through a top-k that noise makes differentiable.

Cordonnier et al. 2021, "Differentiable Patch Selection for Image Recognition" (arXiv 2104.03059), on the perturbed
optimisers of Berthet et al. 2020 (arXiv 2002.08676). The coarse, fine and top layers are those of a Dynamic Capacity
Network: the rivals differ in the choice of patches alone.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.geometry import Geometry
from dcnlib.core.measuring import find_geometry
from dcnlib.core.patches import extract_patches
from dcnlib.core.policies import FirstLook
from dcnlib.core.selection import check_k
from dcnlib.utils.checks import ImageShape, check_whole, checked_image_shape


def perturbed_topk(scores: Tensor, k: int, *, sigma: float | Tensor, samples: int) -> Tensor:
    """The expected choice of the k highest of scores (B, N) under noise: indicators Y (B, k, N), each row sums to 1.

    Y = E[top(s + sigma Z)], Z standard normal, where top has a one-hot row for each of the k highest entries, by rising
    index. Its derivative is dY/ds = E[top(s + sigma Z) Z^T] / sigma, as in both papers. Both are means over `samples`
    perturbations, drawn with torch's global generator. Each comes with its mirror image, -Z: the expectations are the
    same, and what all samples have in common cancels in the derivative instead of adding noise.

    Raises ValueError unless k is 0..N and samples even.
    """
    batch, cells = scores.shape
    check_k(k, cells)
    check_samples(samples)
    Z = torch.randn(batch, samples // 2, cells, dtype=scores.dtype, device=scores.device)
    with torch.no_grad():
        noise = sigma * Z
        perturbed = torch.cat([scores[:, None] + noise, scores[:, None] - noise], dim=1)  # (B, samples, N)
        chosen = perturbed.topk(k, dim=2, sorted=False).indices.sort(dim=2).values  # (B, samples, k)

    # Every sample weighs 1 / samples. The weight's derivative by the scores is that of the likelihood of what was drawn
    # (+-Z / sigma, the term is zero otherwise), which makes autograd's derivative of Y the one above.
    likelihood = (Z @ (scores - scores.detach())[:, :, None])[:, :, 0] / sigma  # (B, samples / 2)
    weight = torch.cat([1 + likelihood, 1 - likelihood], dim=1) / samples
    Y = scores.new_zeros(batch, k, cells)
    return Y.scatter_add(2, chosen.transpose(1, 2), weight[:, None].expand(-1, k, -1))


def check_samples(samples: int) -> None:
    """Raise TypeError or ValueError unless this is a number of perturbations: even, since they come in pairs."""
    check_whole("samples", samples, least=2)
    if samples % 2:
        raise ValueError(f"samples come in pairs, so their number must be even, got {samples}")


def unit_range(scores: Tensor) -> Tensor:
    """The scores of each image (B, N) moved and scaled to 0..1, so that sigma means the same for all of them."""
    low, high = torch.aminmax(scores, dim=1, keepdim=True)
    return (scores - low) / (high - low + 1e-5)


def learned_scores(first: FirstLook) -> Tensor:
    """The policy of a `PerturbedTopKNetwork`: what its scorer makes of the coarse map."""
    return score(first.model.get_submodule("scorer"), first.coarse_map)


def score(scorer: nn.Module, coarse_map: Tensor) -> Tensor:
    """Scores (B, s1, s2) of the cells of a coarse map (B, D, s1, s2).

    Without autocast, since bfloat16 would round scores by more than the last noise on them. Of a copy of the map, since
    the scorer may work in place and others need the map.
    """
    with torch.autocast(coarse_map.device.type, enabled=False):
        return scorer(coarse_map.to(next(scorer.parameters(), coarse_map).dtype, copy=True))


class PerturbedTopKNetwork(DynamicCapacityNetwork):
    """A Dynamic Capacity Network that learns where to look by the gradient of a perturbed top-k.

    scorer: coarse map (B, D, s1, s2) -> scores (B, s1, s2). Its gradient goes on to the coarse layers, whose map it
    reads. sigma: of the noise, where an image's scores span 0..1. samples: perturbations of each image in training.
    sigma_steps: training steps in which sigma falls linearly to a hundredth of it (the paper's falls to zero), so that
    the network trains at last on the patches that it will be given; None keeps sigma as it is. The other arguments are
    those of `DynamicCapacityNetwork`. Raises ValueError as that does, and if the scorer doesn't fit the coarse map.

    The noise is for `loss` in training mode alone. Everything else takes the k cells of highest score.
    """

    LEAST_SIGMA = 0.01  # of the initial one: the derivative divides by it

    def __init__(
        self,
        *,
        coarse: nn.Module,
        fine: nn.Module,
        scorer: nn.Module,
        sigma: float = 0.05,
        samples: int = 100,
        sigma_steps: int | None = None,
        image_shape: ImageShape | None = None,
        geometry: Geometry | None = None,
        **options: Any,
    ) -> None:
        shape = None if image_shape is None else checked_image_shape(image_shape)
        if geometry is None:
            geometry = find_geometry(coarse, fine, shape)
        super().__init__(coarse=coarse, fine=fine, geometry=geometry, policy=learned_scores, **options)
        if self.first_share or self.training_k != "fixed":
            raise ValueError("first_share and training_k are for a DynamicCapacityNetwork: this one's loss has neither")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, got {sigma}")
        check_samples(samples)
        if sigma_steps is not None:
            check_whole("sigma_steps", sigma_steps)
        self.scorer = scorer
        self.sigma, self.samples, self.sigma_steps = sigma, samples, sigma_steps
        self.step: Tensor  # training steps so far, in the state so that a resumed run goes on from its sigma
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.image_shape = shape
        if shape is not None:  # not before there is a scorer to check
            check_k(self.k, self._count_cells(shape))

    def loss(self, images: Tensor, labels: Tensor, k: int | Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """In training mode as a Dynamic Capacity Network's, but with expectations in the place of each choice.

        With indicators Y_n (N,) for the n-th patch: the patch itself is the mean of all patches of the image under Y_n,
        the refined map r = c (1 - sum_n Y_n) + sum_n Y_n f_f(patch_n), and the coarse vector that the hint compares
        with f_f(patch_n) is the mean under Y_n. The hint still moves the coarse layers only.
        """
        k = self.k if k is None else k
        if not self.training or (isinstance(k, int) and k == 0):
            return super().loss(images, labels, k)
        if isinstance(k, Tensor):
            raise TypeError("a perturbed top-k is trained with one k for all images, not with one for each")
        self._check_call(images, k)
        coarse_map = self.coarse(self._own("coarse", images))  # (B, D, s1, s2)
        Y = self._indicators(coarse_map, k).to(images.dtype)  # (B, k, N)
        fine_vectors = self._fine_vectors(self._expected_patches(images, Y, coarse_map), coarse_map)  # (B, k, D)
        logits = self.top(refine_softly(coarse_map, Y, fine_vectors))
        coarse_vectors = Y.detach() @ coarse_map.flatten(2).transpose(1, 2)  # (B, k, D)
        return self._objective(logits, labels, coarse_vectors, fine_vectors)

    def _indicators(self, coarse_map: Tensor, k: int) -> Tensor:
        scores = score(self.scorer, coarse_map).flatten(1)
        scores = unit_range(scores.to(torch.promote_types(scores.dtype, torch.float32)))
        sigma: float | Tensor = self.sigma
        if self.sigma_steps is not None:
            sigma = self.sigma * (1 - self.step / self.sigma_steps).clamp(min=self.LEAST_SIGMA)
            self.step += 1
        with torch.autocast(coarse_map.device.type, enabled=False):
            return perturbed_topk(scores, k, sigma=sigma, samples=self.samples)

    def _expected_patches(self, images: Tensor, Y: Tensor, coarse_map: Tensor) -> Tensor:
        """(B, C, H, W), (B, k, N) -> (B, k, C, p, q)."""
        rows, columns = coarse_map.shape[2:]
        cells = torch.arange(rows * columns, device=images.device).expand(images.shape[0], -1)
        patches = extract_patches(images, cells, self.geometry, (rows, columns))  # (B, N, C, p, q)
        return (Y @ patches.flatten(2)).unflatten(2, patches.shape[2:])

    def _check_fit(self, image_shape: ImageShape) -> int:
        """As for a Dynamic Capacity Network, and the scorer too."""
        count = super()._check_fit(image_shape)
        coarse_map = self._try("coarse", 1, *image_shape)
        scores = self._try("scorer", *coarse_map.shape, like=next(self.scorer.parameters(), coarse_map))
        if scores.shape != (1, *coarse_map.shape[2:]):
            raise ValueError(
                f"the scorer must score the {coarse_map.shape[2]}x{coarse_map.shape[3]} cells of the coarse map, "
                f"(B, s1, s2), got {tuple(scores.shape)}"
            )
        return count


def refine_softly(coarse_map: Tensor, Y: Tensor, fine_vectors: Tensor) -> Tensor:
    """r = c (1 - sum_n Y_n) + sum_n Y_n f_n: (B, D, s1, s2), (B, k, N), (B, k, D) -> (B, D, s1, s2)."""
    c = coarse_map.flatten(2)  # (B, D, N)
    r = c * (1 - Y.sum(1, keepdim=True)) + fine_vectors.transpose(1, 2) @ Y
    return r.unflatten(2, coarse_map.shape[2:])
