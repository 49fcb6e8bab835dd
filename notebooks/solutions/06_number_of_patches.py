"""Notebook 6, exercises 3 and 4."""

import torch

from dcnlib import count_multiplications, entropy, load_cluttered, load_pretrained, plots, select_patches


def apart(saliency, k, reach):
    """k cells by saliency (B, s1, s2) -> (B, k), where no two lie within `reach` rows and columns of each other."""
    left = saliency.clone()
    rows, columns = (torch.arange(size) for size in saliency.shape[1:])
    chosen = []
    for _ in range(k):
        cells = select_patches(left, 1)[:, 0]
        i, j = cells // len(columns), cells % len(columns)
        near = ((rows - i[:, None]).abs() <= reach)[:, :, None] & ((columns - j[:, None]).abs() <= reach)[:, None, :]
        left = left.masked_fill(near, -1)  # below any saliency: chosen only if nothing else is left
        chosen.append(cells)
    return torch.stack(chosen, dim=1)


@torch.no_grad()
def exercise_3(count: int = 1000) -> str:
    """Patches of 14 pixels, 4 pixels apart, that don't overlap are 4 cells apart: ink of the digit seen, and error."""
    dcn, data = load_pretrained("dcn-k8-hints"), load_cluttered("all", source="embedded")
    images, labels = data[range(count)]
    first = dcn.attend(images, k=0)
    side, width = range(images.shape[2]), first.saliency.shape[2]
    digit = images[:, 0] * plots.pixels_inside(data.boxes[:count, None], side, side)
    rows, seen = [], {}
    for reach in (0, 1, 3):
        for k in (2, 4, 8):
            cells = apart(first.saliency, k, reach)
            shown = plots.pixels_inside(dcn.geometry.boxes(cells, width), side, side)
            seen[reach, k] = ((digit * shown).sum((1, 2)) / digit.sum((1, 2))).mean().item()
            error = 100 * (dcn(images, cells=cells).argmax(1) != labels).double().mean()
            told = f"k = {k}: {100 * seen[reach, k]:.0f} % of the ink seen, error {error:.1f} %"
            rows.append(f"more than {reach} cells apart, {told}")
    assert torch.equal(apart(first.saliency, 8, 0), select_patches(first.saliency, 8))
    return "\n".join(rows)


@torch.no_grad()
def exercise_4(count: int = 5000) -> str:
    """k = 0 for images that are sure, 8 for the others: error and mean multiplications for several thresholds."""
    dcn, data = load_pretrained("dcn-k8-hints"), load_cluttered("all", source="embedded")
    ks = (0, 1, 2, 4, 8)
    parts = [dcn.sweep(data[part][0], ks) for part in torch.arange(count).split(250)]
    logits = {k: torch.cat([part[k] for part in parts]) for k in ks}
    right = {k: scores.argmax(1) == data.labels[:count] for k, scores in logits.items()}
    prices = {k: count_multiplications(dcn, k=k).total / 1e6 for k in ks}
    H = entropy(logits[0])
    rows = [f"k = {k} for all: {prices[k]:4.1f} million, error {100 * (~right[k]).double().mean():.2f} %" for k in ks]
    last = torch.inf
    for threshold in (0.0, 0.02, 0.1, 0.3, 1.0, torch.inf):
        looks = threshold <= H
        spent = prices[0] + (prices[8] - prices[0]) * looks.double().mean().item()
        wrong = (~torch.where(looks, right[8], right[0])).double().mean()
        rows.append(f"8 from {threshold:4.2f} nats on: {spent:4.1f} million, error {100 * wrong:.2f} %")
        assert prices[0] <= spent <= last + 1e-9
        last = spent
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_3())
    print(exercise_4())
