"""Sweeps: each job done once, on one machine or on a cluster, whatever dies or fails meanwhile."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sweep_jobs import STEPS, SmallJob, settings

from dcnlib.training.jobs import JobFolder, work_on
from dcnlib.training.run import Run
from dcnlib.training.sweep import run_sweep, sweep_status
from dcnlib.utils.locks import CAN_LOCK, lock_file

EPOCHS = 5
needs_locks = pytest.mark.skipif(not CAN_LOCK, reason="this system has no locks on files")


@pytest.fixture(scope="module")
def cluster():
    """The address of a Dask cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(params=["joblib", "dask"])
def where(request):
    """Each way to run a sweep, as options of `run_sweep`."""
    if request.param == "dask":
        return {"scheduler": request.getfixturevalue("cluster")}
    pytest.importorskip("joblib")
    return {"workers": 2}


def states(statuses):
    return {status.name: status.state for status in statuses}


def test_each_job_is_done_in_its_folder_as_fit_does_it(where, tmp_path):
    jobs = [SmallJob(name=f"seed-{seed}", settings=settings(seed), test=True) for seed in range(2)]
    statuses = run_sweep(jobs, tmp_path / "sweep", **where)
    assert states(statuses) == {"seed-0": "done", "seed-1": "done"}
    assert sweep_status(tmp_path / "sweep") == statuses
    for job, status in zip(jobs, statuses, strict=True):
        alone = Run(tmp_path / "alone" / job.name)
        job.run(alone)
        swept = Run(tmp_path / "sweep" / job.name)
        same = ("name", "model", "settings", "curves", "validation", "test")
        assert [swept.read_record()[part] for part in same] == [alone.read_record()[part] for part in same]
        assert swept.weights_path.read_bytes() == alone.weights_path.read_bytes()
        assert swept.read_record()["machine"]["threads"] == 1
        assert status.test_error == swept.read_record()["test"]["error"]
        assert status.validation_error == swept.read_record()["validation"]["error"]


def test_a_job_may_ask_for_processes_that_make_its_batches(where, tmp_path):
    """Whether its own process may start them or not."""
    job = SmallJob(name="helped", settings=replace(settings(), workers=1))
    assert states(run_sweep([job], tmp_path, **where)) == {"helped": "done"}


def test_a_job_waits_for_those_that_it_begins_with(where, tmp_path):
    """Two workers are free, but one after another is what must happen: each begins where the one before it ended."""
    first = SmallJob(name="first", settings=settings(epochs=EPOCHS), log=tmp_path / "log", seconds=0.05)
    second = SmallJob(name="second", settings=settings(seed=1), begin=(Path("first"),))
    third = SmallJob(name="third", settings=settings(seed=2, epochs=1), begin=(Path("second"), Path("first")))
    ended = []
    run_sweep([first, second, third], tmp_path / "sweep", on_end=ended.append, **where)
    assert [(status.name, status.state) for status in ended] == [
        (name, "done") for name in ("first", "second", "third")
    ]
    records = {name: Run(tmp_path / "sweep" / name).read_record() for name in ("first", "second", "third")}
    assert "start" not in records["first"]
    assert records["second"]["start"] == {"begin": ["first"]}
    assert records["third"]["start"] == {"begin": ["second", "first"]}
    alone = Run(tmp_path / "sweep" / "alone")
    replace(second, name="alone").run(alone)
    assert alone.weights_path.read_bytes() == Run(tmp_path / "sweep" / "second").weights_path.read_bytes()


def test_a_job_whose_beginning_failed_fails_too_and_no_other(where, tmp_path):
    jobs = [
        SmallJob(name="broken", settings=settings(), broken=True),
        SmallJob(name="after", settings=settings(), begin=(Path("broken"),)),
        SmallJob(name="beside", settings=settings()),
    ]
    statuses = run_sweep(jobs, tmp_path, **where)
    assert states(statuses) == {"broken": "failed", "after": "failed", "beside": "done"}
    assert "no weights at" in statuses[1].error


@needs_locks
def test_a_killed_worker_costs_what_its_job_did_since_the_last_checkpoint(where, tmp_path):
    """Each step is saved; so the job that was shot makes at most one step again, and the other one none."""
    jobs = [
        SmallJob(name=name, settings=settings(epochs=EPOCHS), log=tmp_path / name, seconds=0.15)
        for name in ("shot", "beside")
    ]
    shots = []

    def shoot():
        log, deadline = tmp_path / "shot", time.monotonic() + 300
        while not (log.is_file() and len(log.read_text().splitlines()) > STEPS + 1) and time.monotonic() < deadline:
            time.sleep(0.02)
        worker = int((tmp_path / "sweep" / "shot" / ".job.lock").read_text())
        assert worker != os.getpid()
        os.kill(worker, signal.SIGKILL)
        shots.append(len(log.read_text().splitlines()))

    gun = threading.Thread(target=shoot)
    gun.start()
    statuses = run_sweep(jobs, tmp_path / "sweep", checkpoint_seconds=0, **where)
    gun.join()
    assert states(statuses) == {"shot": "done", "beside": "done"}
    assert STEPS < shots[0] < EPOCHS * STEPS  # in the middle of the job
    steps = {job.name: (tmp_path / job.name).read_text().splitlines() for job in jobs}
    assert len(steps["beside"]) == EPOCHS * STEPS
    assert EPOCHS * STEPS <= len(steps["shot"]) <= EPOCHS * STEPS + 1
    assert {line.split()[1] for line in steps["shot"]} == {"1"}  # thread
    shot, beside = (load_file(Run(tmp_path / "sweep" / job.name).weights_path) for job in jobs)
    assert all(shot[name].equal(beside[name]) for name in beside)


def test_a_job_that_fails_leaves_its_error_and_stops_no_other(where, tmp_path):
    broken = SmallJob(name="broken", settings=settings(), broken=True)
    ended = []
    statuses = run_sweep([broken, SmallJob(name="whole", settings=settings())], tmp_path, on_end=ended.append, **where)
    assert states(statuses) == states(ended) == {"broken": "failed", "whole": "done"}
    assert statuses[0].error == "ValueError: these images are broken"
    assert "Traceback" in (tmp_path / "broken" / "error.txt").read_text()
    mended = run_sweep([replace(broken, broken=False)], tmp_path, **where)
    assert states(mended) == {"broken": "done"}
    assert not (tmp_path / "broken" / "error.txt").exists()


def test_a_job_that_always_kills_its_worker_fails_in_the_end(tmp_path):
    pytest.importorskip("joblib")
    statuses = run_sweep([SmallJob(name="deadly", settings=settings(), deadly=True)], tmp_path)
    assert states(statuses) == {"deadly": "failed"}
    assert "TerminatedWorkerError" in (tmp_path / "deadly" / "error.txt").read_text()


def test_finished_jobs_are_skipped_but_for_a_test_that_is_missing(tmp_path):
    pytest.importorskip("joblib")
    job = SmallJob(name="job", settings=settings(), log=tmp_path / "log")
    run_sweep([job], tmp_path / "sweep")
    record = Run(tmp_path / "sweep" / "job").record_path.read_bytes()
    ended = []
    assert states(run_sweep([replace(job, broken=True)], tmp_path / "sweep", on_end=ended.append)) == {"job": "done"}
    assert ended == []
    assert Run(tmp_path / "sweep" / "job").record_path.read_bytes() == record

    (status,) = run_sweep([replace(job, test=True)], tmp_path / "sweep")
    assert (status.state, status.test_error is not None) == ("done", True)
    assert len((tmp_path / "log").read_text().splitlines()) == job.settings.epochs * STEPS  # trained once
    assert json.loads(record)["curves"] == Run(tmp_path / "sweep" / "job").read_record()["curves"]


def test_what_a_folder_tells_of_a_job(tmp_path):
    job = SmallJob(name="job", settings=settings(epochs=3), test=True)
    kept = JobFolder(tmp_path / "job")
    kept.prepare(job)

    def state():
        (status,) = sweep_status(tmp_path)
        return status.state, status.epoch, status.epochs

    assert state() == ("waiting", 0, 3)
    kept.note_error("Traceback\nOSError: no disk\n")
    assert state() == ("failed", 0, 3)
    assert sweep_status(tmp_path)[0].error == "OSError: no disk"
    if CAN_LOCK:
        with lock_file(kept.lock_path, "in use"):
            assert state() == ("running", 0, 3)

    class Enough(Exception):
        pass

    def stop(figures):
        kept.note_epoch(figures)
        if figures["epoch"] == 2:
            raise Enough

    kept.error_path.unlink()
    with pytest.raises(Enough):
        job.run(kept.run, on_epoch=stop)
    assert state() == ("interrupted", 2, 3)
    work_on(job, kept.run.folder, checkpoint_seconds=60)
    assert state() == ("done", 3, 3)


@needs_locks
def test_two_processes_never_work_in_one_folder(tmp_path):
    """The second waits, and then finds the job done."""
    job = SmallJob(name="job", settings=settings(), log=tmp_path / "log", seconds=0.1)
    JobFolder(tmp_path / "job").prepare(job)
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from sweep_jobs import SmallJob, settings
from dcnlib.training.jobs import work_on
job = SmallJob(name="job", settings=settings(), log=Path({str(tmp_path / "log")!r}), seconds=0.1)
work_on(job, {str(tmp_path / "job")!r}, 60)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    assert len((tmp_path / "log").read_text().splitlines()) == job.settings.epochs * STEPS
    assert sweep_status(tmp_path)[0].state == "done"


@needs_locks
def test_a_sweep_that_is_stopped_leaves_no_process_behind_and_goes_on(tmp_path):
    pytest.importorskip("joblib")
    job = SmallJob(name="job", settings=settings(epochs=3), log=tmp_path / "log", seconds=0.2)
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from sweep_jobs import SmallJob, settings
from dcnlib.training.sweep import run_sweep
job = SmallJob(name="job", settings=settings(epochs=3), log=Path({str(job.log)!r}), seconds=0.2)
run_sweep([job], {str(tmp_path / "sweep")!r}, checkpoint_seconds=0)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (job.log.is_file() and len(job.log.read_text().splitlines()) > STEPS) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    _, told = process.communicate(timeout=300)
    assert "stopped by SIGTERM" in told
    assert sweep_status(tmp_path / "sweep")[0].state == "interrupted"  # nobody holds its lock
    assert run_sweep([job], tmp_path / "sweep", checkpoint_seconds=0)[0].state == "done"
    assert len(job.log.read_text().splitlines()) <= 3 * STEPS + 1


def test_a_folder_that_another_job_of_the_name_has_is_refused(tmp_path):
    JobFolder(tmp_path / "job").prepare(SmallJob(name="job", settings=settings()))
    with pytest.raises(ValueError, match="holds a job that differs in settings: choose another folder"):
        run_sweep([SmallJob(name="job", settings=settings(seed=1))], tmp_path)


def test_jobs_of_one_name_and_machines_without_the_folder_are_refused(tmp_path):
    job = SmallJob(name="job", settings=settings())
    with pytest.raises(ValueError, match="two jobs can't share a folder: job"):
        run_sweep([job, replace(job, seconds=1.0)], tmp_path)
    with pytest.raises(FileNotFoundError, match="all machines of a sweep must see its folder"):
        work_on(job, tmp_path / "elsewhere", 60)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_sweep([job], tmp_path, workers=0)
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        sweep_status(tmp_path / "nowhere")


@pytest.mark.parametrize(("module", "where"), [("joblib", {}), ("distributed", {"scheduler": "tcp://127.0.0.1:1"})])
def test_a_missing_extra_is_named(module, where, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=rf"a sweep needs {module}: pip install 'dcnlib\[sweeps\]'"):
        run_sweep([SmallJob(name="job", settings=settings())], tmp_path, **where)
