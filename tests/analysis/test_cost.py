"""Multiplications against counts by hand."""

import pytest
import torch
from torch import nn

from dcnlib import (
    CoarseLayers,
    DynamicCapacityNetwork,
    FineLayers,
    SingleCapacityNetwork,
    TopLayers,
    count_multiplications,
)
from dcnlib.core.policies import POLICIES
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec, PerturbedTopKSpec, SoftAttentionSpec

# Output positions x output channels x input channels x window, layer by layer (paper, section 4.1).
COARSE = 47 * 47 * 12 * 1 * 49 + 23 * 23 * 24 * 12 * 9
TOP = 10 * 10 * 96 * 24 * 16 + 96 * 10
PATCH = 12 * 12 * 24 * 9 + 12 * 12 * 24 * 24 * 9 + 2 * 6 * 6 * 24 * 24 * 9 + 24 * 24 * 9
FINE = 98 * 98 * 24 * 9 + 98 * 98 * 24 * 24 * 9 + 2 * 49 * 49 * 24 * 24 * 9 + 22 * 22 * 24 * 24 * 9


def test_dcn_parts_agree_with_counts_by_hand():
    cost = count_multiplications(DCNSpec(k=8).build())
    # Each of the 96 filters has one winning window of 4x4x24; a cell lies in four windows of the 96 filters.
    saliency, second_pass = 96 * 10 + 96 * 16 * 24, 8 * 4 * 24 * 96 + 96 * 10
    assert (cost.layers, cost.top, cost.saliency, cost.second_pass) == (COARSE, TOP, saliency, second_pass)
    assert (cost.fine_per_patch, cost.fine) == (PATCH, 8 * PATCH)
    assert cost.total == COARSE + TOP + saliency + 8 * PATCH + second_pass
    assert cost.total + cost.discarded < 16e6
    assert cost.discarded == 8 * 3 * 4 * 24 * 96  # the other three places that a cell may take in its 2x2 block


def test_the_plain_passes_cost_three_times_the_top_layers():
    class AnyTop(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = TopLayers()

        def forward(self, feature_map):
            return self.inner(feature_map)

    model = DynamicCapacityNetwork(coarse=CoarseLayers(), fine=FineLayers(), top=AnyTop(), image_shape=(1, 100, 100))
    cost = count_multiplications(model)
    assert (cost.top, cost.saliency, cost.second_pass, cost.discarded) == (TOP, TOP, TOP, 0)
    assert cost.total == COARSE + 3 * TOP + 8 * PATCH


def test_single_models_agree_with_counts_by_hand():
    coarse, fine = (count_multiplications(SPECS[kind]().build()) for kind in ("coarse", "fine"))
    assert (coarse.layers, coarse.top, coarse.total) == (COARSE, TOP, COARSE + TOP)
    assert (fine.layers, fine.top, fine.total) == (FINE, TOP, FINE + TOP)


def test_rivals_agree_with_counts_by_hand_glimpse_by_glimpse():
    ram, draw = (count_multiplications(SPECS[kind](glimpses=3).build()) for kind in ("ram", "draw"))
    what, where, core = 4 * 12 * 12 * 128 + 128 * 256, 2 * 128 + 128 * 256, 2 * 256 * 256
    choice = 256 * 128 + 128 * 2
    look = what + where + core
    assert ram.glimpses == (look, choice + look, choice + look)
    reading, encoder = 12 * 100 * 100 + 12 * 100 * 12, 4 * 256 * (144 + 256)
    assert draw.glimpses == (256 * 5 + reading + encoder,) * 3
    for cost in (ram, draw):
        assert (cost.layers, cost.top) == (0, 256 * 10)
        assert cost.total == 256 * 10 + sum(cost.glimpses)


def test_without_patches_a_dcn_costs_what_the_coarse_model_costs():
    model = DCNSpec().build()
    assert count_multiplications(model, k=0) == count_multiplications(CoarseSpec().build())


@pytest.mark.parametrize("policy", ["random", "center", "coarse-norm"])
def test_policies_that_ask_no_gradient_pay_for_none(policy):
    model = DynamicCapacityNetwork(
        coarse=CoarseLayers(), fine=FineLayers(), top=TopLayers(), image_shape=(1, 100, 100), policy=policy
    )
    cost = count_multiplications(model)
    # The convolution on the coarse map is what the second pass starts from.
    assert (cost.top, cost.saliency, cost.second_pass) == (TOP - 960, 0, 8 * 4 * 24 * 96 + 960)


def test_a_policy_of_the_call_costs_what_it_costs_as_the_models_own():
    model = DCNSpec().build()
    for policy in POLICIES:
        expected = count_multiplications(DCNSpec(policy=policy).build())
        assert count_multiplications(model, policy=policy) == expected
    gradient = count_multiplications(model)
    assert count_multiplications(model, policy=lambda first: first.saliency) == gradient
    twice = count_multiplications(model, policy=lambda first: first.saliency * first.entropy[:, None, None])
    assert twice == gradient  # one prediction, however often it is asked for


def test_learned_scores_cost_their_layers_and_soft_attention_pays_for_everything():
    scorer = 23 * 23 * 9 * (24 * 24 + 24)
    coarse, fine = (count_multiplications(SPECS[kind]().build()) for kind in ("coarse", "fine"))
    perturbed = count_multiplications(PerturbedTopKSpec().build())
    plain = count_multiplications(DCNSpec(policy="coarse-norm").build())
    assert perturbed.saliency == scorer
    assert perturbed.total == plain.total + scorer
    soft = count_multiplications(SoftAttentionSpec().build())
    assert soft.saliency == scorer
    assert soft.total == coarse.layers + fine.total + scorer


def test_counting_leaves_modes_and_statistics_alone():
    model = DCNSpec().build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_multiplications(model)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_compiled_model_costs_what_the_model_itself_does(spec):
    model = spec().build()
    assert count_multiplications(torch.compile(model, backend="eager")) == count_multiplications(model)


def test_an_unknown_model_or_image_shape_is_refused():
    with pytest.raises(TypeError, match="Linear"):
        count_multiplications(nn.Linear(2, 2), (1, 4, 2))
    model = DynamicCapacityNetwork(coarse=CoarseLayers(), fine=FineLayers(), top=TopLayers())
    with pytest.raises(ValueError, match="image_shape"):
        count_multiplications(model)
    with pytest.raises(ValueError, match=r"0\.\.529"):
        count_multiplications(model, (1, 100, 100), k=530)


class Reads(nn.Module):
    """Runs layers on the cells of a map (B, D, s1, s2) as a sequence (B, T, D), and takes the mean."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, feature_map):
        sequence = feature_map.flatten(2).transpose(1, 2)
        made = self.layers(sequence)
        return (made[0] if isinstance(made, tuple) else made).mean(1)


class Attends(nn.Module):
    def forward(self, sequence):
        heads = sequence.unflatten(2, (2, 12)).transpose(1, 2)  # (B, 2, T, 12)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)


class ByVector(nn.Module):
    def forward(self, sequence):
        return (sequence[0] @ sequence[0, 0])[None, :, None]


CELLS, DEPTH = 23 * 23, 24
ENCODER = 4 * DEPTH**2 + 2 * DEPTH * 64 + 2 * CELLS * DEPTH  # of a step: four projections, two layers, attention


@pytest.mark.parametrize(
    ("layers", "multiplications"),
    [
        (nn.LSTM(DEPTH, 10, batch_first=True), CELLS * 4 * 10 * (DEPTH + 10)),
        (nn.GRU(DEPTH, 10, batch_first=True), CELLS * 3 * 10 * (DEPTH + 10)),
        (nn.LSTM(DEPTH, 10, 2, bidirectional=True), CELLS * 2 * 4 * 10 * (DEPTH + 10 + 20 + 10)),
        (nn.TransformerEncoderLayer(DEPTH, 4, 64, batch_first=True), CELLS * ENCODER),
        (Attends(), 2 * CELLS**2 * DEPTH),
        (ByVector(), CELLS * DEPTH),
    ],
    ids=["LSTM", "GRU", "LSTM of two layers both ways", "transformer", "attention", "matrix and vector"],
)
def test_products_that_run_as_one_operation_count_too(layers, multiplications):
    model = SingleCapacityNetwork(layers=CoarseLayers(), top=Reads(layers), image_shape=(1, 100, 100))
    assert count_multiplications(model).top == multiplications
    assert torch.backends.mha.get_fastpath_enabled()
