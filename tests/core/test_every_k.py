"""Training for every budget: a share of the loss for the first prediction, and a k that is drawn at each step."""

import pytest
import torch
from torch.nn import functional as F

from dcnlib.core.every_k import draw_k
from dcnlib.core.passes import PlainPasses
from dcnlib.models.specs import DCNSpec, spec_from_record
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork


def test_the_loss_is_the_mixture_of_both_predictions(make_dcn, images, labels):
    dcn, usual = make_dcn(first_share=0.25), make_dcn()
    loss, parts = dcn.loss(images, labels)
    refined, usual_parts = usual.loss(images, labels)
    first = F.cross_entropy(dcn.attend(images).coarse_logits, labels)
    torch.testing.assert_close(loss, 0.75 * refined + 0.25 * first)
    torch.testing.assert_close(parts, usual_parts | {"first_cross_entropy": first.detach()})


def test_the_first_predictions_share_moves_coarse_and_top_layers_and_no_fine_ones(make_dcn, images, labels):
    """In training mode, to the gradient of the two cross-entropies written out with one norm's statistics each."""
    dcn, other = make_dcn(first_share=0.25, hint_weight=0.0), make_dcn(hint_weight=0.0)
    dcn.train()
    other.train()
    dcn.loss(images, labels)[0].backward()
    refined, _ = other.loss(images, labels)
    coarse_map = other.coarse(images)
    first = F.cross_entropy(PlainPasses(other.top, coarse_map).refined(torch.zeros(4, 0).long(), None), labels)
    (0.75 * refined + 0.25 * first).backward()
    for (name, one), two in zip(dcn.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=lambda told, name=name: f"{name}: {told}")
    top_norms = [[part for part in model.top.modules() if hasattr(part, "running_mean")] for model in (dcn, other)]
    for one, two in zip(*top_norms, strict=True):
        assert one.num_batches_tracked == two.num_batches_tracked == 2  # both maps move the running statistics
        torch.testing.assert_close(one.running_mean, two.running_mean)


@pytest.mark.parametrize("how", ["uniform", "reciprocal"])
def test_k_is_drawn_from_its_distribution(how):
    draws = torch.tensor([draw_k(6, how) for _ in range(6000)])
    weights = torch.ones(6) if how == "uniform" else 1 / torch.arange(1.0, 7)
    expected = 6000 * weights / weights.sum()
    counts = torch.bincount(draws, minlength=7)
    assert counts[0] == 0
    assert ((counts[1:] - expected).abs() < 5 * expected.sqrt()).all()  # five standard deviations at most
    assert draw_k(6, "fixed") == 6


def test_a_step_takes_the_k_that_the_generator_draws_and_only_in_training(make_dcn, images, labels):
    dcn, usual = make_dcn(k=20, training_k="uniform").train(), make_dcn(k=20).train()
    seen = set()
    for seed in range(4):
        torch.manual_seed(seed)
        loss, _ = dcn.loss(images, labels)
        torch.manual_seed(seed)
        seen.add(k := draw_k(20, "uniform"))
        torch.testing.assert_close(loss, usual.loss(images, labels, k)[0], rtol=0, atol=0)
    assert len(seen) > 1
    torch.testing.assert_close(dcn.loss(images, labels, 3)[0], usual.loss(images, labels, 3)[0], rtol=0, atol=0)
    dcn.eval(), usual.eval()
    assert dcn(images).equal(usual(images))
    assert dcn.loss(images, labels)[0] == usual.loss(images, labels)[0]


def test_a_record_names_what_is_not_the_papers_and_is_read_back():
    told = DCNSpec(k=16, first_share=0.5, training_k="uniform").describe()
    assert (told["first_share"], told["training_k"]) == (0.5, "uniform")
    assert spec_from_record(told) == DCNSpec(k=16, first_share=0.5, training_k="uniform")
    assert not {"first_share", "training_k"} & DCNSpec().describe().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_share": 1.0}, "first_share.* below 1, got 1.0"),
        ({"first_share": -0.1}, "first_share.* at least 0"),
        ({"first_share": float("nan")}, "first_share.* got nan"),
        ({"training_k": "log"}, "training_k must be one of .*got 'log'"),
        ({"training_k": "uniform", "k": 0}, r"draws from 1\.\.k, so k must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(make_dcn, options, message):
    with pytest.raises(ValueError, match=message):
        make_dcn(**options)


def test_a_rival_whose_loss_has_neither_refuses_both(make_dcn):
    dcn = make_dcn()
    with pytest.raises(ValueError, match="for a DynamicCapacityNetwork"):
        PerturbedTopKNetwork(coarse=dcn.coarse, fine=dcn.fine, top=dcn.top, scorer=dcn.top, first_share=0.5)
