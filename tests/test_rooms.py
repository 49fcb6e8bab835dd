"""The rooms of the library: imports go one way, and old names and paths still work, with a warning."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dcnlib
from dcnlib import TrainingSettings, moved
from dcnlib.models.specs import CoarseSpec

PACKAGE = Path(dcnlib.__file__).parent
# A room imports only from rooms of a lower floor and from itself; rooms of one floor don't know each other.
FLOORS = (
    {"utils"},
    {"core", "data"},
    {"training", "rivals", "plots"},
    {"models"},
    {"inference"},
    {"analysis"},
    {"explorer", "paper"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"__init__", "__main__", "moved"}  # they belong to no room


def module_of(path):
    return ".".join(["dcnlib", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IN_ROOMS = [name for name in MODULES if name != "dcnlib" and name.split(".")[1] not in DOORS]


def imports_of(name):
    """The modules of the library that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "dcnlib")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            if node.module.split(".")[0] == "dcnlib":
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if whole in MODULES else node.module


@pytest.mark.parametrize("name", IN_ROOMS)
def test_imports_go_one_way(name):
    room = name.split(".")[1]
    for other in imports_of(name):
        if other == "dcnlib.moved":
            continue
        assert other != "dcnlib", f"{name} must say which room it imports from"
        other_room = other.split(".")[1]
        assert other_room == room or FLOOR[other_room] < FLOOR[room], f"{name} imports {other}"


def test_no_circle_among_modules():
    """Not even one that an import inside a function hides."""
    graph = {name: set(imports_of(name)) & set(IN_ROOMS) for name in IN_ROOMS}
    while leaves := {name for name, others in graph.items() if not others - {name}}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    assert not graph


def test_every_room_has_its_floor_and_says_what_it_is():
    rooms = {name.split(".")[1] for name in IN_ROOMS}
    assert rooms == set(FLOOR)
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{name} doesn't say what it is"


def test_at_most_25_names_at_the_top_and_each_is_there():
    assert len(dcnlib.__all__) <= 25
    for name in dcnlib.__all__:
        assert getattr(dcnlib, name).__module__.startswith("dcnlib.")


@pytest.mark.parametrize("name", moved.NAMES)
def test_names_that_stood_at_the_top_work_with_a_warning_that_says_where_they_are(name):
    with pytest.warns(DeprecationWarning, match=rf"dcnlib\.{name} has moved: use {moved.NAMES[name]}\.{name}"):
        found = getattr(dcnlib, name)
    assert found is getattr(importlib.import_module(moved.NAMES[name]), name)


@pytest.mark.parametrize("name", moved.MODULES)
def test_old_module_paths_work_with_a_warning(name):
    places = [importlib.import_module(place) for place in moved.MODULES[name]]
    own = [
        (place, name)
        for place in places
        for name, value in vars(place).items()
        if getattr(value, "__module__", None) == place.__name__ and not name.startswith("_")
    ]
    old = importlib.import_module(name)
    for place, own_name in own:
        with pytest.warns(DeprecationWarning, match=rf"{name}\.{own_name} has moved"):
            assert getattr(old, own_name) is getattr(place, own_name)
    assert own


def test_what_goes_by_another_way_now_still_works(tmp_path):
    with pytest.warns(
        DeprecationWarning, match=r"test_once has moved: use dcnlib\.training\.run\.Run\(run_dir\)\.test"
    ):
        from dcnlib.experiments import finished_record, load_data, load_run, smoke_digits, test_once
    spec, settings = CoarseSpec(), TrainingSettings(epochs=1, device="cpu")
    data = smoke_digits("train"), smoke_digits("validation")
    model = spec.build()
    dcnlib.fit(model, *data, settings, name="mine", description=spec.describe(), run_dir=tmp_path)
    assert "test" not in finished_record(tmp_path)
    tested = test_once(model, tmp_path, smoke_digits("validation"))
    assert tested == finished_record(tmp_path)
    assert tested["test"]["error"] == tested["validation"]["error"]
    name, loaded = load_run(tmp_path)
    assert name == "mine"
    assert torch.equal(loaded.top[-1].weight, model.top[-1].weight)
    assert len(load_data("cluttered-mnist", "validation", source="embedded")) == 1000
    with pytest.warns(DeprecationWarning, match=r"OPTIONS has moved: use the options\(\)"):
        from dcnlib.pretrained import IMAGE_SHAPE, OPTIONS
    assert IMAGE_SHAPE == (1, 100, 100)
    assert OPTIONS["draw"] == ("glimpses", "hidden")


def test_a_warning_points_at_the_line_that_used_the_old_path():
    with pytest.warns(DeprecationWarning, match="has moved") as caught:
        from dcnlib.dcn import DynamicCapacityNetwork
    assert DynamicCapacityNetwork is dcnlib.DynamicCapacityNetwork
    assert caught[0].filename == __file__


def test_names_that_never_were_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'Dcn'"):
        dcnlib.Dcn  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Dcn'"):
        from dcnlib.dcn import Dcn  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dcnlib.nothing_of_the_kind")


def test_the_library_works_without_the_rooms_that_are_only_ours(tmp_path):
    """Deleting `paper/`, `explorer/` and `cli/` leaves a library that trains, loads, answers and counts."""
    shutil.copytree(PACKAGE, tmp_path / "dcnlib", ignore=shutil.ignore_patterns("__pycache__", "records"))
    shutil.copytree(PACKAGE.parent / "results", tmp_path / "dcnlib" / "records")
    for room in ("paper", "explorer", "cli"):
        shutil.rmtree(tmp_path / "dcnlib" / room)
    code = """
import importlib, pathlib, torch, dcnlib
for path in sorted(pathlib.Path("dcnlib").rglob("*.py")):
    if path.name != "__main__.py":
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
for name in dcnlib.__all__:
    getattr(dcnlib, name)
model = dcnlib.load_model("dcn-k8-hints")
assert model(torch.zeros(1, 1, 100, 100)).shape == (1, 10) and dcnlib.count_multiplications(model).total
assert dcnlib.load_record("dcn-k8-hints")["name"] == "dcn-k8-hints"
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
