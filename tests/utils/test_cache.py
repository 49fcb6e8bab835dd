"""What lies in the cache is believed only if it is such as the library keeps there."""

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
