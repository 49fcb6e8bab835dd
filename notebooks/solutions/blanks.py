"""The seven blanks, filled in: see `../blanks.py` for what each is given and has to return."""

import math

import torch


def entropy_gradient(z):
    """dH/dz_l = -o_l (log o_l + H) (notebook 3)."""
    log_o = z.log_softmax(1)
    H = -(log_o.exp() * log_o).sum(1, keepdim=True)
    return -log_o.exp() * (log_o + H)


def scatter(c, cells, vectors):
    """Each number of a vector goes to its channel, and there to its cell (notebook 4)."""
    index = cells[:, None].expand(-1, c.shape[1], -1)  # (B, D, k)
    return c.flatten(2).scatter(2, index, vectors.mT).view_as(c)


def receptive_field(layers):
    """Size and offset by the stride so far, and then the stride (notebook 2)."""
    stride, offset, size = 1, 0, 1
    for kernel, step, padding in layers:
        size += (kernel - 1) * stride
        offset -= padding * stride
        stride *= step
    return stride, offset, size


def strip(first, rows, field, height):
    """From where the first row's field begins to where the last one's ends, within the image (notebook 12)."""
    stride, offset, size = field
    return max(0, first * stride + offset), min(height, (first + rows - 1) * stride + offset + size)


def mcnemar(fixed, broken):
    """Twice the tail of n fair coins from the larger count on, and never more than 1 (notebook 6)."""
    n = fixed + broken
    tail = sum(math.comb(n, heads) for heads in range(max(fixed, broken), n + 1)) / 2**n
    return min(1.0, 2 * tail)


def threshold(H, first, look, budget):
    """So many images can pay the rest of a look; the last of them in order of doubt sets the threshold (notebook 6)."""
    looks = math.floor(len(H) * (budget - first) / (look - first))
    ranked = H.sort(descending=True).values
    return ranked[looks - 1] if looks > 0 else math.inf


def threshold_of_rounds(H, prices, budget):
    """From 0 on, which looks longest: the first threshold that keeps within the budget (notebook 11)."""
    for below in (0.0, *H.flatten().sort().values.tolist(), torch.inf):
        sure = below > H
        sure[:, -1] = True
        if prices[sure.int().argmax(1)].mean() <= budget:
            return below
    raise ValueError("not even the first answers are within the budget")
