"""Grids of jobs: every combination once, each under a name that says what it is."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcnlib.models.grid import SpecJob, grid, run_name
from dcnlib.models.specs import SPECS, CoarseSpec, DCNSpec, RAMSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.training.settings import TrainingSettings

USUAL = TrainingSettings()
DCN = SpecJob(name="dcn", spec=DCNSpec(), settings=USUAL)
COARSE = SpecJob(name="coarse", spec=CoarseSpec(), settings=USUAL)


def test_a_grid_varies_what_a_model_has_and_names_what_differs():
    jobs = grid([COARSE, DCN], {"k": (4, 8), "learning_rate": (0.003, 0.01), "seed": (0, 1)})
    assert [job.name for job in jobs] == [
        *("coarse", "coarse-seed1", "coarse-learning-rate0.01", "coarse-learning-rate0.01-seed1"),
        *("dcn-k4", "dcn-k4-seed1", "dcn-k4-learning-rate0.01", "dcn-k4-learning-rate0.01-seed1"),
        *("dcn", "dcn-seed1", "dcn-learning-rate0.01", "dcn-learning-rate0.01-seed1"),
    ]


@given(
    ks=st.sets(st.integers(0, 30), min_size=1),
    seeds=st.sets(st.integers(0, 5), min_size=1),
    weights=st.sets(st.floats(0, 1), min_size=1, max_size=3),
)
def test_each_combination_is_one_job_with_a_name_of_its_own(ks, seeds, weights):
    jobs = grid([DCN], {"k": sorted(ks), "seed": sorted(seeds), "hint_weight": sorted(weights)})
    combinations = {(job.spec.k, job.settings.seed, job.spec.hint_weight) for job in jobs}
    assert combinations == {(k, seed, weight) for k in ks for seed in seeds for weight in weights}
    assert len({job.name for job in jobs}) == len(jobs) == len(combinations)
    for job in jobs:
        assert job.settings == replace(USUAL, seed=job.settings.seed)


def test_a_value_twice_and_a_whole_number_for_a_float_are_one_job():
    jobs = grid([DCN], {"hint_weight": (1, 1.0), "k": (8, 8)})
    assert [(job.name, job.spec) for job in jobs] == [("dcn-hint-weight1", DCNSpec(hint_weight=1.0))]
    assert isinstance(jobs[0].spec.hint_weight, float)


def test_where_a_job_is_done_changes_no_name():
    assert [job.name for job in grid([COARSE], {"device": ("cpu",), "workers": (1,)})] == ["coarse"]


def test_options_that_no_job_has_are_refused():
    with pytest.raises(ValueError, match="neither training nor any of these models has glimpses, kk"):
        grid([COARSE, DCN], {"glimpses": (4,), "kk": (1,), "k": (1,)})
    with pytest.raises(ValueError, match="epochs and batch_size must be at least 1"):
        grid([COARSE], {"epochs": (0,)})


def test_a_name_says_whatever_is_not_as_usual():
    assert run_name(DCNSpec(), USUAL) == "dcn-k8"
    assert run_name(DCNSpec(k=4, policy="random"), replace(USUAL, epochs=3, device="cpu")) == "dcn-k4-random-epochs3"
    assert run_name(RAMSpec(), replace(USUAL, compile=True), source="embedded") == "ram-compile-embedded"
    assert run_name(CoarseSpec(), USUAL, source="mnist") == "coarse"
    numbers = HouseNumbersTask(scales=2)
    assert run_name(DCNSpec(task=numbers), USUAL, composed=0.2) == "house-numbers-dcn-k8-scales2-composed0.2"
    assert len({run_name(spec(), USUAL) for spec in SPECS.values()}) == len(SPECS)


def test_a_job_trains_on_the_images_that_its_seed_draws():
    settings = TrainingSettings(seed=3)
    job = SpecJob(name="coarse", spec=CoarseSpec(), settings=settings, source="embedded", root=Path("/nowhere"))
    assert job.load("train").describe()["seed"] == 3
    assert job.load("validation").describe() == CoarseSpec().task.load("validation", source="embedded").describe()
    assert job.describe() == {"kind": "coarse"}


def test_parts_that_stay_as_they_begin_are_frozen(tmp_path):
    job = SpecJob(name="frozen", spec=DCNSpec(), settings=TrainingSettings(), freeze=("fine", "top"))
    model = job.build().train()
    assert job.start(model, []) is None
    assert model.training
    assert {name.split(".")[0] for name, weights in model.named_parameters() if weights.requires_grad} == {"coarse"}
    assert not model.fine.training
    assert not model.top[0][1].training
