"""Does it matter where a Dynamic Capacity Network looks? Its layers with other choices of patches, on the same images.

Only the choice differs: the coarse map and all weights are those of one model. Two controls know the answer, the
gradient of the true label's loss and the digit's box. Neither is a bound: the box knows where the digit lies, not which
part of it is in doubt.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.core.policies import POLICIES, FirstLook, label_loss_gradient, oracle_scores, shared_pixels
from dcnlib.core.selection import check_k, select_patches
from dcnlib.models.task import Images
from dcnlib.utils.checks import check_whole
from dcnlib.utils.device import resolve_device, to_device
from dcnlib.utils.modules import evaluation_mode
from dcnlib.utils.records import Record, environment
from dcnlib.utils.statistics import ErrorRate, mcnemar_p_value

REFERENCE = "entropy-gradient"
OWN = "own"  # a policy that isn't one of `POLICIES`, such as learned scores


@dataclass(frozen=True)
class ControlSettings:
    """What is compared."""

    ks: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 24)
    """Numbers of patches."""
    draws: int = 3
    """How often random cells are drawn."""
    seed: int = 0
    """Of the first draw; each later one has the next."""
    batch_size: int = 50
    """Images a call."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        if not self.ks:
            raise ValueError("give at least one number of patches in ks")
        for k in self.ks:
            check_k(k)
        check_whole("draws", self.draws)
        check_whole("batch_size", self.batch_size)


@dataclass(frozen=True)
class Outcome:
    """What one choice of patches came to on N images, for each of the K numbers of patches in a `ControlSettings`."""

    right: Tensor  # (N, K) bool, whether the answer was right
    shared: Tensor | None  # (N, most) pixels of each patch, in the order of choice, that lie in the known box


def run_controls(
    models: Mapping[str, DynamicCapacityNetwork],
    data: Images,
    settings: ControlSettings = ControlSettings(),
    *,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Errors of each model by each control and number of patches, and where the patches lie; see `control_rows`.

    The controls are those of `score_cells`, the numbers of patches the settings' and the model's own. A model's
    `policy` in the record names the control that is its own choice. Moves the models to the settings' device. `report`
    is told which model is being measured.
    """
    device = resolve_device(settings.device)
    start = time.perf_counter()
    record: Record = {"name": "controls", "settings": asdict(settings), "data": data.describe(), "models": {}}
    for name, model in models.items():
        report(name)
        own = replace(settings, ks=tuple(sorted({*settings.ks, model.k})))
        outcomes = measure_controls(model.to(device), data, own)
        (reference,) = outcomes[REFERENCE]
        record["models"][name] = {
            "policy": policy_name(model),
            "k": model.k,
            "controls": {
                control: control_rows(draws, reference, own.ks, math.prod(model.geometry.sizes))
                for control, draws in outcomes.items()
            },
        }
    record["wall_seconds"] = round(time.perf_counter() - start, 1)
    return {**record, **environment(device.type)}


@torch.no_grad()
def measure_controls(
    model: DynamicCapacityNetwork, data: Images, settings: ControlSettings
) -> dict[str, list[Outcome]]:
    """The outcomes of each control, by name: one for each draw of random cells, and one of any other.

    The model runs in eval mode and is left in the mode it was in. Raises ValueError if it has fewer cells than the
    largest k.
    """
    device, all_boxes = next(model.parameters()).device, getattr(data, "boxes", None)
    generators = [torch.Generator().manual_seed(settings.seed + draw) for draw in range(settings.draws)]
    batches: dict[str, list[list[Outcome]]] = defaultdict(list)
    with evaluation_mode(model):
        for indices in np.split(np.arange(len(data)), range(settings.batch_size, len(data), settings.batch_size)):
            images, labels = to_device(data[indices], device)
            boxes = None if all_boxes is None else all_boxes[indices].to(device)
            for control, draws in score_cells(model, images, labels, boxes, generators).items():
                batches[control].append([_look(model, images, labels, boxes, scores, settings.ks) for scores in draws])
    return {control: [_join(draw) for draw in zip(*parts, strict=True)] for control, parts in batches.items()}


def score_cells(
    model: DynamicCapacityNetwork,
    images: Tensor,
    labels: Tensor,
    boxes: Tensor | None,
    generators: Sequence[torch.Generator],
) -> dict[str, list[Tensor]]:
    """What each control makes of the cells of a batch: lists of scores (B, s1, s2), random ones from each generator.

    images (B, C, H, W), labels (B,), boxes (B, 4) of what the label is of in pixels, where they are known. The controls
    are the policies of `POLICIES`, those that know the answer, and the model's own policy if it is none of these.
    """
    coarse_map = model.attend(images, k=0).coarse_map
    first = FirstLook(model, images, coarse_map)
    batch, _, rows, columns = coarse_map.shape
    random = [torch.rand(batch, rows, columns, generator=draw).to(images.device) for draw in generators]
    scores = {name: random if name == "random" else [policy(first)] for name, policy in POLICIES.items()}
    scores |= {
        "label-loss-gradient": [label_loss_gradient(model, coarse_map, labels)],
    }
    if boxes is not None:
        scores["oracle"] = [oracle_scores(boxes, model.geometry, (rows, columns))]
    if policy_name(model) == OWN:
        scores[OWN] = [model.policy(first)]
    return scores


def policy_name(model: DynamicCapacityNetwork) -> str:
    """The name of the model's policy in `POLICIES`, or `OWN`."""
    return next((name for name, policy in POLICIES.items() if policy is model.policy), OWN)


def control_rows(draws: Sequence[Outcome], reference: Outcome, ks: Sequence[int], patch_pixels: int) -> list[Record]:
    """A control's row of the record for each number of patches k.

    error: the mean over the draws. touching: the share of chosen patches with at least one pixel in the digit's box.
    inside: the share of their pixels, of `patch_pixels` each, in it; None for both without patches. draws: see
    `compare`.
    """
    rows = []
    for column, k in enumerate(ks):
        compared = [compare(draw.right[:, column], reference.right[:, column]) for draw in draws]
        shared = [draw.shared[:, :k].double() for draw in draws if draw.shared is not None and k]
        rows.append(
            {
                "k": k,
                "error": sum(draw["error"] for draw in compared) / len(compared),
                "touching": (torch.cat(shared) > 0).double().mean().item() if shared else None,
                "inside": torch.cat(shared).mean().item() / patch_pixels if shared else None,
                "draws": compared,
            }
        )
    return rows


def compare(right: Tensor, reference: Tensor) -> Record:
    """Which answers (N,) were right, beside those that the entropy gradient got right with as many patches.

    Errors, how many images only one of the two got right, and the p value of McNemar's test on them.
    """
    only_this, only_reference = int((right & ~reference).sum()), int((~right & reference).sum())
    return {
        **ErrorRate(int((~right).sum()), len(right)).as_record(),
        "only_this_right": only_this,
        "only_entropy_gradient_right": only_reference,
        "p_value": mcnemar_p_value(only_this, only_reference),
    }


def _look(
    model: DynamicCapacityNetwork,
    images: Tensor,
    labels: Tensor,
    boxes: Tensor | None,
    scores: Tensor,
    ks: Sequence[int],
) -> Outcome:
    """Look at the cells of highest score."""
    cells = select_patches(scores, max(ks))
    logits = model.sweep(images, ks, cells=cells)
    right = torch.stack([logits[k].argmax(1) == labels for k in ks], dim=1)
    patches = model.geometry.boxes(cells, scores.shape[2])
    shared = None if boxes is None else shared_pixels(patches, boxes[:, None]).cpu()
    return Outcome(right.cpu(), shared)


def _join(batches: Sequence[Outcome]) -> Outcome:
    shared = [batch.shared for batch in batches if batch.shared is not None]
    return Outcome(torch.cat([batch.right for batch in batches]), torch.cat(shared) if shared else None)
