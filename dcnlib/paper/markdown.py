"""Rows as Markdown."""

from collections.abc import Sequence


def p_value_text(p: float) -> str:
    """A p value as the tables give it: three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def spread_text(errors: Sequence[float], unit: str = "") -> str:
    """Mean and range of error rates in %, or the one that there is; the unit stands after the mean."""
    mean = f"{100 * sum(errors) / len(errors):.2f}{unit}"
    return mean if len(errors) == 1 else f"{mean} ({100 * min(errors):.2f}..{100 * max(errors):.2f})"


def markdown_table(rows: Sequence[Sequence[object]]) -> str:
    """The rows, of which the first one is the header, as lines of Markdown."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
