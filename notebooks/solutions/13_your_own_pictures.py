"""Notebook 13, exercises 4 and 5."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from dcnlib import DynamicCapacityNetwork, Geometry, SingleCapacityNetwork, TopLayers, count_multiplications
from dcnlib.data.image_folder import PictureFolder


def block(in_channels, out_channels, kernel, stride):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, bias=False), nn.ReLU())


def exercise_4(count: int = 1000) -> str:
    """Millions of multiplications of k patches and of a whole picture; the least height, up to `count` pixels, at which
    four patches take a tenth."""
    body = resnet18(weights=None)
    fine, top = nn.Sequential(body.conv1, body.bn1, body.relu, body.layer1), TopLayers(in_channels=64, classes=4)
    dcn = DynamicCapacityNetwork(
        coarse=nn.Sequential(block(3, 16, 8, 4), block(16, 64, 3, 2)),
        fine=nn.Sequential(*fine, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        top=top,
        geometry=Geometry(stride=8, offset=-6, size=28),
        k=4,
    )
    fine_model = SingleCapacityNetwork(layers=fine, top=top)

    def cost(model, height, **options):
        return count_multiplications(model, (3, height, height * 10 // 7), **options).total / 1e6

    k = next(k for k in range(1, 200) if cost(dcn, 112, k=k) > cost(fine_model, 112))
    first = f"k = {k} takes {cost(dcn, 112, k=k):.0f} million, the whole picture {cost(fine_model, 112):.0f}"
    for height in range(112, count + 1):
        parts = cost(dcn, height, k=4), cost(fine_model, height)
        if parts[0] <= parts[1] / 10:
            return f"{first}; {height} pixels high: k = 4 takes {parts[0]:.0f} million, the whole {parts[1]:.0f}"
    return f"{first}; up to {count} pixels four patches never take a tenth"


def exercise_5(count: int = 20) -> str:
    """A copy within its class stays in the split of its twin, with `count` seeds; one in another class is refused."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("left", "right"):
            (folder / name).mkdir()
            for number in range(20):
                pixels = np.random.RandomState([number, len(name)]).randint(0, 256, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
        shutil.copy(folder / "left" / "0.png", folder / "left" / "copy.png")
        for seed in range(count):
            pictures = PictureFolder(folder, split_seed=seed)
            splits = {entry.split for entry in pictures.entries if entry.name in ("left/0.png", "left/copy.png")}
            assert len(splits) == 1
        shutil.copy(folder / "left" / "1.png", folder / "right" / "copy.png")
        try:
            PictureFolder(folder)
        except ValueError as error:
            return f"twins stayed together with {count} seeds; {error}"
    raise AssertionError("the same picture under two labels was taken")


if __name__ == "__main__":
    print(exercise_4())
    print(exercise_5())
