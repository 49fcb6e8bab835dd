"""Data sets that make a batch of images at once, and may be drawn anew for each epoch."""

import copy
import operator
from abc import ABC, abstractmethod
from typing import Self, overload

import numpy as np
import torch
from torch import Tensor

from dcnlib.utils.checks import Indices, check_whole, checked_indices, is_scalar


class VectorisedImages(torch.utils.data.Dataset, ABC):
    """Images and labels that a set makes in `_batch`: `data[i]` is (image (C, H, W), label), `data[indices]` a batch.

    The label of an image is an int or, for several answers, a tensor. One index may be negative and counts from the
    end, as in a list; those of a batch must not. `fresh`: whether `at_epoch(e)` is another set in each epoch, see
    `_draw`.
    """

    vectorised = True  # `fit` may ask for whole batches
    fresh: bool
    epoch: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _batch(self, picked: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B, ...) of indices (B,) int64 within the set."""

    def _draw(self) -> None:
        """Draw what seed and epoch decide, if anything is drawn before an image is asked for."""

    def at_epoch(self, epoch: int) -> Self:
        """The set that a training epoch sees: this one or, if it is `fresh`, as that epoch draws it."""
        check_whole("epoch", epoch, least=0)
        if not self.fresh:
            return self
        other = copy.copy(self)  # shares what doesn't change, which may have taken seconds to make
        other.epoch = epoch
        other._draw()
        return other

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | int]: ...

    @overload
    def __getitem__(self, index: Indices) -> tuple[Tensor, Tensor]: ...

    def __getitem__(self, index: int | Indices) -> tuple[Tensor, Tensor | int]:
        if not (isinstance(index, int) or is_scalar(index)):
            return self._batch(checked_indices(index, len(self)).astype(np.int64, copy=False))
        number = operator.index(index)
        images, labels = self[[number + len(self) if number < 0 else number]]
        return images[0], labels[0] if labels.ndim > 1 else int(labels[0])
