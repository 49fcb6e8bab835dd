"""The identities that make a Dynamic Capacity Network one, and trios of every kind."""

import copy
from dataclasses import FrozenInstanceError
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from needs import needs_compiler, needs_cuda
from torch import Tensor, nn
from torch.nn import functional as F

from dcnlib import DynamicCapacityNetwork, Geometry, SingleCapacityNetwork, entropy, saliency_map, select_patches
from dcnlib.core.hints import Hint, hint_between, vector_curves
from dcnlib.core.passes import GlobalMaxPool, QuickPasses
from dcnlib.core.policies import POLICIES, FirstLook

ALL_CELLS = 35  # of the small DCN: 5 rows of 7


def calls_of(module: nn.Module) -> list[int]:
    """A list that grows by the batch size at every call of the module."""
    sizes: list[int] = []
    module.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    return sizes


def cut_by_hand(image: Tensor, cell: int, geometry: Geometry, columns: int) -> Tensor:
    """One patch (C, p, p) of one image (C, H, W), by slicing an image with a wide black frame."""
    frame = 100
    top = cell // columns * geometry.stride + geometry.offset + frame
    left = cell % columns * geometry.stride + geometry.offset + frame
    return F.pad(image, (frame,) * 4)[:, top : top + geometry.size, left : left + geometry.size]


def refine_slowly(dcn: DynamicCapacityNetwork, image: Tensor, cells: list[int]) -> Tensor:
    """The refined map (1, D, s1, s2) of one image (C, H, W), one cell after another."""
    refined = dcn.coarse(image[None]).clone()
    columns = refined.shape[3]
    for cell in cells:
        patch = cut_by_hand(image, cell, dcn.geometry, columns)
        refined[0, :, cell // columns, cell % columns] = dcn.fine(patch[None]).flatten()
    return refined


def choose_slowly(dcn: DynamicCapacityNetwork, image: Tensor, k: int) -> list[int]:
    """The k most salient cells of one image, written down anew from the paper's section 3.1."""
    coarse_map = dcn.coarse(image[None]).detach().requires_grad_()
    o = dcn.top(coarse_map).softmax(1)
    (-(o * o.log()).sum()).backward()
    saliency = (coarse_map.grad[0] ** 2).sum(0).sqrt().flatten().tolist()
    return sorted(range(len(saliency)), key=lambda cell: (-saliency[cell], cell))[:k]


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


# The method's identities


@pytest.mark.parametrize("training", [False, True])
def test_no_patches_give_the_coarse_model_exactly_and_never_call_the_fine_layers(make_dcn, images, labels, training):
    dcn = make_dcn(k=0).train(training)
    calls = calls_of(dcn.fine)
    coarse_model = SingleCapacityNetwork(layers=dcn.coarse, top=dcn.top).train(training)
    assert torch.equal(dcn(images), coarse_model(images))
    assert torch.equal(dcn.loss(images, labels)[0], coarse_model.loss(images, labels)[0])
    assert torch.equal(dcn.attend(images).logits, coarse_model(images))
    assert calls == []


def test_all_patches_give_the_top_on_the_fine_vectors_of_all_529_patches(paper_dcn):
    """Reference: each patch cut by hand from an image padded by 1 pixel before and 2 after."""
    image = torch.rand(1, 100, 100, dtype=torch.float64)
    padded = F.pad(image, (1, 2, 1, 2))
    with torch.no_grad():
        fine_map = torch.empty(1, 24, 23, 23, dtype=torch.float64)
        for i in range(23):
            for j in range(23):
                patch = padded[None, :, 4 * i : 4 * i + 14, 4 * j : 4 * j + 14]
                fine_map[0, :, i, j] = paper_dcn.fine(patch).flatten()
        torch.testing.assert_close(paper_dcn(image[None], k=529), paper_dcn.top(fine_map))


def test_8_patches_of_the_papers_network_agree_with_a_slow_loop(paper_dcn):
    images = torch.rand(2, 1, 100, 100, dtype=torch.float64)
    look = paper_dcn.attend(images)
    for image, cells, logits in zip(images, look.cells.tolist(), look.logits, strict=True):
        assert cells == choose_slowly(paper_dcn, image, 8)
        torch.testing.assert_close(paper_dcn.top(refine_slowly(paper_dcn, image, cells))[0], logits)


@pytest.mark.parametrize("policy", ["entropy-gradient", "center", "coarse-norm"])
def test_permuting_the_batch_permutes_the_output(make_dcn, images, policy):
    dcn, order = make_dcn(policy=policy), torch.tensor([2, 0, 3, 1])
    look, permuted = dcn.attend(images), dcn.attend(images[order])
    assert torch.equal(permuted.cells, look.cells[order])
    torch.testing.assert_close(permuted.logits, look.logits[order])


def test_the_saliency_of_an_image_does_not_depend_on_its_batch_mates(make_dcn, images):
    dcn = make_dcn()
    look, alone = dcn.attend(images), dcn.attend(images[1:2])
    assert look.saliency[1].max() > 0
    torch.testing.assert_close(alone.saliency[0], look.saliency[1])
    assert torch.equal(alone.cells[0], look.cells[1])


def test_in_training_too_the_top_layers_do_not_couple_the_cells_chosen_for_a_batch(make_dcn, images):
    """The coarse layers' own batch norm does couple images in training, so it is kept out of this."""
    dcn = make_dcn().train()
    dcn.coarse.eval()
    expected = [choose_slowly(make_dcn(), image, 3) for image in images]
    assert dcn.attend(images).cells.tolist() == expected


def test_a_training_step_updates_the_top_layers_statistics_once_and_by_the_refined_map(make_dcn, images, labels):
    dcn = make_dcn().train()
    norm = dcn.top[0][1]
    before = norm.running_mean.clone()
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].detach()))
    dcn.loss(images, labels)
    assert norm.num_batches_tracked == 1
    expected = (1 - norm.momentum) * before + norm.momentum * seen[-1].mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


def test_pixels_outside_a_patch_never_change_its_fine_vector(make_dcn, images):
    dcn = make_dcn()
    cells = torch.tensor([[0, 17, 34]]).expand(4, -1)
    fine_vectors = dcn.attend(images, cells=cells).fine_vectors
    for n, cell in enumerate((0, 17, 34)):
        top, left, bottom, right = dcn.geometry.boxes(torch.tensor(cell), 7).clamp(min=0).tolist()
        changed = 1 - images
        changed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right]
        assert torch.equal(dcn.attend(changed, cells=cells).fine_vectors[:, n], fine_vectors[:, n])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("k", [1, 3, ALL_CELLS])
def test_the_fine_layers_see_all_patches_in_one_batch(make_dcn, images, labels, k, training):
    dcn = make_dcn(k=k).train(training)
    calls = calls_of(dcn.fine)
    dcn(images)
    dcn.loss(images, labels)
    assert calls == [4 * k, 4 * k]


@pytest.mark.parametrize("training", [False, True])
def test_k_can_be_changed_per_call_in_training_and_evaluation(make_dcn, images, labels, training):
    dcn = make_dcn(k=3).train(training)
    calls = calls_of(dcn.fine)
    for k in (ALL_CELLS, 1, 0, None):
        dcn(images, k=k)
        dcn.attend(images, k=k)
        dcn.loss(images, labels, k=k)
    assert calls == [4 * ALL_CELLS] * 3 + [4] * 3 + [12] * 3
    assert dcn.k == 3


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_answer_is_the_same(make_dcn, images, context):
    dcn = make_dcn()
    expected, look = dcn(images), dcn.attend(images)
    with context():
        assert torch.equal(dcn(images), expected)
        again = dcn.attend(images.clone())
    for name, value in vars(look).items():
        assert torch.equal(getattr(again, name), value), name


def test_attend_returns_every_intermediate_in_its_documented_shape(make_dcn, images):
    look = make_dcn().attend(images)
    assert {name: tuple(value.shape) for name, value in vars(look).items()} == {
        "coarse_map": (4, 6, 5, 7),
        "coarse_logits": (4, 4),
        "entropy": (4,),
        "saliency": (4, 5, 7),
        "cells": (4, 3),
        "boxes": (4, 3, 4),
        "patches": (4, 3, 1, 5, 5),
        "fine_vectors": (4, 3, 6),
        "refined_map": (4, 6, 5, 7),
        "logits": (4, 4),
    }
    with pytest.raises(FrozenInstanceError):
        look.logits = None


def test_attend_agrees_with_forward_and_with_its_own_parts(make_dcn, images):
    dcn = make_dcn()
    look = dcn.attend(images)
    assert torch.equal(look.logits, dcn(images))
    assert torch.equal(look.coarse_logits, dcn(images, k=0))
    assert torch.equal(look.entropy, entropy(look.coarse_logits))
    torch.testing.assert_close(look.saliency, saliency_map(dcn.top, look.coarse_map))
    torch.testing.assert_close(look.logits, dcn.top(look.refined_map))
    framed = F.pad(images, (9,) * 4)
    for image, patches, boxes in zip(framed, look.patches, (look.boxes + 9).tolist(), strict=True):
        for patch, (top, left, bottom, right) in zip(patches, boxes, strict=True):
            assert torch.equal(patch, image[:, top:bottom, left:right])


# The refined map


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_given_cells_are_refined_in_their_order_whatever_the_memory_format(make_dcn, images, memory_format):
    dcn = make_dcn().to(memory_format=memory_format)
    cells = torch.tensor([[34, 0], [6, 7], [28, 13], [1, 20]])
    look = dcn.attend(images.contiguous(memory_format=memory_format), cells=cells)
    assert torch.equal(look.cells, cells)
    for b, image in enumerate(images):
        torch.testing.assert_close(look.refined_map[b], refine_slowly(dcn, image, cells[b].tolist())[0])


def test_refining_the_map_of_a_look_gives_what_the_same_cells_give(make_dcn, images):
    dcn, cells = make_dcn(), torch.tensor([[34, 0], [6, 7], [28, 13], [1, 20]])
    coarse_map = dcn.attend(images).coarse_map
    torch.testing.assert_close(dcn.refine(images, coarse_map, cells), dcn(images, cells=cells))
    torch.testing.assert_close(dcn.refine(images, coarse_map, cells[:, :0]), dcn(images, k=0))


def test_cells_and_maps_of_no_such_images_cannot_be_refined(make_dcn, images):
    dcn = make_dcn()
    look = dcn.adaptive(images, entropy_below=0.0, max_k=2)
    none = dcn.attend(images, k=torch.tensor([2, 0, 1, 2]))  # -1 stands behind an image's last patch
    for cells, message in (
        (none.cells, r"cells must be 0\.\.34, got -1\.\."),
        (look.cells + ALL_CELLS, r"cells must be 0\.\.34"),
        (look.cells[:2], r"int64 of shape \(4, k\)"),
        (look.cells.int(), r"int64 of shape \(4, k\)"),
    ):
        with pytest.raises(ValueError, match=message):
            dcn.refine(images, look.coarse_map, cells)
        with pytest.raises(ValueError, match=message):
            dcn(images, cells=cells)
    with pytest.raises(TypeError, match=r"cells must be a torch\.Tensor, got list"):
        dcn.refine(images, look.coarse_map, look.cells.tolist())
    with pytest.raises(ValueError, match="4 images need as many coarse maps"):
        dcn.refine(images, look.coarse_map[:2], look.cells)
    with pytest.raises(ValueError, match=r"a map \(B, D, s1, s2\)"):
        dcn.refine(images, look.coarse_map[0], look.cells)
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 11, 15\)"):
        dcn.refine(images[..., :14], look.coarse_map, look.cells)


# Gradients


def test_cross_entropy_moves_coarse_vectors_at_cells_not_chosen_and_fine_vectors_at_chosen_ones(
    make_dcn, images, labels
):
    """A linear top, so that a gradient reaches every cell that is not cut off."""
    dcn = make_dcn(top=nn.Sequential(nn.Flatten(), nn.Linear(6 * ALL_CELLS, 4)), hint_weight=0.0).train()
    outputs: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(_module, _inputs, output):
            output.retain_grad()
            outputs[name] = output

        return hook

    dcn.coarse.register_forward_hook(keep("coarse"))
    dcn.fine.register_forward_hook(keep("fine"))
    cells = copy.deepcopy(dcn).attend(images).cells
    dcn.loss(images, labels)[0].backward()
    chosen = torch.zeros(4, ALL_CELLS, dtype=torch.bool).scatter(1, cells, True).reshape(4, 5, 7)
    reached = outputs["coarse"].grad.norm(dim=1) > 0
    assert torch.equal(reached, ~chosen)
    assert (outputs["fine"].grad.norm(dim=1) > 0).all()


@pytest.mark.parametrize("hint", get_args(Hint))
def test_hints_move_the_coarse_layers_only(make_dcn, images, labels, hint):
    """In training mode: with and without hints, fine and top gradients are equal bit by bit, coarse ones differ."""
    with_hints, without = (
        gradients(dcn, dcn.loss(images, labels)[0])
        for dcn in (make_dcn(hint_weight=weight, hint=hint).train() for weight in (10.0, 0.0))
    )
    for name in with_hints:
        assert torch.equal(with_hints[name], without[name]) == (not name.startswith("coarse.")), name


@pytest.mark.parametrize("hint", get_args(Hint))
def test_a_loss_of_nothing_but_hints_leaves_fine_and_top_layers_without_gradient(make_dcn, images, labels, hint):
    dcn = make_dcn(hint_weight=1.0, objective="convex", hint=hint).train()
    for name, gradient in gradients(dcn, dcn.loss(images, labels)[0]).items():
        assert bool(gradient.any()) == name.startswith("coarse."), name


def test_the_loss_is_cross_entropy_plus_the_mean_squared_distance_of_chosen_vectors(make_dcn, images, labels):
    dcn = make_dcn(hint_weight=0.3)
    distances = []
    for image in images:
        coarse_map = dcn.coarse(image[None])
        cells = choose_slowly(dcn, image, 3)
        refined = refine_slowly(dcn, image, cells)
        distances += [((coarse_map - refined)[0, :, cell // 7, cell % 7] ** 2).sum() for cell in cells]
    hint = torch.stack(distances).mean()
    cross_entropy = F.cross_entropy(dcn(images), labels)
    loss, parts = dcn.loss(images, labels)
    torch.testing.assert_close(loss, cross_entropy + 0.3 * hint, check_dtype=False)
    torch.testing.assert_close(parts["cross_entropy"], cross_entropy)
    torch.testing.assert_close(parts["hint"], hint, check_dtype=False)
    assert not any(part.requires_grad for part in parts.values())


def test_relative_hints_are_the_same_distance_by_the_fine_vectors_squared_length(make_dcn, images, labels):
    parts = {hint: make_dcn(hint=hint).loss(images, labels)[1]["hint"] for hint in get_args(Hint)}
    fine = make_dcn().attend(images).fine_vectors
    torch.testing.assert_close(parts["relative"], parts["distance"] / fine.float().square().sum(-1).mean())


def test_relative_hints_are_not_met_by_shrinking():
    """All vectors a tenth as long: a hundredth of the distance, the same relative hint."""
    coarse, fine = (torch.randn(4, 3, 6) for _ in range(2))
    coarse.requires_grad_()
    for hint, factor in {"distance": 0.01, "relative": 1.0}.items():
        whole, shrunk = (hint_between(scale * coarse, scale * fine, hint) for scale in (1.0, 0.1))
        torch.testing.assert_close(shrunk, factor * whole)
    assert hint_between(coarse, torch.zeros_like(fine), "relative").isfinite()


def test_a_loss_tells_how_long_vectors_are_and_how_far_apart():
    """A coarse and a fine vector of lengths 5 and 13 at a right angle, and a pair that is the same, of length 1."""
    coarse = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]], requires_grad=True)
    fine = torch.tensor([[[-10.4, 7.8], [1.0, 0.0]]], requires_grad=True)
    curves = vector_curves(coarse, fine)
    told = {"coarse_length": 3.0, "fine_length": 7.0, "distance": 194**0.5 / 2, "cosine": 0.5}
    assert {name: value.item() for name, value in curves.items()} == pytest.approx(told)
    assert not any(value.requires_grad for value in curves.values())


def test_an_unknown_hint_is_refused(make_dcn):
    with pytest.raises(ValueError, match=r"hint must be one of \('distance', 'relative'\), got 'near'"):
        make_dcn(hint="near")


def test_the_convex_objective_has_the_direction_of_a_sum(make_dcn, images, labels):
    """(1 - w) a + w b is (1 - w) times a + w / (1 - w) b, for every parameter."""
    w = 0.25
    convex, total = (
        gradients(dcn, dcn.loss(images, labels)[0])
        for dcn in (
            make_dcn(hint_weight=w, objective="convex").train(),
            make_dcn(hint_weight=w / (1 - w)).train(),
        )
    )
    for name in convex:
        torch.testing.assert_close(convex[name], (1 - w) * total[name], rtol=1e-6, atol=1e-12)


def test_no_gradient_flows_through_the_choice_of_cells(make_dcn, images, labels):
    """The loss of cells chosen by the policy has the gradients of the same cells given from outside."""
    dcn = make_dcn(hint_weight=0.0)
    cells = dcn.attend(images).cells
    chosen = gradients(dcn, dcn.loss(images, labels)[0])
    given_cells = gradients(dcn, F.cross_entropy(dcn(images, cells=cells), labels))
    assert all(torch.equal(chosen[name], given_cells[name]) for name in chosen)


# Policies


TARGETS = torch.tensor([5, 0, 34, 20])


def one_hot(_first: FirstLook) -> Tensor:
    return F.one_hot(TARGETS, ALL_CELLS).reshape(4, 5, 7)


def test_a_policy_is_any_function_of_the_first_look(make_dcn, images):
    """Which knows what `attend` tells of it."""
    dcn, expected = make_dcn(k=1), make_dcn().attend(images)

    def policy(first):
        assert first.top is dcn.top
        assert torch.equal(first.images, images)
        for name in ("coarse_map", "coarse_logits", "entropy", "saliency"):
            assert torch.equal(getattr(first, name), getattr(expected, name)), name
        return one_hot(first)

    dcn.policy = policy
    assert dcn.attend(images).cells[:, 0].tolist() == TARGETS.tolist()


def test_the_first_look_predicts_once_and_only_if_it_is_asked_to(make_dcn, images, monkeypatch):
    passes = []
    first_pass = QuickPasses._first
    monkeypatch.setattr(QuickPasses, "_first", lambda self: passes.append(self) or first_pass(self))
    dcn = make_dcn()
    for policy, count in (
        ("coarse-norm", 0),
        ("entropy-gradient", 1),
        (lambda first: first.saliency + first.saliency * first.entropy[:, None, None], 1),
    ):
        passes.clear()
        dcn(images, policy=policy)
        assert len(passes) == count


def test_the_policy_of_a_call_is_as_good_as_the_models_own(make_dcn, images):
    dcn = make_dcn()
    own = dcn.policy
    for policy in ("center", "coarse-norm", "class-score-gradient", one_hot):
        expected = make_dcn(policy=policy)
        assert torch.equal(dcn(images, policy=policy), expected(images))
        assert torch.equal(dcn.attend(images, 2, policy=policy).cells, expected.attend(images, 2).cells)
    assert dcn.policy is own
    with pytest.raises(ValueError, match=r"one of entropy-gradient.*got 'best'"):
        dcn(images, policy="best")
    with pytest.raises(ValueError, match="cells or a policy, not both"):
        dcn(images, cells=torch.zeros(4, 1, dtype=torch.int64), policy="center")
    with pytest.raises(ValueError, match=r"must score \(5, 7\) cells, got \(4, 7, 5\)"):
        dcn(images, policy=lambda first: first.saliency.mT)


def test_a_policy_without_gradients_of_its_own_leaves_the_network_its(make_dcn, images, labels):
    """The convolution that both passes start from is not the policy's."""
    quiet = torch.no_grad()(lambda first: first.saliency)
    plain, other = make_dcn().train(), make_dcn(policy=quiet).train()
    expected = gradients(plain, plain.loss(images, labels)[0])
    assert all(
        torch.equal(value, expected[name]) for name, value in gradients(other, other.loss(images, labels)[0]).items()
    )


class OldScores(nn.Module):
    """A policy as they were, with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, model: nn.Module, given_images: Tensor, coarse_map: Tensor) -> Tensor:
        assert torch.equal(coarse_map, model.coarse(given_images))
        return self.weight * one_hot(coarse_map)


@pytest.mark.parametrize("old", [lambda model, images, coarse_map: OldScores()(model, images, coarse_map), OldScores()])
def test_a_policy_of_model_images_and_coarse_map_still_works_with_a_warning(make_dcn, images, old):
    with pytest.warns(DeprecationWarning, match=r"def policy\(first\)"):
        dcn = make_dcn(k=1, policy=old)
    assert copy.deepcopy(dcn).attend(images).cells[:, 0].tolist() == TARGETS.tolist()
    assert len(list(dcn.parameters())) == len(list(make_dcn().parameters())) + isinstance(old, nn.Module)
    with pytest.warns(DeprecationWarning, match=r"def policy\(first\)"):
        assert torch.equal(make_dcn()(images, k=1, policy=old), dcn(images))


# Many k at once


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("policy", [*(name for name in POLICIES if name != "random"), one_hot])
def test_a_sweep_gives_what_each_k_gives_for_one_pass_through_the_fine_layers(make_dcn, images, policy, plain):
    dcn = make_dcn()
    if plain:
        dcn.top.register_forward_hook(lambda *_: None)  # a watched top takes no shortcuts
    calls, ks = calls_of(dcn.fine), (4, 0, 9, 1, 4)
    found = dcn.sweep(images, ks, policy=policy)
    assert calls == [9 * 4]
    assert list(found) == [4, 0, 9, 1]
    for k, logits in found.items():
        torch.testing.assert_close(logits, dcn(images, k=k, policy=policy))


def test_a_sweep_over_given_cells_takes_the_first_of_them(make_dcn, images):
    dcn, cells = make_dcn(), torch.rand(4, ALL_CELLS).argsort(1)[:, :6]
    calls = calls_of(dcn.fine)
    for k, logits in dcn.sweep(images, range(4), cells=cells).items():
        torch.testing.assert_close(logits, dcn(images, cells=cells[:, :k]))
    assert calls[0] == 3 * 4


def test_a_sweep_of_random_cells_draws_once(make_dcn, images):
    dcn = make_dcn()
    torch.manual_seed(1)
    found = dcn.sweep(images, (2, 5), policy="random")
    torch.manual_seed(1)
    cells = dcn.attend(images, 5, policy="random").cells
    for k, logits in found.items():
        torch.testing.assert_close(logits, dcn(images, cells=cells[:, :k]))


@pytest.mark.parametrize(
    ("ks", "options", "error", "message"),
    [
        ((), {}, ValueError, "at least one number of patches"),
        ((1, 36), {}, ValueError, r"0\.\.35, got 36"),
        ((1, 2.0), {}, TypeError, r"int, got 2\.0"),
        ((1, 3), {"cells": torch.zeros(4, 2, dtype=torch.int64)}, ValueError, r"0\.\.2, got 3"),
        ((1,), {"cells": torch.zeros(2, 2, dtype=torch.int64)}, ValueError, r"\(4, k\)"),
    ],
)
def test_what_cannot_be_swept_is_refused(make_dcn, images, ks, options, error, message):
    with pytest.raises(error, match=message):
        make_dcn().sweep(images, ks, **options)


@pytest.mark.parametrize("policy", ["entropy-gradient", "random", "center", "coarse-norm"])
def test_every_policy_trains(make_dcn, images, labels, policy):
    dcn = make_dcn(policy=policy).train()
    assert all(gradient.isfinite().all() for gradient in gradients(dcn, dcn.loss(images, labels)[0]).values())


# Trios of every kind


@given(
    channels=st.sampled_from([1, 3]),
    depth=st.integers(1, 5),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    extension=st.integers(0, 4),
    height=st.integers(9, 20),
    width=st.integers(9, 20),
    share=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_any_trio_on_any_image_agrees_with_a_slow_loop(
    channels, depth, kernel, stride, padding, extension, height, width, share, seed
):
    torch.manual_seed(seed)
    dcn = DynamicCapacityNetwork(
        coarse=nn.Sequential(nn.Conv2d(channels, depth, kernel, stride, min(padding, kernel // 2)), nn.ELU()),
        fine=nn.Sequential(nn.Conv2d(channels, depth, kernel + extension), nn.Tanh()),
        top=nn.Sequential(nn.Conv2d(depth, 4, 1), nn.ELU(), GlobalMaxPool(), nn.Linear(4, 3)),
        image_shape=(channels, height, width),
        k=0,
    ).double()
    images = torch.rand(2, channels, height, width, dtype=torch.float64)
    k = int(share * dcn.coarse(images)[0, 0].numel())
    look = dcn.attend(images, k=k)
    for image, cells, logits in zip(images, look.cells.tolist(), look.logits, strict=True):
        assert cells == choose_slowly(dcn, image, k)
        torch.testing.assert_close(dcn.top(refine_slowly(dcn, image, cells))[0], logits)


def test_fine_layers_may_end_in_a_global_average_on_rgb_images_that_are_not_square():
    dcn = DynamicCapacityNetwork(
        coarse=nn.Sequential(nn.Conv2d(3, 8, 7, stride=4, padding=2), nn.ReLU()),
        fine=nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8)
        ),
        top=nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), GlobalMaxPool(), nn.Linear(16, 5)),
        geometry=Geometry(stride=4, offset=-4, size=11),
        image_shape=(3, 32, 48),
    )
    look = dcn.attend(torch.rand(2, 3, 32, 48))
    assert look.patches.shape == (2, 8, 3, 11, 11)
    assert look.logits.shape == (2, 5)


class PlainFunction(nn.Module):
    """Coarse layers whose field can't be read off: a forward of its own."""

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 4)


def test_modules_with_a_forward_of_their_own_are_measured_or_given_a_geometry():
    trio = {"coarse": PlainFunction(), "fine": nn.Conv2d(1, 1, 6), "top": nn.Sequential(nn.Flatten(), nn.Linear(15, 2))}
    with pytest.raises(ValueError, match=r"PlainFunction.*give image_shape=.*geometry=Geometry"):
        DynamicCapacityNetwork(**trio)
    assert DynamicCapacityNetwork(**trio, image_shape=(1, 12, 20)).geometry == Geometry(stride=4, offset=-1, size=6)
    dcn = DynamicCapacityNetwork(**trio, geometry=Geometry(stride=4, offset=-1, size=6), image_shape=(1, 12, 20))
    assert dcn.attend(torch.rand(2, 1, 12, 20), k=15).patches.shape == (2, 15, 1, 6, 6)


def test_a_top_that_reads_a_sequence_sums_the_entropies_of_its_positions(make_dcn, images):
    top = nn.Sequential(nn.Flatten(), nn.Linear(6 * ALL_CELLS, 12), nn.Unflatten(1, (3, 4)))
    look = make_dcn(top=top).attend(images)
    assert look.coarse_logits.shape == look.logits.shape == (4, 3, 4)
    torch.testing.assert_close(look.entropy, sum(entropy(look.coarse_logits[:, p]) for p in range(3)))


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("objective", ["sum", "convex"])
def test_the_loss_of_a_sequence_sums_over_its_positions(make_dcn, images, k, objective):
    top = nn.Sequential(nn.Flatten(), nn.Linear(6 * ALL_CELLS, 12), nn.Unflatten(1, (3, 4)))
    dcn, labels = make_dcn(top=top, objective=objective, hint_weight=0.3), torch.randint(4, (4, 3))
    logits = dcn(images, k=k)
    by_position = sum(F.cross_entropy(logits[:, p], labels[:, p]) for p in range(3))
    loss, parts = dcn.loss(images, labels, k=k)
    torch.testing.assert_close(parts["cross_entropy"], by_position)
    weight = 0.7 if k and objective == "convex" else 1
    torch.testing.assert_close(loss, weight * by_position + 0.3 * parts.get("hint", 0), check_dtype=False)
    single = SingleCapacityNetwork(layers=dcn.coarse, top=top).eval()
    torch.testing.assert_close(single.loss(images, labels)[0], dcn.loss(images, labels, k=0)[0])
    for wrong in (labels[:, 0], labels[:, :2], labels[:3]):
        with pytest.raises(ValueError, match=r"labels of shape \(4, 3\)"):
            dcn.loss(images, wrong, k=k)


def test_one_network_takes_images_of_several_sizes(make_dcn):
    dcn = make_dcn(image_shape=None)
    for height, width in ((11, 15), (20, 9), (11, 15)):
        assert dcn(torch.rand(2, 1, height, width, dtype=torch.float64)).shape == (2, 4)


MISFITS = {
    "fine makes a map": (
        {"fine": nn.Conv2d(1, 6, 3), "geometry": Geometry(2, 0, 5)},
        r"map a 5x5 patch to one vector.*got \(1, 6, 3, 3\)",
    ),
    "fine drops the batch": ({"fine": nn.Flatten(0), "geometry": Geometry(2, 0, 5)}, r"one vector.*got \(25,\)"),
    "depths differ": ({"fine": nn.Conv2d(1, 7, 5)}, "fine vectors have 7 channels, coarse vectors 6"),
    "patch larger than image": ({"fine": nn.Conv2d(1, 6, 12)}, "12x12 pixels are larger than the image of 11x15"),
    "geometry beyond the image": (
        {"fine": nn.Conv2d(1, 6, 5), "geometry": Geometry(4, 0, 5)},
        r"Geometry\(stride=4, offset=0, size=5\) doesn't fit.*5 cells of 11 pixels.*pixel 16",
    ),
    "geometry before the image": (
        {"fine": nn.Conv2d(1, 6, 5), "geometry": Geometry(1, -5, 5)},
        r"Geometry\(stride=1, offset=-5, size=5\) doesn't fit",
    ),
    "coarse takes other channels": (
        {"coarse": nn.Conv2d(3, 6, 3, stride=2)},
        r"coarse layers don't take an input of shape \(1, 1, 11, 15\)",
    ),
    "fine takes other channels": (
        {"fine": nn.Conv2d(3, 6, 5)},
        r"fine layers don't take an input of shape \(1, 1, 5, 5\)",
    ),
    "coarse makes no map": (
        {"coarse": nn.Sequential(nn.Flatten(), nn.Linear(165, 6)), "geometry": Geometry(2, 0, 5)},
        r"make a map \(B, D, s1, s2\), got \(1, 6\)",
    ),
    "top takes another depth": ({"top": nn.Conv2d(7, 4, 2)}, r"top layers don't take .*\(1, 6, 5, 7\)"),
    "top makes a map": ({"top": nn.Conv2d(6, 4, 2)}, r"class scores \(B, L\).*got \(1, 4, 4, 6\)"),
    "top returns a pair": ({"top": nn.MaxPool2d(2, return_indices=True)}, "top layers must return a tensor, got tuple"),
}


@pytest.mark.parametrize(("changes", "message"), MISFITS.values(), ids=MISFITS)
def test_a_trio_that_does_not_fit_is_refused_at_construction_and_else_at_the_first_call(
    make_dcn, images, changes, message
):
    with pytest.raises(ValueError, match=message):
        make_dcn(**changes)
    dcn = make_dcn(**changes, image_shape=None)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            dcn(images)


# Precision, devices, compilation


def test_bfloat16_autocast_trains_and_keeps_entropy_saliency_and_hint_in_float32(make_dcn, images, labels):
    dcn = make_dcn().float().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        look = dcn.attend(images.float())
        loss, parts = dcn.loss(images.float(), labels)
    loss.backward()
    assert look.logits.dtype == torch.bfloat16
    assert {look.entropy.dtype, look.saliency.dtype, parts["hint"].dtype} == {torch.float32}
    assert all(parameter.grad.isfinite().all() for parameter in dcn.parameters())


@needs_cuda
def test_a_step_in_mixed_precision_on_cuda_moves_all_weights(make_dcn, images, labels):
    dcn = make_dcn().float().train().cuda()
    optimizer = torch.optim.AdamW(dcn.parameters())
    before = {name: parameter.detach().clone() for name, parameter in dcn.named_parameters()}
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss, _ = dcn.loss(images.float().cuda(), labels.cuda())
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert not any(torch.equal(parameter, before[name]) for name, parameter in dcn.named_parameters())


@needs_compiler
def test_compiled_in_one_piece_loss_and_forward_have_the_same_values_gradients_and_statistics(make_dcn, images, labels):
    """The loss in training mode, where the two passes through the top treat its batch norm differently."""
    plain = make_dcn(coarse=nn.Conv2d(1, 6, 3, stride=2), fine=nn.Conv2d(1, 6, 5)).train()
    compiled = copy.deepcopy(plain)
    expected, _ = plain.loss(images, labels)
    loss, _ = torch.compile(compiled.loss, fullgraph=True)(images, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(compiled, loss), gradients(plain, expected))
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
    with torch.no_grad():
        logits = torch.compile(compiled.eval(), fullgraph=True)(images)
        torch.testing.assert_close(logits, plain.eval()(images))


@pytest.mark.parametrize("known", [False, True])
def test_an_exported_network_takes_batches_of_any_size(make_dcn, images, known):
    dcn = make_dcn(image_shape=(1, 11, 15) if known else None)
    sizes = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(dcn, (images,), dynamic_shapes=sizes).module()
    for batch in (1, 4, 9):
        others = torch.rand(batch, 1, 11, 15, dtype=torch.float64)
        assert torch.equal(exported(others), dcn(others))


@needs_compiler
def test_a_compiled_selection_has_the_same_order():
    scores = torch.tensor([[[0.0, -0.0, -1.0, 1.0, -0.0, 0.0, float("inf"), float("nan"), -float("nan")]]])
    assert torch.equal(torch.compile(select_patches, fullgraph=True)(scores, 9), select_patches(scores, 9))
