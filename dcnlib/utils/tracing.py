"""What an exported file's graph is being traced for: some operations have no name there, and no graph can raise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Target = Literal["torch", "onnx"]
_target: Target | None = None  # a plain global, since torch.compile reads those


def traced_for() -> Target | None:
    """Whose operations the graph that is being traced may use, PyTorch's or ONNX's; None where none is traced."""
    return _target


@contextmanager
def tracing_for(target: Target) -> Iterator[None]:
    """While a graph is traced, by one thread, with the operations of `target`."""
    global _target
    before, _target = _target, target
    try:
        yield
    finally:
        _target = before
