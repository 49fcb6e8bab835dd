"""Looking until sure in two networks is what the library's own rounds come to with one."""

import math

import pytest
import torch

from dcnlib.inference.until_sure import InSizes, UntilSure, export_until_sure, load_until_sure
from dcnlib.models.specs import DCNSpec


@pytest.fixture(scope="module")
def dcn():
    torch.manual_seed(0)
    return DCNSpec(k=3).build().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(7, 1, 100, 100)


def median_doubt(dcn, images):
    return dcn.attend(images, k=0).entropy.median().item()


@pytest.mark.parametrize("way", ["none", "some", "all"])
def test_who_is_in_doubt_gets_all_patches_and_nobody_else(dcn, images, way):
    below = {"none": math.inf, "some": median_doubt(dcn, images), "all": 0.0}[way]
    seen = []

    def closer(some):
        seen.append(len(some))
        return dcn(some, k=5)

    found = UntilSure(lambda some: dcn(some, k=0), closer, below)(images)
    expected = dcn.adaptive(images, below, rounds=(5,))
    torch.testing.assert_close(found, expected.logits)
    assert sum(seen) == int((expected.patches_used == 5).sum())
    assert seen == {"none": [], "some": [4], "all": [7]}[way]


def test_a_threshold_that_is_none_is_refused(dcn):
    with pytest.raises(ValueError, match="must be 0 or more"):
        UntilSure(dcn, dcn, -1.0)


def test_a_batch_is_cut_into_sizes_and_its_rest_filled_up():
    asked = []

    def call(size):
        def of_size(images):
            assert images.shape == (size, 1, 2, 2)
            asked.append(size)
            return images.sum((1, 2, 3))

        return of_size

    together = InSizes({4: call(4), 1: call(1)})
    for count, sizes in ((1, [1]), (2, [4]), (4, [4]), (5, [4, 1]), (11, [4, 4, 4])):
        images = torch.rand(count, 1, 2, 2)
        torch.testing.assert_close(together(images), images.sum((1, 2, 3)))
        assert asked == sizes
        asked.clear()


def test_in_another_runtime_it_answers_alike(dcn, images, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_until_sure(dcn, tmp_path, "onnx", 3)
    below = median_doubt(dcn, images)
    found = load_until_sure(tmp_path, "onnx", below)
    torch.testing.assert_close(found(images), dcn.adaptive(images, below, rounds=(3,)).logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found(images[:1]), found(images)[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_exporting_changes_nothing_about_the_model(tmp_path, compiled):
    pytest.importorskip("onnxruntime")
    dcn = DCNSpec(k=3).build().train()
    export_until_sure(torch.compile(dcn, backend="eager") if compiled else dcn, tmp_path, "onnx", 2)
    assert all(part.training for part in dcn.modules())
    assert dcn.k == 3
