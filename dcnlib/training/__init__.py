"""Training and evaluating any model with `.loss` on any data."""

from typing import Any

from dcnlib import moved


def __getattr__(name: str) -> Any:
    return moved.find(name, __name__)
