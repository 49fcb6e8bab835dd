"""The one picture of the network: its boxes in the order of computation, with those of a chapter lit."""

from collections.abc import Collection
from html import escape

from dcnlib.plots import BLUE, GREY, MODELS

_COARSE, _FINE, _DCN = MODELS["coarse"], MODELS["fine"], MODELS["dcn-k8-hints"]
_WIDTH, _HEIGHT, _STEP, _MARGIN = 112, 46, 134, 8
_UPPER, _LOWER = 22, 122
# Symbol, words and colour of each part. The first row is read from left to right, the second from right to left.
_ROWS = (
    {
        "images": ("x", "images", GREY),
        "coarse": ("f_c", "coarse layers", _COARSE),
        "coarse_map": ("c", "coarse map", _COARSE),
        "top": ("g", "top layers", BLUE),
        "coarse_logits": ("o_c", "first prediction", _COARSE),
        "entropy": ("H", "its entropy", _COARSE),
        "saliency": ("M", "saliency", _COARSE),
    },
    {
        "logits": ("o", "answer", _DCN),
        "top_again": ("g", "the same top layers", _DCN),
        "refined_map": ("r", "refined map", _DCN),
        "fine_vectors": ("f_f(x_ij)", "fine vectors", _FINE),
        "fine": ("f_f", "fine layers", _FINE),
        "patches": ("x_ij", "patches", _FINE),
        "cells": ("I", "k chosen cells", _FINE),
    },
)
PARTS = tuple(part for row in _ROWS for part in row)


def network_diagram(lit: Collection[str] = PARTS) -> str:
    """The Dynamic Capacity Network as an SVG document, the parts `lit` (of `PARTS`) in their colours, others in grey.

    Raises ValueError for a part that there isn't.
    """
    if unknown := set(lit) - set(PARTS):
        raise ValueError(f"parts are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    columns = len(_ROWS[0])
    width, height = columns * _STEP - (_STEP - _WIDTH) + 2 * _MARGIN, _LOWER + _HEIGHT + 12
    drawn = [
        _box(_left(column), top, *told, lit=part in lit)
        for top, row in zip((_UPPER, _LOWER), _ROWS, strict=True)
        for column, (part, told) in enumerate(row.items())
    ]
    for column in range(columns - 1):
        gap = _left(column) + _WIDTH, _left(column + 1)
        drawn.append(_arrow((gap[0], _UPPER + _HEIGHT / 2), (gap[1], _UPPER + _HEIGHT / 2)))
        drawn.append(_arrow((gap[1], _LOWER + _HEIGHT / 2), (gap[0], _LOWER + _HEIGHT / 2)))
    for column in (2, 6):  # the coarse map is the refined one's rest, and the saliency chooses the cells
        x = _left(column) + _WIDTH / 2
        drawn.append(_arrow((x, _UPPER + _HEIGHT), (x, _LOWER)))
    low, x, patches = (_UPPER + _HEIGHT + _LOWER) / 2, _left(0) + _WIDTH / 2, _left(5) + _WIDTH / 2
    drawn.append(_arrow((x, _UPPER + _HEIGHT), (x, low), (patches, low), (patches, _LOWER)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" role="img" aria-label="the Dynamic Capacity Network">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#444444"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(drawn)}</svg>'
    )


def _left(column: int) -> int:
    return _MARGIN + column * _STEP


def _box(left: float, top: float, symbol: str, words: str, color: str, *, lit: bool) -> str:
    fill, opacity = (color, 0.35) if lit else ("white", 1)
    ink, edge = ("black", color) if lit else ("#888888", "#cccccc")
    middle = left + _WIDTH / 2
    return (
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" '
        f'fill-opacity="{opacity}" stroke="{edge}" stroke-width="2"/>'
        f'<text x="{middle}" y="{top + 20}" text-anchor="middle" font-size="15" font-style="italic" fill="{ink}">'
        f"{_subscripts(symbol)}</text>"
        f'<text x="{middle}" y="{top + 38}" text-anchor="middle" font-size="11" fill="{ink}">{escape(words)}</text>'
    )


def _subscripts(symbol: str) -> str:
    """f_c with its letters behind the underscore small and low; they end with a bracket."""
    head, *rest = escape(symbol).split("_")
    for part in rest:
        low = part.rstrip(")").split("(")[0]
        tail = part[len(low) :]
        head += f'<tspan font-size="10" dy="4">{low}</tspan><tspan dy="-4">{tail or "&#8203;"}</tspan>'
    return head


def _arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="#444444" stroke-width="1.5" marker-end="url(#tip)"/>'
