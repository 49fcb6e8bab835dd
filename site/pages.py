"""Lay out the pages of the site: the repository's own, and those that the library writes of itself."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import dcnlib
from dcnlib.cli.show import TABLES

ROOMS = {  # of the library, in the order of CONTRIBUTING.md
    "core": "the method of the paper's section 3",
    "data": "where images and labels come from",
    "training": "train and evaluate any model on any data",
    "rivals": "RAM, DRAW, perturbed top-k, soft attention",
    "models": "networks, tasks and weights that have a name",
    "inference": "a trained model at work",
    "analysis": "questions to a trained model",
    "explorer": "what the explorer shows",
    "utils": "files, records, weights, devices, checks, statistics, timing",
}
# Pages that stand under another name, and folders whose page the library writes.
MOVED = {"README.md": "index.md", "results": "results/index.md"}
# Beside Sphinx's pages lies one that isn't Sphinx's, so that the link to it is HTML.
EXPLORER = """

<p><a href="explorer/index.html">The explorer without Python</a>: the network runs in your browser.</p>
"""
TREE = """

```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```
"""


def lay_out(root: Path, stage: Path) -> None:
    """Fill the empty folder `stage` with all that Sphinx needs of the project in `root`."""
    for folder in ("docs", "figures", "notebooks"):
        shutil.copytree(root / folder, stage / folder, ignore=shutil.ignore_patterns("profiles", "conftest.py", ".*"))
    for name in ("CONTRIBUTING.md", "SECURITY.md", "README.md", "LICENSE", "CITATION.cff"):
        shutil.copy(root / name, stage / MOVED.get(name, name))
    _write_results(root / "results", stage / "results")
    _write_reference(stage / "reference")
    for page in stage.rglob("*.md"):
        page.write_text(_relinked(page.read_text(), page.parent, stage))
    with open(stage / "index.md", "a") as index:
        index.write(EXPLORER)
        index.write(_contents(stage))


def _relinked(text: str, folder: Path, stage: Path) -> str:
    """A page's links, to where the pages stand here."""

    def moved(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        path = (folder / target).resolve()
        name = path.relative_to(stage.resolve()).as_posix() if path.is_relative_to(stage.resolve()) else ""
        if name not in MOVED:
            return match[0]
        up = "../" * len(folder.resolve().relative_to(stage.resolve()).parts)
        return f"]({up}{MOVED[name]}{'#' + anchor if anchor else ''})"

    return re.sub(r"\]\((?!https?:)([^)\s]+)\)", moved, text)


def _write_results(results: Path, folder: Path) -> None:
    """The tables that the records make, and the records themselves."""
    folder.mkdir()
    parts = ["# Results", "What `python -m dcnlib table` prints, from the records below."]
    for task, tables in TABLES.items():
        parts.append(f"## {task.replace('-', ' ').capitalize()}")
        for make in tables:
            try:
                parts.append(make())
            except FileNotFoundError:  # a study that has no records yet
                continue
    parts.append("## Records")
    for path in sorted(results.glob("*.json")):
        shutil.copy(path, folder)
        parts.append(f"- [{path.stem}]({path.name}){_told(json.loads(path.read_text()))}")
    (folder / "index.md").write_text("\n\n".join(parts) + "\n")


def _told(record: dict) -> str:
    test = record.get("test")
    return f": {100 * test['error']:.2f} % of {test['count']:,} test images" if isinstance(test, dict) else ""


def _write_reference(folder: Path) -> None:
    """A page a room, its modules' docstrings on it."""
    folder.mkdir()
    library = Path(dcnlib.__file__).parent
    names = ", ".join(f"`{name}`" for name in sorted(dcnlib.__all__))
    rooms = "\n".join(f"- [`dcnlib.{room}`]({room}.md): {about}" for room, about in ROOMS.items())
    (folder / "index.md").write_text(
        f"# Reference\n\nAt the top of the package: {names}. Everything else is in its room:\n\n{rooms}\n"
        + _tree("Rooms", ROOMS)
    )
    for room, about in ROOMS.items():
        modules = "\n".join(_module(name) for name in _modules(library, room))
        (folder / f"{room}.md").write_text(f"# `dcnlib.{room}`\n\n{about[0].upper()}{about[1:]}.\n\n{modules}")


def _modules(library: Path, room: str) -> Iterator[str]:
    for path in sorted((library / room).rglob("*.py")):
        if path.stem != "__init__":
            yield ".".join(["dcnlib", *path.relative_to(library).with_suffix("").parts])


def _module(name: str) -> str:
    return f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def _contents(stage: Path) -> str:
    notebooks = [f"notebooks/{path.stem}" for path in sorted((stage / "notebooks").glob("*.ipynb"))]
    docs = [f"docs/{path.stem}" for path in sorted((stage / "docs").glob("*.md"))]
    more = ["results/index", "reference/index", "CONTRIBUTING", "SECURITY"]
    return _tree("Notebooks", notebooks) + _tree("Documentation", docs) + _tree("More", more)


def _tree(caption: str, pages) -> str:
    return TREE.format(caption=caption, pages="\n".join(pages))
