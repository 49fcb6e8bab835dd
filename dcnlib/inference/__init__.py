"""A trained model at work."""

from typing import Any

from dcnlib import moved


def __getattr__(name: str) -> Any:
    return moved.find(name, __name__)
