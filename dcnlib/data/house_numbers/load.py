"""House numbers by source and split."""

import warnings
from dataclasses import replace
from pathlib import Path

from dcnlib.data.house_numbers.numbers import NUMBER_SPLITS, HouseNumbers, NumberSource, NumberSplit, held_out


def load_house_numbers(split: NumberSplit, *, source: NumberSource, root: str | Path | None = None) -> HouseNumbers:
    """Load one split of a source.

    `svhn`: test and extra as they are; train and validation are the training photographs, divided by a hash of the
    photograph's name, so that a photograph stays on its side whatever else is there. The data is looked for in
    `data_roots(root)`: `SVHN/train`, a folder with the PNGs and `digitStruct.mat`, or the official archive
    `SVHN/train.tar.gz`. Reading it takes a minute the first time, the
    result lies in the user's cache from then on. Nothing is downloaded.
    `rendered`: numbers drawn by `rendered.py`; always at hand, and easier than photographs.

    Raises ValueError for an unknown source or split or for damaged files, FileNotFoundError if there are none. Single
    bad entries are left out and counted in `dropped`, which is that of the whole folder for train and validation.
    Warns if photographs are missing, as in a folder that was unpacked in part.
    """
    if source not in NUMBER_SPLITS:
        raise ValueError(f"source must be one of {sorted(NUMBER_SPLITS)}, got {source!r}")
    if split not in NUMBER_SPLITS[source]:
        raise ValueError(f"source {source!r} has the splits {', '.join(NUMBER_SPLITS[source])}, got {split!r}")

    if source == "rendered":
        from dcnlib.data.house_numbers.rendered import render_numbers

        return render_numbers(split)

    from dcnlib.data.house_numbers.svhn import LABELS_FILE, find_svhn, read_svhn  # h5py is needed for nothing else

    part = "train" if split == "validation" else split
    folder = find_svhn(part, root)
    numbers = replace(read_svhn(folder), split=split)
    if missing := numbers.dropped.no_image:
        named, file = len(numbers) + numbers.dropped.total, folder / LABELS_FILE
        warnings.warn(
            f"{missing:,} of {named:,} images named in {file} are missing, {named - missing:,} are there: if the "
            f"folder was unpacked only in part, unpack {part}.tar.gz again",
            stacklevel=2,
        )
    if part == "train":
        keep = held_out(numbers.names) == (split == "validation")
        if not keep.any():
            raise ValueError(f"none of the {len(numbers)} training photographs falls into the split {split!r}")
        numbers = numbers.where(keep)
    return numbers
