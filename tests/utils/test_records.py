"""Records: what they say of the code that ran."""

import os
import shutil
import subprocess
import sys

import pytest

from dcnlib.utils import records
from dcnlib.utils.files import project_root

ROOT = project_root()


def test_a_changed_checkout_is_called_dirty(tmp_path):
    """The record says whether the code that ran was the committed one; so a changed clone has to be told apart."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)

    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert told_by(clone) == [revision, "False"]
    with (clone / "dcnlib" / "__init__.py").open("a") as file:
        file.write("# a change\n")
    assert told_by(clone) == [revision, "True"]


@pytest.mark.parametrize("where", ["nowhere", "inside another checkout"])
def test_outside_its_checkout_nobody_says_which_code_ran(tmp_path, where):
    """An installed package often lies in an environment inside the checkout of something else."""
    if where != "nowhere":
        git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "another project"], check=True)
    shutil.copytree(ROOT / "dcnlib", tmp_path / "installed" / "dcnlib", ignore=shutil.ignore_patterns("__pycache__"))
    assert told_by(tmp_path / "installed") == ["None", "None"]


def told_by(folder):
    """Git's revision and state in a record made by the package in a folder."""
    code = "from dcnlib.utils.records import environment; told = environment('cpu')\n"
    code += "print(told['git_revision'], told['git_dirty'])"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_package_that_is_not_installed_is_left_out_of_the_versions(monkeypatch):
    def version(name):
        if name == "mlxtend":
            raise records.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(records, "version", version)
    versions = records.environment("cpu")["versions"]
    assert "mlxtend" not in versions
    assert versions["torch"] == "1"
