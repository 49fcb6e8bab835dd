"""Sweeps: many jobs, each a resumable run in a folder of its own, done by several processes of one machine or of many.

All that is known of a sweep stands in its folder: one folder a job, named like it. A process that dies takes nothing
with it but what its job did since the last checkpoint; another one goes on from there.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from pathlib import Path
from typing import Any

from dcnlib.training.interrupt import stopping_cleanly
from dcnlib.training.jobs import Job, JobFolder, JobStatus, work_on
from dcnlib.utils.checks import check_whole
from dcnlib.utils.files import user_path

DEATHS = 3  # of processes that a job may outlive; the next one was probably its own fault, such as too little memory
# Before any library is loaded, which would otherwise start as many threads as there are cores.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
OnEnd = Callable[[JobStatus], None]


def run_sweep(
    jobs: Sequence[Job],
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    checkpoint_seconds: float = 60,
    on_end: OnEnd | None = None,
) -> list[JobStatus]:
    """Do jobs, each in the folder of its name in `folder`, and return how each ended.

    On this machine in so many processes at once (`workers`, by joblib), or by the workers of a Dask cluster, of which
    `scheduler` is the address ("tcp://host:8786"). They must see `folder` and the data at the same paths, and should
    have one thread each (`dask worker ADDRESS --nthreads 1`): a process does one job at a time. Each job gets one
    thread of torch. A job that is finished is skipped, one that was interrupted goes on, one that fails leaves its
    `error.txt` and stops no other; failed ones are tried again in the next sweep. One that another sweep works on is
    waited for. A job that begins with runs of jobs before it in the sequence waits for them. `on_end` is called as each
    job ends.

    An interrupt, or a signal that asks to stop (Stopped), ends the processes of this machine; a cluster's workers end
    the jobs that they have begun. Either way the same call goes on.

    Raises ValueError for two jobs of one name, and for a folder that holds another job of such a name;
    ModuleNotFoundError if joblib or distributed isn't installed; OSError if there is no scheduler.
    """
    check_whole("workers", workers)
    names = [job.name for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two jobs can't share a folder: {', '.join(sorted(twice))}")
    root = user_path(folder).absolute()
    for job in jobs:
        JobFolder(root / job.name).prepare(job)
    left = [job for job in jobs if not job.finished(JobFolder(root / job.name).run)]
    # What each must wait for; of those that come before it, so that none waits for itself.
    after = {
        job.name: {other.name for other in left[:number] if Path(other.name) in job.begin}
        for number, job in enumerate(left)
    }

    def ended(job: Job, error: str | None = None) -> None:
        kept = JobFolder(root / job.name)
        if error is not None:
            kept.note_error(error)
        if on_end is not None:
            on_end(kept.status())

    def arguments(job: Job) -> tuple[Any, ...]:
        return job, root / job.name, checkpoint_seconds

    with stopping_cleanly(f"in the sweep in {root}"):
        if scheduler is not None:
            _on_cluster(left, after, arguments, scheduler, ended)
        else:
            _on_this_machine(left, after, arguments, workers, ended)
    return [JobFolder(root / name).status() for name in names]


def sweep_status(folder: str | Path) -> list[JobStatus]:
    """How the jobs of a sweep are getting on, read from its folder alone. Raises FileNotFoundError if it holds none."""
    jobs = sorted(path.parent for path in user_path(folder).glob("*/job.json"))
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no sweep: no job.json in any folder in it")
    return [JobFolder(job).status() for job in jobs]


def _on_this_machine(
    jobs: Sequence[Job],
    after: Mapping[str, set[str]],
    arguments: Callable[[Job], tuple[Any, ...]],
    workers: int,
    ended: Callable[..., None],
) -> None:
    """Each job in a process of its own, so that one that dies disturbs no other; its job is begun again in another."""
    _needed("joblib")
    from joblib.externals.loky import ProcessPoolExecutor

    waiting = deque((job, 0) for job in jobs)
    running: dict[Future, tuple[Any, Job, int]] = {}
    try:
        while waiting or running:
            unfinished = {job.name for job, _ in waiting} | {job.name for _, job, _ in running.values()}
            ready = [each for each in waiting if not after[each[0].name] & unfinished]
            for job, deaths in ready[: workers - len(running)]:
                waiting.remove((job, deaths))
                executor = ProcessPoolExecutor(max_workers=1, env=ONE_THREAD)
                running[executor.submit(work_on, *arguments(job))] = executor, job, deaths
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                executor, job, deaths = running.pop(future)
                executor.shutdown(kill_workers=True)
                error = future.exception()
                # One that was asked to stop has saved its job, and is as good as dead.
                if isinstance(error, BrokenProcessPool | KeyboardInterrupt) and deaths < DEATHS:
                    waiting.appendleft((job, deaths + 1))
                else:
                    ended(job, None if error is None else _told(error))
    finally:
        for executor, *_ in running.values():
            executor.shutdown(kill_workers=True)


def _on_cluster(
    jobs: Sequence[Job],
    after: Mapping[str, set[str]],
    arguments: Callable[[Job], tuple[Any, ...]],
    scheduler: str,
    ended: Callable[..., None],
) -> None:
    """Each job a task of a Dask cluster, which gives the jobs of a worker that dies to others, DEATHS times."""
    _needed("distributed")
    from distributed import Client, as_completed

    with Client(scheduler) as client:
        futures: dict[Any, Job] = {}
        for job in jobs:
            before = [future for future, other in futures.items() if other.name in after[job.name]]
            futures[client.submit(_work_after, before, *arguments(job), pure=False, retries=DEATHS)] = job
        for future in as_completed(futures):
            done = future.status == "finished"
            ended(futures[future], None if done else _told(future.exception() or _lost(future.status)))


def _work_after(_before: Sequence[None], *arguments: Any) -> None:
    """`work_on` a job, as a task that depends on others' results: a cluster begins it when they have ended."""
    work_on(*arguments)


def _needed(module: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a sweep needs {module}: pip install 'dcnlib[sweeps]'") from error


def _lost(status: str) -> ConnectionError:
    return ConnectionError(f"the cluster has no such job any more ({status}): begin the sweep again")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}\n"
