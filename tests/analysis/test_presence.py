"""What is found and where it was looked for: against counts by hand."""

import numpy as np
import pytest
import torch

from dcnlib.analysis.presence import Presence, find, find_by_k, mean_of, touched
from dcnlib.data.street_signs.drawn import draw_streets
from dcnlib.data.street_signs.images import SignImages
from dcnlib.models.specs import CoarseSpec, DCNSpec
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.utils.statistics import percentiles, resampled

TASK = StreetSignsTask()


@pytest.fixture(scope="module")
def data():
    return SignImages(draw_streets("validation", 4), window=64)


def test_answers_are_those_of_the_model(data):
    dcn = DCNSpec(task=TASK, k=3).build().eval()
    found = find(dcn, data, k=2)
    images, labels = data[np.arange(len(data))]
    look = dcn.attend(images, k=2)
    assert np.array_equal(found.scores > 0, look.logits.argmax(-1).bool().numpy())
    assert np.array_equal(found.labels, labels.bool().numpy())
    assert torch.equal(torch.stack(found.boxes), look.boxes)
    by_k = find_by_k(dcn, data, (0, 2, 5))
    assert np.allclose(by_k[2].scores, found.scores, atol=1e-5)
    assert torch.equal(torch.stack(by_k[2].boxes), look.boxes)
    assert by_k[0].patches.sum() == 0
    sure = find(dcn, data, entropy_below=float("inf"), max_k=4)
    assert sure.patches.tolist() == [0] * len(data)
    assert np.allclose(sure.scores, find(dcn, data, k=0).scores, atol=1e-5)
    assert find(CoarseSpec(task=TASK).build().eval(), data).patches.sum() == 0


def test_signs_are_touched_where_a_patch_has_a_pixel_in_common(data):
    labels = data.labels.bool().numpy()
    index = next(i for i in range(len(data)) if len(data.boxes_of(i)[0]))
    _, _, bottom, right = data.boxes_of(index)[0][0].tolist()
    for corner, count in (((bottom - 1, right - 1), 1), ((bottom, right), 0), ((bottom - 1, right), 0)):
        patch = torch.tensor([[corner[0], corner[1], corner[0] + 34, corner[1] + 34]])
        boxes = tuple(patch if i == index else torch.empty(0, 4) for i in range(len(data)))
        everything = sum(len(data.boxes_of(i)[0]) for i in range(len(data)))
        assert touched(Presence(np.where(labels, 1.0, -1.0), labels, boxes), data) == (count, everything)
    wrong = Presence(np.where(labels, -1.0, 1.0), labels, boxes)
    assert touched(wrong, data) == (0, 0)


def test_a_record_tells_errors_by_image_and_by_thing():
    scores = np.array([[1.0, -1], [2, -3], [-1, 4], [3, 0.5]])
    labels = np.array([[True, False], [False, False], [True, True], [True, True]])
    told = Presence(scores, labels, (torch.empty(0, 4),) * 4).as_record(resampled(np.arange(4)))
    assert told["error"] == 0.5
    assert told["wrong"] == [1, 2]
    assert told["errors"] == [0.5, 0]
    # By falling score: yes, no, yes, yes of the first thing, all of the second.
    assert told["average_precisions"] == pytest.approx([(1 + 2 / 3 + 3 / 4) / 3, 1])
    low, high = told["error_interval_95"]
    assert 0 <= low < 0.5 < high <= 1


def test_whole_groups_are_drawn():
    groups, values = np.repeat(np.arange(50), 4), np.repeat(np.arange(50) % 2, 4)
    samples = resampled(groups, count=500)
    assert samples.shape == (500, 200)
    assert np.array_equal(samples[:, ::4], samples[:, 3::4])
    assert (samples.sum(1) == 200).all()
    means = mean_of(values, samples)
    assert means.std() == pytest.approx(0.5 / 50**0.5, rel=0.15)  # of 50 groups, not of 200 values
    low, high = percentiles(means)
    assert low < 0.5 < high
