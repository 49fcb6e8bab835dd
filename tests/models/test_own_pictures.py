"""The task of a user's own pictures: networks for any shape, rebuilt from the record alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dcnlib.core.geometry import derive_geometry
from dcnlib.data.pictures import read_picture
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec, FineSpec, RAMSpec, spec_from_record

TASK = OwnPicturesTask(("cat", "日本", "a dog"), 40, 64)


@pytest.mark.parametrize("kind", OwnPicturesTask.kinds)
def test_networks_answer_for_every_shape_channel_and_class(kind):
    for task in (TASK, OwnPicturesTask(tuple("ab"), 32, 32, channels=1), replace(TASK, height=176, width=88)):
        model = SPECS[kind](task=task).build().eval()
        image = torch.rand(2, *task.image_shape)
        with torch.no_grad():
            logits = model(image)
        assert logits.shape == (2, len(task.classes))
        assert task.answer(logits[0]) == task.classes[int(logits[0].argmax())]


@pytest.mark.parametrize(("size", "field", "patch", "stride"), [(64, 12, 22, 4), (320, 24, 46, 8), (640, 48, 94, 16)])
def test_cells_and_patches_grow_with_the_images(size, field, patch, stride):
    task = OwnPicturesTask(tuple("ab"), size, size)
    geometry = derive_geometry(*task.boxes("coarse", "fine"))
    assert (geometry.size, geometry.stride, -2 * geometry.offset) == (patch, stride, patch - field)


@pytest.mark.parametrize("size", [(40, 64), (168, 176)])
def test_fine_vectors_of_patches_are_those_of_the_whole_image(size):
    task = OwnPicturesTask(tuple("ab"), *size)
    dcn, fine = DCNSpec(task=task).build().eval(), FineSpec(task=task).build().eval()
    fine.layers[1].load_state_dict(dcn.fine.state_dict())
    images = torch.rand(1, *task.image_shape)
    with torch.no_grad():
        look, everywhere = dcn.attend(images, k=5), fine.layers(images)
    assert everywhere.shape == look.coarse_map.shape
    rows, columns = look.cells[0] // everywhere.shape[3], look.cells[0] % everywhere.shape[3]
    inside = (look.boxes[0, :, :2] >= 0).all(1) & (look.boxes[0, :, 2:] <= torch.tensor(size)).all(1)
    assert inside.any()
    torch.testing.assert_close(
        look.fine_vectors[0][inside], everywhere[0, :, rows, columns].T[inside], rtol=0, atol=1e-5
    )


def test_a_record_alone_builds_the_model_again():
    for spec in (DCNSpec(k=3, task=TASK), CoarseSpec(task=replace(TASK, channels=1, windows=True, split_seed=4))):
        assert spec_from_record(json.loads(json.dumps(spec.describe()))) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a",)}, "must be 2..1000 different names"),
        ({"class_names": ("a", "a")}, "must be 2..1000 different names"),
        ({"class_names": ("a", "")}, "texts of 1..500 letters"),
        ({"class_names": ("a", "\x1b[2Jb")}, r"letters that can be seen, got '\\x1b"),
        ({"class_names": "ab" * 300}, "different names"),
        ({"height": 8}, "height must be at least 32"),
        ({"width": 10**6}, "width must be at most 4096"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"windows": "no"}, "windows True or False"),
    ],
    ids=str,
)
def test_what_a_record_cannot_mean_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TASK, **changes)
    with pytest.raises(ValueError, match="models of own-pictures are coarse"):
        RAMSpec(task=TASK)


def test_a_picture_is_prepared_as_in_training_and_boxes_find_their_way_back():
    pixels = np.random.RandomState(0).randint(0, 256, (80, 128, 3)).astype(np.uint8)
    prepared = TASK.preprocess(read_picture(pixels))
    assert prepared.notes == ("resized from 128x80 to 64x40 pixels",)
    assert prepared.fit.to_picture(torch.tensor([[0, 10, 40, 20]])).tolist() == [[0, 20, 80, 40]]
    window = replace(TASK, windows=True).preprocess(read_picture(pixels))
    assert torch.equal(window.image, read_picture(pixels[20:60, 32:96]).pixels)
    assert window.fit.to_picture(torch.tensor([[0, 0, 40, 64]])).tolist() == [[20, 32, 60, 96]]
    grey = replace(TASK, channels=1).preprocess(read_picture(pixels), invert=True)
    assert grey.image.shape == (1, 40, 64)
    assert grey.notes[0] == "inverted as asked"
