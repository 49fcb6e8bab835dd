"""The controls measure what they say: errors are those of `evaluate`, and places those of a slow count of pixels."""

import json
from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dcnlib import ClutteredMNIST, DynamicCapacityNetwork, evaluate, load_pretrained, select_patches
from dcnlib.analysis.ablation import ControlSettings, compare, measure_controls, run_controls
from dcnlib.core.policies import POLICIES, FirstLook, label_loss_gradient, oracle_scores, shared_pixels
from dcnlib.data.cluttered_mnist import ClutterRules
from dcnlib.models.specs import DCNSpec
from dcnlib.paper.tables import controls_table
from dcnlib.utils.records import save_record
from dcnlib.utils.statistics import mcnemar_p_value

SETTINGS = ControlSettings(ks=(0, 1, 4), draws=2, seed=5, batch_size=12, device="cpu")
POSITIONS = {k: column for column, k in enumerate(SETTINGS.ks)}


@pytest.fixture(scope="module")
def model() -> DynamicCapacityNetwork:
    model = load_pretrained("dcn-k8-hints")
    assert isinstance(model, DynamicCapacityNetwork)
    model.k = 4  # one of the settings', to which it would be added otherwise
    return model


@pytest.fixture(scope="module")
def data(digits) -> ClutteredMNIST:
    """32 images in so much clutter that the model errs often, and not on the same ones with other patches."""
    return ClutteredMNIST(digits.subset(32), rules=ClutterRules(distractors=40), seed=3)


@pytest.fixture(scope="module")
def record(model, data):
    return run_controls({"shipped": model}, data, SETTINGS)


@pytest.fixture(scope="module")
def controls(record):
    return record["models"]["shipped"]["controls"]


@pytest.fixture(scope="module")
def outcomes(model, data):
    return measure_controls(model, data, SETTINGS)


def errors_by_cells(model: DynamicCapacityNetwork, data: ClutteredMNIST, scores: Tensor, k: int) -> int:
    return evaluate(model, data, cells=select_patches(scores, k)).rate.errors


def coarse_map_of(model: DynamicCapacityNetwork, data: ClutteredMNIST) -> Tensor:
    with torch.no_grad():
        return model.coarse(data[range(len(data))][0])


@pytest.mark.parametrize("k", SETTINGS.ks)
def test_the_errors_of_the_entropy_gradient_are_those_of_the_model(model, data, controls, k):
    row = controls["entropy-gradient"][POSITIONS[k]]
    expected = evaluate(model, data, k=k).as_record()
    (draw,) = row["draws"]
    assert {name: draw[name] for name in ("errors", "count", "interval_95")} == {
        name: expected[name] for name in ("errors", "count", "interval_95")
    }
    assert row["error"] == draw["error"] == expected["error"] > 0


@pytest.mark.parametrize("policy", [name for name in POLICIES if name not in ("entropy-gradient", "random")])
def test_the_errors_of_another_policy_are_those_of_the_model_with_it(model, data, controls, policy):
    for k, row in zip(SETTINGS.ks, controls[policy], strict=True):
        assert row["draws"][0]["errors"] == evaluate(model, data, k=k, policy=policy).rate.errors


def test_the_controls_that_know_the_answer_know_that_of_each_image(model, data, controls):
    scores = {
        "oracle": oracle_scores(data.boxes, model.geometry, (23, 23)),
        "label-loss-gradient": label_loss_gradient(model, coarse_map_of(model, data), data.labels),
    }
    for name, score in scores.items():
        assert controls[name][POSITIONS[4]]["draws"][0]["errors"] == errors_by_cells(model, data, score, 4)


def test_random_cells_come_from_the_seeds_alone_however_images_are_batched(model, data, controls, outcomes):
    row = controls["random"][POSITIONS[4]]
    for draw in range(2):
        scores = torch.rand(32, 23, 23, generator=torch.Generator().manual_seed(5 + draw))
        patches = model.geometry.boxes(select_patches(scores, 4), 23)
        assert torch.equal(outcomes["random"][draw].shared, shared_pixels(patches, data.boxes[:, None]))
        assert row["draws"][draw]["errors"] == errors_by_cells(model, data, scores, 4)
    assert row["error"] == pytest.approx(sum(draw["errors"] for draw in row["draws"]) / 2 / 32)


def test_the_global_generator_is_left_alone(model, digits):
    few = ClutteredMNIST(digits.subset(2))
    before = torch.get_rng_state()
    measure_controls(model, few, ControlSettings(ks=(1,), draws=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_patches_all_controls_are_the_coarse_model(model, data, controls):
    expected = evaluate(model, data, k=0).rate.errors
    for rows in controls.values():
        row = rows[POSITIONS[0]]
        assert (row["touching"], row["inside"]) == (None, None)
        for draw in row["draws"]:
            assert draw["errors"] == expected
            assert (draw["only_this_right"], draw["only_entropy_gradient_right"], draw["p_value"]) == (0, 0, 1)


def test_patches_lie_where_a_slow_count_of_pixels_finds_them(model, data, outcomes):
    coarse_map = coarse_map_of(model, data)
    for name in ("center", "coarse-norm"):
        cells = select_patches(POLICIES[name](FirstLook(model, torch.empty(0), coarse_map)), 4)
        shared = outcomes[name][0].shared
        for image in range(0, 32, 5):
            top, left, bottom, right = data.boxes[image].tolist()
            for rank, cell in enumerate(cells[image].tolist()):
                y, x = cell // 23 * 4 - 1, cell % 23 * 4 - 1
                pixels = product(range(y, y + 14), range(x, x + 14))
                assert shared[image, rank] == sum(
                    top <= row < bottom and left <= column < right for row, column in pixels
                )


def test_shares_are_means_over_the_chosen_patches(outcomes, controls):
    for k, row in zip(SETTINGS.ks[1:], controls["center"][1:], strict=True):
        pixels = outcomes["center"][0].shared[:, :k].flatten().tolist()
        assert 0 < row["inside"] < row["touching"] < 1
        assert row["touching"] == pytest.approx(sum(count > 0 for count in pixels) / len(pixels))
        assert row["inside"] == pytest.approx(sum(pixels) / len(pixels) / 14**2)


def test_the_oracle_looks_at_the_digit(controls):
    one = controls["oracle"][POSITIONS[1]]
    assert (one["touching"], one["inside"]) == (1, 1)
    assert controls["oracle"][POSITIONS[4]]["touching"] == 1
    assert controls["random"][POSITIONS[4]]["touching"] < 0.5


class Everywhere(ClutteredMNIST):
    """Black images whose box is the whole canvas."""

    @property
    def boxes(self) -> Tensor:
        return torch.tensor([[0, 0, self.rules.size, self.rules.size]]).expand(len(self), -1)

    def render(self, indices):
        return super().render(indices) * 0


def test_all_patches_touch_a_box_that_is_the_whole_image(model, digits):
    settings = ControlSettings(ks=(1, 529), draws=1, device="cpu")
    record = run_controls({"shipped": model}, Everywhere(digits.subset(1)), settings)
    for rows in record["models"]["shipped"]["controls"].values():
        assert [(row["k"], row["touching"]) for row in rows] == [(1, 1), (4, 1), (529, 1)]
        # Of all 529 patches, those at the border have a row or a column of zeros outside the image.
        assert rows[2]["inside"] == pytest.approx(((21 * 14 + 2 * 13) / (23 * 14)) ** 2)


def test_images_that_only_one_gets_right_account_for_the_difference_in_errors(controls):
    differences = 0
    for rows in controls.values():
        for row, reference in zip(rows, controls["entropy-gradient"], strict=True):
            for draw in row["draws"]:
                more = draw["errors"] - reference["draws"][0]["errors"]
                b, c = draw["only_this_right"], draw["only_entropy_gradient_right"]
                assert c - b == more
                assert draw["p_value"] == mcnemar_p_value(b, c)
                differences += b + c
    assert differences > 0


def test_answers_are_compared_image_by_image():
    right = torch.tensor([True, True, True, False, False, False])
    reference = torch.tensor([True, False, False, True, False, False])
    record = compare(right, reference)
    assert (record["errors"], record["count"]) == (3, 6)
    assert (record["only_this_right"], record["only_entropy_gradient_right"]) == (2, 1)


@pytest.mark.parametrize(
    ("b", "c", "p_value"),
    [
        (0, 0, 1),
        (7, 7, 1),
        (0, 6, 2 / 64),
        (1, 5, 14 / 64),
        (5, 1, 14 / 64),
        (86, 150, 3.716e-05),  # Agresti's approval ratings, by R's mcnemar.exact
    ],
)
def test_p_values_of_known_cases(b, c, p_value):
    assert mcnemar_p_value(b, c) == pytest.approx(p_value, rel=1e-3)


@given(b=st.integers(0, 5), c=st.integers(0, 5))
def test_the_p_value_is_the_share_of_all_coin_tosses_that_are_at_least_as_uneven(b, c):
    tosses = list(product((0, 1), repeat=b + c))
    uneven = sum(abs(2 * sum(toss) - b - c) >= abs(b - c) for toss in tosses)
    assert mcnemar_p_value(b, c) == pytest.approx(float(Fraction(uneven, len(tosses))))


def test_p_values_of_many_images_are_numbers():
    assert mcnemar_p_value(2000, 1000) == pytest.approx(0, abs=1e-60)
    assert 0.9 < mcnemar_p_value(1000, 1000) <= 1


class Scorer(nn.Module):
    """A policy with weights and statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(24, 1, 3, padding=1), nn.BatchNorm2d(1))

    def forward(self, first: FirstLook) -> Tensor:
        return self.layers(first.coarse_map)[:, 0]


def with_own_policy(model: DynamicCapacityNetwork, policy) -> DynamicCapacityNetwork:
    return DynamicCapacityNetwork(coarse=model.coarse, fine=model.fine, top=model.top, policy=policy).eval()


def test_a_policy_with_weights_of_its_own_is_measured_too(model, data, controls):
    learned = with_own_policy(model, Scorer())
    learned.k = model.k
    measured = run_controls({"learned": learned}, data, SETTINGS)["models"]["learned"]
    assert measured["policy"] == "own"
    assert measured["controls"].keys() - controls.keys() == {"own"}
    for k, row in zip(SETTINGS.ks, measured["controls"]["own"], strict=True):
        assert row["draws"][0]["errors"] == evaluate(learned, data, k=k).rate.errors
    assert measured["controls"]["entropy-gradient"] == controls["entropy-gradient"]


def test_a_model_that_chooses_by_a_known_policy_says_so(model, digits, record):
    settings = ControlSettings(ks=(0,), draws=1, device="cpu")
    lengthy = with_own_policy(model, "coarse-norm")
    measured = run_controls({"lengthy": lengthy}, ClutteredMNIST(digits.subset(2)), settings)["models"]["lengthy"]
    assert measured["policy"] == "coarse-norm"
    assert "own" not in measured["controls"]
    assert record["models"]["shipped"]["policy"] == "entropy-gradient"


@pytest.mark.parametrize("k", [0, 5])
def test_a_models_own_number_of_patches_is_measured_and_told_too(digits, k):
    data, own = ClutteredMNIST(digits.subset(6)), DCNSpec(k=k).build().eval()
    record = run_controls({"own": own}, data, ControlSettings(ks=(1, 2), device="cpu"))
    (row,) = (row for row in record["models"]["own"]["controls"]["entropy-gradient"] if row["k"] == k)
    assert row["error"] == evaluate(own, data).rate.fraction
    head, _, first, *_ = controls_table(record, "own").splitlines()
    assert head.count("k = ") == 3
    assert f"k = {k} " in head
    assert first.count("%") == (0 if k == 0 else 2)


def test_measuring_changes_neither_weights_nor_statistics_nor_modes(digits):
    learned = with_own_policy(load_pretrained("dcn-k8-hints"), Scorer()).train()
    learned.top.eval()
    modes = [part.training for part in learned.modules()]
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    measure_controls(learned, ClutteredMNIST(digits.subset(4)), ControlSettings(ks=(0, 2), draws=1))
    assert [part.training for part in learned.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in learned.state_dict().items())
    assert all(parameter.grad is None for parameter in learned.parameters())


def test_the_record_says_what_was_measured_where(record, data, tmp_path):
    save_record(tmp_path / "record.json", record)
    kept = json.loads((tmp_path / "record.json").read_text())
    assert kept["name"] == "controls"
    assert kept["settings"] == {"ks": [0, 1, 4], "draws": 2, "seed": 5, "batch_size": 12, "device": "cpu"}
    assert kept["data"] == data.describe()
    assert kept["wall_seconds"] > 0
    assert {"git_revision", "versions", "machine", "created"} <= kept.keys()
    measured = kept["models"]["shipped"]
    assert measured["k"] == 4
    assert measured["controls"].keys() == {*POLICIES, "label-loss-gradient", "oracle"}
    for name, rows in measured["controls"].items():
        assert [row["k"] for row in rows] == [0, 1, 4]
        assert all(len(row["draws"]) == (2 if name == "random" else 1) for row in rows)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ks": ()}, ValueError, "at least one number of patches"),
        ({"ks": (1, -1)}, ValueError, "must be 0"),
        ({"ks": (1.5,)}, TypeError, "must be an int"),
        ({"draws": 0}, ValueError, "draws must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ],
)
def test_settings_that_measure_nothing_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ControlSettings(**options)


def test_more_patches_than_cells_are_refused(model, digits):
    with pytest.raises(ValueError, match=r"must be 0\.\.529"):
        measure_controls(model, ClutteredMNIST(digits.subset(2)), ControlSettings(ks=(530,), draws=1))
