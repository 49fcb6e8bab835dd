"""Augmentation by torchvision's transforms v2, named as text: `RandomHorizontalFlip`, `RandomRotation(10)`.

A text is read, never executed: it is the name of a transform, with plain values.
"""

import ast
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

MOST_TEXT = 500  # letters of a transform


class Augmentation:
    """Transforms one after another, which draw from a generator of their own: what becomes of an image depends on the
    image and its key alone.

    Raises ValueError for a text that is no transform.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._transforms  # noqa: B018 (what is no transform is told at once)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __call__(self, image: Tensor, key: str) -> Tensor:
        """An image (C, H, W) in [0, 1] as another one of its shape."""
        changed = image
        with drawing(key):
            for text, transform in zip(self.texts, self._transforms, strict=True):
                try:
                    changed = transform(changed)
                except Exception as error:  # torchvision raises what torch does
                    raise ValueError(f"{text} can't be applied to an image {tuple(image.shape)}: {error}") from error
        if not isinstance(changed, Tensor) or changed.shape != image.shape or not changed.is_floating_point():
            told = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(
                f"augmentation must keep an image's shape and type: {', '.join(self.texts)} made {told} of "
                f"{image.dtype} {tuple(image.shape)}"
            )
        return changed.clamp(0, 1)

    @cached_property
    def _transforms(self) -> list[Any]:
        return [_transform(text) for text in self.texts]


class drawing:
    """Torch's CPU generator begins at a key, and is afterwards what it was before."""

    def __init__(self, key: str) -> None:
        self._seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])

    def __enter__(self) -> None:
        self._before = torch.get_rng_state()
        torch.default_generator.manual_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self._before)


def _transform(text: str) -> Any:
    from torchvision.transforms import v2

    try:
        if len(text) > MOST_TEXT:
            raise ValueError("it is too long")
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        kind = getattr(v2, name, None)
        if not (isinstance(kind, type) and issubclass(kind, v2.Transform)):
            raise ValueError(f"torchvision.transforms.v2 has no transform {name!r}")
        if kind is v2.Normalize:
            raise ValueError(
                "images stay in [0, 1] here, and the networks' batch norms do what it is for: leave it out"
            )
        given = [ast.literal_eval(argument) for argument in call.args]
        return kind(*given, **{str(option.arg): ast.literal_eval(option.value) for option in call.keywords})
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"augmentation is by transforms of torchvision.transforms.v2 such as RandomHorizontalFlip or "
            f"RandomRotation(10), not {text[:MOST_TEXT]!r}: {error}"
        ) from error
