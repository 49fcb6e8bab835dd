"""What the committed records say beside runs, and which runs have one."""

from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from typing import TypeVar

from dcnlib.utils.records import Record, load_record

Key = TypeVar("Key", bound=Hashable)
Load = Callable[[str], Record]


def multiplications_of(name: str) -> int:
    """How many multiplications the model of an experiment takes for one image, as `count_experiments` counted them."""
    return load_record("multiplications")["models"][name]


def find_records(named: Iterable[tuple[Key, str]], load: Load = load_record) -> dict[Key, Record]:
    """The records that there are of the runs with these names, each by what is given with its name."""
    found = {}
    for key, name in named:
        with suppress(FileNotFoundError):
            found[key] = load(name)
    return found
