"""The reader of GTSDB: what it makes of good files, and what it says of broken ones."""

import re
from pathlib import Path

import numpy as np
import pytest
from needs import needs_gtsdb
from PIL import Image
from sign_files import LINES, photograph, write_gtsdb

from dcnlib.data.street_signs.gtsdb import (
    CATEGORY_OF,
    EXCLUDED,
    find_gtsdb,
    numbers_of,
    read_gtsdb,
    read_labels,
    read_photograph,
)
from dcnlib.data.street_signs.images import load_street_signs
from dcnlib.data.street_signs.signs import CATEGORIES


def test_photographs_are_halved_and_boxes_with_them(tmp_path):
    signs = read_gtsdb(write_gtsdb(tmp_path), range(3), split="train")
    assert signs.photographs.shape == (3, 400, 680, 3)
    whole = np.asarray(photograph(2)).astype(float)
    means = whole.reshape(400, 2, 680, 2, 3).mean((1, 3))
    assert np.abs(signs.photographs[2] - means).max() <= 0.5
    # The last row and column of a sign belong to it: 411..446 are 36 rows.
    assert signs.boxes.tolist() == [[205.5, 387, 223.5, 408], [15, 10, 36, 30.5], [100, 50, 120, 70]]
    assert [CATEGORIES[category] for category in signs.categories] == ["danger", "mandatory", "other"]
    assert signs.owners.tolist() == [0, 0, 2]
    assert [signs.signs_of(number) for number in range(3)] == [slice(0, 2), slice(2, 2), slice(2, 3)]


def test_jpegs_of_the_same_names_do_too(tmp_path):
    write_gtsdb(tmp_path, kind="jpg")
    assert np.abs(read_photograph(tmp_path, 1).astype(float) - np.asarray(photograph(1).reduce(2))).mean() < 10


def test_each_of_the_43_classes_has_one_of_the_four_categories():
    assert sorted(CATEGORY_OF) == list(range(43))
    counts = np.bincount(list(CATEGORY_OF.values()))
    assert dict(zip(CATEGORIES, counts.tolist(), strict=True)) == {
        "prohibitory": 12,
        "danger": 15,
        "mandatory": 8,
        "other": 8,
    }


def test_splits_share_no_photograph_and_validation_comes_in_blocks():
    train, validation, test = (numbers_of(split) for split in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (480, 120, 293)
    assert sorted(train + validation) == list(range(600))
    assert sorted([*test, *EXCLUDED]) == list(range(600, 900))
    breaks = np.flatnonzero(np.diff(validation) != 1)
    assert len(breaks) == 4
    assert set(np.diff([-1, *breaks, len(validation) - 1])) == {24}


@pytest.mark.parametrize("place", ["GTSDB", "FullIJCNN2013", "GTSDB/FullIJCNN2013", "."])
def test_it_is_found_where_an_archive_may_be_unpacked(tmp_path, place):
    write_gtsdb(tmp_path / place, numbers=())
    assert find_gtsdb(tmp_path).samefile(tmp_path / place)


def test_no_data_is_said_with_where_it_comes_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no GTSDB/gt.txt in .*FullIJCNN2013.zip.*drawn"):
        load_street_signs("test", source="gtsdb", root=tmp_path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("00001.ppm;774;411;1360;446;11", "left < right < 1360"),
        ("00001.ppm;774;411;815;800;11", "bottom < 800"),
        ("00001.ppm;815;411;774;446;11", "left < right"),
        ("00001.ppm;-1;411;815;446;11", "whole numbers"),
        ("00001.ppm;7;411;8.5;446;11", "whole numbers"),
        ("00001.ppm;774;411;815;446;43", "a class must be 0..42"),
        ("00001.ppm;774;411;815;446", "left;top;right;bottom;class"),
        ("00900.ppm;774;411;815;446;11", "00000.ppm to 00899.ppm"),
        ("../0001.ppm;774;411;815;446;11", "00000.ppm to 00899.ppm"),
        ("00001.png;774;411;815;446;11", "00000.ppm to 00899.ppm"),
        ("00001.ppm;774;411;815;446;" + "1" * 5000, "whole numbers"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, told):
    path = write_gtsdb(tmp_path, (), [*LINES, line]) / "gt.txt"
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}, line 4: .*{re.escape(told)}.*got '"):
        read_labels(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe0\x00", bytes(1_000_001)])
def test_a_file_that_is_no_list_of_signs_is_refused_by_name(tmp_path, content):
    path = tmp_path / "gt.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_labels(path)


def test_a_missing_photograph_is_named(tmp_path):
    write_gtsdb(tmp_path, numbers=(0, 1))
    with pytest.raises(FileNotFoundError, match=r"00002\.ppm or 00002\.jpg"):
        read_gtsdb(tmp_path, range(3), split="train")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _billion(path: Path) -> None:
    path.write_bytes(b"P6\n40000 25000\n255\n" + bytes(3000))


def _small(path: Path) -> None:
    Image.new("RGB", (680, 400)).save(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [(_cut, "cut short"), (_billion, "far more than"), (_small, "680x400 pixels, it must have 1360x800")],
)
def test_a_damaged_photograph_is_refused_by_name(tmp_path, damage, told):
    damage(write_gtsdb(tmp_path) / "00001.ppm")
    with pytest.raises(ValueError, match=f"00001.ppm .*{told}"):
        read_gtsdb(tmp_path, range(3), split="train")


@needs_gtsdb
def test_the_whole_of_it_is_read():
    """The benchmark's own figures: 1,213 signs, 852 of them in the official training set."""
    labels = read_labels(find_gtsdb() / "gt.txt")
    assert sum(map(len, labels.values())) == 1213
    assert sum(len(signs) for number, signs in labels.items() if number < 600) == 852
    few = load_street_signs("test", source="gtsdb", count=2)
    assert few.names.tolist() == ["00600", "00601"]
