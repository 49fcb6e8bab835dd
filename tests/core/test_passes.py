"""The quick passes through the top layers, held to the plain ones, which are the definition, and to slow loops."""

import copy
import math
from collections.abc import Callable
from types import MethodType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dcnlib import TopLayers, saliency_map
from dcnlib.core.passes import GlobalMaxPool, MaxPoolTop, Passes, PlainPasses, QuickPasses, passes_through
from dcnlib.core.patches import gather_cells, replace_cells

MODES = ("eval", "train", "train with a frozen norm")


class Case(NamedTuple):
    """A top in double precision, and all that its two passes need."""

    top: nn.Sequential
    coarse_map: Tensor  # (B, D, s1, s2)
    cells: Tensor  # (B, k), distinct in each image
    fine_vectors: Tensor  # (B, k, D)
    probe: Tensor  # (B, L) or (B, P, L); the gradients compared are those of (logits * probe).sum()

    def in_mode(self, mode: str) -> "Case":
        self.top.train(mode != "eval")
        if mode == "train with a frozen norm":
            self.top[0][1].eval()
        return self


def make_case(
    *,
    batch: int = 2,
    depth: int = 2,
    filters: int = 5,
    classes: int = 3,
    positions: int = 0,
    kernel: int = 3,
    stride: int = 2,
    beyond: tuple[int, int] = (3, 5),
    share: float = 0.3,
    conv_bias: bool = True,
    linear_bias: bool = True,
    norm: bool = True,
    channels_last: bool = False,
    exact: bool = False,
    seed: int = 0,
) -> Case:
    """A map `beyond` the kernel's height and width, and a `share` of its cells.

    With `exact`, all numbers are -1, 0 or 1 and the running variance is 1, so that sums have no rounding error and
    windows often tie.
    """
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        if exact:
            return torch.randint(-1, 2, shape, generator=generator).double()
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    conv = nn.Conv2d(depth, filters, kernel, stride, bias=conv_bias)
    after = nn.BatchNorm2d(filters) if norm else nn.Identity()
    scores = (positions, classes) if positions else (classes,)
    linear = nn.Linear(filters, math.prod(scores), bias=linear_bias)
    by_position = [nn.Unflatten(1, scores)] if positions else []
    top = nn.Sequential(nn.Sequential(conv, after), nn.ReLU(inplace=True), GlobalMaxPool(), linear, *by_position)
    top = top.double()
    with torch.no_grad():
        for parameter in top.parameters():
            parameter.copy_(numbers(*parameter.shape))
        linear.weight /= 4  # else the prediction is so sure that its entropy hardly has a gradient
        if norm:
            after.running_mean.copy_(numbers(filters))
            after.weight *= torch.rand(filters, generator=generator) > 0.2  # some filters say the same everywhere
            if exact:
                after.eps = 0.0
            else:
                after.running_var.copy_(0.3 + torch.rand(filters, generator=generator))

    height, width = (kernel + extra for extra in beyond)
    order = torch.rand(batch, height * width, generator=generator).argsort(1)
    k = round(share * height * width)
    coarse_map = numbers(batch, depth, height, width)
    if channels_last:
        coarse_map = coarse_map.contiguous(memory_format=torch.channels_last)
    return Case(top, coarse_map, order[:, :k], numbers(batch, k, depth), numbers(batch, *scores))


def cases(**settled: object) -> st.SearchStrategy[Case]:
    """Cases of every shape; the strides go from 1 to more than the kernel, so that some cells lie between windows."""
    drawn = {
        "batch": st.integers(1, 4),
        "depth": st.integers(1, 4),
        "filters": st.integers(1, 6),
        "classes": st.integers(2, 5),
        "positions": st.sampled_from([0, 0, 1, 3]),
        "beyond": st.tuples(st.integers(0, 7), st.integers(0, 7)),
        "share": st.sampled_from([0, 1]) | st.floats(0, 1),
        "conv_bias": st.booleans(),
        "linear_bias": st.booleans(),
        "norm": st.booleans(),
        "channels_last": st.booleans(),
        "seed": st.integers(0, 1000),
    }
    kernel_and_stride = [(kernel, stride) for kernel in range(1, 6) for stride in range(1, kernel + 2)]
    return st.sampled_from(kernel_and_stride).flatmap(
        lambda pair: st.builds(make_case, kernel=st.just(pair[0]), stride=st.just(pair[1]), **drawn, **settled)
    )


def assert_close(actual: object, expected: object) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def quick_passes(top: nn.Module, coarse_map: Tensor) -> Passes:
    passes = passes_through(top, coarse_map)
    assert isinstance(passes, QuickPasses)
    return passes


def run(passes_of: Callable[[nn.Module, Tensor], Passes], case: Case) -> dict[str, object]:
    """Both passes on a copy of the top: results, the gradients of the second, and the top's state after each."""
    top = copy.deepcopy(case.top)
    coarse_map = case.coarse_map.clone().requires_grad_()
    fine_vectors = case.fine_vectors.clone().requires_grad_()
    passes = passes_of(top, coarse_map)
    attention = passes.attention()
    assert not any(result.requires_grad for result in attention)
    state_after_attention = copy.deepcopy(top.state_dict())
    logits = passes.refined(case.cells, fine_vectors)
    inputs = {"coarse_map": coarse_map, "fine_vectors": fine_vectors, **dict(top.named_parameters())}
    gradients = torch.autograd.grad((logits * case.probe).sum(), list(inputs.values()), materialize_grads=True)
    return {
        "attention": attention,
        "state after attention": state_after_attention,
        "logits": logits.detach(),
        "gradients": dict(zip(inputs, gradients, strict=True)),
        "state": top.state_dict(),
    }


# Against the definition


@settings(max_examples=150)
@given(case=cases(), mode=st.sampled_from(MODES))
def test_results_gradients_and_statistics_are_those_of_the_plain_passes(case, mode):
    values_per_filter = case.in_mode("eval").top[0](case.coarse_map)[:, 0].numel()
    assume(mode != "train" or values_per_filter > 1)  # batch norm refuses to train on one
    case = case.in_mode(mode)
    before = copy.deepcopy(case.top.state_dict())
    plain, quick = run(PlainPasses, case), run(quick_passes, case)
    assert_close(quick, plain)
    assert_close(quick["state after attention"], before)
    if "0.1.num_batches_tracked" in before:
        assert quick["state"]["0.1.num_batches_tracked"] == (mode == "train")


@settings(max_examples=75)
@given(case=cases(exact=st.just(True)))
def test_of_windows_that_tie_the_same_one_wins(case):
    """Sums of -1, 0 and 1 tie often, and without rounding: another winner would give other gradients."""
    case = case.in_mode("eval")
    assert_close(run(quick_passes, case), run(PlainPasses, case))


def test_the_quick_passes_may_be_asked_in_any_order_and_again():
    case = make_case()
    passes, again = (quick_passes(case.top.eval(), case.coarse_map) for _ in range(2))
    attention, logits = passes.attention(), passes.refined(case.cells, case.fine_vectors)
    none = passes.refined(case.cells[:, :0], case.fine_vectors[:, :0])
    assert torch.equal(again.refined(case.cells, case.fine_vectors), logits)
    assert torch.equal(again.refined(case.cells[:, :0], case.fine_vectors[:, :0]), none)
    assert all(torch.equal(*pair) for pair in zip(again.attention(), attention, strict=True))


def test_a_cell_that_is_given_twice_is_replaced_once():
    case = make_case()
    once, vectors = case.cells[:, :3], case.fine_vectors[:, :3]
    passes = quick_passes(case.top.eval(), case.coarse_map)
    twice = passes.refined(torch.cat([once, once], 1), torch.cat([vectors, vectors], 1))
    assert_close(twice, passes.refined(once, vectors))


# Against slow loops


def logits_by_hand(top: nn.Sequential, feature_maps: np.ndarray, *, batch_statistics: bool) -> np.ndarray:
    """Convolution, batch norm, ReLU, max and linear layer: (B, D, s1, s2) -> (B, L)."""
    (conv, norm), _, _, linear = top
    weight, kernel, stride = conv.weight.detach().numpy(), conv.kernel_size[0], conv.stride[0]
    batch, _, height, width = feature_maps.shape
    shape = (batch, len(weight), (height - kernel) // stride + 1, (width - kernel) // stride + 1)
    windows = np.empty(shape)
    for b, f, i, j in np.ndindex(shape):
        seen = feature_maps[b, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        windows[b, f, i, j] = (seen * weight[f]).sum() + conv.bias[f].item()
    pooled = np.empty(shape[:2])
    for f in range(shape[1]):
        mean, variance = norm.running_mean[f].item(), norm.running_var[f].item()
        if batch_statistics:
            mean, variance = windows[:, f].mean(), windows[:, f].var()
        normed = (windows[:, f] - mean) / (variance + norm.eps) ** 0.5 * norm.weight[f].item() + norm.bias[f].item()
        for b in range(batch):
            pooled[b, f] = max(0.0, normed[b].max())
    return pooled @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def entropy_by_hand(logits: np.ndarray) -> float:
    o = np.exp(logits) / np.exp(logits).sum()
    return -(o * np.log(o)).sum()


@pytest.mark.parametrize("training", [False, True])
def test_refined_logits_agree_with_slow_loops(training):
    case = make_case()
    refined_map = case.coarse_map.numpy().copy()
    columns = refined_map.shape[3]
    for b, cells in enumerate(case.cells.tolist()):
        for n, cell in enumerate(cells):
            refined_map[b, :, cell // columns, cell % columns] = case.fine_vectors[b, n]
    expected = logits_by_hand(case.top, refined_map, batch_statistics=training)
    unrefined = logits_by_hand(case.top, case.coarse_map.numpy(), batch_statistics=training)
    assert abs(expected - unrefined).min() > 1e-3
    logits = quick_passes(case.top.train(training), case.coarse_map).refined(case.cells, case.fine_vectors)
    assert_close(logits.detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("training", [False, True])
def test_attention_agrees_with_slow_loops_and_with_finite_differences_of_the_entropy(training):
    case = make_case()
    coarse_logits, entropy, saliency = quick_passes(case.top.train(training), case.coarse_map).attention()
    step = 1e-6
    for b, coarse_map in enumerate(case.coarse_map.numpy()):
        logits = logits_by_hand(case.top, coarse_map[None], batch_statistics=False)[0]
        assert coarse_logits[b].tolist() == pytest.approx(logits)
        assert entropy[b].item() == pytest.approx(entropy_by_hand(logits))
        slope = np.empty(coarse_map.shape)
        for at in np.ndindex(coarse_map.shape):
            nudged = np.stack([coarse_map, coarse_map])
            nudged[0][at] += step
            nudged[1][at] -= step
            more, less = logits_by_hand(case.top, nudged, batch_statistics=False)
            slope[at] = (entropy_by_hand(more) - entropy_by_hand(less)) / (2 * step)
        expected = np.sqrt((slope**2).sum(0))
        assert (expected > 1e-3).sum() >= 9
        np.testing.assert_allclose(saliency[b].numpy(), expected, rtol=1e-6, atol=1e-8)
        assert (saliency[b, -1] == 0).all()  # no window reaches the last row and column
        assert (saliency[b, :, -1] == 0).all()


# Cells read and written


@given(
    batch=st.integers(1, 3),
    depth=st.integers(1, 5),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    data=st.data(),
)
def test_vectors_land_in_their_cells_and_nowhere_else(batch, depth, rows, columns, memory_format, data):
    k = data.draw(st.integers(0, rows * columns))
    feature_map = torch.rand(batch, depth, rows, columns).contiguous(memory_format=memory_format)
    cells = torch.stack([torch.randperm(rows * columns)[:k] for _ in range(batch)])
    vectors = torch.rand(batch, k, depth)
    expected = feature_map.clone()
    for b in range(batch):
        for n, cell in enumerate(cells[b].tolist()):
            assert torch.equal(
                gather_cells(feature_map, cells)[b, n], feature_map[b, :, cell // columns, cell % columns]
            )
            expected[b, :, cell // columns, cell % columns] = vectors[b, n]
    assert torch.equal(replace_cells(feature_map, cells, vectors), expected)


# Winners of the max


@pytest.mark.parametrize(
    ("windows_at", "first"),
    [(None, (0, 0)), ([(2, 0), (0, 3)], (0, 3)), ([(3, 3), (2, 4)], (2, 4))],
    ids=["a constant map", "equal windows in two rows", "equal windows that overlap"],
)
def test_of_equal_windows_the_first_takes_the_whole_gradient(windows_at, first):
    conv = nn.Conv2d(1, 1, 2, bias=False)
    linear = nn.Linear(1, 2, bias=False)
    top = nn.Sequential(conv, nn.Identity(), nn.ReLU(), GlobalMaxPool(), linear).double()
    coarse_map = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.fill_(1)
        linear.weight.copy_(torch.tensor([[1.0], [0.0]]))
        for i, j in windows_at or np.ndindex(5, 6):
            coarse_map[0, 0, i : i + 2, j : j + 2] = 1
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[first[0] : first[0] + 2, first[1] : first[1] + 2] = True

    passes = quick_passes(top, coarse_map.requires_grad_())
    assert torch.equal(passes.attention()[2][0] > 0, expected)
    # A cell refined by its own value changes nothing, and passes the gradient on in place of the coarse one.
    vectors = gather_cells(coarse_map.detach(), cells := torch.tensor([[0]]))
    passes.refined(cells, vectors)[0, 0].backward()
    expected[0, 0] = False
    assert torch.equal(coarse_map.grad[0, 0] != 0, expected)


@pytest.mark.parametrize("norm", [False, True])
def test_where_the_relu_lets_nothing_through_there_is_no_saliency_and_no_gradient(norm):
    case = make_case(norm=norm).in_mode("eval")
    with torch.no_grad():
        (case.top[0][1] if norm else case.top[0][0]).bias.fill_(-100)
    results = run(quick_passes, case)
    assert (results["attention"][2] == 0).all()
    assert torch.equal(results["logits"], case.top[3].bias.detach().expand_as(results["logits"]))
    assert {name for name, gradient in results["gradients"].items() if gradient.any()} == {"3.bias"}


# Which tops are quick


def make_top(**changes: nn.Module | None) -> nn.Sequential:
    """Layers like the paper's for the small DCN's map of depth 6, some of them changed or (None) left out."""
    parts = {
        "conv": nn.Conv2d(6, 8, 2),
        "norm": nn.BatchNorm2d(8),
        "relu": nn.ReLU(),
        "pool": GlobalMaxPool(),
        "linear": nn.Linear(8, 4),
    }
    return nn.Sequential(*(part for part in (parts | changes).values() if part is not None))


def twice(kind: type[nn.Module]) -> type[nn.Module]:
    """The same kind of module with a forward of its own."""

    class Twice(kind):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    return Twice


class Wrapped(nn.Module):
    """The same function as the module in it, but nothing to look into."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def hooked(kind: str, part: int | None) -> nn.Sequential:
    """A top with a hook on itself or on one of its parts, of a kind like "forward" or "full_backward_pre"."""
    top = make_top()
    getattr(top if part is None else top[part], f"register_{kind}_hook")(lambda *_: None)
    return top


class Standardised(nn.Conv2d):
    """A convolution whose weights are centred in the method that torch's own forward calls."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean((1, 2, 3), keepdim=True), bias)


def given_another_forward(module: nn.Module) -> nn.Module:
    module.forward = MethodType(lambda self, x: 2 * type(self).forward(self, x), module)
    return module


OTHER_TOPS = {
    "a module of another kind": Wrapped(make_top()),
    "no convolution": nn.Sequential(nn.Flatten(), nn.Linear(6 * 35, 4)),
    "no norm": make_top(norm=None),
    "no ReLU": make_top(relu=None),
    "no max": make_top(norm=nn.Identity(), pool=nn.Flatten(), linear=nn.Linear(8 * 24, 4)),
    "another activation": make_top(relu=nn.ELU()),
    "another pool": make_top(pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "another norm": make_top(norm=nn.GroupNorm(2, 8)),
    "no linear layer": make_top(linear=None),
    "another layer at the end": make_top(linear=nn.LogSoftmax(1)),
    "a layer more at the end": make_top(linear=nn.Sequential(nn.Linear(8, 4), nn.Tanh())),
    "a layer more at the beginning": make_top(conv=nn.Sequential(nn.Tanh(), nn.Conv2d(6, 8, 2))),
    "padding": make_top(conv=nn.Conv2d(6, 8, 2, padding=1)),
    "padding in one direction": make_top(conv=nn.Conv2d(6, 8, 2, padding=(0, 1))),
    "padding by name": make_top(conv=nn.Conv2d(6, 8, 3, padding="same")),
    "groups": make_top(conv=nn.Conv2d(6, 8, 2, groups=2)),
    "dilation": make_top(conv=nn.Conv2d(6, 8, 2, dilation=2)),
    "dilation in one direction": make_top(conv=nn.Conv2d(6, 8, 2, dilation=(1, 2))),
    "a kernel that is not square": make_top(conv=nn.Conv2d(6, 8, (2, 3))),
    "a stride that is not square": make_top(conv=nn.Conv2d(6, 8, 2, stride=(1, 2))),
    "a norm without running statistics": make_top(norm=nn.BatchNorm2d(8, track_running_stats=False)),
    "a norm without weights": make_top(norm=nn.BatchNorm2d(8, affine=False)),
    "a sequence with a forward of its own": twice(nn.Sequential)(*make_top()),
    "a convolution with a forward of its own": make_top(conv=twice(nn.Conv2d)(6, 8, 2)),
    "a convolution with an inner method of its own": make_top(conv=Standardised(6, 8, 2)),
    "a convolution that was given another forward": make_top(conv=given_another_forward(nn.Conv2d(6, 8, 2))),
    "a norm with a forward of its own": make_top(norm=twice(nn.BatchNorm2d)(8)),
    "an identity with a forward of its own": make_top(norm=twice(nn.Identity)()),
    "a ReLU with a forward of its own": make_top(relu=twice(nn.ReLU)()),
    "a max with a forward of its own": make_top(pool=twice(GlobalMaxPool)()),
    "a linear layer with a forward of its own": make_top(linear=twice(nn.Linear)(8, 4)),
    "a hook on the whole": hooked("forward", None),
    "a hook on a part": hooked("forward", 2),
    "a pre-hook on the whole": hooked("forward_pre", None),
    "a pre-hook on a part": hooked("forward_pre", 4),
    "a backward hook on the whole": hooked("full_backward", None),
    "a backward hook on a part": hooked("full_backward", 2),
    "a backward pre-hook on a part": hooked("full_backward_pre", 3),
}


@pytest.mark.parametrize("top", OTHER_TOPS.values(), ids=OTHER_TOPS)
def test_any_other_top_is_left_to_the_plain_passes(make_dcn, images, labels, top):
    dcn = make_dcn()
    dcn.top = copy.deepcopy(top).double().eval()
    assert MaxPoolTop.find(dcn.top) is None
    look = dcn.attend(images)
    assert torch.equal(look.logits, dcn.top(look.refined_map))
    assert torch.equal(look.saliency, saliency_map(dcn.top, look.coarse_map))
    dcn.train().loss(images, labels)[0].backward()
    assert all(parameter.grad.isfinite().all() for parameter in dcn.parameters())


@pytest.mark.parametrize(
    "top",
    [
        make_top(),
        make_top(norm=nn.Identity()),
        nn.Sequential(nn.Sequential(make_top())),
        nn.Sequential(make_top(), nn.Unflatten(1, (2, 2))),
        TopLayers(),
    ],
    ids=["batch norm", "identity", "nested sequences", "several positions", "the paper's"],
)
def test_tops_like_the_papers_are_quick(top):
    parts = MaxPoolTop.find(top)
    assert parts is not None
    assert set(parts.conv.parameters()) | set(parts.norm.parameters()) | set(parts.linear.parameters()) == set(
        top.parameters()
    )


# In the whole network


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("policy", ["entropy-gradient", "center"])
def test_a_network_with_quick_passes_agrees_with_one_without(make_dcn, images, labels, policy, training):
    quick = make_dcn(hint_weight=0.3, policy=policy).train(training)
    plain = copy.deepcopy(quick)
    plain.top = Wrapped(plain.top)
    assert MaxPoolTop.find(plain.top) is None
    assert MaxPoolTop.find(quick.top) is not None

    results = []
    for dcn in (plain, quick):
        loss, parts = dcn.loss(images, labels)
        assert parts["hint"] > 0
        gradients = torch.autograd.grad(loss, list(dcn.parameters()))
        results.append([loss, parts, gradients, list(dcn.state_dict().values()), dcn(images), vars(dcn.attend(images))])
    assert_close(results[1], results[0])


@pytest.mark.parametrize("wrap", [nn.Sequential, Wrapped], ids=["quick", "plain"])
def test_attention_is_computed_once_where_it_is_asked_for_and_else_never(make_dcn, images, labels, wrap, monkeypatch):
    computed = []
    for kind in (PlainPasses, QuickPasses):
        first = kind._first
        monkeypatch.setattr(kind, "_first", lambda passes, first=first: computed.append(type(passes)) or first(passes))

    def times(call: Callable[[], object]) -> int:
        computed.clear()
        call()
        assert set(computed) <= {QuickPasses if wrap is nn.Sequential else PlainPasses}
        return len(computed)

    dcn, elsewhere = (make_dcn(policy=policy) for policy in ("entropy-gradient", "center"))
    for model in (dcn, elsewhere):
        model.top = wrap(model.top)
    cells = torch.tensor([[3, 4]]).expand(4, -1)
    assert times(lambda: dcn(images)) == 1
    assert times(lambda: dcn.attend(images)) == 1
    assert times(lambda: dcn.attend(images, cells=cells)) == 1
    assert times(lambda: dcn.attend(images, k=0)) == 1
    assert times(lambda: dcn.loss(images, labels)) == 1
    assert times(lambda: dcn(images, cells=cells)) == 0
    assert times(lambda: dcn(images, cells=cells[:, :0])) == 0
    assert times(lambda: dcn(images, k=0)) == 0
    assert times(lambda: dcn.loss(images, labels, k=0)) == 0
    assert times(lambda: elsewhere(images)) == 0
    assert times(lambda: elsewhere.attend(images)) == 1


# Contexts and precisions


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_results_are_the_same(context):
    case = make_case().in_mode("eval")
    expected = run(quick_passes, case)
    with context():
        passes = quick_passes(case.top, case.coarse_map.clone())
        logits = passes.refined(case.cells, case.fine_vectors.clone())
        assert_close(passes.attention(), expected["attention"])
    assert not logits.requires_grad
    assert_close(logits, expected["logits"])


def paper_sized(dtype: torch.dtype) -> Case:
    case = make_case(
        batch=4, depth=24, filters=96, classes=10, kernel=4, beyond=(19, 19), share=8 / 529, conv_bias=False
    )
    with torch.no_grad():
        case.top[0][0].weight /= 20
    case.top.eval().to(dtype)
    return case._replace(coarse_map=case.coarse_map.to(dtype), fine_vectors=case.fine_vectors.to(dtype))


def test_in_float32_the_papers_top_agrees_with_double_precision():
    single, double = (run(quick_passes, paper_sized(dtype)) for dtype in (torch.float32, torch.float64))
    for name in ("attention", "logits", "gradients"):
        torch.testing.assert_close(single[name], double[name], rtol=1e-4, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "a network in bfloat16"])
def test_in_bfloat16_the_attention_stays_in_float32_and_all_results_stay_close(autocast):
    full = run(PlainPasses, paper_sized(torch.float32))
    case = paper_sized(torch.bfloat16)
    if autocast:
        case.top.float()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        passes = quick_passes(case.top, case.coarse_map)
        attention, logits = passes.attention(), passes.refined(case.cells, case.fine_vectors)
    assert {result.dtype for result in attention} == {torch.float32}
    assert logits.dtype == torch.bfloat16
    close = zip((*attention, logits), (*full["attention"], full["logits"]), (0.01, 0.05, 0.1, 0.01), strict=True)
    for result, expected, tolerance in close:
        assert (result - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_fine_vectors_may_have_another_precision_than_the_map(dtype):
    case = paper_sized(torch.float32)
    vectors = case.fine_vectors.to(dtype)
    logits, expected = (
        passes_of(case.top, case.coarse_map).refined(case.cells, vectors) for passes_of in (quick_passes, PlainPasses)
    )
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
