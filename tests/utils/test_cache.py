"""What lies in the cache is believed only if it is such as the library keeps there, and takes only so much room."""

import os
from functools import partial

import numpy as np

from dcnlib.utils.cache import cached


def test_packed_arrays_are_made_anew(tmp_path, monkeypatch):
    """A few kilobytes could unpack to gigabytes."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))

    def kept():
        return cached("values", read=lambda arrays: arrays["values"].tolist(), make=lambda: {"values": np.arange(3)})

    assert kept() == [0, 1, 2]
    np.savez(tmp_path / "values.npz", values=np.ones(3, int))
    assert kept() == [1, 1, 1]  # it is the cache that is read
    np.savez_compressed(tmp_path / "values.npz", values=np.full(3, 2))
    assert kept() == [0, 1, 2]


def test_what_was_read_longest_ago_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    made = []

    def kept(name, most_bytes=2500):  # two fit, and a half
        def make():
            made.append(name)
            return {"values": np.zeros(900, np.uint8)}

        cached(f"pictures/{name}", read=lambda arrays: arrays["values"], make=make, most_bytes=most_bytes)
        return sorted(path.stem for path in (tmp_path / "pictures").glob("*.npz"))

    cached("beside", read=dict, make=lambda: {"values": np.zeros(9000)})
    assert kept("a") == ["a"]
    assert kept("b") == ["a", "b"]
    for number, name in enumerate("ab"):
        os.utime(tmp_path / "pictures" / f"{name}.npz", (number, number))
    kept("a")  # read again, it is now the one that was read last
    assert kept("c") == ["a", "c"]
    assert made == ["a", "b", "c"]
    assert kept("d", most_bytes=10) == ["d"]  # never the newest
    assert (tmp_path / "beside.npz").is_file()  # other folders are left alone


def test_a_cache_that_cannot_be_touched_is_read_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    read = partial(cached, "values", read=lambda arrays: arrays["values"].tolist())
    assert read(make=lambda: {"values": np.arange(3)}) == [0, 1, 2]

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    assert read(make=dict) == [0, 1, 2]
