"""Notebook 3, exercises 1 and 2."""

import math

import torch

from dcnlib import load_cluttered, load_pretrained, select_patches
from dcnlib.core.saliency import entropy, gradient_pass


def exercise_1(count: int = 20) -> str:
    """Where |dH/dd| = q (1 - q) |d| is largest, by at most so many of Newton's steps.

    With q = sigmoid(d), dq/dd = q (1 - q), so the derivative q (1 - q) (1 + d (1 - 2 q)) is zero where d (2 q - 1) = 1,
    and 2 q - 1 = tanh(d / 2): d tanh(d / 2) = 1.
    """
    d = 1.0
    for _ in range(count):
        value, slope = d * math.tanh(d / 2) - 1, math.tanh(d / 2) + d / 2 / math.cosh(d / 2) ** 2
        d -= value / slope
    assert abs(d * math.tanh(d / 2) - 1) < 1e-12
    return f"|d| = {d:.4f}, where the favourite has {100 / (1 + math.exp(-d)):.1f} %"


@torch.no_grad()
def exercise_2(count: int = 1000) -> str:
    """The cells that two other measures of doubt choose, on so many validation images.

    The Gini impurity G = 1 - sum o^2 has dG/dz_l = -2 o_l (o_l - sum_m o_m^2); 1 - max o has o_a (o_l - [l = a]) for
    the favourite a. With two classes in play all three point along the same line, so the ranking is the same.
    """
    dcn = load_pretrained("dcn-k8-hints")
    images, _ = load_cluttered("all", source="embedded")[range(count)]
    c = torch.cat([dcn.coarse(part) for part in images.split(100)])
    measures = {
        "entropy": entropy,
        "Gini impurity": lambda z: 1 - z.softmax(1).square().sum(1),
        "1 - max": lambda z: 1 - z.softmax(1).max(1).values,
    }
    z = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(measures["Gini impurity"](leaf).sum(), leaf)
    o = z.softmax(1)
    assert torch.allclose(slope, -2 * o * (o - o.square().sum(1, keepdim=True)))

    cells = {name: select_patches(gradient_pass(dcn.top, c, value)[2], 8) for name, value in measures.items()}
    common = {
        name: (chosen[:, :, None] == cells["entropy"][:, None]).any(2).double().mean().item()
        for name, chosen in cells.items()
    }
    assert min(common.values()) > 0.8
    return ", ".join(f"{name}: {100 * share:.0f} % of the entropy's cells" for name, share in common.items())


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_2())
