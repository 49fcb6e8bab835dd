"""Batches of any data set, in an order that a seed decides, through torch's DataLoader."""

import copy
import itertools
import signal
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    Sampler,
    Subset,
    TensorDataset,
    default_collate,
)

from dcnlib.training.interrupt import SIGNALS
from dcnlib.utils.checks import check_values
from dcnlib.utils.launched import startable

MOST_AT_ONCE = 250
Batch = tuple[Tensor, Tensor]


class Data(Protocol):
    """What `fit` and `evaluate` ask of a data set: its length, and `data[i]` -> (image (C, H, W), label).

    Sets that give a whole batch for an array of indices, faster than image by image, say so by `vectorised = True`.
    Sets with `at_epoch(epoch)` are asked for the set that this epoch sees; those with `describe()` say in the record
    what they are, and those of large images by `most_at_once` how many of them to evaluate together.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Order(Sampler[np.ndarray]):
    """Whole batches of indices, those of a training epoch in the order that its seed decides.

    The order comes from `numpy.random.RandomState`, whose stream is frozen: a resumed epoch goes on in it after `start`
    batches, on any machine and with any version. `share`, a rank and a count of processes that train together, gives
    that one's equal share of each batch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        start: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        order = np.random.RandomState([seed, epoch, 1]).permutation(count)
        steps = count // batch_size
        rank, processes = share
        self.batches = order[: steps * batch_size].reshape(steps, batch_size)[start:, rank::processes]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches)


def count(data: Data | DataLoader) -> int:
    """Images of a data set, or batches of a loader. Raises TypeError for what has neither."""
    try:
        return len(data)
    except TypeError as error:
        raise TypeError(
            "data must be a map-style data set, with len(data) and data[i] -> (image, label), or a DataLoader of one; "
            f"got {type(data).__name__}: {error}"
        ) from error


def count_batches(data: Data | DataLoader, batch_size: int) -> int:
    """Training steps in an epoch: whole batches of a data set, or however many a loader makes."""
    return count(data) if isinstance(data, DataLoader) else count(data) // batch_size


def order_of(loader: DataLoader) -> Any:
    """What decides the order in which a loader takes its images."""
    batches = loader.batch_sampler
    return loader.sampler if batches is None else batches.sampler if type(batches) is BatchSampler else batches


def generator_of(data: Any) -> torch.Generator | None:
    """The generator of its own that a loader shuffles by; None if it is torch's."""
    return (getattr(order_of(data), "generator", None) or data.generator) if isinstance(data, DataLoader) else None


def training_batches(
    data: Data | DataLoader,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    epoch_rng: Tensor | None = None,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The batches of a training epoch on the CPU, after the first `start` of them: images (B, C, H, W) and labels.

    A DataLoader makes its own batches in its own order; those before `start` are made once more, from `epoch_rng`, the
    state that its generator, or else torch's, had at the epoch's beginning, and left out. Of several processes each
    gets its equal `share`, (rank, count), of every batch. Raises TypeError or ValueError for what isn't images in
    [0, 1] and labels.
    """
    data = at_epoch(data, epoch)
    rank, processes = share
    if isinstance(data, DataLoader):
        return _checked(_shared(_from(data, start, epoch_rng, processes), share))
    # Workers draw from seeds of the epoch, and nothing is drawn from torch's own generator, which the model draws from.
    generator = torch.Generator().manual_seed(seed + 2**32 * epoch + 2**52 * rank)
    order = Order(len(data), batch_size, seed=seed, epoch=epoch, start=start, share=share)
    return _checked(_loader(data, order, workers, generator))


def evaluation_batches(
    data: Data | DataLoader, batch_size: int, *, workers: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """All of a data set in its order, or a DataLoader's batches, on the CPU. Raises as `training_batches` does.

    Of several processes, each gets every count-th batch of a data set, from that of its rank on.
    """
    if isinstance(data, DataLoader):
        return _checked(data)
    rank, processes = share
    indices = np.split(np.arange(len(data)), range(batch_size, len(data), batch_size))[rank::processes]
    return _checked(_loader(data, indices, workers, torch.Generator().manual_seed(0)))


def most_at_once(data: Any) -> int:
    """How many images of a data set to evaluate together: what it says, or what it is a part of, or of several joined
    ones the least; else 250."""
    if hasattr(data, "most_at_once"):
        return int(data.most_at_once)
    if isinstance(data, ConcatDataset):
        return min(map(most_at_once, data.datasets))
    return most_at_once(data.dataset) if isinstance(data, Subset) else MOST_AT_ONCE


def at_epoch(data: Any, epoch: int) -> Any:
    """The data that an epoch sees: another one if it, or what it is a part or a loader of, is fresh each epoch."""
    if hasattr(data, "at_epoch"):
        return data.at_epoch(epoch)
    if isinstance(data, ConcatDataset):
        return _with(data, datasets=[at_epoch(part, epoch) for part in data.datasets])
    if not isinstance(data, Subset | DataLoader):
        return data
    inner = at_epoch(data.dataset, epoch)
    if inner is data.dataset:
        return data
    if isinstance(data, DataLoader):
        return _of_another(data, inner)
    return _with(data, dataset=inner)


class Batched(Dataset):
    """A data set by whole batches: `data[indices]` -> (images, labels), whatever the set itself takes."""

    def __init__(self, data: Data) -> None:
        self.data, self.vectorised = data, _is_vectorised(data)

    def __getitem__(self, indices: np.ndarray) -> Any:
        if self.vectorised:
            # A Subset looks its own indices up one by one, and wants a list for that.
            return self.data[indices.tolist() if isinstance(self.data, Subset) else indices]
        items = [self.data[index] for index in indices.tolist()]
        try:
            return default_collate(items)
        except (TypeError, RuntimeError) as error:
            raise TypeError(
                "the data set's items can't be put into one batch: each must be a pair of an image tensor, all of one "
                f"shape, and a label; {error}"
            ) from error


def _is_vectorised(data: Any) -> bool:
    if isinstance(data, Subset):
        return type(data).__getitem__ is Subset.__getitem__ and _is_vectorised(data.dataset)
    return getattr(data, "vectorised", False) or type(data).__getitem__ is TensorDataset.__getitem__


def _loader(data: Data, batches: Any, workers: int, generator: torch.Generator) -> DataLoader:
    workers = startable(workers)
    how: dict[str, Any] = {"num_workers": workers, "generator": generator, "worker_init_fn": _outlive_a_signal}
    return DataLoader(Batched(data), sampler=batches, batch_size=None, **how)


def _outlive_a_signal(worker: int) -> None:
    """Let the training's own process decide what a signal means that all processes of a run get, as schedulers and
    launchers send it: without its workers it couldn't stop between two steps. A second one ends a worker."""

    def end_by_the_next(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)

    for number in SIGNALS:
        signal.signal(number, end_by_the_next)


def _from(loader: DataLoader, start: int, epoch_rng: Tensor | None, processes: int) -> Iterator[Any]:
    """A loader's batches after the first `start`, which are drawn again without a trace in torch's generator; and so
    are all batches of several processes, whose generators differ, so that they get the same ones."""
    if epoch_rng is None or (start == 0 and processes == 1):
        return iter(loader)
    now = torch.get_rng_state()
    (generator_of(loader) or torch.default_generator).set_state(epoch_rng)
    batches = iter(loader)
    for _ in range(start):
        next(batches)
    if processes > 1:  # a loader shuffles when its first batch is asked for
        batches = itertools.chain([next(batches)], batches)  # type: ignore[assignment]
    torch.set_rng_state(now)
    return batches


def _shared(batches: Iterator[Any], share: tuple[int, int]) -> Iterator[Any]:
    """One process's equal share of each of a loader's batches."""
    rank, processes = share
    if processes == 1:
        return batches
    return (_part(batch, rank, processes) for batch in batches)


def _part(batch: Any, rank: int, processes: int) -> Any:
    if len(batch[0]) % processes:
        raise ValueError(
            f"{processes} processes can't share a batch of {len(batch[0])} images equally: give the DataLoader another "
            "batch_size, and drop_last=True"
        )
    return [part[rank::processes] for part in batch]


def _checked(batches: Any) -> Iterator[Batch]:
    """The batches as pairs, looked at where they are made: on the CPU, before a GPU would have to be waited for."""
    for number, batch in enumerate(batches):
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(x, Tensor) for x in batch)):
            raise TypeError(f"a batch must be two tensors, images and labels, got {_told(batch)}")
        images, labels = batch
        if not images.is_floating_point():
            raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}; use images.float() / 255")
        if images.device.type == "cpu" or number == 0:
            check_values(images)
        yield images, labels


def _told(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"{type(batch).__name__} of {', '.join(type(part).__name__ for part in batch)}"
    return type(batch).__name__


def _with(data: Any, **parts: Any) -> Any:
    """A copy of a data set with other parts."""
    changed = copy.copy(data)
    vars(changed).update(parts)
    return changed


def _of_another(loader: DataLoader, data: Any) -> DataLoader:
    """A DataLoader like this one, for another data set of the same length."""
    how = {"batch_size": None, "sampler": loader.sampler} if loader.batch_sampler is None else {}
    return DataLoader(
        data,
        **(how or {"batch_sampler": loader.batch_sampler}),  # type: ignore[arg-type]
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )
