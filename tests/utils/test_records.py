"""Records: what they say of the code that ran."""

import subprocess
import sys

from dcnlib.utils.files import project_root

ROOT = project_root()


def test_a_changed_checkout_is_called_dirty(tmp_path):
    """The record says whether the code that ran was the committed one; so a changed clone has to be told apart."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)

    def dirty():
        code = "from dcnlib.utils.records import environment; print(environment('cpu')['git_dirty'])"
        told = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=True)
        return told.stdout.strip()

    assert dirty() == "False"
    with (clone / "dcnlib" / "__init__.py").open("a") as file:
        file.write("# a change\n")
    assert dirty() == "True"
