"""The soft-attention control: what its weights mean, and that only they tell it from the fine model."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib import CoarseLayers, FineLayers, SingleCapacityNetwork, TopLayers, TrainingSettings, fit
from dcnlib.core.geometry import receptive_field
from dcnlib.core.passes import GlobalMaxPool
from dcnlib.models.cluttered_mnist import ScoreLayers, conv_norm
from dcnlib.rivals.soft_attention import SoftAttentionNetwork


def make_soft(**options) -> SoftAttentionNetwork:
    """Images of 11x15 pixels, 5x7 scores, a fine map of 4x6 cells."""
    boxes = {
        "coarse": nn.Sequential(conv_norm(1, 6, 3, stride=2), nn.ReLU()),
        "scorer": ScoreLayers(in_channels=6, hidden=5),
        "fine": nn.Sequential(nn.Conv2d(1, 6, 4, stride=2), nn.ReLU()),
        "top": nn.Sequential(conv_norm(6, 8, 2), nn.ReLU(), GlobalMaxPool(), nn.Linear(8, 4)),
    }
    return SoftAttentionNetwork(**boxes | {"image_shape": (1, 11, 15)} | options).double().eval()


class GivenScores(nn.Module):
    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, coarse_map: Tensor) -> Tensor:
        return self.scores.to(coarse_map.dtype).expand(len(coarse_map), -1, -1)


@pytest.mark.parametrize("training", [False, True])
def test_uniform_attention_is_the_fine_model_exactly(images, labels, training):
    soft = make_soft(scorer=GivenScores(torch.full((5, 7), 0.3))).train(training)
    fine_model = SingleCapacityNetwork(layers=soft.fine, top=soft.top).train(training)
    assert torch.equal(soft(images), fine_model(images))
    assert torch.equal(soft.loss(images, labels)[0], fine_model.loss(images, labels)[0])


def test_weights_are_a_distribution_times_the_number_of_cells(images):
    soft = make_soft()
    look = soft.attend(images)
    assert look.weights.shape == (4, 4, 6)
    assert (look.weights > 0).all()
    torch.testing.assert_close(look.weights.sum((1, 2)), torch.full((4,), 24, dtype=torch.float64))
    scores = soft.scorer(soft.coarse(images))[:, :4, :6]
    torch.testing.assert_close(
        (look.weights[:, 1, 2] / look.weights[:, 3, 0]).log(), (scores[:, 1, 2] - scores[:, 3, 0])
    )
    assert torch.equal(look.logits, soft(images))
    assert look.boxes.shape == (4, 0, 4)
    with pytest.warns(DeprecationWarning, match=r"soft\.attend"):
        assert torch.equal(soft.look(images).weights, look.weights)


def test_attention_on_one_cell_leaves_its_fine_vector_alone(images):
    scores = torch.full((5, 7), -1e4)
    scores[2, 3] = 0
    soft = make_soft(scorer=GivenScores(scores))
    alone = torch.zeros(4, 6, 4, 6, dtype=torch.float64)
    alone[:, :, 2, 3] = 24 * soft.fine(images)[:, :, 2, 3]
    torch.testing.assert_close(soft(images), soft.top(alone))


def test_scores_beyond_the_fine_map_have_no_say(images):
    scores = torch.rand(5, 7)
    louder = F.pad(scores[:4, :6], (0, 1, 0, 1), value=50.0)
    soft = make_soft(scorer=GivenScores(scores))
    expected = soft(images)
    soft.scorer.scores = louder
    assert torch.equal(soft(images), expected)


def test_the_papers_layers_score_and_see_the_same_places():
    """Cell for cell the same stride; the middles of what the two see lie less than half a stride apart."""
    coarse, fine = receptive_field(CoarseLayers()), receptive_field(FineLayers())
    assert coarse.stride == fine.stride == 4
    assert abs(coarse.offset + coarse.size / 2 - (fine.offset + fine.size / 2)) == 1.5
    soft = SoftAttentionNetwork(
        coarse=CoarseLayers(), scorer=ScoreLayers(), fine=FineLayers(), top=TopLayers(), image_shape=(1, 100, 100)
    ).eval()
    assert soft.attend(torch.rand(2, 1, 100, 100)).weights.shape == (2, 22, 22)


def test_the_loss_reaches_coarse_layers_scorer_fine_and_top_layers(images, labels):
    soft = make_soft().train()
    soft.loss(images, labels)[0].backward()
    for name, parameter in soft.named_parameters():
        assert parameter.grad.abs().max() > 1e-9, name


def test_permuting_the_batch_permutes_the_output(images):
    soft, order = make_soft(), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(soft(images[order]), soft(images)[order])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": nn.Conv2d(6, 1, 1)}, r"score at least the 4x6 cells .*got \(1, 1, 5, 7\)"),
        ({"fine": nn.Conv2d(1, 6, 2)}, r"score at least the 10x14 cells .*got \(1, 5, 7\)"),
        ({"fine": nn.Conv2d(1, 7, 4, stride=2)}, "top layers don't take"),
        ({"coarse": nn.Conv2d(1, 5, 3)}, "scorer don't take"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_soft(**changes)


def test_a_tiny_task_is_learned(quadrants):
    model = make_soft().float()
    settings = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.01, device="cpu")
    curve = fit(model, *quadrants, settings)["curves"]["train_loss"]
    assert curve[-1] < curve[0] / 2
