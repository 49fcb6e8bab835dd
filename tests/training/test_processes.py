"""One model trained by two processes of this machine, over gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcnlib.training.loading import Order
from dcnlib.training.processes import Processes

SCRIPT = Path(__file__).parent.parent / "training_in_processes.py"


def start(count, *arguments, dies_at=-1):
    """The training in so many processes, told who they are as torchrun and accelerate launch do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments), str(dies_at)]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [
        subprocess.Popen(command, env=os.environ | where | rank, stderr=subprocess.PIPE, text=True) for rank in ranks
    ]


def train(count, *arguments, **options):
    """Exit statuses and what was told on stderr."""
    running = start(count, *arguments, **options)
    told = [process.communicate(timeout=300)[1] for process in running]
    return [process.returncode for process in running], told


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    status, told = train(1, 2, folder / "run", folder / "out")
    assert status == [0], told
    return json.loads((folder / "out").read_text()), torch.load(folder / "out.pt")


def test_two_processes_do_what_one_does(alone, tmp_path):
    status, told = train(2, 2, tmp_path / "run", tmp_path / "out")
    assert status == [0, 0], told
    record, weights = json.loads((tmp_path / "out").read_text()), torch.load(tmp_path / "out.pt")
    assert record["processes"] == {
        "count": 2,
        "batch_size": 8,
        "batch_size_each": 4,
        "batch_norm": "over all processes",
    }
    assert record["digests"] == alone[0]["digests"]
    for part, curve in alone[0]["curves"].items():
        assert record["curves"][part] == pytest.approx(curve, abs=1e-3), part
    for name, value in alone[1].items():
        torch.testing.assert_close(weights[name].float(), value.float(), atol=2e-3, rtol=0, msg=lambda m, n=name: n + m)


def test_a_killed_process_ends_the_run_and_one_process_goes_on(alone, tmp_path):
    status, told = train(2, 2, tmp_path / "run", tmp_path / "out", dies_at=5)  # in the second epoch
    assert status[1] == -9
    assert status[0] not in (0, -9)
    assert "ConnectionError: process 0 of 2 stops, because another one has ended" in told[0]
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
    status, told = train(1, 2, tmp_path / "run", tmp_path / "out")
    assert status == [0], told
    record = json.loads((tmp_path / "out").read_text())
    assert record["resumed"] == [{"epoch": 2, "step": 0, "changed": {"machine.processes": [2, 1]}}]
    assert record["curves"]["train_loss"] == pytest.approx(alone[0]["curves"]["train_loss"], abs=1e-3)


def test_the_shares_of_all_processes_are_the_batch():
    whole = list(Order(50, 12, seed=3, epoch=1))
    shares = [list(Order(50, 12, seed=3, epoch=1, share=(rank, 3))) for rank in range(3)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(index for part in parts for index in part)
        assert {len(part) for part in parts} == {4}


def test_each_process_draws_its_own_at_each_step_and_the_first_one_goes_on_as_if_alone():
    def drawn(rank, step):
        torch.manual_seed(0)
        Processes(rank=rank, count=3).seed_draws(seed=5, epoch=1, step=step)
        return tuple(torch.rand(3).tolist())

    torch.manual_seed(0)
    alone = tuple(torch.rand(3).tolist())
    assert drawn(0, 0) == drawn(0, 1) == alone
    assert len({alone, *(drawn(rank, step) for rank in (1, 2) for step in range(4))}) == 9
    assert drawn(1, 3) == drawn(1, 3)
