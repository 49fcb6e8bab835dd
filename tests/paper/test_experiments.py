"""The recorded runs by name: what each profile gives, and how a finished run becomes the project's record."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from svhn_files import sample_entries, write_folder

from dcnlib import ClutteredMNIST, TrainingSettings, evaluate, fit, load_cluttered, load_model, load_record
from dcnlib.data.cluttered_mnist import SEEDS
from dcnlib.data.house_numbers.images import TRAINING_DISTURBANCE, HouseNumberImages, project_images
from dcnlib.data.house_numbers.rendered import render_numbers
from dcnlib.models import tasks
from dcnlib.models.grid import SpecJob
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import CoarseSpec, DCNSpec, RAMSpec
from dcnlib.paper import experiments
from dcnlib.paper.experiments import EXPERIMENTS, experiment_job, full_record, run_experiment
from dcnlib.paper.profiles import number_validation_set, validation_set
from dcnlib.paper.promote import promote
from dcnlib.paper.reported import REPORTED, TITLES
from dcnlib.paper.runs import EVERY_K_RUNS, HINT_RUNS, K_RUNS, PRECISION_RUNS, ROWS, TEST_KS, VIEWS
from dcnlib.paper.tables import results_table, summary_table
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.training.run import Run
from dcnlib.utils.records import save_record
from dcnlib.utils.statistics import ErrorRate


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project around the working folder."""
    for folder in ("dcnlib", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finished_run(tmp_path, digits):
    data = ClutteredMNIST(digits, seed=1)
    run_dir = tmp_path / "run"
    settings = TrainingSettings(epochs=1, batch_size=32, device="cpu")
    model = CoarseSpec().build()
    fit(model, data, data, settings, name="coarse", description={"kind": "coarse"}, run_dir=run_dir)
    return run_dir, model, data


def test_the_smoke_profile_trains_and_writes_nothing(project):
    before = sorted(project.rglob("*"))
    model, record = run_experiment("coarse", profile="smoke", device="cpu")
    assert record["settings"]["epochs"] == len(record["curves"]["train_loss"]) == 1
    assert record["data"]["train"]["source"] == "embedded"
    assert model(torch.zeros(1, 1, 100, 100)).shape == (1, 10)
    assert sorted(project.rglob("*")) == before


def test_the_paper_profile_trains_in_runs_tests_once_and_is_loaded_afterwards(project, digits, monkeypatch):
    seen = []

    def small(split, **options):
        seen.append((split, options["source"]))
        return ClutteredMNIST(digits, seed=SEEDS[split], fresh=split == "train")

    monkeypatch.setattr(tasks, "load_cluttered", small)
    monkeypatch.setattr(experiments, "can_compile", lambda: False)
    model, record = run_experiment("coarse", profile="paper", device="cpu")
    assert seen == [("train", "mnist"), ("validation", "mnist"), ("test", "mnist")]
    assert len(record["curves"]["train_loss"]) == EXPERIMENTS["coarse"].epochs
    assert record["test"]["count"] == len(digits)
    assert json.loads((project / "runs" / "coarse" / "record.json").read_text()) == record

    again, same = run_experiment("coarse", profile="paper", device="cpu")
    assert len(seen) == 3  # neither trained nor tested anew
    assert same == record
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_smoke_profile_trains_models_of_house_numbers_on_rendered_ones(project):
    before = sorted(project.rglob("*"))
    model, record = run_experiment("house-numbers-dcn-k8-scales2", profile="smoke", device="cpu")
    assert record["settings"]["epochs"] == len(record["curves"]["train_loss"]) == 1
    train, validation = (record["data"][split] for split in ("train", "validation"))
    assert (train["source"], train["photographs"], train["count"], train["fresh"]) == ("rendered", 64, 128, True)
    assert train.items() >= asdict(TRAINING_DISTURBANCE).items()
    assert validation == number_validation_set("smoke").describe()
    assert model(torch.zeros(1, 1, 64, 128)).shape == (1, 5, 11)
    assert sorted(project.rglob("*")) == before


def test_the_paper_profile_trains_each_seed_on_its_own_disturbances_of_svhn(project, monkeypatch):
    seen = []

    def few(split, *, source, root, **options):
        seen.append((split, source))
        return project_images(render_numbers(split, 16), **options)

    monkeypatch.setattr(tasks, "load_house_number_images", few)
    monkeypatch.setattr(experiments, "can_compile", lambda: False)
    name = "house-numbers-coarse-seed2"
    settings = {**EXPERIMENTS[name].settings, "batch_size": 16}
    monkeypatch.setitem(EXPERIMENTS, name, replace(EXPERIMENTS[name], epochs=1, settings=settings))
    model, record = run_experiment(name, profile="paper", device="cpu")
    assert seen == [("train", "svhn"), ("validation", "svhn"), ("test", "svhn")]
    assert record["settings"]["seed"] == record["data"]["train"]["seed"] == 2
    assert record["data"]["test"]["seed"] == 0
    test = few("test", source="svhn", root=None)
    wrong = (model(test[range(16)][0]).argmax(2) != test.labels).any(1)
    assert record["test"]["wrong"] == wrong.nonzero().flatten().tolist()
    assert record["test"]["errors"] == wrong.sum()


def test_the_paper_s_protocol_trains_on_one_fixed_image_for_each_digit(project, digits, monkeypatch):
    asked = []

    def small(split, *, source, root, fresh=None, **options):
        asked.append((split, fresh))
        return ClutteredMNIST(digits, seed=SEEDS[split], fresh=split == "train" if fresh is None else fresh)

    monkeypatch.setattr(tasks, "load_cluttered", small)
    monkeypatch.setattr(experiments, "can_compile", lambda: False)
    name = "fixed-coarse-30-seed1"
    monkeypatch.setitem(experiments.STUDIES, name, replace(experiments.STUDIES[name], epochs=1))
    _, record = run_experiment(name, profile="paper", device="cpu")
    assert asked == [("train", False), ("validation", None), ("test", None)]
    assert record["data"]["train"]["fresh"] is False
    assert (record["settings"]["seed"], record["settings"]["precision"]) == (1, "bfloat16")


def test_a_processor_that_is_slow_at_bfloat16_may_train_in_float32():
    name = "dcn-every-k-share0"
    usual, other = experiment_job(name), experiment_job(name, precision="float32")
    assert usual.settings.precision == "bfloat16"
    assert other == replace(usual, settings=replace(usual.settings, precision="float32"))


def test_in_the_fast_profile_a_run_whose_weights_are_not_shipped_has_its_record_alone(monkeypatch):
    monkeypatch.setattr(experiments, "load_record", lambda name: {"name": name})
    name = "house-numbers-coarse-seed1"
    assert run_experiment(name, profile="fast") == (None, {"name": name})


def test_a_notebook_shows_a_run_of_its_own_only_where_it_trained_in_full(monkeypatch):
    monkeypatch.setattr(experiments, "load_record", lambda name: {"committed": name})
    monkeypatch.setattr(experiments, "run_experiment", lambda name, **options: (None, {"trained": name, **options}))
    assert [full_record("coarse", profile=profile) for profile in ("smoke", "fast")] == [{"committed": "coarse"}] * 2
    trained = {"trained": "coarse", "profile": "paper", "device": "cpu"}
    assert full_record("coarse", profile="paper", device="cpu") == trained
    with pytest.raises(ValueError, match=r"profile must be one of .*, got 'huge'"):
        full_record("coarse", profile="huge")


def test_runs_of_house_numbers_cover_all_models_at_all_scales_and_several_seeds():
    runs = [experiment for experiment in EXPERIMENTS.values() if experiment.spec.task.name == "house-numbers"]
    told = sorted((run.spec.kind, run.spec.task.scales, run.settings.get("seed", 0)) for run in runs)
    seeds = [(kind, 1, seed) for kind in ("coarse", "dcn") for seed in (1, 2)]
    assert told == sorted([(kind, scales, 0) for kind in ("coarse", "dcn", "fine") for scales in (1, 2, 3)] + seeds)


def test_notebooks_evaluate_on_photographs_or_on_rendered_numbers_where_there_are_none(monkeypatch, tmp_path):
    assert number_validation_set("smoke").numbers.source == "rendered"
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    data = number_validation_set("fast")
    assert (data.numbers.source, len(data)) == ("rendered", 400)
    folder = write_folder(tmp_path / "SVHN" / "train", sample_entries(40))
    data = number_validation_set("fast")
    assert isinstance(data, HouseNumberImages)
    assert (data.numbers.source, data.numbers.split) == ("svhn", "validation")
    assert 0 < len(data) < 40
    assert all((folder / name).is_file() for name in data.numbers.names)
    with pytest.raises(ValueError, match="profile must be one of"):
        number_validation_set("huge")


@pytest.mark.parametrize("arguments", [{"name": "dcn-k9", "profile": "fast"}, {"name": "coarse", "profile": "huge"}])
def test_unknown_names_are_refused_with_those_that_exist(arguments):
    with pytest.raises(ValueError, match=r"must be one of .*(coarse|fast).*, got '(dcn-k9|huge)'"):
        run_experiment(**arguments)


def test_notebooks_evaluate_on_the_validation_set_of_the_shipped_models():
    ours, theirs = validation_set("fast"), load_cluttered("validation", source="mnist")
    assert len(ours) == len(theirs) == 5000
    assert (ours.render(range(20)) == theirs.render(range(20))).all()


def test_a_run_is_promoted_only_after_the_test_set_was_looked_at(project, finished_run):
    run_dir, model, data = finished_run
    with pytest.raises(ValueError, match="test set"):
        promote(run_dir)
    record = Run(run_dir).test(model, data)
    assert record["test"]["count"] == record["data"]["test"]["count"] == len(data)
    written = promote(run_dir)
    assert [path.relative_to(project).as_posix() for path in written] == [
        "results/coarse.json",
        "dcnlib/weights/coarse.safetensors",
    ]
    assert json.loads(written[0].read_text()) == record
    assert written[1].read_bytes() == (run_dir / "weights.safetensors").read_bytes()


def test_a_job_tests_its_network_with_other_numbers_of_patches_too(tmp_path, digits):
    data, test = ClutteredMNIST(digits, seed=1), ClutteredMNIST(digits, seed=2)

    class Small(SpecJob):
        def load(self, split):
            return test if split == "test" else data

    settings = TrainingSettings(epochs=1, batch_size=32, device="cpu")
    job = Small(name="small", spec=DCNSpec(k=2), settings=settings, test=True, test_ks=(0, 4))
    model, run = job.run(Run(tmp_path)), Run(tmp_path)
    record = run.read_record()
    assert record["test_ways"] == {f"k{k}": evaluate(model, test, k=k).as_record() for k in (0, 4)}
    assert record["validation_ways"] == {f"k{k}": evaluate(model, data, k=k).as_record() for k in (0, 4)}
    assert experiment_job("dcn-k8-hints-12-seed0").test_ks == (0, 1, 2, 4, 8, 16, 24)
    assert experiment_job("fine-12-seed0").test_ks == experiment_job("dcn-k8-hints").test_ks == ()


def test_ram_is_tested_in_all_its_ways_and_loaded_from_its_run(tmp_path, digits):
    data, run_dir = ClutteredMNIST(digits, seed=1), tmp_path / "ram"
    spec = RAMSpec(glimpses=2, hidden=16)
    settings = TrainingSettings(epochs=1, batch_size=32, device="cpu")
    fit(spec.build(), data, data, settings, name="ram", description=spec.describe(), run_dir=run_dir)
    trained = load_trained(run_dir)
    model = trained.model
    assert (trained.name, trained.spec, model.training) == ("ram", spec, False)
    record = Run(run_dir).test(model, data)
    assert record["test"].items() >= evaluate(model, data).as_record().items()
    assert set(record["test_ways"]) == {"sampled", "averaged", "random"}
    torch.manual_seed(settings.seed)
    assert record["test_ways"]["random"] == evaluate(model, data, policy="random").as_record()
    assert Run(run_dir).test(model, data) == record


def test_a_run_is_loaded_only_when_it_is_finished(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_trained(tmp_path)
    for record in ({"name": "controls", "models": {}}, {"name": "mine", "model": {"class": "MyNetwork"}}):
        save_record(tmp_path / "record.json", record)
        with pytest.raises(ValueError, match=r"names no model of this library: in Python, build your own"):
            load_trained(tmp_path)


def test_a_model_that_chooses_at_random_is_tested_alike_whenever(tmp_path, digits):
    data, spec = ClutteredMNIST(digits, seed=1), DCNSpec(policy="random")
    settings = TrainingSettings(epochs=1, batch_size=32, device="cpu")
    fit(spec.build(), data, data, settings, description=spec.describe(), run_dir=tmp_path)
    seen = []

    def spied(model, *given, **options):
        seen.append(torch.random.get_rng_state())
        return evaluate(model, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcnlib.training.run.evaluate", spied)
        for seed in (1, 2):
            torch.manual_seed(seed)
            Run(tmp_path).test(load_model(tmp_path), data)
    assert torch.equal(*seen)


def test_weights_of_another_model_are_not_promoted(project, finished_run):
    run_dir, model, data = finished_run
    record = Run(run_dir).test(model, data)
    save_record(run_dir / "record.json", record | {"name": "fine"})
    with pytest.raises(ValueError, match="another model"):
        promote(run_dir)


def test_the_table_says_what_the_records_say():
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in results_table().splitlines() if "|" in line]
    head, _, *rows = rows
    assert [row[0] for row in rows] == list(TITLES.values())
    assert REPORTED.keys() <= TITLES.keys()
    for name, row in zip(TITLES, rows, strict=True):
        record, told = load_record(name), dict(zip(head, row, strict=True))
        rate = ErrorRate.from_record(record["test"])
        assert told["test error, % (95 % interval)"].startswith(f"{100 * rate.fraction:.2f} (")
        assert told["epochs"] == str(record["settings"]["epochs"])
        assert told["parameters"] == f"{record['parameters']:,}"
        reported = f"{REPORTED[name][0]:.2f}" if name in REPORTED else ""
        assert told["error, as reported, not re-checked"] == reported


def _row(table, title, epochs):
    (row,) = (line for line in table.splitlines() if line.startswith(f"| {title} | {epochs} |"))
    return [cell.strip() for cell in row[1:-1].split("|")]


def test_the_summary_has_a_row_for_each_number_of_epochs_with_mean_and_range_of_the_seeds():
    def load(name):
        if not name.startswith("fine"):
            raise FileNotFoundError(name)
        error = {"fine-12-seed0": 0.01, "fine-12-seed1": 0.012, "fine-12-seed2": 0.017}[name]
        return load_record("fine-12-seed0") | {"name": name, "test": {"error": error}}

    assert _row(summary_table(load), TITLES["fine"], 12)[2:4] == ["3", "1.30 (1.00..1.70)"]
    table = summary_table()
    for name, title in TITLES.items():
        if name not in ROWS:  # one run, with the interval that the table of runs gives it
            kept = load_record(name)
            told = next(line for line in results_table().splitlines() if line.startswith(f"| {title} |"))
            row = _row(table, title, kept["settings"]["epochs"])
            assert (row[2], row[3]) == ("1", told.split(" | ")[1])
    with pytest.raises(FileNotFoundError, match="no run of Table 1"):
        summary_table(lambda name: load("draw"))


def test_the_summary_shows_the_one_run_of_a_model_without_several():
    def load(name):
        if name != "perturbed-topk":
            raise FileNotFoundError(name)
        return load_record(name)

    errors = ErrorRate.from_record(load_record("perturbed-topk")["test"])
    row = _row(summary_table(load), TITLES["perturbed-topk"], 10)
    assert row[2:4] == ["1", "{:.2f} ({:.2f}..{:.2f})".format(*(100 * x for x in (errors.fraction, *errors.interval)))]


def test_the_summary_counts_no_run_of_a_study_as_a_seed():
    strange = {run.name for run in (*K_RUNS, *HINT_RUNS, *PRECISION_RUNS)} - {r.name for v in VIEWS.values() for r in v}
    assert "dcn-k8-hints-12-float32-seed0" in strange

    def load(name):
        assert name not in strange
        return load_record(name)

    table = summary_table(load)
    seeds = {epochs: _row(table, TITLES["dcn-k8-hints"], epochs)[2] for epochs in (12, 30)}
    assert seeds == {12: "3", 30: "3"}


def test_the_summary_compares_no_runs_with_other_test_images():
    def load(name):
        record = load_record(name)
        if name == "fine-12-seed0":
            record["data"]["test"]["seed"] = 1
        return record

    with pytest.raises(ValueError, match="have other test images"):
        summary_table(load)


def test_the_row_of_a_model_that_answers_in_several_ways_tells_them():
    (row,) = (line for line in results_table().splitlines() if line.startswith("| RAM"))
    record = load_record("ram")
    sampled, averaged = (100 * record["test_ways"][way]["error"] for way in ("sampled", "averaged"))
    assert f") at mean locations; {sampled:.2f} at sampled ones; {averaged:.2f} averaged over" in row
    samples = RecurrentAttentionModel.ways["averaged"]["samples"]
    assert f"averaged over {samples} sampled looks |" in row


def test_the_table_leaves_out_what_has_no_record():
    def load(name):
        if name == "draw":
            raise FileNotFoundError(name)
        return load_record("dcn-k8-hints")

    titles = [line[2:].split(" |")[0] for line in results_table(load).splitlines() if line.startswith("| ")]
    assert titles == ["model", *(title for name, title in TITLES.items() if name != "draw")]
    with pytest.raises(FileNotFoundError, match="no run of Table 1"):
        results_table(lambda name: load("draw"))


def test_the_table_of_runs_that_never_saw_the_test_set_says_so():
    def load(name):
        return {part: value for part, value in load_record(name).items() if part != "test"}

    told = results_table(load)
    assert "| model | validation error, %" in told
    assert "5,000 validation images of 100x100" in told
    assert "test" not in told
    rate = ErrorRate.from_record(load_record("coarse")["validation"])
    assert f"| coarse model | {100 * rate.fraction:.2f} (" in told


def test_the_numbers_of_machines_without_photographs_need_none(monkeypatch, tmp_path):
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path))
    job = experiments.experiment_job(experiments.RENDERED)
    assert job.source == "rendered"
    for split in ("train", "validation", "test"):
        assert job.load(split).describe()["source"] == "rendered"


@pytest.mark.parametrize("run", EVERY_K_RUNS, ids=lambda run: run.name)
def test_each_run_for_every_budget_differs_in_what_its_name_says(run):
    usual, own = experiment_job("dcn-every-k"), experiment_job(run.name)
    differing = {
        key
        for one, other in ((usual.spec.options(), own.spec.options()), (vars(usual.settings), vars(own.settings)))
        for key in one
        if one[key] != other[key]
    }
    part = {
        "share0": "first_share",
        "share0.25": "first_share",
        "fixed": "training_k",
        "reciprocal": "training_k",
        "no-hints": "hint_weight",
        "hints1": "hint_weight",
        "no-means": "mean_decay",
    }
    assert differing == ({part[run.choice]} if run.choice else set()) | ({"seed"} if run.seed else set())
    assert own.test_ks == TEST_KS
