"""Where data lies, for users with and without a home."""

import os
from pathlib import Path

import numpy as np
import pytest

from dcnlib.data.digits import load_digits
from dcnlib.utils.files import cache_folder, data_roots, user_path


@pytest.fixture
def homeless(monkeypatch):
    """A user as containers have them: no HOME, and not in the list of users."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in [name for name in os.environ if name == "HOME" or name.startswith("XDG_")]:
        monkeypatch.delenv(name)


def test_data_is_looked_for_in_the_given_root_alone_or_in_the_usual_places(tmp_path, monkeypatch):
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path / "data"))
    assert data_roots(tmp_path / "mine") == [tmp_path / "mine"]
    assert data_roots() == [tmp_path / "data", cache_folder()]
    monkeypatch.setenv("DCNLIB_DATA", "")
    assert data_roots() == [cache_folder()]


def test_a_tilde_is_the_users_home_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DCNLIB_DATA", "~/data")
    assert data_roots("~/mine") == [tmp_path / "mine"]
    assert data_roots()[0] == tmp_path / "data"
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "mine")):
        load_digits("test", source="mnist", root="~/mine")


def test_without_a_home_what_needs_no_cache_works(homeless, monkeypatch, tmp_path, embedded):
    monkeypatch.chdir(tmp_path)
    assert cache_folder() is None
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path / "data"))
    assert data_roots() == [tmp_path / "data"]
    assert np.array_equal(load_digits("all", source="embedded").images, embedded.images)
    assert list(tmp_path.iterdir()) == []  # nor was a folder called ~ made


def test_without_a_home_what_needs_a_cache_says_so(homeless, monkeypatch):
    monkeypatch.delenv("DCNLIB_DATA", raising=False)
    assert data_roots() == []
    with pytest.raises(FileNotFoundError, match=r"DCNLIB_DATA isn't set.*no home.*embedded"):
        load_digits("test", source="mnist")
    with pytest.raises(FileNotFoundError, match=r"no home folder that ~ in ~/data could stand for"):
        data_roots("~/data")


def test_platforms_that_leave_a_tilde_have_no_cache(monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    assert cache_folder() is None
    assert user_path("plain") == Path("plain")
