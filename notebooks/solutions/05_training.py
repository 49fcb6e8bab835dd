"""Notebook 5, exercises 1 and 4."""

import torch
from torch.nn import functional as F

from dcnlib import (
    ClutteredMNIST,
    CoarseLayers,
    DynamicCapacityNetwork,
    FineLayers,
    TopLayers,
    TrainingSettings,
    fit,
    load_cluttered,
    load_pretrained,
    seed_everything,
)
from dcnlib.core.patches import gather_cells
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.data.digits import load_digits


def exercise_1(count: int = 1500) -> str:
    """The training in view, on so many digits, with hints and without: the hint falls in both, at first."""
    rules = ClutterRules(size=60, distractors=4)
    train = ClutteredMNIST(load_digits("train", source="embedded").subset(count), rules=rules, seed=3, fresh=True)
    held_out = ClutteredMNIST(load_digits("validation", source="embedded").subset(200), rules=rules, seed=4)
    settings = TrainingSettings(epochs=4, batch_size=32, learning_rate=1e-2, device="cpu")
    rows = ["hint weight: the hint, epoch by epoch; the coarse vectors' length; the cosine"]
    for weight in (0.1, 0.0):
        seed_everything(0)
        boxes = {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}
        model = DynamicCapacityNetwork(**boxes, image_shape=(1, 60, 60), hint_weight=weight)
        record = fit(model, train, held_out, settings)
        told = [" ".join(f"{x:.2f}" for x in record["curves"][f"train_{name}"]) for name in KEPT]
        rows.append(f"{weight:3}: " + "; ".join(told))
        assert len(record["curves"]["train_hint"]) == settings.epochs
    return "\n".join(rows)


KEPT = ("hint", "coarse_length", "cosine")


@torch.no_grad()
def exercise_4(count: int = 500) -> str:
    """The cosine of fine vectors with the coarse ones of the same cell, and of cells beside it, of so many images."""
    images, _ = load_cluttered("all", source="embedded")[range(count)]
    rows = []
    for name in ("dcn-k8-no-hints", "dcn-k8-hints"):
        look = load_pretrained(name).attend(images)
        height, width = look.coarse_map.shape[2:]
        i, j = look.cells // width, look.cells % width
        cosines = {}
        for down, right in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (0, 2), (2, 0)):
            beside = (i + down).clamp(0, height - 1) * width + (j + right).clamp(0, width - 1)
            coarse = gather_cells(look.coarse_map, beside)
            cosines[down, right] = F.cosine_similarity(coarse, look.fine_vectors, dim=2).mean().item()
        best = max(cosines, key=cosines.__getitem__)
        told = ", ".join(f"{place}: {cosine:.2f}" for place, cosine in cosines.items())
        rows.append(f"{name}: best beside (down, right) = {best}; {told}")
        assert cosines[0, 0] > cosines[0, 2]
        assert cosines[0, 0] > cosines[2, 0]
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_4())
