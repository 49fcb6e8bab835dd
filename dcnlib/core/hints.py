"""Hints: what draws coarse vectors to the fine ones that may replace them (section 3.3), and curves of both."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Hint = Literal["distance", "relative"]
_LEAST = 1e-12  # what a mean squared length of fine vectors is at least taken for


def hint_between(coarse_vectors: Tensor, fine_vectors: Tensor, hint: Hint) -> Tensor:
    """How far the coarse vectors (B, k, D) of chosen patches are from their fine ones, which are constants in it.

    "distance", the paper's: the mean over images and patches of || c_ij - f_f(x_ij) ||^2. "relative": the same by the
    mean of || f_f(x_ij) ||^2, so that it stays what it was if all vectors shrink alike.
    """
    fine_vectors = fine_vectors.detach()
    distance = (coarse_vectors - fine_vectors).float().square().sum(-1).mean()
    if hint == "distance":
        return distance
    return distance / fine_vectors.float().square().sum(-1).mean().clamp(min=_LEAST)


def vector_curves(coarse_vectors: Tensor, fine_vectors: Tensor) -> dict[str, Tensor]:
    """What is watched of the vectors (B, k, D) of chosen patches, as means over images and patches, without gradient:
    their lengths, the distance between them (not squared, so that it compares with lengths), and their cosine."""
    coarse, fine = coarse_vectors.detach().float(), fine_vectors.detach().float()
    return {
        "coarse_length": torch.linalg.vector_norm(coarse, dim=-1).mean(),
        "fine_length": torch.linalg.vector_norm(fine, dim=-1).mean(),
        "distance": torch.linalg.vector_norm(coarse - fine, dim=-1).mean(),
        "cosine": F.cosine_similarity(coarse, fine, dim=-1).mean(),
    }
