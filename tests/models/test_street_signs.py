"""The boxes for street signs: geometry, cost, images of any size, and networks that begin with trained ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from sign_files import photograph

from dcnlib import Geometry, count_multiplications
from dcnlib.core.geometry import derive_geometry, receptive_field
from dcnlib.core.passes import MaxPoolTop
from dcnlib.data.pictures import read_picture
from dcnlib.data.street_signs.signs import halved
from dcnlib.models.pretrained import Trained
from dcnlib.models.specs import CoarseSpec, DCNSpec, FineSpec
from dcnlib.models.start import begin_with
from dcnlib.models.street_signs import CoarseSignLayers, FineSignLayers, SignTopLayers, StreetSignsTask

TASK = StreetSignsTask()
SIZES = [(64, 64), (128, 128), (300, 300), (400, 680), (97, 203)]


def trained(spec):
    return Trained("trained", spec.build().eval(), spec, {})


def test_cells_look_at_34_pixels_eight_apart():
    assert receptive_field(CoarseSignLayers()) == Geometry(stride=8, offset=0, size=30)
    assert derive_geometry(CoarseSignLayers(), FineSignLayers()) == Geometry(stride=8, offset=-2, size=34)


@pytest.mark.parametrize("size", SIZES)
def test_a_dcn_that_begins_with_a_fine_model_and_looks_everywhere_is_that_model(size):
    fine, dcn = trained(FineSpec(task=TASK)), DCNSpec(task=TASK).build().eval()
    told = begin_with(dcn, fine)
    assert (told["name"], told["kind"], len(told["weights"])) == ("trained", "fine", 64)
    images = torch.rand(2, 3, *size)
    cells = dcn.coarse(images)[0, 0].numel()
    torch.testing.assert_close(dcn(images, k=cells), fine.model(images), rtol=1e-4, atol=1e-5)
    assert dcn(images).shape == (2, 4, 2)


def test_models_begin_with_their_own_kind_and_no_other():
    coarse, fine = trained(CoarseSpec(task=TASK)), trained(FineSpec(task=TASK))
    model = CoarseSpec(task=TASK).build().eval()
    begin_with(model, coarse)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(images), coarse.model(images))
    dcn = DCNSpec(task=TASK).build().eval()
    begin_with(dcn, fine)
    begin_with(dcn, coarse)
    assert torch.equal(dcn.coarse(images), coarse.model.layers(images))
    assert torch.equal(dcn.top.state_dict()["3.weight"], fine.model.top.state_dict()["3.weight"])
    with pytest.raises(ValueError, match="can't begin with trained"):
        begin_with(FineSpec(task=TASK).build(), coarse)
    with pytest.raises(ValueError, match="can't begin with trained"):
        begin_with(DCNSpec().build(), fine)


def test_the_top_layers_are_quick():
    assert MaxPoolTop.find(SignTopLayers()) is not None


def test_most_is_saved_on_whole_photographs():
    """With 8 patches at most a tenth of the fine model on windows of 600 pixels, a twentieth on photographs."""
    fine, dcn = FineSpec(task=TASK).build(), DCNSpec(task=TASK).build()
    for shape, share in (((3, 300, 300), 10), ((3, 400, 680), 20)):
        costs = [count_multiplications(model, image_shape=shape).total for model in (fine, dcn)]
        assert share * costs[1] <= costs[0]


def test_a_photograph_is_seen_as_the_loader_sees_it():
    image = photograph(3)
    prepared = TASK.preprocess(read_picture(image))
    assert torch.equal(prepared.image, torch.from_numpy(halved(image)).permute(2, 0, 1) / 255)
    assert prepared.notes == ("shrunk from 1360x800 to 680x400 pixels",)
    boxes = torch.tensor([[205.5, 387, 223.5, 408]])
    assert prepared.fit.to_picture(boxes).tolist() == [[411, 774, 447, 816]]


@pytest.mark.parametrize(
    ("size", "seen"), [((3000, 2000), (453, 680)), ((1000, 1500), (680, 453)), ((200, 100), (100, 200))]
)
def test_pictures_of_other_sizes_are_shrunk_to_fit(size, seen):
    prepared = TASK.preprocess(read_picture(Image.fromarray(np.zeros((size[1], size[0]), dtype=np.uint8))))
    assert prepared.image.shape == (3, *seen)


@pytest.mark.parametrize("size", [(33, 500), (20, 20), (5000, 100)])
def test_pictures_smaller_than_a_patch_are_refused_by_name(size):
    with pytest.raises(ValueError, match=r"^the picture has .* at least 34 a side"):
        TASK.preprocess(read_picture(np.zeros((size[1], size[0]), dtype=np.uint8)))


def test_answers_name_the_categories():
    logits = torch.tensor([[0.0, 1], [1, 0], [0, 2], [1, 0]])
    assert TASK.answer(logits) == "prohibitory, mandatory"
    assert TASK.answer(-logits.flip(1)) == "prohibitory, mandatory"
    assert TASK.answer(logits[:, :1] * 0 + torch.tensor([1.0, 0])) == "no sign"


@pytest.mark.parametrize("window", [-1, 401])
def test_windows_are_within_photographs(window):
    with pytest.raises(ValueError, match="window must be"):
        StreetSignsTask(window=window)
