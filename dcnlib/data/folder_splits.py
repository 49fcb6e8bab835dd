"""Which of a user's pictures are for training, validation and test, and that none of them is in two places."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from dcnlib.data.folder_images import SPLITS, Entry, listed

SHARES = {"test": 0.15, "validation": 0.15}  # of each class, where nothing says which pictures these are


def divide(entries: Sequence[Entry], contents: Sequence[bytes], seed: int) -> list[Entry]:
    """The entries with a split each. Those that say theirs keep it; training pictures are divided where there is
    nothing to validate on, and all where no split is said.

    Of each class, `SHARES` are taken, at least one picture. Pictures of a group, and those of the same content, stay
    together. The order comes from a hash of seed and content (or group), so it doesn't depend on names, or on what
    other pictures there are.
    """
    if any(entry.split == "validation" for entry in entries):
        return list(entries)
    wanted = [split for split in SHARES if split == "validation" or all(entry.split is None for entry in entries)]
    divided = [number for number, entry in enumerate(entries) if entry.split in (None, "train")]
    units = _units([entries[number] for number in divided], [contents[number] for number in divided])
    ordered = sorted(units, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    labels = {key: {entries[divided[member]].label for member in units[key]} for key in units}
    counts = Counter(label for key in units for label in labels[key])
    left = {(split, label): max(1, round(SHARES[split] * count)) for split in wanted for label, count in counts.items()}
    found = list(entries)
    for key in ordered:
        needing = (split for split in wanted if any(left[split, label] > 0 for label in labels[key]))
        chosen = next(needing, "train")
        for label in labels[key] if chosen != "train" else ():
            left[chosen, label] -= 1
        for member in units[key]:
            found[divided[member]] = replace(entries[divided[member]], split=chosen)
    return found


def check_entries(entries: Sequence[Entry], contents: Sequence[bytes]) -> None:
    """Raise ValueError, naming the files, for a picture that has two labels or lies in two splits, as itself or as a
    copy of the same content, and for a group in two splits."""
    by_content: dict[bytes, Entry] = {}
    labels, splits = [], []
    for entry, content in zip(entries, contents, strict=True):
        first = by_content.setdefault(content, entry)
        if entry.label != first.label:
            labels.append(f"{first.name} ({first.label}) and {entry.name} ({entry.label})")
        elif entry.split != first.split:
            splits.append(f"{first.name} ({first.split}) and {entry.name} ({entry.split})")
    if labels:
        raise ValueError(f"the same picture has two labels: {listed(labels)}")
    if splits:
        raise ValueError(
            f"the same picture lies in two splits, so it would be measured on what it learned: {listed(splits)}"
        )
    by_group: dict[str, Entry] = {}
    for entry in entries:
        if entry.group is not None and by_group.setdefault(entry.group, entry).split != entry.split:
            first = by_group[entry.group]
            raise ValueError(
                f"the group {entry.group!r} lies in two splits: {first.name} ({first.split}), {entry.name} "
                f"({entry.split})"
            )


def check_classes(entries: Sequence[Entry], labels: Collection[str]) -> None:
    """Raise ValueError unless there are at least two classes, each with a picture in every split that there is.

    labels: those that the files say, of which some may have no picture that can be read.
    """
    if len(labels) < 2:
        raise ValueError(f"all {len(entries)} pictures are of one class, {', '.join(labels)}: a network needs two")
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    counts = Counter((entry.label, entry.split) for entry in entries)
    lacking = [
        f"{label} ({', '.join(f'{counts[label, split]} for {split}' for split in splits)})"
        for label in sorted(labels)
        if not all(counts[label, split] for split in ("train", *splits))
    ]
    if lacking:
        raise ValueError(
            f"each class needs a picture that can be read for each of {', '.join(splits)}; too few have "
            f"{listed(lacking)}"
        )


def _units(entries: Sequence[Entry], contents: Sequence[bytes]) -> Mapping[str, list[int]]:
    """Which entries, by number, must stay together, by a key that is theirs whatever else there is."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    keys = [
        (f"content {content.hex()}", f"content {content.hex()}" if entry.group is None else f"group {entry.group}")
        for entry, content in zip(entries, contents, strict=True)
    ]
    for content, group in keys:
        one, other = sorted((find(content), find(group)), reverse=True)  # a group's key leads a content's
        leader[other] = one
    units = defaultdict(list)
    for number, (content, _) in enumerate(keys):
        units[find(content)].append(number)
    return units
