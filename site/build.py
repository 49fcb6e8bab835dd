"""Build the static site into a folder: pages by Sphinx, and the explorer that needs no Python (explorer_files.py)."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from explorer_files import write_explorer
from links import faults
from pages import lay_out

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; what is there is replaced")
    folder = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        stage = Path(temporary) / "stage"
        stage.mkdir()
        lay_out(HERE.parent, stage)
        static = stage / "_static"
        static.mkdir()
        shutil.copy(HERE / "node_modules" / "mathjax" / "es5" / "tex-svg.js", static / "mathjax.js")
        built = Path(temporary) / "site"
        sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", str(HERE)]
        sphinx += ["-D", f"html_static_path={static}"]
        if status := subprocess.run([*sphinx, str(stage), str(built)]).returncode:
            return status
        for leftover in (".doctrees", ".buildinfo", "objects.inv"):
            path = built / leftover
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_explorer(built / "explorer")
        if dead := list(faults(built.resolve())):
            print("\n".join(dead), file=sys.stderr)
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built, folder)
    print(f"The site is in {folder}: python -m http.server --directory {folder} shows it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
