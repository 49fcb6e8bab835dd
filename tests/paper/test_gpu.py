"""The script for a machine with a GPU, rehearsed on the CPU, without the packages that such a machine may lack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcnlib.cli import gpu
from dcnlib.paper.gpu import PARTS, GpuSettings, pack, run_part, unpacked

ROOT = Path(__file__).parents[2]
LACKING = ("mlxtend", "tyro", "h5py", "matplotlib", "ipywidgets", "papermill")
BLOCK = f"""
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {LACKING}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Lacking())
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """What `pack` makes where MNIST is four files of any content: the rehearsal needs none of them."""
    folder = tmp_path_factory.mktemp("gpu")
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte.gz").write_bytes(b"any")
        (raw / f"{name}-ubyte").write_bytes(b"not packed, for it is four times as large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCNLIB_DATA", str(folder / "data"))
        pack(folder / "packed")
    return folder / "packed"


def test_what_is_packed_is_small_and_whole(packed):
    files = [path for path in packed.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8 * 2**20  # MNIST's own files are 11 MiB
    assert len(list((packed / "MNIST" / "raw").iterdir())) == 4
    assert (packed / "cache" / "dcnlib" / "embedded-digits.npz").is_file()
    assert (packed / "site" / "platformdirs" / "__init__.py").is_file()


def test_the_rehearsal_runs_every_part_without_the_packages_that_may_be_lacking(packed, tmp_path):
    (packed / "site" / "sitecustomize.py").write_text(BLOCK)
    command = [sys.executable, "-m", "dcnlib.cli.gpu", "--device", "cpu", "--quick", "--workers", "1"]
    command += ["--data", str(packed), "--folder", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(packed / "site"), str(ROOT)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("==")]
    assert [line.split(",")[0] for line in told] == [f"== {part}: done" for part in PARTS]
    found = {part: json.loads((tmp_path / f"{part}.json").read_text()) for part in PARTS}
    for part, record in found.items():
        assert record["name"] == f"gpu-{part}"
        assert record["machine"]["device"] == "cpu"
    models = GpuSettings(quick=True).models
    assert found["tests"]["largest_difference"] == dict.fromkeys(models, 0.0)
    assert [row["model"] for row in found["benchmark"]["models"]] == list(models)
    for row in found["benchmark"]["models"]:
        assert row["milliseconds"].keys() == {"float32 eager", "bfloat16 eager"}
    for row in found["throughput"]["models"].values():
        assert list(row["images_per_second"]) == [
            "drawn beforehand",
            "drawn by no other processes",
            "drawn by 1 other processes",
        ]
        assert row["limit"] in ("data", "model")
    assert found["table"]["runs"]["smoke"]["seconds"] > 0


def test_parts_take_less_than_nine_minutes_with_their_ends():
    assert sum(seconds + gpu.GRACE for _, seconds in PARTS.values()) <= 9 * 60


def test_a_part_that_runs_over_is_asked_to_stop_and_what_it_wrote_stays(tmp_path):
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(print('asked')))\ntime.sleep(60)"
    )
    with open(tmp_path / "log", "w") as log:
        ended = gpu.run_for(1.0, [sys.executable, "-u", "-c", code], dict(os.environ), log)
    assert ended == "stopped at its time"
    assert (tmp_path / "log").read_text() == "asked\n"
    with open(tmp_path / "log", "w") as log:
        assert gpu.run_for(30, [sys.executable, "-c", "raise SystemExit(3)"], {}, log) == "failed with status 3"


def test_what_a_part_found_is_written_before_it_fails(tmp_path, monkeypatch):
    def half(settings, save):
        save({"found": 1})
        raise RuntimeError("the rest is lost")

    monkeypatch.setitem(PARTS, "benchmark", (half, 1))
    with pytest.raises(RuntimeError, match="the rest"):
        run_part("benchmark", GpuSettings("cpu"), tmp_path)
    assert json.loads((tmp_path / "benchmark.json").read_text())["found"] == 1


def test_a_process_finds_what_was_brought_along(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "before")
    told = unpacked(tmp_path)
    assert told["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "site"), "before"]
    assert told["DCNLIB_DATA"] == str(tmp_path)
