"""The repository around the library: declared once, installable, and telling nothing of the machine it was made on."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from dcnlib import count_multiplications, load_pretrained, load_record
from dcnlib.analysis.ablation import ControlSettings
from dcnlib.analysis.speed import BenchmarkSettings
from dcnlib.data.house_numbers.images import COMPOSED, TRAINING_DISTURBANCE
from dcnlib.data.street_signs.images import TRAINING_VARIATION
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.models.specs import SPECS
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.experiments import EXPERIMENTS, STUDIES, find_experiment
from dcnlib.paper.reported import TITLES
from dcnlib.paper.runs import MEASUREMENTS
from dcnlib.utils.files import project_root

ROOT = project_root()


@pytest.fixture(scope="module")
def declared():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml_declares_no_version_of_its_own(declared):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, installed = environment["dependencies"]
    assert python == f"python{declared['project']['requires-python']}"
    assert pip == "pip"
    extras = ",".join(declared["project"]["optional-dependencies"])
    assert installed == {"pip": [f"--editable .[{extras}]"]}


def test_the_wheel_works_outside_the_repository(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import torch, dcnlib
from dcnlib.models.pretrained import PRETRAINED
from dcnlib.utils.records import records_folder
print(dcnlib.__file__)
print(records_folder())
for name in PRETRAINED:
    model = dcnlib.load_pretrained(name)
    assert not model.training and dcnlib.load_record(name)["name"] == name
    task = PRETRAINED[name].task
    shape = {"house-numbers": (1, 5, 11), "street-signs": (1, 4, 2)}.get(task.name, (1, 10))
    assert model(torch.zeros(1, *task.image_shape)).shape == shape
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [Path(line).is_relative_to(tmp_path / "site") for line in done.stdout.splitlines()] == [True, True]


# What every run of a kind of data was trained on, but for the seed, and how many images it was tested on.
TRAINED_ON = {
    "cluttered-mnist": {
        **{"name": "cluttered-mnist", "source": "mnist", "split": "train", "count": 55_000, "fresh": True},
        **{"size": 100, "distractors": 8, "crop": 8},
    },
    "house-numbers": {
        **{"name": "house-numbers", "source": "svhn", "split": "train", "fresh": True, "composed": COMPOSED},
        **{"height": 64, "width": 128, **asdict(TRAINING_DISTURBANCE)},
    },
    "street-signs": {
        **{"name": "street-signs", "source": "gtsdb", "split": "train", "photographs": 480, "fresh": True},
        **asdict(TRAINING_VARIATION),
    },
}
TESTED_ON = {"cluttered-mnist": {10_000}, "house-numbers": {1000}, "street-signs": {293, 4 * 293}}


# The studies take days: their runs have records as they come.
STUDIED = [name for name in STUDIES if (ROOT / "results" / f"{name}.json").is_file()]


@pytest.mark.parametrize("name", [*EXPERIMENTS, *STUDIED])
def test_every_experiment_has_a_complete_record(name):
    record, experiment = load_record(name), find_experiment(name)
    assert record["name"] == name
    assert record["model"] == experiment.spec.describe()
    assert record["settings"]["epochs"] == experiment.epochs == len(record["curves"]["validation_error"])
    precision = record["settings"]["precision"]  # that of the experiment, or float32 where its own would be slow
    assert precision in (experiment.settings.get("precision", "auto"), "float32")
    assert record["settings"].items() >= (experiment.settings | {"precision": precision}).items()
    data = experiment.spec.task.name
    source = {"source": experiment.source} if experiment.source else {}
    assert record["data"]["train"].items() >= (TRAINED_ON[data] | {"fresh": not experiment.fixed} | source).items()
    assert record["validation"]["error"] == min(record["curves"]["validation_error"])
    assert record["test"]["count"] == record["data"]["test"]["count"]
    assert record["test"]["count"] in TESTED_ON[data]
    start = record.get("start", {"parts": []})
    assert tuple(part["name"] for part in start.get("parts", [start])) == experiment.begin
    assert record["data"]["test"] | {"split": "validation"} != record["data"]["validation"]
    if data == "house-numbers" or name in STUDIES:
        assert record["data"]["train"]["seed"] == record["settings"]["seed"]
        assert len(set(record["test"]["wrong"])) == record["test"]["errors"]
    assert record["wall_seconds"] > 0
    assert {"python", "torch", "numpy"} <= record["versions"].keys()
    assert {"processor", "cores", "threads", "device"} <= record["machine"].keys()


@pytest.mark.parametrize("name", [*EXPERIMENTS, *STUDIED, *MEASUREMENTS])
def test_every_record_names_its_revision_and_says_that_nothing_was_changed(name):
    """Which proves little in the older ones: docs/method.md says why."""
    record = load_record(name)
    assert re.fullmatch(r"[0-9a-f]{40}", record["git_revision"])
    assert record["git_dirty"] is False


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_records_list_the_images_that_were_wrong_or_stand_among_those_that_do_not(name):
    _, section = (ROOT / "docs" / "method.md").read_text().split("- *`wrong` is missing*")
    section, _ = section.split("\n- ", 1)
    test = load_record(name)["test"]
    assert ("wrong" in test) != (f"`{name}`" in section)
    assert len(set(test.get("wrong", range(test["errors"])))) == test["errors"]


def test_how_many_records_are_older_is_what_the_page_says():
    records = [json.loads(path.read_text()) for path in (ROOT / "results").glob("*.json")]
    older = [record for record in records if record["created"] < "2026-11-27"]
    assert f"{len(older)} of them, from before 27 November 2026" in (ROOT / "docs" / "method.md").read_text()
    listed = [record["name"] for record in records if "wrong" in record.get("validation", {})]
    runs = [record["name"] for record in records if record["name"] not in MEASUREMENTS]
    assert {*runs} - {*listed} == {record["name"] for record in older} - {*MEASUREMENTS}


def test_records_and_weights_are_those_of_known_runs():
    assert {path.stem for path in (ROOT / "results").glob("*.json")} == {*EXPERIMENTS, *STUDIED, *MEASUREMENTS}
    assert {path.stem for path in (ROOT / "dcnlib" / "weights").iterdir()} == set(PRETRAINED)


def test_the_record_of_the_benchmark_is_whole():
    record = load_record("benchmark")
    assert record["settings"] == json.loads(json.dumps(asdict(BenchmarkSettings())))
    assert [row["batch"] for row in record["inference"]] == record["settings"]["batches"]
    assert [row["size"] for row in record["growth"]] == record["settings"]["sizes"]
    counts = {name: count_multiplications(load_pretrained(name)).total for name in ("fine", "dcn-k8-hints")}
    assert record["growth"][0]["multiplications"] == counts


def test_the_record_of_multiplications_has_the_model_of_every_experiment():
    counts = load_record("multiplications")["models"]
    assert counts == {name: count_multiplications(one.spec.build()).total for name, one in EXPERIMENTS.items()}


def test_the_record_of_the_house_numbers_benchmark_is_whole():
    record = load_record("house-numbers-benchmark")
    assert record["settings"]["rounds"] == BenchmarkSettings().rounds
    assert len(record["models"]) == 9
    for row in record["models"]:
        spec = SPECS[row["kind"]](task=HouseNumbersTask(scales=row["scales"]))
        assert row["multiplications"] == count_multiplications(spec.build()).total


def test_the_record_of_the_rivals_benchmark_is_whole():
    record = load_record("rivals-benchmark")
    assert record["settings"]["rounds"] == BenchmarkSettings().rounds
    assert record["models"].keys() == TITLES.keys()
    for name, told in record["models"].items():
        assert told["multiplications"] == count_multiplications(EXPERIMENTS[name].spec.build()).total


def test_the_records_of_the_controls_are_whole_and_agree_with_those_of_the_runs():
    records = [load_record(name) for name in ("controls", "controls-topk")]
    assert records[0]["settings"]["ks"] == list(ControlSettings().ks)
    for record in records:
        assert record["data"] == load_record("dcn-k8-hints")["data"]["test"]
        for name, told in record["models"].items():
            if told["policy"] != "random":  # other cells in each evaluation
                (row,) = (row for row in told["controls"][told["policy"]] if row["k"] == told["k"])
                assert abs(row["draws"][0]["errors"] - load_record(name)["test"]["errors"]) <= 3


def test_errors_reach_the_goals_of_the_project():
    """On the 10,000 test images: the coarse model at most 2.6 %, the DCN with hints at most 1.3 %."""
    assert load_record("coarse")["test"]["error"] <= 0.026
    assert load_record("dcn-k8-hints")["test"]["error"] <= 0.013


def test_no_file_names_a_path_of_the_machine_it_was_made_on():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:root|home|work|Users)/\w")
    for name in files.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".json", ".ipynb", ".cff", ""} and path.is_file():
            assert not pattern.search(path.read_text()), name


def test_the_library_prints_nothing_and_knows_no_notebook():
    for path in (ROOT / "dcnlib").rglob("*.py"):
        source = path.read_text()
        if path.parent.name != "cli":
            assert not re.search(r"^\s*print\(", source, re.MULTILINE), path.name
            assert ".ipynb" not in source, path.name
