"""The launchers themselves: torchrun and accelerate launch, each with two processes of `python -m dcnlib train`."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

pytest.importorskip("accelerate")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no such signals")

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": [
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
    ],
}
TRAIN = ["train", "--model", "ram", "--glimpses", "1", "--hidden", "16", "--source", "embedded", "--epochs", "2"]


def start(launcher, folder):
    """Training begun by a launcher, or alone."""
    command = ["-m", *LAUNCHERS[launcher], "-m", "dcnlib"] if launcher else ["-m", "dcnlib"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command, *TRAIN, "--batch-size", "500", "--run-dir", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    """Exit status and what was told, on stdout and stderr, in the end."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def train_an_epoch(launcher, folder, number):
    """Training that gets a signal after its first epoch."""
    process = start(launcher, folder)
    first = process.stdout.readline()
    process.send_signal(number)
    status, out, err = ended(process)
    assert status != 0
    return first + out, err


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_write_once_and_tell_once(launcher, tmp_path):
    """Alone the run begins, and two processes go on with it."""
    train_an_epoch(None, tmp_path / "run", signal.SIGTERM)
    status, out, err = ended(start(launcher, tmp_path / "run"))
    assert status == 0, err
    first, *rest = out.splitlines()
    assert first.startswith("epoch 2  seconds")
    assert [line.split()[:2] for line in rest] == [["validation", "error"], ["kept", "in"]]
    ours = [line for line in err.splitlines() if "dcnlib" in line or "[rank" in line or "Traceback" in line]
    assert ours == []
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["resumed"][0]["changed"]["machine.processes"] == [1, 2]
    assert record["processes"]["count"] == 2
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *(".lock", "checkpoint.pt", "record.json", "weights.safetensors")
    ]


def test_a_signal_to_the_launcher_stops_all_and_one_process_goes_on(tmp_path):
    out, err = train_an_epoch("torchrun", tmp_path / "run", signal.SIGINT)
    assert len(out.splitlines()) == 1
    assert err.count("dcnlib train: stopped by SIGINT after ") == 1
    assert torch.load(tmp_path / "run" / "checkpoint.pt")["progress"]["epoch"] == 1
    status, out, err = ended(start(None, tmp_path / "run"))
    assert status == 0, err
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert [change["changed"]["machine.processes"] for change in record["resumed"]] == [[2, 1]]
    assert len(record["curves"]["train_loss"]) == 2


def test_a_killed_process_ends_the_run_within_a_minute_with_a_checkpoint(tmp_path):
    process = start("torchrun", tmp_path / "run")
    assert process.stdout.readline().startswith("epoch 1")
    mine = (tmp_path / "run" / ".lock").read_text().strip()
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    (other,) = {pid for pid in children.stdout.split() if pid != mine}
    os.kill(int(other), signal.SIGKILL)
    killed = time.monotonic()
    status, _, err = ended(process)
    assert time.monotonic() - killed < 60
    assert status != 0
    assert "process 0 of 2 stops, because another one has ended; the same command goes on" in err
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
    assert not (tmp_path / "run" / "record.json").exists()
