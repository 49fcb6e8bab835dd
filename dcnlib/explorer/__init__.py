"""The explorer: what it shows, its pictures and its widgets."""

from typing import Any

from dcnlib import moved


def __getattr__(name: str) -> Any:
    return moved.find(name, __name__)
