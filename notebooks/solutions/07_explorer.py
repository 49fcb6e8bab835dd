"""Notebook 7, exercises 2 and 4."""

import numpy as np
import torch

from dcnlib import entropy, load_cluttered, load_pretrained, predict


@torch.no_grad()
def exercise_2(count: int = 40) -> str:
    """The one cell of all 529 that lowers the entropy most, and how far it is from the gradient's first, on so many
    images: the most doubtful of 20 times as many."""
    dcn = load_pretrained("dcn-k8-hints")
    images, _ = load_cluttered("all", source="embedded")[range(20 * count)]
    first = dcn.attend(images, k=1)
    _, rows, columns = first.saliency.shape
    cells = torch.arange(rows * columns)
    distances, falls = [], []
    for n in first.entropy.argsort(descending=True)[:count].tolist():
        image, coarse_map = (each[[n]].expand(len(cells), -1, -1, -1) for each in (images, first.coarse_map))
        after = entropy(dcn.refine(image, coarse_map, cells[:, None]))  # with each cell alone
        best, chosen = int(after.argmin()), int(first.cells[n, 0])
        distances.append(max(abs(best // columns - chosen // columns), abs(best % columns - chosen % columns)))
        falls.append([float(first.entropy[n] - after[cell]) for cell in (best, chosen)])
    by_best, by_gradient = np.mean(falls, axis=0)
    assert by_best >= by_gradient
    return (
        f"the best cell lowers the entropy by {by_best:.2f} nats, the gradient's first by {by_gradient:.2f}; they lie "
        f"{np.median(distances):.0f} cells apart (median), and are one and the same in {distances.count(0)} of {count}"
    )


def exercise_4(count: int = 3) -> str:
    """What is no digit at all: so many of a cross, a face and noise, white on black."""
    y, x = np.mgrid[:100, :100] - 49.5
    pictures = {
        "a cross": ((abs(y) < 2) | (abs(x) < 2)) & (np.hypot(y, x) < 14),
        "a face": (abs(np.hypot(y, x) - 12) < 1.5) | (np.hypot(y + 4, abs(x) - 4) < 1.5) | (np.hypot(y - 5, x / 3) < 1),
        "noise": np.random.RandomState(0).random_sample((100, 100)) < 0.5,
    }
    names = list(pictures)[:count]
    answers = predict("dcn-k8-hints", [(255 * pictures[name]).astype(np.uint8) for name in names], invert=False)
    assert all(answer.answer in "0123456789" for answer in answers)  # it has no other words
    told = "{}: a {}, {:.0f} %, entropy {:.2f} nats; notes: {}"
    return "\n".join(
        told.format(name, found.answer, 100 * found.probability, found.entropy, ", ".join(found.notes) or "none")
        for name, found in zip(names, answers, strict=True)
    )


if __name__ == "__main__":
    print(exercise_2())
    print(exercise_4())
