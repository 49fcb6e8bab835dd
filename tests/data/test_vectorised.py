"""What every set of images has in common: one index or many, from the end too, and another set in each epoch."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.digits import load_digits
from dcnlib.data.house_numbers.images import TRAINING_DISTURBANCE, HouseNumberImages
from dcnlib.data.house_numbers.rendered import render_numbers
from dcnlib.data.image_folder import PictureFolder
from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.images import TRAINING_VARIATION, SignImages


def folder_images(place):
    random = np.random.RandomState(0)
    for label in ("left", "right"):
        (place / label).mkdir()
        for number in range(6):
            Image.fromarray(random.randint(0, 256, (40, 40, 3)).astype(np.uint8)).save(place / label / f"{number}.png")
    return PictureFolder(place).images("train", augment=["RandomHorizontalFlip", "RandomRotation(30)"])


KINDS = {
    "cluttered digits": lambda _: ClutteredMNIST(load_digits("train", source="embedded").subset(8), fresh=True),
    "house numbers": lambda _: HouseNumberImages(
        render_numbers("train", 8), disturbance=TRAINING_DISTURBANCE, fresh=True
    ),
    "street signs": lambda _: SignImages(draw_streets("train", 2), window=64, variation=TRAINING_VARIATION, fresh=True),
    "own pictures": folder_images,
}


@pytest.fixture(params=KINDS)
def data(request, tmp_path):
    return KINDS[request.param](tmp_path)


def test_one_image_is_that_of_a_batch_and_counts_from_the_end(data):
    count = len(data)
    assert count == 8
    images, labels = data[np.arange(count)]
    for index in (0, 3, np.int32(3), torch.tensor(3), count - 1, -1, -count, np.int64(-2)):
        image, label = data[index]
        assert torch.equal(image, images[int(index)])
        assert torch.equal(torch.as_tensor(label), labels[int(index)])
        assert isinstance(label, int) == (labels.ndim == 1)
    assert len(list(data)) == count  # it ends


def test_batches_take_any_whole_numbers_within_the_set(data):
    images, labels = data[np.arange(len(data))]
    for indices in ([2, 0], torch.tensor([2, 0]), np.array([2, 0], dtype=np.uint8), range(2, -1, -2)):
        some, their = data[indices]
        assert torch.equal(some, images[[2, 0]])
        assert torch.equal(their, labels[[2, 0]])
    for outside in (len(data), -len(data) - 1, [0, len(data)], [0, -1]):
        with pytest.raises(IndexError, match=r"must be 0\.\.7"):
            data[outside]
    with pytest.raises(TypeError, match="integers"):
        data[[0.5]]


@pytest.mark.parametrize("none", [[], (), np.array([]), torch.tensor([])], ids=["list", "tuple", "array", "tensor"])
def test_no_indices_give_an_empty_batch(data, none):
    images, labels = data[none]
    assert images.shape == (0, *data[0][0].shape)
    assert images.dtype == torch.float32
    assert len(labels) == 0


def test_an_epoch_is_another_set_and_always_the_same(data):
    indices = np.arange(len(data))
    first, again = (data.at_epoch(epoch)[indices][0] for epoch in (1, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, data.at_epoch(2)[indices][0])
    assert data.epoch == 0
    with pytest.raises(ValueError, match="epoch"):
        data.at_epoch(-1)
    data.fresh = False
    assert data.at_epoch(3) is data
