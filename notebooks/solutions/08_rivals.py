"""Notebook 8, exercises 1 and 3."""

import numpy as np
from torch.utils.data import Subset

from dcnlib import evaluate, load_cluttered, load_pretrained


def exercise_1(count: int = 2000) -> str:
    """RAM and DRAW with more glimpses than the eight that they were trained with, on so many validation images."""
    data = Subset(load_cluttered("all", source="embedded"), np.arange(count))
    rows = []
    for name in ("ram", "draw"):
        model = load_pretrained(name)
        rates = {glimpses: evaluate(model, data, glimpses=glimpses).rate for glimpses in (8, 9, 10, 12)}
        rows.append(f"{name}: " + ", ".join(f"{rate} with {glimpses}" for glimpses, rate in rates.items()))
        assert rates[8].fraction < 0.5
    return "\n".join(rows)


def exercise_3(count: int = 2000) -> str:
    """The toy at mu = -1, in so many batches of 64 tries: how large the gradient is, and how noisy its estimates."""
    sigma, target, width = 0.3, 1.0, 0.5
    rows, noise = [], {}
    for mu in (0.4, -1.0):
        places = np.random.RandomState(0).normal(mu, sigma, (count, 64))
        reward = np.exp(-((places - target) ** 2) / (2 * width**2))
        variance = width**2 + sigma**2
        expected = width / variance**0.5 * np.exp(-((mu - target) ** 2) / (2 * variance))
        exact = expected * (target - mu) / variance
        estimates = ((places - mu) / sigma**2 * (reward - expected)).mean(1)
        noise[mu] = estimates.std() / exact
        assert abs(estimates.mean() - exact) < 5 * estimates.std() / count**0.5
        rows.append(
            f"mu = {mu}: exact gradient {exact:.4f}; the standard deviation of an estimate is {noise[mu]:.2f} of that; "
            f"of 1,000 tries, {1000 * np.mean(reward > 0.1):.0f} earn more than 0.1"
        )
    assert noise[-1.0] > 2 * noise[0.4]
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_3())
