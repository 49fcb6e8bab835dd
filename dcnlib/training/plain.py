"""Options as plain text that is the same in another process, so that it can be written down and compared."""

import functools
import hashlib
import re
from collections.abc import Collection
from dataclasses import is_dataclass
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from dcnlib.utils.records import Record


def plain_options(owner: Any, *, without: Collection[str] = ()) -> Record:
    """The public attributes of an object that can be told in plain text, such as a number, a function or a transform;
    tensors, arrays and what has no text of its own are left out."""
    return {
        key: value if isinstance(value, bool | int | str) else text
        for key, value in getattr(owner, "__dict__", {}).items()
        # A method that was put in another one's place is no option.
        if not key.startswith("_") and key not in without and not callable(getattr(type(owner), key, None))
        if (text := plain(value)) is not None
    }


def plain(value: Any) -> str | None:
    """A value as text, or None if it has none."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.Size):
        return repr(value)
    if isinstance(value, Enum):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        fields = {key: plain(item) for key, item in vars(value).items()}
        return f"{type(value).__name__}({', '.join(f'{key}={text}' for key, text in fields.items() if text)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(plain(item) or '?' for item in value)}]"
    if isinstance(value, set | frozenset):  # whose order is another one in each process
        return f"{{{', '.join(sorted(plain(item) or '?' for item in value))}}}"
    if isinstance(value, functools.partial):
        return f"{plain(value.func)}{plain(value.args)}{plain(value.keywords)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {plain(item)}' for key, item in value.items())}}}"
    if isinstance(value, FunctionType):
        return _function(value)
    if callable(value):  # a class, a function of C, or an object such as a transform, without its place in memory
        return getattr(value, "__qualname__", None) or " ".join(re.sub(" at 0x[0-9a-f]+", "", repr(value)).split())
    return None


def _function(function: FunctionType) -> str:
    """A function's name, and of one that its owner wrote what it does: two lambdas have the same name."""
    if function.__module__.split(".")[0] in ("torch", "torchvision", "dcnlib"):
        return function.__qualname__
    kept = [cell.cell_contents for cell in function.__closure__ or ()]
    told = _code(function.__code__), plain(function.__defaults__), plain(function.__kwdefaults__), plain(kept)
    return f"{function.__qualname__} {hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = [_code(item) if isinstance(item, CodeType) else repr(_in_order(item)) for item in code.co_consts]
    return code.co_code, code.co_names, constants


def _in_order(constant: Any) -> Any:
    """A constant, in which sets, whose order is another one in each process, are sorted lists; code has no lists."""
    if isinstance(constant, frozenset):
        return sorted(map(_in_order, constant), key=repr)
    return tuple(map(_in_order, constant)) if isinstance(constant, tuple) else constant
