"""Looking until sure: what its limits are, that images don't know of each other, and a slow loop as reference."""

import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from dcnlib import entropy, evaluate
from dcnlib.core.budget import make_plan
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.passes import GlobalMaxPool, PlainPasses, passes_through
from dcnlib.core.patches import extract_patches, replace_cells
from dcnlib.core.saliency import saliency_map
from dcnlib.core.selection import select_patches
from dcnlib.models.pretrained import load_pretrained
from dcnlib.models.specs import CoarseSpec, DCNSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.profiles import validation_set

ROUNDS = (1, 3, 6)


@pytest.fixture
def many():
    return torch.rand(12, 1, 11, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["quick top", "any top"])
def dcn(request, make_dcn):
    if request.param == "quick top":
        return make_dcn()
    torch.manual_seed(1)
    return make_dcn(top=nn.Sequential(nn.Conv2d(6, 8, 2), nn.Tanh(), GlobalMaxPool(), nn.Linear(8, 4)))


def middle(dcn, images) -> float:
    """A threshold that about half of the images are below at first sight."""
    return dcn.attend(images, k=0).entropy.median().item() + 1e-9


@pytest.mark.parametrize("anew", [False, True])
def test_it_is_the_slow_loop_image_by_image(dcn, many, anew):
    look = dcn.adaptive(many, threshold := middle(dcn, many), rounds=ROUNDS, anew=anew)
    for n, image in enumerate(many):
        refined = dcn.coarse(image[None])
        logits, used, before, ranked = dcn.top(refined), [], 0, None
        for after in ROUNDS:
            if entropy(logits) < threshold:
                break
            if ranked is None or anew:
                ranked = select_patches(saliency_map(dcn.top, refined), 35)[0].tolist()
                ranked = [cell for cell in ranked if cell not in used]
            new, ranked = ranked[: after - before], ranked[after - before :]
            for cell in new:
                index = torch.tensor([[cell]])
                patch = extract_patches(image[None], index, dcn.geometry, (5, 7))[0]
                refined = replace_cells(refined, index, dcn.fine(patch).reshape(1, 1, -1))
            used, before, logits = used + new, after, dcn.top(refined)
        assert look.patches_used[n] == before
        assert look.cells[n].tolist() == used + [-1] * (6 - len(used))
        torch.testing.assert_close(look.logits[n : n + 1], logits)
        torch.testing.assert_close(look.refined_map[n : n + 1], refined)
        torch.testing.assert_close(look.doubt[n : n + 1], entropy(logits))
    assert 1 < len(look.patches_used.unique()) <= 4


def test_threshold_0_is_max_k_and_infinity_is_k_0_to_the_bit(dcn, many):
    for images, model in ((many, dcn), (many.float(), dcn.float())):
        images = images.to(next(model.parameters()).dtype)
        for k in (1, 5, 16, 35):
            assert model.adaptive(images, 0, max_k=k).logits.equal(model(images, k=k))
            assert model.adaptive(images, math.inf, max_k=k).logits.equal(model(images, k=0))
        assert model.adaptive(images, 0.1, max_k=0).logits.equal(model(images, k=0))
        assert model.adaptive(images, 0, max_k=5).patches_used.tolist() == [5] * 12
        assert model.adaptive(images, math.inf).patches_used.tolist() == [0] * 12


def test_of_one_round_every_image_has_that_k_or_none(dcn, many):
    look = dcn.adaptive(many, middle(dcn, many), rounds=[4])
    sure = look.entropy < middle(dcn, many)
    assert 0 < sure.sum() < 12
    assert look.patches_used.equal(torch.where(sure, 0, 4))
    torch.testing.assert_close(look.logits, torch.where(sure[:, None], dcn(many, k=0), dcn(many, k=4)))
    # One so low that nobody is sure at first sight: k = 4 for all.
    assert dcn.adaptive(many, 1e-12, rounds=[4]).logits.equal(dcn(many, k=4))


def test_no_round_changes_what_another_k_would_have_answered(dcn, many):
    """With the first look's saliency, an image that had n patches has the answer of k = n."""
    look = dcn.adaptive(many, middle(dcn, many), rounds=ROUNDS)
    torch.testing.assert_close(look.logits, dcn(many, k=look.patches_used))
    answers = dcn.sweep(many, [0, *ROUNDS])
    for n, k in enumerate(look.patches_used.tolist()):
        torch.testing.assert_close(look.logits[n], answers[k][n])


@pytest.mark.parametrize("anew", [False, True])
def test_an_images_result_knows_nothing_of_its_batch_mates_nor_of_their_order(dcn, many, anew):
    options = {"entropy_below": middle(dcn, many), "rounds": ROUNDS, "anew": anew}
    whole = dcn.adaptive(many, **options)
    order = torch.randperm(12)
    permuted, alone = dcn.adaptive(many[order], **options), [dcn.adaptive(image[None], **options) for image in many]
    for field in fields(whole):
        value = getattr(whole, field.name)
        torch.testing.assert_close(getattr(permuted, field.name), value[order])
        torch.testing.assert_close(torch.cat([getattr(look, field.name) for look in alone]), value)


def test_images_that_are_sure_leave_the_batch_and_are_looked_at_no_more(dcn, many):
    seen = []
    dcn.fine.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    look = dcn.adaptive(many, middle(dcn, many), rounds=ROUNDS)
    assert sum(seen) == look.patches_used.sum()
    dcn.adaptive(many, math.inf)
    assert sum(seen) == look.patches_used.sum()


def test_the_intermediates_are_those_of_the_images_patches(dcn, many):
    look = dcn.adaptive(many, middle(dcn, many), rounds=ROUNDS)
    attention = dcn.attend(many, k=look.patches_used)
    for name in ("coarse_map", "coarse_logits", "entropy", "refined_map", "logits"):
        torch.testing.assert_close(getattr(look, name), getattr(attention, name))
    most = int(look.patches_used.max())
    for name in ("cells", "boxes", "patches", "fine_vectors"):
        torch.testing.assert_close(getattr(look, name)[:, :most], getattr(attention, name))
    looked = look.patches_used > 0
    torch.testing.assert_close(look.saliency[looked], attention.saliency[looked])
    assert not look.saliency[~looked].any()


def test_a_k_for_each_image_is_that_k_of_each(dcn, many):
    k = torch.arange(12) % 5
    logits, look = dcn(many, k=k), dcn.attend(many, k=k)
    for n in range(12):
        own = dcn.attend(many[n : n + 1], k=int(k[n]))
        torch.testing.assert_close(logits[n : n + 1], own.logits)
        for name in ("cells", "boxes", "patches", "fine_vectors"):
            behind = -1 if name == "cells" else 0
            torch.testing.assert_close(getattr(look, name)[n, : k[n]], getattr(own, name)[0])
            assert (getattr(look, name)[n, k[n] :] == behind).all()
        torch.testing.assert_close(look.refined_map[n : n + 1], own.refined_map)
    assert dcn(many, k=torch.full((12,), 3)).allclose(dcn(many, k=3))
    assert dcn(many, k=torch.zeros(12, dtype=torch.int32)).equal(dcn(many, k=0))


def test_the_loss_and_an_evaluation_take_a_k_for_each_image(dcn, many):
    labels, k = torch.arange(12) % 4, torch.arange(12) % 3
    loss, parts = dcn.loss(many, labels, k=k)
    own = [dcn.loss(many[n : n + 1], labels[n : n + 1], k=int(k[n]))[1] for n in range(12)]
    torch.testing.assert_close(parts["cross_entropy"], torch.stack([each["cross_entropy"] for each in own]).mean())
    hint = sum(int(k[n]) * each["hint"] for n, each in enumerate(own) if k[n]) / k.sum()
    torch.testing.assert_close(parts["hint"].double(), hint.double(), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in dcn.parameters())
    data = list(zip(many, labels, strict=True))
    expected = dcn(many, k=k).argmax(1)
    assert evaluate(dcn, data, k=k, batch_size=5).predictions.equal(expected)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (torch.tensor([1, 2]), ValueError, r"one for each of 12 images, got shape \(2,\)"),
        (torch.full((12,), 1.0), TypeError, "whole numbers, got torch.float32"),
        (torch.arange(12) - 1, ValueError, "must be 0..35, got -1"),
        (torch.arange(12) * 4, ValueError, "must be 0..35, got 44"),
    ],
)
def test_a_k_for_each_image_that_makes_no_sense_is_refused(make_dcn, many, k, error, message):
    with pytest.raises(error, match=message):
        make_dcn()(many, k=k)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"entropy_below": -0.1}, ValueError, r"must be 0 or more .*got -0\.1"),
        ({"entropy_below": math.nan}, ValueError, "got nan"),
        ({"entropy_below": "low"}, TypeError, "a number of nats, got 'low'"),
        ({"entropy_below": True}, TypeError, "got True"),
        ({}, ValueError, "no calibrated threshold: give entropy_below"),
        ({"entropy_below": 0.1, "max_k": 36}, ValueError, r"must be 0\.\.35, got 36"),
        ({"entropy_below": 0.1, "max_k": -1}, ValueError, "got -1"),
        ({"entropy_below": 0.1, "max_k": 2.0}, TypeError, "must be an int"),
        ({"entropy_below": 0.1, "rounds": [1, 2, 2]}, ValueError, r"grow from 1, got \(1, 2, 2\)"),
        ({"entropy_below": 0.1, "rounds": [0, 2]}, ValueError, "grow from 1"),
        ({"entropy_below": 0.1, "rounds": []}, ValueError, "grow from 1"),
        ({"entropy_below": 0.1, "rounds": 4}, TypeError, r"such as \(1, 2, 4\), got 4"),
        ({"entropy_below": 0.1, "rounds": "12"}, TypeError, "got '12'"),
        ({"entropy_below": 0.1, "rounds": [8, 40]}, ValueError, r"0\.\.35, got 40"),
        ({"entropy_below": 0.1, "rounds": [1, 2], "max_k": 4}, ValueError, "max_k = 4 and rounds"),
    ],
)
def test_plans_that_make_no_sense_are_refused(make_dcn, many, options, error, message):
    with pytest.raises(error, match=message):
        make_dcn().adaptive(many, **options)


def test_no_images_training_mode_and_models_without_patches_are_refused(make_dcn, many):
    with pytest.raises(ValueError, match="images must not be empty"):
        make_dcn().adaptive(many[:0], 0.1)
    with pytest.raises(ValueError, match="eval mode"):
        make_dcn().train().adaptive(many, 0.1)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got"):
        make_dcn().adaptive(many - 1, 0.1)
    coarse = CoarseSpec(task=HouseNumbersTask(scales=2)).build().eval()
    with pytest.raises(TypeError, match="chooses no patches"):
        coarse.adaptive(torch.rand(2, 1, 64, 128), 0.1)


def test_rounds_double_up_to_max_k():
    assert make_plan(0.1, None, None, False, 529).rounds == (1, 2, 4, 8, 16)
    assert make_plan(0.1, None, None, False, 9).rounds == (1, 2, 4, 8, 9)
    assert make_plan(0.1, 24, None, False, 529).rounds == (1, 2, 4, 8, 16, 24)
    assert make_plan(0.1, 1, None, False, 529).rounds == (1,)
    assert make_plan(0.1, 0, None, False, 529).rounds == ()


def test_a_calibrated_threshold_is_taken_if_none_is_given(make_dcn, many):
    dcn = make_dcn()
    dcn.entropy_below = middle(dcn, many)
    assert dcn.adaptive(many).logits.equal(dcn.adaptive(many, dcn.entropy_below).logits)
    assert dcn.adaptive(many, math.inf).patches_used.sum() == 0


@pytest.mark.parametrize("scales", [1, 2])
def test_sequences_and_several_scales_are_looked_at_until_the_whole_is_sure(scales):
    torch.manual_seed(0)
    model = DCNSpec(task=HouseNumbersTask(scales=scales)).build().eval()
    images = torch.rand(6, *model.image_shape)
    first = model.attend(images, k=0)
    threshold = first.entropy.median().item() + 1e-5  # summed over positions
    look = model.adaptive(images, threshold, max_k=4)
    assert look.patches_used[first.entropy < threshold].eq(0).all()
    assert look.patches_used[first.entropy > threshold].gt(0).all()
    torch.testing.assert_close(look.logits, model(images, k=look.patches_used), rtol=1e-4, atol=1e-5)
    attention = model.attend(images, k=look.patches_used)
    assert look.boxes[:, : attention.boxes.shape[1]].equal(attention.boxes)
    assert isinstance(model, MultiScaleNetwork) is (scales > 1)


@pytest.mark.parametrize("quick", [True, False])
def test_passes_of_the_refined_map_are_those_of_a_map_that_was_always_so(make_dcn, images, quick):
    dcn = make_dcn()
    coarse_map, cells = dcn.coarse(images), torch.tensor([[3, 9], [0, 1], [30, 2], [17, 16]])
    vectors = torch.rand(4, 2, 6, dtype=torch.float64)
    make = (lambda c: passes_through(dcn.top, c)) if quick else (lambda c: PlainPasses(dcn.top, c))
    passes, chosen = make(coarse_map), torch.tensor([2, 0])
    passes.attention()
    onward = passes.with_cells(cells, vectors).take(chosen)
    expected = make(replace_cells(coarse_map, cells, vectors)[chosen])
    torch.testing.assert_close(onward.prediction(), expected.prediction())
    for one, other in zip(onward.attention(), expected.attention(), strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(passes.take(chosen).attention(), make(coarse_map[chosen]).attention(), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(passes.prediction(), dcn.top(coarse_map))


def test_the_shipped_network_saves_work_and_hardly_errs_more():
    """On 300 validation images: fewer than half of the patches of k = 8, at most three more errors."""
    dcn, data = load_pretrained("dcn-k8-hints"), validation_set("fast")
    images, labels = data[range(300)]
    with torch.no_grad():
        look, usual = dcn.adaptive(images, 0.05, max_k=8), dcn(images, k=8)
    assert look.patches_used.double().mean() < 4
    assert (look.logits.argmax(1) != labels).sum() <= (usual.argmax(1) != labels).sum() + 3
    torch.testing.assert_close(look.logits, dcn(images, k=look.patches_used), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "policy",
    [
        lambda first: first.saliency > first.saliency.mean(),
        lambda first: (first.saliency * 1e6).long(),
        lambda first: first.saliency.masked_fill(torch.arange(35).view(5, 7) > 3, -math.inf),
        lambda first: first.saliency * math.nan,
    ],
    ids=["yes or no", "whole numbers", "-infinity", "NaN"],
)
def test_no_cell_is_looked_at_twice_whatever_it_scores(make_dcn, images, policy):
    look = make_dcn().adaptive(images, 0.0, max_k=8, rounds=(1, 3, 8), anew=True, policy=policy)
    assert all(len(set(cells)) == 8 for cells in look.cells.tolist())


def test_a_policy_may_be_put_in_by_its_name(make_dcn, images):
    dcn = make_dcn()
    dcn.policy = "center"
    assert torch.equal(dcn.attend(images).cells, make_dcn(policy="center").attend(images).cells)
