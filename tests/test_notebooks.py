"""The notebooks: run in the smoke profile, committed clean with outputs to compare, parameters that are read."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
import yaml

from dcnlib.utils.files import project_root

ROOT = project_root()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROFILES = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")}
# nbval compares every text output of every cell but the first kind and, where the photographs differ, the others.
IGNORED, PHOTOGRAPHS = "nbval-ignore-output", {"photographs", "streets"}
MIN_COMPARED = 8
MOST_LINES = 25  # of a code cell, imports aside: what is longer is drawing, and belongs into `dcnlib.plots`
# Another number of patches than the committed one, where a page takes it.
OTHER = {"K": 16, "KS": [0, 2, 16]}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_notebooks_are_there_in_order():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_cluttered_mnist",
        "02_coarse_and_fine_networks",
        "03_entropy_gradient_saliency",
        "04_dynamic_capacity_network",
        "05_training",
        "06_number_of_patches",
        "07_explorer",
        "08_rivals",
        "09_house_numbers",
        "10_time_and_scale",
        "11_every_budget",
        "12_street_signs",
        "13_your_own_pictures",
    ]


@each_notebook
def test_runs_in_the_smoke_profile_with_another_k_and_leaves_the_tree_alone(path, tmp_path):
    figures = {file: file.stat().st_mtime_ns for file in (ROOT / "figures").iterdir()}
    papermill.execute_notebook(
        path,
        tmp_path / path.name,
        parameters=PROFILES["smoke"] | {name: OTHER[name] for name in OTHER.keys() & papermill.inspect_notebook(path)},
        cwd=path.parent,
        kernel_name="python3",
        execution_timeout=300,
        progress_bar=False,
    )
    executed = nbformat.read(tmp_path / path.name, as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code" and cell.source.strip())
    assert {file: file.stat().st_mtime_ns for file in (ROOT / "figures").iterdir()} == figures


@each_notebook
def test_sends_no_output_through_the_front_end(path):
    """Where that is nbclient, a cell with an Output widget may never end; `interact` makes one."""
    source = "\n".join(cell.source for cell in code_cells(path))
    assert not re.search(r"\binteract(ive(_output)?)?\(|\bOutput\(", source)


@each_notebook
def test_is_committed_with_outputs_in_order(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    streams = [output.name for cell in cells for output in cell.outputs if output.output_type == "stream"]
    assert "stderr" not in streams


@each_notebook
def test_nbval_has_enough_to_compare(path):
    """A notebook with stripped outputs passes nbval without any comparison; so count what it compares."""

    def compared(output):
        return output.output_type == "stream" or any(kind.startswith("text/") for kind in output.get("data", {}))

    cells = [cell for cell in code_cells(path) if not ({IGNORED} | PHOTOGRAPHS) & set(cell.metadata.get("tags", []))]
    count = sum(any(compared(output) for output in cell.outputs) for cell in cells)
    assert count >= MIN_COMPARED, f"nbval compares the text of only {count} cells of {path.name}"


@pytest.mark.parametrize(("digest", "compared"), [(None, True), ("another", False)])
def test_cells_that_show_photographs_are_compared_where_the_same_are_at_hand(monkeypatch, digest, compared):
    spec = importlib.util.spec_from_file_location("notebooks_conftest", ROOT / "notebooks" / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    assert conftest.SHOWN.keys() == PHOTOGRAPHS
    monkeypatch.setattr(conftest, "digest_of", lambda tag: digest or conftest.SHOWN[tag][1])
    cells = [cell for path in NOTEBOOKS for cell in code_cells(path)]
    items = [SimpleNamespace(cell=cell, options={"check": True}) for cell in cells] + [SimpleNamespace()]
    with nullcontext() if compared else pytest.warns(UserWarning, match="digest .*, here another"):
        conftest.pytest_collection_modifyitems(items)
    tags = [PHOTOGRAPHS & set(cell.metadata.get("tags", [])) for cell in cells]
    assert set().union(*tags) == PHOTOGRAPHS
    shows = [bool(tag) for tag in tags]
    for item, show in zip(items, shows, strict=False):
        assert item.options["check"] is (compared or not show)


@each_notebook
@pytest.mark.parametrize("profile", PROFILES)
def test_profile_files_name_parameters_that_the_notebook_has(path, profile):
    known = papermill.inspect_notebook(path)
    assert PROFILES[profile].keys() <= known.keys()  # papermill itself only warns of an unknown name


@each_notebook
def test_every_parameter_is_a_literal_and_is_read_later(path):
    cells = code_cells(path)
    (position,) = [n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    assignments = ast.parse(cells[position].source).body
    assert assignments
    names = set()
    for statement in assignments:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        names |= {target.id for target in statement.targets}
    later = [node for cell in cells[position + 1 :] for node in ast.walk(ast.parse(cell.source))]
    assert names <= {node.id for node in later if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@each_notebook
def test_committed_parameters_are_those_of_the_fast_profile_without_figures(path):
    """What the committed cell says is what nbval runs."""
    known = papermill.inspect_notebook(path)
    assert known["PROFILE"]["default"].strip("\"'") == "fast"
    assert known["SAVE_FIGURES"]["default"] == "False"


@each_notebook
def test_code_cells_are_short_and_name_no_place(path):
    for cell in code_cells(path):
        imports = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert len(cell.source.splitlines()) - sum(node.end_lineno - node.lineno + 1 for node in imports) <= MOST_LINES
        assert "../" not in cell.source


def test_every_figure_is_made_by_exactly_one_notebook():
    made = [
        name
        for path in NOTEBOOKS
        for cell in code_cells(path)
        for name in re.findall(r"save_(?:figure|animation)\([^\"']+[\"']([\w-]+)[\"']", cell.source)
    ]
    assert len(made) == len(set(made))
    assert {path.stem for path in (ROOT / "figures").iterdir()} == set(made)


@pytest.mark.skipif(shutil.which("make") is None, reason="this machine has no make")
def test_a_notebook_that_fails_before_a_commit_stays_as_it_is(tmp_path):
    """And one that ran before it is kept."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "installed").touch()
    (tmp_path / "notebooks").mkdir()
    for name, code in (("a", "print(1 + 1)"), ("b", "1 / 0")):
        cells = [nbformat.v4.new_code_cell("print('begun')"), nbformat.v4.new_code_cell(code)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
    before = (tmp_path / "notebooks" / "b.ipynb").read_bytes()
    own = [f"BIN={Path(sys.executable).parent}", f"ENV={tmp_path / 'installed'}"]
    make = ["make", "-C", str(tmp_path), "notebooks-committed", *own]
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
    assert (tmp_path / "notebooks" / "b.ipynb").read_bytes() == before
    assert "".join(
        output.text for cell in code_cells(tmp_path / "notebooks" / "a.ipynb") for output in cell.outputs
    ) == ("begun\n2\n")


@pytest.mark.parametrize("number", ["04", "06", "08"])
def test_pages_about_k_take_it_as_a_parameter(number):
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    assert OTHER.keys() <= papermill.inspect_notebook(path).keys()


@each_notebook
def test_a_page_says_what_it_needs_and_asks(path):
    text = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    for said in ("**You need**", "**Reading** takes", "**Running** on two CPU cores", "**Short of time?** The core is"):
        assert said in text[0], said
    assert text[0].count("`smoke` profile") + text[0].count("smoke profile") == 1  # one caveat
    predictions = "\n".join(text).split("**Predict before you run:**")[1:]
    assert len(predictions) >= 2
    assert all("<details><summary>Answer</summary>" in " ".join(after.split("\n\n")[:3]) for after in predictions)
    (recalled,) = (
        source.split("**Can you say it without looking?**")[1] for source in text if "Can you say it" in source
    )
    asked, answered = (re.findall(r"^(\d)\. ", part, re.MULTILINE) for part in recalled.split("<details>"))
    assert asked == answered
    assert 3 <= len(asked) <= 5
    assert "DEVICE" in papermill.inspect_notebook(path)


def test_sections_of_a_page_are_numbered_in_order():
    for path in NOTEBOOKS:
        number = int(path.stem[:2])
        text = "\n".join(
            cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
        )
        heads = [
            head for head in re.findall(r"^## (.*)", text, re.MULTILINE) if head not in ("Exercises", "References")
        ]
        told = [re.match(rf"{number}\.(\d+) ", head) for head in heads]
        assert all(told), heads
        places = [int(match[1]) for match in told]
        assert places == list(range(places[0], places[0] + len(places))), heads
        assert places[0] <= 1
