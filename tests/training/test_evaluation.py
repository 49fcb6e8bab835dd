"""Evaluation: each image gets the k and the cells that are its own."""

import pytest
import torch
from torch.utils.data import DataLoader

from dcnlib import evaluate


@pytest.fixture
def model(make_dcn):
    return make_dcn(image_shape=None).float()


@pytest.fixture
def data(quadrants):
    return quadrants[1]


def forms(data):
    """A data set, and a loader of it, which says only at its end how many images it has."""
    return data, DataLoader(data, 5)


def test_each_image_gets_its_own_k_and_cells(model, data):
    images, labels = data.tensors
    k, cells = torch.arange(len(data)) % 4, torch.stack([torch.randperm(35)[:2] for _ in range(len(data))])
    for each in ({"k": k}, {"cells": cells}):
        alone = [
            model(images[i : i + 1], **{name: value[i : i + 1] for name, value in each.items()}) for i in range(32)
        ]
        wrong = torch.cat(alone).argmax(1) != labels
        for form in forms(data):
            assert evaluate(model, form, batch_size=7, **each).wrong.equal(wrong)


@pytest.mark.parametrize("count", [31, 33, 64])
def test_a_k_or_cells_for_another_number_of_images_are_refused(model, data, count):
    for form in forms(data):
        for each in ({"k": torch.ones(count, dtype=torch.int64)}, {"cells": torch.zeros(count, 2, dtype=torch.int64)}):
            with pytest.raises(ValueError, match=r"images|shape"):
                evaluate(model, form, **each)


def test_cells_that_are_no_tensor_are_refused(model, data):
    with pytest.raises(TypeError, match=r"cells must be a torch\.Tensor, got list"):
        evaluate(model, data, cells=[[0, 1]] * len(data))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        evaluate(model, data, batch_size=0)
