"""Each promise names a test that there is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def promises():
    """The rows of the page's tables: a promise, and what shows it."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] != "promise" and not row[0].startswith("---")]


def names_in(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_tests_that_there_are():
    rows = promises()
    assert len(rows) > 15
    for promise, shown in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
        assert named, promise
        assert shown.count("`") == 2 * len(named), shown
        for path, name in named:
            assert name in names_in(ROOT / path), (promise, path, name)
