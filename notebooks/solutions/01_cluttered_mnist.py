"""Notebook 1, exercises 1 and 3."""

import numpy as np

from dcnlib import ClutteredMNIST
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.data.digits import load_digits


def exercise_1(count: int = 4000) -> str:
    """The two cluttered bars of ridge regression in section 1.6, with 0, 8 and 32 fragments."""
    learned, judged = (load_digits(split, source="embedded") for split in ("train", "validation"))
    learned, judged = learned.subset(count), judged.subset(min(count, len(judged)))
    rows = ["fragments: error in % where the place is known, where it is unknown"]
    errors = {}
    for fragments in (0, 8, 32):
        rules = ClutterRules(distractors=fragments)
        sets = ClutteredMNIST(learned, rules=rules, seed=0), ClutteredMNIST(judged, rules=rules, seed=1)
        whole = [each.render(range(len(each))) for each in sets]
        cropped = [
            np.stack(
                [
                    image[top : top + 28, left : left + 28]
                    for image, (top, left) in zip(some, each.positions, strict=True)
                ]
            )
            for some, each in zip(whole, sets, strict=True)
        ]
        errors[fragments] = [ridge_error(*some, learned.labels, judged.labels) for some in (cropped, whole)]
        rows.append("{}: {:.1f}, {:.1f}".format(fragments, *errors[fragments]))
    known, unknown = np.array(list(errors.values())).T
    assert known[0] < known[-1]  # clutter in a known place costs something,
    assert (unknown > known).all()  # and an unknown place far more, clutter or not
    return "\n".join(rows)


def ridge_error(train_images, test_images, train_labels, test_labels, weight=100.0):
    """Share of wrong answers in % of ridge regression from pixels, in its dual form."""
    X, Y = train_images.reshape(len(train_images), -1) / 255, 2 * np.eye(10)[train_labels] - 1
    middle = X.mean(0)
    X = X - middle
    W = X.T @ np.linalg.solve(X @ X.T + weight * np.eye(len(X)), Y - Y.mean(0))
    answers = ((test_images.reshape(len(test_images), -1) / 255 - middle) @ W + Y.mean(0)).argmax(1)
    return 100 * np.mean(answers != test_labels)


def exercise_3(count: int = 5000) -> str:
    """Each of 8 fragments is of the image's own digit with a chance of 1/N, so one or more with 1 - (1 - 1/N)^8."""
    fragments, draws = 8, 200
    derived = 1 - (1 - 1 / count) ** fragments
    sources = np.random.RandomState(0).randint(count, size=(draws, count, fragments))  # the digit that each is cut from
    own = (sources == np.arange(count)[:, None]).any(2)
    spread = (derived * (1 - derived) / own.size) ** 0.5
    assert abs(own.mean() - derived) < 4 * spread
    return f"derived {100 * derived:.3f} %, counted {100 * own.mean():.3f} % of {own.size:,} images"


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_3())
