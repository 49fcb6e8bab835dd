"""The Dynamic Capacity Network (section 3)."""

import warnings
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from dcnlib.core.budget import AdaptiveAttention, Plan, look_until_sure, make_plan
from dcnlib.core.every_k import TrainingK, check_every_k, draw_k
from dcnlib.core.geometry import Geometry
from dcnlib.core.hints import Hint, hint_between, vector_curves
from dcnlib.core.look import Attention, CloseLook
from dcnlib.core.measuring import find_geometry
from dcnlib.core.network import CheckedNetwork, check_logits, explained
from dcnlib.core.patches import extract_patches, gather_cells, replace_cells
from dcnlib.core.policies import FirstLook, Policy, resolve_policy
from dcnlib.core.saliency import cross_entropy
from dcnlib.core.selection import check_cells, check_k, check_ks, most_of, select_patches
from dcnlib.core.strips import LARGE, Strips, in_strips, rows_at_once
from dcnlib.utils.checks import ImageShape, check_values
from dcnlib.utils.tracing import traced_for

Objective = Literal["sum", "convex"]


class DynamicCapacityNetwork(CheckedNetwork):
    """Cheap coarse layers everywhere, expensive fine layers on the k patches that would change the prediction most.

    coarse: (B, C, H, W) -> (B, D, s1, s2). fine: patches (N, C, p, q) -> (N, D) or (N, D, 1, 1).
    top: (B, D, s1, s2) -> class scores (B, L), or (B, P, L) for P positions of a sequence. Any modules will do.

    k: patches per image, 0..cells; at a call also one for each, a tensor (B,) of whole numbers. policy: where they are,
    a name of `POLICIES` or a function of the `FirstLook`. Each call may have others, `dcn(images, k=..., policy=...)`.
    image_shape: (C, H, W); if given, the trio is checked against it here, else at the first call. geometry: where a
    cell looks; read off the modules if they are sequences of convolutions and pools, else measured: `find_geometry`.
    hint_weight, objective, hint, first_share and training_k: see `loss`.

    Raises ValueError if the three don't fit each other, with what was found and what is needed, and TypeError or
    ValueError for any other argument that can't be.
    """

    # Options younger than the first runs, and what those had: a run's identity names them only if they differ.
    YOUNGER: ClassVar = {"first_share": 0.0, "training_k": "fixed", "entropy_below": None}

    def __init__(
        self,
        *,
        coarse: nn.Module,
        fine: nn.Module,
        top: nn.Module,
        k: int = 8,
        image_shape: ImageShape | None = None,
        geometry: Geometry | None = None,
        policy: str | Policy = "entropy-gradient",
        hint_weight: float = 0.1,
        objective: Objective = "sum",
        hint: Hint = "distance",
        first_share: float = 0.0,
        training_k: TrainingK = "fixed",
    ) -> None:
        super().__init__(image_shape)
        check_every_k(k, first_share, training_k)
        if objective not in get_args(Objective):
            raise ValueError(f"objective must be one of {get_args(Objective)}, got {objective!r}")
        if hint not in get_args(Hint):
            raise ValueError(f"hint must be one of {get_args(Hint)}, got {hint!r}")
        if not (hint_weight >= 0 and (objective == "sum" or hint_weight <= 1)):
            raise ValueError(f"hint_weight must not be negative, nor above 1 in a convex sum, got {hint_weight}")
        if not isinstance(geometry, Geometry | None):
            raise TypeError(f"geometry must be a Geometry(stride, offset, size) or None, got {geometry!r}")
        self.coarse = coarse
        self.fine = fine
        self.top = top
        self.k = int(k)
        self.geometry = geometry if geometry is not None else find_geometry(coarse, fine, self.image_shape)
        self.policy = resolve_policy(policy)
        self.hint_weight = hint_weight
        self.objective = objective
        self.hint = hint
        self.first_share = first_share
        self.training_k: TrainingK = training_k
        # What was calibrated for `adaptive`: the threshold, and the most patches that it holds for.
        self.entropy_below: float | None = None
        self.max_k: int | None = None
        self._strips: Strips | None = None  # how the coarse layers run on large images, once there was one
        if self.image_shape is not None:
            check_k(k, self._count_cells(self.image_shape))

    def forward(
        self,
        images: Tensor,
        k: int | Tensor | None = None,
        cells: Tensor | None = None,
        policy: str | Policy | None = None,
    ) -> Tensor:
        """Class scores of images (B, C, H, W). `k` and `policy` override the model's, `cells` (B, k) any policy.

        Raises TypeError or ValueError for what doesn't fit together, and for cells off the map (on a GPU, only in
        `attend`: looking at their values would wait for it).
        """
        self._check_call(images, k, cells, policy)
        return self._look(images, k, cells, policy).logits

    def attend(
        self,
        images: Tensor,
        k: int | Tensor | None = None,
        cells: Tensor | None = None,
        policy: str | Policy | None = None,
    ) -> Attention:
        """As forward, but with every intermediate, and with a check of the values of images and cells.

        With a k for each image, the k of the shapes is the most of them; behind an image's last patch, cells are -1 and
        all else is zeros.
        """
        self._check_call(images, k, cells, policy)
        check_values(images)
        if cells is not None:
            channels, height, width = images.shape[1:]
            check_cells(cells, self._count_cells((channels, height, width)))
        first, cells, used, patches, fine_vectors, logits = self._look(images, k, cells, policy)
        refined_map = replace_cells(first.coarse_map, cells, fine_vectors)
        boxes = self.geometry.boxes(cells, first.coarse_map.shape[3])
        if used is not None:
            unused = ~used[:, :, None]
            cells, boxes = cells.masked_fill(~used, -1), boxes.masked_fill(unused, 0)
            patches = patches.masked_fill(unused[..., None, None], 0)
            fine_vectors = fine_vectors.masked_fill(unused, 0)
        return Attention(
            coarse_map=first.coarse_map,
            coarse_logits=first.coarse_logits,
            entropy=first.entropy,
            saliency=first.saliency,
            cells=cells,
            boxes=boxes,
            patches=patches,
            fine_vectors=fine_vectors,
            refined_map=refined_map,
            logits=logits,
        )

    def refine(self, images: Tensor, coarse_map: Tensor, cells: Tensor) -> Tensor:
        """Class scores from images, the coarse map of a look at them, and patches at any cells (B, k) of it.

        As `dcn(images, cells=cells)` gives them, without the coarse layers. Raises as it does, and ValueError for a map
        that isn't one of these images.
        """
        self._check_call(images, None, cells)
        self.geometry.check_map(coarse_map, images.shape[2], images.shape[3])
        if coarse_map.shape[0] != images.shape[0]:
            raise ValueError(f"{images.shape[0]} images need as many coarse maps, got {tuple(coarse_map.shape)}")
        return self._look_closer(FirstLook(self, images, coarse_map), _on_map(cells, coarse_map)).logits

    def sweep(
        self,
        images: Tensor,
        ks: Sequence[int],
        *,
        policy: str | Policy | None = None,
        cells: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Class scores of images (B, C, H, W) with each of several numbers of patches, for the price of the largest.

        The scores by k, each as `dcn(images, k=k, policy=policy)` gives them in eval mode: the first k cells are the
        same for every larger k, so each patch goes through the fine layers once. A policy that draws, draws once for
        all k. `cells` (B, n), of which the first k are taken, overrides it.
        Raises ValueError if ks is empty or a k more than there are cells.
        """
        if len(ks) == 0:
            raise ValueError("give at least one number of patches in ks")
        for k in ks:
            check_k(k)
        most = max(ks)
        self._check_call(images, None, cells, policy)
        if cells is not None:
            check_k(most, cells.shape[1])
            cells = cells[:, :most]
        first, cells, _, _, fine_vectors, logits = self._look(images, most, cells, policy)
        fewer = {k: first.passes.refined(cells[:, :k], fine_vectors[:, :k]) for k in ks if k != most}
        return {k: fewer.get(k, logits) for k in ks}

    @torch.no_grad()
    def adaptive(
        self,
        images: Tensor,
        entropy_below: float | None = None,
        max_k: int | None = None,
        *,
        rounds: Sequence[int] | None = None,
        anew: bool = False,
        policy: str | Policy | None = None,
    ) -> AdaptiveAttention:
        """Look at each of the images (B, C, H, W) until its entropy is below a threshold, with at most max_k patches.

        entropy_below: in nats, by default the calibrated one, `.entropy_below`; 0 is max_k patches for all, infinity
        none. The patches come in rounds, whose last makes max_k (by default the calibrated `.max_k`, without one 16):
        1, 2, 4, ... in all after each, unless `rounds` says otherwise. An image that is sure leaves the batch. anew:
        choose by the saliency of the map as it is at each round, not by the first one alone. No image's answer depends
        on its batch mates. For eval mode.

        Raises TypeError or ValueError for what doesn't fit together, and for image values outside [0, 1].
        """
        self._check_call(images, None)
        check_values(images)
        if self.training:
            raise ValueError("looking until sure is for eval mode: call model.eval() first")
        channels, height, width = images.shape[1:]
        cells = self._count_cells((channels, height, width))
        return self.follow(images, self.plan(cells, entropy_below, max_k, rounds=rounds, anew=anew), policy)

    def plan(
        self,
        cells: int,
        entropy_below: float | None = None,
        max_k: int | None = None,
        *,
        rounds: Sequence[int] | None = None,
        anew: bool = False,
    ) -> Plan:
        """The plan that `adaptive` follows on a map of so many cells. Raises as it does."""
        entropy_below = self.entropy_below if entropy_below is None else entropy_below
        if max_k is None and rounds is None and self.max_k is not None:
            max_k = min(self.max_k, cells)
        return make_plan(entropy_below, max_k, rounds, anew, cells)

    def patch_boxes(self, look: Attention) -> Tensor:
        """The boxes of a look, as they were asked for before this release."""
        warnings.warn("model.patch_boxes(look) is now look.boxes", DeprecationWarning, stacklevel=2)
        return look.boxes

    def loss(self, images: Tensor, labels: Tensor, k: int | Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the refined prediction plus hints for the coarse layers (section 3.3), and the named parts.

        hint = mean over images and chosen patches of || c_ij - f_f(x_ij) ||^2. The fine vectors are constants in it and
        the top layers are not in it, so it moves the coarse layers only, towards vectors that fine ones may replace.
        objective "sum": cross_entropy + hint_weight * hint;
        "convex": (1 - hint_weight) * cross_entropy + hint_weight * hint, the same direction up to scale.
        hint "relative" is another measure of it, see `hint_between`. Beside the terms, the parts tell how long the
        vectors are and how far apart, see `vector_curves`.

        Both of these are off in the paper. first_share: of the loss, what the first prediction's cross-entropy gets, so
        that k = 0 is trained too: (1 - first_share) * the above + first_share * cross_entropy(o_c). training_k: how the
        k of a step is drawn in training mode, if none is given, see `draw_k`.
        """
        if k is None and self.training:
            k = draw_k(self.k, self.training_k)
        self._check_call(images, k)
        look = self._look(images, k)
        if look.cells.shape[1] == 0:
            loss = cross_entropy(look.logits, labels)
            return loss, {"cross_entropy": loss.detach()}
        coarse_vectors, fine_vectors = gather_cells(look.first.coarse_map, look.cells), look.fine_vectors
        if look.used is not None:
            coarse_vectors, fine_vectors = coarse_vectors[look.used][None], fine_vectors[look.used][None]
        loss, parts = self._objective(look.logits, labels, coarse_vectors, fine_vectors)
        if self.first_share == 0:
            return loss, parts
        # The coarse map goes through the top as a refined one does, with batch statistics in training mode.
        coarse_logits = look.first.passes.refined(look.cells[:, :0], look.fine_vectors[:, :0])
        first = cross_entropy(coarse_logits, labels)
        loss = (1 - self.first_share) * loss + self.first_share * first
        return loss, parts | {"first_cross_entropy": first.detach()}

    def _objective(
        self, logits: Tensor, labels: Tensor, coarse_vectors: Tensor, fine_vectors: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its parts from class scores and the vectors (B, k, D) of the chosen patches."""
        error = cross_entropy(logits, labels)
        hint = hint_between(coarse_vectors, fine_vectors, self.hint)
        weight = 1 - self.hint_weight if self.objective == "convex" else 1
        loss = weight * error + self.hint_weight * hint
        terms = {"cross_entropy": error.detach(), "hint": hint.detach()}
        return loss, terms | vector_curves(coarse_vectors, fine_vectors)

    @explained
    def _look(
        self,
        images: Tensor,
        k: int | Tensor | None,
        cells: Tensor | None = None,
        policy: str | Policy | None = None,
    ) -> CloseLook:
        """Section 3.1, step by step."""
        k = cells.shape[1] if cells is not None else self.k if k is None else k

        coarse_map = self._coarse_map(images)  # (B, D, s1, s2)
        self.geometry.check_map(coarse_map, images.shape[2], images.shape[3])
        first = FirstLook(self, images, coarse_map)  # o_c, H and M, once they are asked for
        used = None
        if cells is None:
            most = most_of(k, coarse_map.shape[2] * coarse_map.shape[3])
            cells = self._choose_cells(first, most, policy)  # (B, k)
            used = torch.arange(most, device=k.device) < k[:, None] if isinstance(k, Tensor) else None
        else:
            cells = _on_map(cells, coarse_map)
        return self._look_closer(first, cells, used)

    def _coarse_map(self, images: Tensor) -> Tensor:
        """c (B, D, s1, s2), of large images in eval mode strip by strip."""
        pixels = images.shape[2] * images.shape[3]
        if pixels <= LARGE or self.training or torch.compiler.is_compiling() or traced_for():
            return self.coarse(self._own("coarse", images))
        if self._strips is None:
            self._strips = Strips.of(self.coarse, images)
        if (field := self._strips.field) is None:
            return self.coarse(self._own("coarse", images))
        rows = rows_at_once(field, images.shape[3])
        return in_strips(lambda strip: self.coarse(self._own("coarse", strip)), images, field, rows)

    def _look_closer(self, first: FirstLook, cells: Tensor, used: Tensor | None = None) -> CloseLook:
        """From the first look to the refined prediction, with the patches at cells (B, k), or only those `used`."""
        coarse_map = first.coarse_map
        rows, columns = coarse_map.shape[2:]
        patches = extract_patches(first.images, cells, self.geometry, (rows, columns))  # (B, k, C, p, q)
        if used is None:
            fine_vectors = self._fine_vectors(patches, coarse_map)  # (B, k, D)
        else:
            fine_vectors = gather_cells(coarse_map, cells)
            fine_vectors[used] = self._fine_vectors(patches[used][None], coarse_map)[0].to(fine_vectors.dtype)
        logits = first.passes.refined(cells, fine_vectors)  # (B, L)
        return CloseLook(first, cells, used, patches, fine_vectors, logits)

    @explained
    def follow(self, images: Tensor, plan: Plan, policy: str | Policy | None = None) -> AdaptiveAttention:
        """Look until sure by a plan that was made elsewhere, without a check of the images; see `adaptive`."""
        coarse_map = self._coarse_map(images)
        self.geometry.check_map(coarse_map, images.shape[2], images.shape[3])
        return look_until_sure(
            FirstLook(self, images, coarse_map),
            plan,
            score=lambda first: self._scores(first, policy),
            fine=self._fine_vectors,
            geometry=self.geometry,
        )

    def _choose_cells(self, first: FirstLook, k: int, policy: str | Policy | None) -> Tensor:
        if k == 0:
            return torch.empty(first.coarse_map.shape[0], 0, dtype=torch.int64, device=first.images.device)
        return select_patches(self._scores(first, policy), k)

    def _scores(self, first: FirstLook, policy: str | Policy | None) -> Tensor:
        batch, _, rows, columns = first.coarse_map.shape
        scores = resolve_policy(self.policy if policy is None else policy)(first)
        if isinstance(scores, Tensor) and scores.shape != (batch, rows, columns):
            raise ValueError(f"the policy must score {(rows, columns)} cells, got {tuple(scores.shape)}")
        return scores

    def _fine_vectors(self, patches: Tensor, coarse_map: Tensor) -> Tensor:
        """All patches of all images go through in one batch: (B, k, C, p, q) -> (B, k, D)."""
        batch, k = patches.shape[:2]
        if k == 0:
            return coarse_map.new_zeros(batch, 0, coarse_map.shape[1])
        return self.fine(self._own("fine", patches.flatten(0, 1))).reshape(batch, k, -1)

    def _check_call(
        self, images: Tensor, k: int | Tensor | None, cells: Tensor | None = None, policy: str | Policy | None = None
    ) -> None:
        self._check_images(images)
        if isinstance(k, Tensor):
            check_ks(k, images.shape[0])
        if cells is None:
            return
        if isinstance(k, Tensor):
            raise ValueError("give cells or a k for each image, not both: cells (B, k) are as many for all")
        if not isinstance(cells, Tensor):
            raise TypeError(f"cells must be a torch.Tensor, got {type(cells).__name__}")
        if policy is not None:
            raise ValueError("give cells or a policy, not both: each says where to look")
        if k is not None and k != cells.shape[-1]:
            raise ValueError(f"k = {k} contradicts cells of shape {tuple(cells.shape)}")
        batch = images.shape[0]
        if cells.ndim != 2 or cells.shape[0] != batch or cells.dtype != torch.int64:
            raise ValueError(f"cells must be int64 of shape ({batch}, k), got {cells.dtype} {tuple(cells.shape)}")

    def _check_fit(self, image_shape: ImageShape) -> int:
        channels, height, width = image_shape
        high, wide = self.geometry.sizes
        coarse_map = self._try("coarse", 1, *image_shape)
        self.geometry.check_map(coarse_map, height, width)
        vectors = self._try("fine", 1, channels, high, wide)
        if vectors.ndim < 2 or vectors.shape[0] != 1 or vectors[0].numel() != vectors.shape[1]:
            raise ValueError(
                f"the fine layers must map a {high}x{wide} patch to one vector, (N, D) or (N, D, 1, 1), "
                f"got {tuple(vectors.shape)}"
            )
        depth = coarse_map.shape[1]
        if vectors.shape[1] != depth:
            raise ValueError(f"fine vectors have {vectors.shape[1]} channels, coarse vectors {depth}: make them equal")
        check_logits(self._try("top", *coarse_map.shape, like=coarse_map))
        return coarse_map.shape[2] * coarse_map.shape[3]


def _on_map(cells: Tensor, coarse_map: Tensor) -> Tensor:
    """The cells. Raises ValueError unless they are on the map; on a CPU, since elsewhere that waits for the device."""
    if cells.device.type == "cpu" and not torch.compiler.is_compiling():
        check_cells(cells, coarse_map.shape[2] * coarse_map.shape[3])
    return cells
