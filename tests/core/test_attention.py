"""Entropy, its gradient, and which cells are looked at."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dcnlib import CoarseLayers, FineLayers, Geometry, TopLayers, entropy, saliency_map, select_patches
from dcnlib.core.geometry import derive_geometry
from dcnlib.core.multiscale import Box
from dcnlib.core.passes import PlainPasses, passes_through
from dcnlib.core.policies import POLICIES, FirstLook, class_score_gradient, label_loss_gradient, oracle_scores
from dcnlib.core.saliency import attention_pass, cross_entropy
from dcnlib.models.house_numbers import NumberTopLayers

Value = Callable[[Tensor], Tensor]  # coarse maps (N, D, s1, s2) -> a number for each (N,)


@pytest.fixture
def top(paper_dcn) -> nn.Module:
    return paper_dcn.top


@pytest.fixture
def coarse_map() -> Tensor:
    return torch.rand(3, 24, 23, 23, dtype=torch.float64)


def test_a_uniform_prediction_has_the_entropy_log_l():
    assert entropy(torch.full((2, 10), 3.0)).tolist() == pytest.approx([math.log(10)] * 2)


def test_a_certain_prediction_has_no_entropy():
    assert entropy(torch.eye(10) * 1000).tolist() == [0] * 10


@given(logits=st.lists(st.floats(-20, 20), min_size=2, max_size=10))
def test_entropy_agrees_with_its_definition(logits):
    o = torch.tensor([logits], dtype=torch.float64).softmax(1)[0].tolist()
    expected = -sum(p * math.log(p) for p in o)
    assert entropy(torch.tensor([logits], dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_extreme_scores_have_a_finite_entropy_and_gradient(dtype):
    largest = torch.finfo(dtype).max / 2
    logits = torch.tensor([[largest, 0, -largest], [-largest, -largest, 0]], dtype=dtype, requires_grad=True)
    H = entropy(logits)
    H.sum().backward()
    assert H.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert H.isfinite().all()
    assert logits.grad.isfinite().all()


def test_entropies_of_the_positions_of_a_sequence_are_summed():
    logits = torch.randn(3, 5, 10)
    expected = torch.stack([entropy(logits[:, position]) for position in range(5)]).sum(0)
    torch.testing.assert_close(entropy(logits), expected)


def finite_difference_norm(value: Value, coarse_map: Tensor, cell: int) -> float:
    """L2 norm, over the channels of a cell of one map (D, s1, s2), of a value's central differences."""
    depth, _, columns = coarse_map.shape
    step = 1e-5
    steps = step * torch.eye(depth, dtype=torch.float64)
    nudged = coarse_map.expand(2 * depth, -1, -1, -1).clone()
    nudged[:, :, cell // columns, cell % columns] += torch.cat([steps, -steps])
    with torch.no_grad():
        values = value(nudged)
    return ((values[:depth] - values[depth:]) / (2 * step)).norm().item()


def test_saliency_agrees_with_finite_differences_of_the_entropy(top, coarse_map):
    saliency = saliency_map(top, coarse_map)
    for image in range(3):
        for cell in (saliency[image].argmax().item(), 0, 5 * 23 + 7):
            expected = finite_difference_norm(lambda c: entropy(top(c)), coarse_map[image], cell)
            assert saliency[image].flatten()[cell].item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_the_saliency_of_a_sequence_agrees_with_finite_differences_of_the_summed_entropies(training):
    """Through layers that keep place, on two regions of the map: cells in neither have none."""
    regions = [Box(0, 0, 4, 5), Box(1, 6, 3, 8)]
    top = NumberTopLayers(regions, in_channels=3, channels=(4, 5), hidden=6, positions=3, classes=4).double()
    top(torch.rand(9, 3, 4, 8, dtype=torch.float64))  # moves the running statistics
    top.train(training)
    coarse_map = torch.rand(2, 3, 4, 8, dtype=torch.float64)
    passes = passes_through(top, coarse_map)
    assert isinstance(passes, PlainPasses)
    coarse_logits, H, saliency = passes.attention()
    assert coarse_logits.shape == (2, 3, 4)
    o = coarse_logits.softmax(-1)
    torch.testing.assert_close(H, -(o * o.log()).sum((1, 2)))
    top.eval()
    for image in range(2):
        for cell in range(32):
            expected = finite_difference_norm(lambda c: entropy(top(c)), coarse_map[image], cell)
            assert saliency[image].flatten()[cell].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)
    inside = torch.zeros(4, 8, dtype=torch.bool)
    inside[:, :5] = inside[1:3, 6:] = True
    assert (saliency[:, ~inside] == 0).all()
    assert (saliency[:, inside] > 0).float().mean() > 0.9


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_cross_entropy_is_the_mean_over_images_of_the_sum_over_positions(shape):
    logits, labels = torch.randn(*shape, 7), torch.randint(7, shape)
    expected = [
        -scores.log_softmax(-1)[label].item()
        for scores, label in zip(logits.reshape(-1, 7), labels.flatten(), strict=True)
    ]
    assert cross_entropy(logits, labels).item() == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_saliency_is_the_norm_over_channels_and_not_the_sum():
    """Scores that depend on the difference of two channels: the two gradients cancel in a sum."""
    top = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        top[1].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    x, y = 1.5, 0.25
    o = 1 / (1 + math.exp(y - x))
    slope = -o * (1 - o) * (x - y)  # dH/dx of a softmax over the scores x - y and 0
    saliency = saliency_map(top, torch.tensor([x, y], dtype=torch.float64).reshape(1, 2, 1, 1))
    assert saliency.item() == pytest.approx(math.sqrt(2) * abs(slope))


def test_the_45_cells_beyond_the_tops_last_window_have_no_saliency(top, coarse_map):
    saliency = saliency_map(top, coarse_map)
    dead = torch.zeros(23, 23, dtype=torch.bool)
    dead[22, :] = dead[:, 22] = True
    assert dead.sum() == 45
    assert (saliency[:, dead] == 0).all()
    assert (saliency[:, ~dead] > 0).any(1).all()


@pytest.mark.parametrize("training", [False, True])
def test_saliency_does_not_depend_on_batch_mates(top, coarse_map, training):
    top.train(training)
    together = saliency_map(top, coarse_map)
    alone = torch.cat([saliency_map(top, c[None]) for c in coarse_map])
    assert together.max() > 0
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-14)


def test_the_attention_pass_changes_neither_statistics_nor_modes_nor_gradients(top, coarse_map):
    top.train()
    top[0][1].eval()
    before = {name: value.clone() for name, value in top.state_dict().items()}
    modes = [part.training for part in top.modules()]
    attention_pass(top, coarse_map)
    assert all(torch.equal(value, before[name]) for name, value in top.state_dict().items())
    assert [part.training for part in top.modules()] == modes
    assert all(parameter.grad is None for parameter in top.parameters())


def test_modes_are_given_back_when_the_top_layers_fail(top):
    top.train()
    with pytest.raises(RuntimeError):
        attention_pass(top, torch.rand(2, 5, 23, 23, dtype=torch.float64))
    assert all(part.training for part in top.modules())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_attention_pass_gives_the_same_answer_where_gradients_are_off(top, coarse_map, context):
    expected = attention_pass(top, coarse_map)
    with context():
        answer = attention_pass(top, coarse_map.clone())
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(answer, expected, strict=True))


def test_top_layers_that_were_made_in_inference_mode_are_refused_as_such(coarse_map):
    with torch.inference_mode():
        top = nn.Sequential(nn.Conv2d(24, 8, 4), nn.Tanh(), nn.AdaptiveMaxPool2d(1), nn.Flatten()).double()
        with pytest.raises(ValueError, match=r"made inside torch\.inference_mode\(\).*make the network outside"):
            attention_pass(top, coarse_map)


def test_the_attention_pass_returns_the_coarse_prediction_and_no_gradient_flows_from_it(top, coarse_map):
    coarse_logits, H, saliency = attention_pass(top, coarse_map.requires_grad_())
    assert torch.equal(coarse_logits, top(coarse_map).detach())
    assert torch.equal(H, entropy(coarse_logits))
    assert not any(tensor.requires_grad for tensor in (coarse_logits, H, saliency))


def test_entropy_and_saliency_stay_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse_logits, H, saliency = attention_pass(TopLayers().eval(), torch.rand(2, 24, 23, 23).bfloat16())
    assert (coarse_logits.dtype, H.dtype, saliency.dtype) == (torch.bfloat16, torch.float32, torch.float32)


# The gradients that are controls: of the top class's score, and of the true label's loss


def test_the_class_score_gradient_agrees_with_finite_differences_of_the_largest_logit(paper_dcn, coarse_map):
    norms = class_score_gradient(FirstLook(paper_dcn, torch.empty(0), coarse_map))
    for image in range(3):
        for cell in (norms[image].argmax().item(), 5 * 23 + 7):
            expected = finite_difference_norm(lambda c: paper_dcn.top(c).amax(1), coarse_map[image], cell)
            assert norms[image].flatten()[cell].item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_the_label_loss_gradient_agrees_with_finite_differences_of_the_cross_entropy(paper_dcn, coarse_map):
    labels = torch.tensor([0, 7, 9])
    norms = label_loss_gradient(paper_dcn, coarse_map, labels)
    for image, label in enumerate(labels.tolist()):
        for cell in (norms[image].argmax().item(), 5 * 23 + 7):
            expected = finite_difference_norm(
                lambda c, label=label: -paper_dcn.top(c).log_softmax(1)[:, label], coarse_map[image], cell
            )
            assert norms[image].flatten()[cell].item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_scores_and_losses_of_the_positions_of_a_sequence_are_summed():
    model = nn.Module()
    model.top = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6, 3 * 4), nn.Unflatten(1, (3, 4))).double()
    coarse_map = torch.randn(2, 2, 2, 3, dtype=torch.float64)
    labels = torch.tensor([[0, 3, 1], [2, 2, 0]])
    by_score = class_score_gradient(FirstLook(model, torch.empty(0), coarse_map))
    by_loss = label_loss_gradient(model, coarse_map, labels)

    def loss(c: Tensor, image: int) -> Tensor:
        log_o = model.top(c).log_softmax(2)
        return -sum(log_o[:, position, label] for position, label in enumerate(labels[image].tolist()))

    for image in range(2):
        for cell in range(6):
            score = finite_difference_norm(lambda c: model.top(c).amax(2).sum(1), coarse_map[image], cell)
            assert by_score[image].flatten()[cell].item() == pytest.approx(score)
            expected = finite_difference_norm(lambda c, image=image: loss(c, image), coarse_map[image], cell)
            assert by_loss[image].flatten()[cell].item() == pytest.approx(expected)


def test_where_all_classes_tie_only_the_entropy_has_no_gradient():
    """Scores x - y and 0 at x = y. The first class is the top one, and its score goes with both channels."""
    model = nn.Module()
    model.top = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        model.top[1].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    coarse_map = torch.full((1, 2, 1, 1), 0.7, dtype=torch.float64)
    assert saliency_map(model.top, coarse_map).item() == pytest.approx(0, abs=1e-15)
    assert class_score_gradient(FirstLook(model, torch.empty(0), coarse_map)).item() == pytest.approx(math.sqrt(2))
    assert label_loss_gradient(model, coarse_map, torch.tensor([1])).item() == pytest.approx(math.sqrt(2) / 2)


def test_of_two_classes_the_one_that_is_thought_unlikely_has_the_larger_loss_gradient(make_dcn):
    """The gradient of -log o_l is (1 - o_l) times the same vector for both classes, up to its sign."""
    dcn = make_dcn()
    dcn.top[-1] = nn.Linear(8, 2).double()
    coarse_map = torch.rand(3, 6, 5, 7, dtype=torch.float64)
    o = dcn.top(coarse_map).softmax(1).detach()
    first, second = (label_loss_gradient(dcn, coarse_map, torch.full((3,), label)) for label in (0, 1))
    assert (first.amax((1, 2)) > 0).all()
    torch.testing.assert_close(first / (1 - o[:, 0])[:, None, None], second / (1 - o[:, 1])[:, None, None])


GRADIENTS = pytest.mark.parametrize(
    "gradient",
    [
        lambda model, coarse_map: class_score_gradient(FirstLook(model, torch.empty(0), coarse_map)),
        # Labels are made where the call is, so in inference mode they are inference tensors.
        lambda model, coarse_map: label_loss_gradient(model, coarse_map, torch.arange(len(coarse_map)) + 4),
    ],
    ids=["class score", "label loss"],
)


@GRADIENTS
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_of_controls_are_the_same_where_gradients_are_off(paper_dcn, coarse_map, gradient, context):
    expected = gradient(paper_dcn, coarse_map)
    with context():
        norms = gradient(paper_dcn, coarse_map.clone())
    assert norms.max() > 0
    assert torch.equal(norms, expected)
    assert not norms.requires_grad


@GRADIENTS
def test_gradients_of_controls_use_running_statistics_and_leave_them_alone(paper_dcn, coarse_map, gradient):
    expected = gradient(paper_dcn, coarse_map)
    paper_dcn.train()
    before = {name: value.clone() for name, value in paper_dcn.state_dict().items()}
    assert torch.equal(gradient(paper_dcn, coarse_map), expected)
    assert all(torch.equal(value, before[name]) for name, value in paper_dcn.state_dict().items())
    assert all(part.training for part in paper_dcn.modules())
    assert all(parameter.grad is None for parameter in paper_dcn.parameters())


@GRADIENTS
def test_gradients_of_controls_stay_in_float32_under_autocast(gradient):
    model = nn.Module()
    model.top = TopLayers().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norms = gradient(model, torch.rand(2, 24, 23, 23).bfloat16())
    assert norms.dtype == torch.float32
    assert norms.max() > 0


def test_labels_must_be_as_many_as_the_images(paper_dcn, coarse_map):
    with pytest.raises(ValueError, match="batch_size"):
        label_loss_gradient(paper_dcn, coarse_map, torch.tensor([1, 2]))


# Selection and the other policies


@given(
    scores=st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 3), min_size=columns, max_size=columns), min_size=1, max_size=5
        )
    ),
    data=st.data(),
)
def test_selection_agrees_with_sorting_by_hand(scores, data):
    """Few different values, so that ties are common: they go to the lower index."""
    flat = [score for row in scores for score in row]
    k = data.draw(st.integers(0, len(flat)))
    expected = sorted(range(len(flat)), key=lambda cell: (-flat[cell], cell))[:k]
    assert select_patches(torch.tensor([scores], dtype=torch.float32), k).tolist() == [expected]


@given(
    scores=st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, -math.nan]) | st.floats(width=32),
        min_size=1,
        max_size=12,
    ),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_selection_is_a_stable_sort_of_any_numbers(scores, dtype):
    """0 and -0 tie; NaN of either sign tie too, and come before infinity, as in torch.sort."""
    saliency = torch.tensor(scores, dtype=torch.float64).to(dtype).reshape(1, 1, -1)
    values = saliency.flatten().tolist()
    expected = sorted(range(len(values)), key=lambda cell: (0, 0) if math.isnan(values[cell]) else (1, -values[cell]))
    for k in range(len(values) + 1):
        assert select_patches(saliency, k).tolist() == [expected[:k]]


def test_of_uniform_saliency_the_first_cells_are_taken():
    assert select_patches(torch.ones(2, 23, 23), 8).tolist() == [list(range(8))] * 2


@pytest.mark.parametrize("k", [1, 8, 35])
def test_a_one_hot_map_is_always_found(k):
    one_hot = torch.eye(35).reshape(35, 5, 7)
    assert select_patches(one_hot, k)[:, 0].tolist() == list(range(35))


def first_look(coarse_map: Tensor) -> FirstLook:
    """Of a network whose top layers nobody asks."""
    model = nn.Module()
    model.top = nn.Identity()
    return FirstLook(model, torch.empty(0), coarse_map)


def test_the_center_policy_looks_nearest_to_the_middle_first():
    cells = select_patches(POLICIES["center"](first_look(torch.rand(2, 3, 5, 7))), 5)
    middle = 2 * 7 + 3
    assert cells[:, 0].tolist() == [middle] * 2
    assert set(cells[0].tolist()) == {middle, middle - 1, middle + 1, middle - 7, middle + 7}


def test_the_coarse_norm_policy_looks_where_vectors_are_long():
    coarse_map = torch.zeros(1, 3, 5, 7)
    coarse_map[0, :, 4, 2] = torch.tensor([3.0, -3.0, 0.0])
    coarse_map[0, :, 1, 1] = torch.tensor([1.0, 1.0, 1.0])
    cells = select_patches(POLICIES["coarse-norm"](first_look(coarse_map)), 2)
    assert cells.tolist() == [[4 * 7 + 2, 1 * 7 + 1]]


def test_the_random_policy_looks_everywhere_alike_and_nowhere_twice():
    cells = select_patches(POLICIES["random"](first_look(torch.rand(2000, 1, 5, 7))), 8)
    assert all(len(set(row)) == 8 for row in cells.tolist())
    frequency = cells.flatten().bincount(minlength=35) / 2000
    assert (frequency - 8 / 35).abs().max() < 0.05


@given(top=st.integers(0, 72), left=st.integers(0, 72))
def test_the_oracle_looks_at_patches_inside_the_box_nearest_its_middle_first(top, left):
    geometry = derive_geometry(CoarseLayers(), FineLayers())
    box = torch.tensor([[top, left, top + 28, left + 28]])
    cells = select_patches(oracle_scores(box, geometry, (23, 23)), 8)
    patches = geometry.boxes(cells, 23)[0]
    assert (patches[:, :2] >= box[:, :2]).all()
    assert (patches[:, 2:] <= box[:, 2:]).all()
    off_center = (patches[:, :2] + 7 - box[:, :2] - 14).float().norm(dim=1)
    assert off_center.tolist() == sorted(off_center.tolist())


@given(
    corners=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_the_oracle_ranks_cells_by_the_pixels_they_share_with_the_box(corners, height, width):
    boxes = torch.tensor([[top, left, top + height, left + width] for top, left in corners])
    scores = oracle_scores(boxes, Geometry(stride=3, offset=-2, size=5), (5, 5))
    shared = torch.zeros(len(boxes), 25)
    for image, (box_top, box_left) in enumerate(corners):
        for cell in range(25):
            patch_top, patch_left = cell // 5 * 3 - 2, cell % 5 * 3 - 2
            shared[image, cell] = sum(
                patch_top <= y < patch_top + 5 and patch_left <= x < patch_left + 5
                for y in range(box_top, box_top + height)
                for x in range(box_left, box_left + width)
            )
    ranked = shared.gather(1, select_patches(scores, 25))
    assert (ranked[:, :-1] >= ranked[:, 1:]).all()


@pytest.mark.parametrize("plain", [True, False])
def test_a_class_that_is_ruled_out_leaves_entropy_and_saliency_those_of_the_others(make_dcn, images, plain):
    dcn = make_dcn()
    c = dcn.coarse(images).detach()
    linear = dcn.top[-1]
    passes = PlainPasses(dcn.top, c) if plain else passes_through(dcn.top, c)
    with torch.no_grad():
        linear.bias[3] = -math.inf
    logits, H, saliency = passes.attention()
    others = nn.Sequential(*dcn.top[:-1], nn.Linear(8, 3).double())
    with torch.no_grad():
        others[-1].weight.copy_(linear.weight[:3])
        others[-1].bias.copy_(linear.bias[:3])
    expected, expected_H, expected_saliency = attention_pass(others, c)
    torch.testing.assert_close(logits[:, :3], expected)
    torch.testing.assert_close(H, expected_H)
    torch.testing.assert_close(saliency, expected_saliency)
