"""Sweeps from a terminal: which jobs the options ask for, and what is told of them."""

import sys
from dataclasses import replace

import pytest
from sweep_jobs import SmallJob, settings

from dcnlib.cli import sweep as command
from dcnlib.cli.main import main
from dcnlib.models.specs import CoarseSpec, DCNSpec
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.experiments import EXPERIMENTS, experiment_job
from dcnlib.training.jobs import JobFolder, JobStatus
from dcnlib.training.settings import TrainingSettings


@pytest.fixture
def asked(monkeypatch):
    """The jobs and options that a sweep is asked to do; nothing is done."""
    asked = {}

    def run_sweep(jobs, folder, **options):
        asked.update(options, folder=folder, jobs={job.name: job for job in jobs})
        return [JobStatus(job.name, "done", 1, 1) for job in jobs]

    monkeypatch.setattr(command, "run_sweep", run_sweep)
    return asked


def test_models_patches_seeds_and_settings_make_a_grid(asked, tmp_path):
    options = ["--models", "coarse", "dcn", "--k", "4", "8", "--seeds", "0", "1", "--device", "cpu"]
    where = ["--scheduler", "tcp://10.0.0.1:8786", "--workers", "3", "--test", "--root", "/data"]
    assert main(["sweep", str(tmp_path), *options, "--vary", "epochs=3", "hint-weight=0,0.1", *where]) == 0
    coarse = {"coarse-epochs3", "coarse-epochs3-seed1"}
    dcn = {
        f"dcn-k{k}{hints}-epochs3{seed}" for k in (4, 8) for hints in ("-hint-weight0", "") for seed in ("", "-seed1")
    }
    assert asked["jobs"].keys() == coarse | dcn
    job = asked["jobs"]["dcn-k4-hint-weight0-epochs3-seed1"]
    assert job.spec == DCNSpec(k=4, hint_weight=0.0)
    assert job.settings == TrainingSettings(epochs=3, seed=1, device="cpu")
    assert (job.test, str(job.root), job.source) == (True, "/data", None)
    assert (asked["workers"], asked["scheduler"], asked["folder"]) == (3, "tcp://10.0.0.1:8786", tmp_path)


def test_experiments_are_what_they_are_but_for_what_is_varied(asked, tmp_path):
    assert main(["sweep", str(tmp_path), "--experiments", "all"]) == 0
    assert asked["jobs"] == {name: experiment_job(name) for name in EXPERIMENTS}
    assert main(["sweep", str(tmp_path), "--experiments", "fine", "--seeds", "0", "2"]) == 0
    fine = experiment_job("fine")
    assert asked["jobs"] == {
        "fine": fine,
        "fine-seed2": replace(fine, name="fine-seed2", settings=replace(fine.settings, seed=2)),
    }


def test_models_of_another_task_and_source(asked, tmp_path):
    arguments = ["sweep", str(tmp_path), "--models", "coarse", "--data", "house-numbers", "--source", "rendered"]
    assert main(arguments) == 0
    (job,) = asked["jobs"].values()
    assert (job.name, job.spec, job.source) == (
        "house-numbers-coarse-rendered",
        CoarseSpec(task=HouseNumbersTask()),
        "rendered",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name --models (coarse, fine, dcn"),
        (["--models", "coarse", "--k", "4"], "neither training nor any of these models has k"),
        (["--models", "dcn", "--vary", "epochs"], "--vary takes NAME=VALUE,..., as in epochs=3"),
        (["--models", "dcn", "--k", "4", "--vary", "k=8"], "--k is given twice"),
        (["--models", "dcn", "--vary", "epochs=few"], "epochs must be"),
        (["--models", "dcn", "--workers", "0"], "workers must be at least 1"),
        (["--experiments", "fine", "--source", "embedded"], "--source is for --models"),
        (["--status"], "holds no sweep"),
    ],
)
def test_what_makes_no_sweep_is_refused(arguments, message, tmp_path, capsys):
    assert main(["sweep", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert main(["sweep", str(tmp_path), "--models", "coarse"]) == 2
    assert "a sweep needs joblib: pip install 'dcnlib[sweeps]'" in capsys.readouterr().err


def test_the_status_is_read_from_the_folders(tmp_path, capsys):
    jobs = {name: SmallJob(name=name, settings=settings()) for name in ("done", "begun")}
    for name, job in jobs.items():
        JobFolder(tmp_path / name).prepare(job)
    jobs["done"].run(JobFolder(tmp_path / "done").run)
    assert main(["sweep", str(tmp_path), "--status"]) == main(["sweep", "--status", str(tmp_path)]) == 0
    assert "1 waiting, 1 done" in capsys.readouterr().out
    JobFolder(tmp_path / "begun").note_error("OSError: no disk\n")
    assert main(["sweep", "--status", str(tmp_path)]) == 1
    error = 100 * JobFolder(tmp_path / "done").status().validation_error
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["job", "state", "epoch", "validation", "%", "test", "%", "error"],
        ["begun", "failed", "0/2", "OSError:", "no", "disk"],
        ["done", "done", "2/2", f"{error:.2f}"],
        [],
        ["1", "failed,", "1", "done"],
    ]


def test_a_job_that_fails_makes_the_exit_status_and_stops_no_other(tmp_path, capsys):
    pytest.importorskip("joblib")
    options = ["--models", "coarse", "--source", "embedded", "--device", "cpu", "--workers", "2"]
    assert main(["sweep", str(tmp_path), *options, "--vary", "epochs=1", "batch_size=500,9000"]) == 1
    told = capsys.readouterr().out
    assert "coarse-epochs1-batch-size500-embedded: done" in told
    assert "coarse-epochs1-batch-size9000-embedded: failed: ValueError: 4000 training" in told
    assert told.endswith("1 done, 1 failed\n")
