"""Notebook 4, exercises 2 and 3."""

import torch

from dcnlib import count_multiplications, entropy, load_cluttered, load_pretrained, select_patches
from dcnlib.core.policies import oracle_scores


@torch.no_grad()
def exercise_2(count: int = 500) -> str:
    """Eight patches by hand: around the middle of the digit, and in the image's black corner farthest from it."""
    dcn, data = load_pretrained("dcn-k8-hints"), load_cluttered("all", source="embedded")
    images, labels = data[range(count)]
    first = dcn.attend(images, k=0)
    map_shape = (first.saliency.shape[1], first.saliency.shape[2])
    near = oracle_scores(data.boxes[:count], dcn.geometry, map_shape)
    boxes = dcn.geometry.boxes(torch.arange(near[0].numel()), map_shape[1])
    middles = (boxes[:, :2] + boxes[:, 2:]).unflatten(0, map_shape) / 2  # (s1, s2, 2)
    away = (middles - (data.boxes[:count, None, None, :2] + 14)).norm(dim=-1)
    black = first.coarse_map.norm(dim=1)
    chosen = {"the digit's middle": near, "a far and dark corner": away - 1000 * black, "the gradient": first.saliency}

    rows, errors = [], {"nothing": (first.coarse_logits.argmax(1) != labels).double().mean().item()}
    for name, scores in chosen.items():
        logits = dcn(images, cells=select_patches(scores, 8))
        errors[name] = (logits.argmax(1) != labels).double().mean().item()
        change = (logits.softmax(1) - first.coarse_logits.softmax(1)).abs().sum(1).mean() / 2
        rows.append(f"{name}: error {100 * errors[name]:.1f} %, moves {100 * change:.1f} % of the probability")
    assert errors["the digit's middle"] <= errors["nothing"]
    return f"no patches: error {100 * errors['nothing']:.1f} %\n" + "\n".join(rows)


@torch.no_grad()
def exercise_3(count: int = 5000) -> str:
    """Only images whose first prediction has at least so many nats get their eight patches."""
    dcn, data = load_pretrained("dcn-k8-hints"), load_cluttered("all", source="embedded")
    parts = [dcn.attend(data[part][0]) for part in torch.arange(count).split(250)]
    first, second = (torch.cat([getattr(part, name) for part in parts]) for name in ("coarse_logits", "logits"))
    H, labels = entropy(first), data.labels[:count]
    cheap, dear = (count_multiplications(dcn, k=k).total / 1e6 for k in (0, 8))
    rows, spent = [], []
    for threshold in (0.0, 0.01, 0.05, 0.2, 0.5):
        looks = threshold <= H
        answers = torch.where(looks, second.argmax(1), first.argmax(1))
        other, error = (answers != second.argmax(1)).sum(), (answers != labels).double().mean()
        spent.append(cheap + (dear - cheap) * looks.double().mean().item())
        rows.append(
            f"{threshold:4.2f} nats: {100 * looks.double().mean():3.0f} % look, {spent[-1]:4.1f} million "
            f"multiplications, {int(other)} answers other than with eight patches for all, error {100 * error:.2f} %"
        )
    assert spent == sorted(spent, reverse=True)
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_2())
    print(exercise_3())
