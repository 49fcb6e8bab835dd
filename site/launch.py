"""Put links to Binder and Colab into each notebook, and a first cell that installs the library on Colab.

For whoever publishes the repository on GitHub, once its address is known: `python site/launch.py OWNER/NAME`, and then
`make notebooks-committed`. Again, with another address, it replaces what it put there. No link has been followed yet:
there is no public address.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from dcnlib.utils.files import atomic_write

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
BRANCH = "main"
TAG = "launch"  # of the cells that are this script's
# On Colab a clone, since the pages read and write files of the repository. A torch that is there is kept.
INSTALL = """\
import os

if "COLAB_RELEASE_TAG" in os.environ:  # on Colab alone; anywhere else this does nothing
    if not os.path.isdir("/content/{name}"):
        get_ipython().system("git clone --quiet --depth 1 https://github.com/{repository} /content/{name}")
        get_ipython().system("pip install --quiet '/content/{name}[notebooks]'")
    get_ipython().run_line_magic("cd", "/content/{name}/notebooks")"""


def with_launch(notebook: dict[str, Any], file: str, repository: str) -> dict[str, Any]:
    """The notebook with its two cells after the title; those of an earlier call are replaced."""
    cells = [cell for cell in notebook["cells"] if TAG not in cell["metadata"].get("tags", ())]
    page = f"github/{repository}/blob/{BRANCH}/notebooks/{file}"
    binder = f"https://mybinder.org/v2/gh/{repository}/{BRANCH}?labpath=notebooks%2F{file}"
    links = f"*Run this page on [Colab](https://colab.research.google.com/{page}) or [Binder]({binder}).*"
    code = INSTALL.format(repository=repository, name=repository.split("/")[1])
    cells[1:1] = [
        {"cell_type": "markdown", "id": f"{TAG}-links", "metadata": {"tags": [TAG]}, "source": [links]},
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"{TAG}-install",
            "metadata": {"tags": [TAG]},
            "outputs": [],
            "source": code.splitlines(keepends=True),
        },
    ]
    return notebook | {"cells": cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", help="OWNER/NAME on GitHub")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="their folder")
    args = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", args.repository):
        parser.error(f"the repository is OWNER/NAME, not {args.repository!r}")
    for path in sorted(args.notebooks.glob("*.ipynb")):
        notebook = with_launch(json.loads(path.read_text()), path.name, args.repository)
        content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        atomic_write(path, lambda file, content=content: file.write(content.encode()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
