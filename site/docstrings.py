"""The library's docstrings are plain text; Sphinx reads reStructuredText."""

import re
from textwrap import dedent
from typing import Any

_SPECIAL = re.compile(r"([\\*_|])")
_CODE = re.compile(r"(`[^`]+`)")


def as_restructured_text(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place (Sphinx's event autodoc-process-docstring): words in backticks are
    code, lines that are laid out keep their layout, and nothing else means anything but itself."""
    paragraphs = re.split(r"\n\s*\n", dedent("\n".join(lines)).strip("\n"))
    lines[:] = "\n\n".join(map(_paragraph, paragraphs)).splitlines()


def _paragraph(text: str) -> str:
    rows = text.splitlines()
    if any(row.startswith(" ") for row in rows):  # formulas and tables
        return "::\n\n" + "\n".join("    " + row for row in rows)
    pieces = _CODE.split(" ".join(rows))
    return " ".join("".join(_code(piece) if piece.startswith("`") else _escaped(piece) for piece in pieces).split("\n"))


def _code(piece: str) -> str:
    return f"\\ ``{piece.strip('`')}``\\ "


def _escaped(piece: str) -> str:
    return _SPECIAL.sub(r"\\\1", piece).replace("`", "\\`")
