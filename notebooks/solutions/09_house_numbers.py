"""Notebook 9, exercises 1 and 2, on numbers that the library renders, which are everywhere."""

import torch

from dcnlib import entropy, load_pretrained, select_patches
from dcnlib.data.house_numbers.images import load_house_number_images
from dcnlib.paper.experiments import RENDERED


def looked_at(count):
    """The network of rendered numbers, the first validation images, their labels and its look at them."""
    dcn, data = load_pretrained(RENDERED), load_house_number_images("validation", source="rendered")
    images, labels = data[range(min(count, len(data)))]
    with torch.no_grad():
        return dcn, images, labels, dcn.attend(images)


def exercise_1(count: int = 400) -> str:
    """The length of the summed gradient, as the network has it, and the sum of the five positions' lengths."""
    dcn, images, labels, look = looked_at(count)
    c = look.coarse_map.clone().requires_grad_()
    log_o = dcn.top(c).log_softmax(2)
    by_position = -(log_o.exp() * log_o).sum((0, 2))  # (P,): no image's entropy depends on another's map
    gradients = [torch.autograd.grad(doubt, c, retain_graph=True)[0] for doubt in by_position]
    summed, lengths = sum(gradients).norm(dim=1), sum(gradient.norm(dim=1) for gradient in gradients)
    assert (summed <= lengths * (1 + 1e-5) + 1e-9).all()  # the triangle inequality
    rows = []
    for name, scores in (("length of the sum", summed), ("sum of the lengths", lengths)):
        cells = select_patches(scores.detach(), dcn.k)
        with torch.no_grad():
            wrong = (dcn(images, cells=cells).argmax(2) != labels).any(1)
        other = (cells.sort(1).values != look.cells.sort(1).values).any(1)
        rows.append(
            f"{name}: {int(wrong.sum())} of {len(images)} wrong, other cells than the network on {int(other.sum())}"
        )
    return "\n".join(rows)


def exercise_2(count: int = 400) -> str:
    """The error of the images that are left if the most doubtful are refused, by the entropy of the answer."""
    _, images, labels, look = looked_at(count)
    doubt = entropy(look.logits)
    wrong = (look.logits.argmax(2) != labels).any(1)[doubt.argsort(stable=True)].double()  # the surest first
    rows = []
    for refused in (0.0, 0.1, 0.2, 0.5):
        kept = wrong[: round((1 - refused) * len(images))]
        rows.append(f"{100 * refused:2.0f} % refused: error {100 * kept.mean():.1f} % of the rest")
    assert wrong[: len(wrong) // 2].mean() <= wrong.mean()
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_2())
