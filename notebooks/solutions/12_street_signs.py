"""Notebook 12, exercises 1 and 2."""

import copy

import torch
from torch import nn
from torchvision.models import resnet18

from dcnlib import SingleCapacityNetwork, count_multiplications, load_pretrained
from dcnlib.core.one_cell import OneCell
from dcnlib.models.street_signs import fine_on_whole_images


def exercise_1(count: int = 680) -> str:
    """From how many pixels a side on, up to so many, k patches cost at most a tenth of the fine layers everywhere."""
    dcn = load_pretrained("street-signs")
    fine = SingleCapacityNetwork(layers=fine_on_whole_images(), top=copy.deepcopy(dcn.top)).to("meta")  # shapes alone

    def share(side, k):
        costs = [count_multiplications(model, (3, side, side), k=k).total for model in (dcn, fine)]
        return costs[0] / costs[1]

    rows = []
    for k in (4, 8, 16):
        low, high = 64, count  # the share falls while the image grows
        while high - low > 4:
            middle = (low + high) // 2
            low, high = (middle, high) if share(middle, k) > 0.1 else (low, middle)
        reached = share(high, k) <= 0.1
        rows.append(f"k = {k}: " + (f"{high} pixels a side" if reached else f"more than {count} pixels a side"))
    assert share(count, 4) < share(count, 8) < share(count, 16)
    return "\n".join(rows)


def exercise_2(count: int = 224) -> str:
    """A ResNet-18 cut later: larger patches, and how many of them cost as much as the cut layers on the whole image."""
    body = resnet18(weights=None).eval()
    first = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1)
    rows = []
    for stages, layers in enumerate((first, nn.Sequential(*first, body.layer2)), start=1):
        size = OneCell(layers).geometry.size
        alone = SingleCapacityNetwork(layers=copy.deepcopy(layers), top=nn.Identity()).to("meta")
        whole, patch = (count_multiplications(alone, (3, side, side)).total for side in (count, size))
        cells = layers(torch.zeros(1, 3, count, count))[0, 0].numel()
        assert patch * cells > whole
        rows.append(
            f"{stages} of its stages: patches of {size} pixels, {patch / 1e6:.0f} million multiplications each; "
            f"{whole / patch:.1f} of them cost what the layers cost on {count}x{count} pixels, with {cells} cells"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(exercise_1())
    print(exercise_2())
