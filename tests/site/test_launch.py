"""Notebooks get their links and the cell for Colab, once, and are otherwise as they were."""

import json
import shutil
import subprocess
import sys

import pytest

from dcnlib.utils.files import project_root

ROOT = project_root()


def launch(folder, repository):
    command = [sys.executable, ROOT / "site" / "launch.py", repository, "--notebooks", folder]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def notebooks(tmp_path):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))[:2]:
        shutil.copy(path, tmp_path)
    return tmp_path


def cells_of(path):
    return json.loads(path.read_text())["cells"]


def test_two_cells_come_after_the_title_and_a_second_call_replaces_them(notebooks):
    before = {path.name: cells_of(path) for path in notebooks.glob("*.ipynb")}
    for repository in ("someone/dcnlib", "else/other.name"):
        assert launch(notebooks, repository).returncode == 0
        for path in notebooks.glob("*.ipynb"):
            title, links, install, *rest = cells_of(path)
            assert [title, *rest] == before[path.name]
            assert f"github/{repository}/blob/main/notebooks/{path.name}" in links["source"][0]
            assert f"gh/{repository}/main?labpath=notebooks%2F{path.name}" in links["source"][0]
            assert f"https://github.com/{repository} " in "".join(install["source"])


def test_the_cell_does_nothing_here_and_installs_on_colab(notebooks, monkeypatch):
    launch(notebooks, "someone/dcnlib")
    code = "".join(cells_of(next(notebooks.glob("*.ipynb")))[2]["source"])
    called = []

    class Shell:
        def system(self, command):
            called.append(command)

        def run_line_magic(self, *magic):
            called.append(magic)

    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    exec(code, {"get_ipython": Shell})
    assert called == []
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    exec(code, {"get_ipython": Shell})
    clone, install, change = called
    assert clone.startswith("git clone")
    assert clone.endswith("https://github.com/someone/dcnlib /content/dcnlib")
    assert install == "pip install --quiet '/content/dcnlib[notebooks]'"
    assert change == ("cd", "/content/dcnlib/notebooks")


def test_what_is_no_repository_is_refused_and_nothing_is_written(notebooks):
    before = {path: path.read_bytes() for path in notebooks.glob("*.ipynb")}
    refused = launch(notebooks, "https://github.com/someone/dcnlib; rm")
    assert refused.returncode == 2
    assert "OWNER/NAME" in refused.stderr
    assert before == {path: path.read_bytes() for path in notebooks.glob("*.ipynb")}
