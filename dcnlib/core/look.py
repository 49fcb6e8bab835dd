"""What one look at a batch gives (section 3.1)."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from dcnlib.core.policies import FirstLook


@dataclass(frozen=True)
class Attention:
    """Every intermediate of one look at a batch, in the order of computation. The paper's symbol stands first."""

    coarse_map: Tensor  # c     (B, D, s1, s2)
    coarse_logits: Tensor  # o_c   (B, L) or (B, P, L), before the softmax
    entropy: Tensor  # H     (B,) nats
    saliency: Tensor  # M     (B, s1, s2), the entropy gradient's norm, whichever policy chose
    cells: Tensor  # I     (B, k) flat index i * s2 + j, in the policy's order
    boxes: Tensor  # (B, k, 4) where the patches lie: top, left, bottom, right in pixels, the last two excluded
    patches: Tensor  # x_ij  (B, k, C, p, q)
    fine_vectors: Tensor  # f_f(x_ij)  (B, k, D)
    refined_map: Tensor  # r     (B, D, s1, s2)
    logits: Tensor  # o     (B, L) or (B, P, L), before the softmax


class CloseLook(NamedTuple):
    """A look with what the loss needs of it, gradients included."""

    first: FirstLook
    cells: Tensor  # (B, k); with a k for each image, k is the most, and
    used: Tensor | None  # (B, k) says which are looked at, whose fine vectors stand beside the others' coarse ones
    patches: Tensor
    fine_vectors: Tensor
    logits: Tensor
