"""Who this process is among those that a launcher started together, and if it can start any itself. Without torch."""

import multiprocessing
import os

# As torchrun and accelerate launch tell it, or mpirun, which the latter may start for processors.
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNT = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def launched_as() -> tuple[int, int]:
    """Rank and count of the processes that were started together: 0 and 1 of one that was started alone."""
    return _first(_RANK, 0), _first(_COUNT, 1)


def startable(workers: int) -> int:
    """So many processes beside this one, or 0 where it can start none: in a daemonic one, such as a worker of Dask, and
    in one of joblib's, whose way of starting others is for joblib's own."""
    daemonic = multiprocessing.current_process().daemon
    return 0 if daemonic or multiprocessing.get_start_method(allow_none=True) == "loky" else workers


def _first(names: tuple[str, ...], otherwise: int) -> int:
    return int(next((os.environ[name] for name in names if name in os.environ), otherwise))
