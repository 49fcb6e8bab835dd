"""A user's own pictures: what is found, skipped and refused, how it is divided, and what becomes of each."""

import json
import pickle
import shutil
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from daemons import in_a_daemon, needs_fork
from odd_pictures import CLASSES, damage, odd_folder, picture
from PIL import Image

from dcnlib.data.augmentation import Augmentation
from dcnlib.data.folder_images import Entry, find_entries
from dcnlib.data.folder_splits import check_entries, divide
from dcnlib.data.image_folder import PictureFolder
from dcnlib.data.pictures import read_picture
from dcnlib.training.identity import differences, identify
from dcnlib.training.loading import training_batches
from dcnlib.training.settings import TrainingSettings


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(cache))
    return cache


@pytest.fixture
def odd(tmp_path):
    return odd_folder(tmp_path / "my pictures ü")


def plain(folder, names, *, size=(40, 56)):
    """A picture of its own for each name, a class's folder first."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture("cat", 1000 + number, size)).save(path)
    return folder


# Found and skipped


def test_odd_pictures_are_pictures_and_broken_ones_are_skipped_named_and_counted(odd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = PictureFolder(odd)
    assert whole.class_names == CLASSES == tuple(sorted(CLASSES))
    assert Counter(entry.label for entry in whole.entries) == dict.fromkeys(CLASSES, 6)
    assert whole.skipped == {}
    expected = damage(odd)
    with pytest.warns(UserWarning, match=f"{len(expected)} of {len(expected) + 42} files of .* are skipped: .*cut"):
        damaged = PictureFolder(odd)
    assert damaged.skipped.keys() == expected.keys()
    for name, why in expected.items():
        assert why in damaged.skipped[name]
        assert str(odd) not in damaged.skipped[name]
    assert [entry.name for entry in damaged.entries] == [entry.name for entry in whole.entries]
    with pytest.raises(ValueError, match=f"{len(expected)} files of .* can't be used: .*cut.png"):
        PictureFolder(odd, strict=True)


def test_a_picture_becomes_what_the_reader_says_resized_in_8_bits(odd):
    folder = PictureFolder(odd)
    images = folder.images("all")
    assert folder.image_shape == images[0][0].shape
    for index, name in enumerate(images.names):
        image, label = images[index]
        seen = read_picture(odd / name)
        pixels = seen.pixels.expand(3, -1, -1)
        if seen.size != image.shape[1:]:
            pixels = torch.nn.functional.interpolate(pixels[None], image.shape[1:], mode="bilinear", antialias=True)[
                0
            ].clamp(0, 1)
        assert torch.equal(image, (pixels * 255).round() / 255)
        assert CLASSES[label] == name.split("/")[0]


def test_the_shape_follows_the_pictures(tmp_path):
    names = [f"{label}/{n}.png" for label in "ab" for n in range(3)]
    assert PictureFolder(plain(tmp_path / "wide", names, size=(300, 600))).image_shape == (3, 64, 128)
    assert PictureFolder(plain(tmp_path / "small", names, size=(20, 24))).image_shape == (3, 32, 32)
    high = plain(tmp_path / "high", names, size=(100, 60))
    assert PictureFolder(high).image_shape == (3, 96, 64)
    for path in high.rglob("*.png"):
        Image.open(path).convert("L").convert("RGB").save(path)  # grey, however it is kept
    assert PictureFolder(high).image_shape == (1, 96, 64)
    assert PictureFolder(high, size=(48, 40), channels=3).images("all")[0][0].shape == (3, 48, 40)


def test_a_second_reading_comes_from_the_cache_unless_a_file_has_changed(odd, monkeypatch):
    first = PictureFolder(odd).images("all")
    monkeypatch.setattr("dcnlib.data.folder_reading._decoded", lambda *_: pytest.fail("read again"))
    again = PictureFolder(odd).images("all")
    assert torch.equal(first[[3, 1]][0], again[[3, 1]][0])
    Image.fromarray(picture("cat", 77)).save(odd / "cat" / "0.png")
    with pytest.raises(pytest.fail.Exception):
        PictureFolder(odd)


@needs_fork
def test_a_process_that_may_start_none_reads_many_pictures_itself(odd, tmp_path, monkeypatch):
    expected = PictureFolder(odd).contents.tolist()
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path / "empty"))
    monkeypatch.setattr("dcnlib.data.folder_reading.WORTH_READERS", 1)
    assert in_a_daemon(lambda: PictureFolder(odd).contents.tolist()) == expected


# Refused


def test_too_large_pictures_are_refused_by_name(odd):
    (odd / "cat" / "huge.ppm").write_bytes(b"P6 40000 25000 255\n" + bytes(100))
    Image.new("1", (5001, 5000)).save(odd / "dog" / "large.png")
    with pytest.raises(ValueError, match=r"too large: cat/huge\.ppm .*; dog/large\.png \(has 5001x5000 pixels"):
        PictureFolder(odd)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "says no classes"),
        (["0.png"], "says no classes"),
        (["a/0.png", "a/1.png", "a/2.png"], "all 3 pictures are of one class, a: a network needs two"),
        (["a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png"], r"too few have b \(0 for train, 1 for val"),
        (["train/a/0.png", "train/b/1.png", "test/a/2.png", "val/a/3.png", "val/b/4.png"], r"b \(1 .*, 0 for test\)"),
        (["train/a/0.png", "test/a/1.png", "extra/a/2.png"], "test, train and extra beside them: are these splits"),
        (["validation/a/0.png", "test/a/1.png"], "test, validation but no train"),
        (["a/0.png", "b\x1b[2J/1.png"], r"letters that can be seen; .* has 'b\\x1b\[2J'"),
    ],
    ids=str,
)
def test_folders_that_say_no_classes_or_too_few_are_refused(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        PictureFolder(plain(tmp_path, files))


def test_a_class_without_a_picture_is_refused(tmp_path):
    folder = plain(tmp_path, [f"{label}/{n}.png" for label in "abc" for n in range(3)])
    (folder / "d").mkdir()
    with pytest.raises(ValueError, match="would be classes, but hold no picture: d"):
        PictureFolder(folder)
    (folder / "d" / "0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"too few have d \(0 for train"):
        PictureFolder(folder)
    with pytest.raises(FileNotFoundError, match="no folder of pictures and no table at"):
        PictureFolder(folder / "nowhere")


def test_labels_that_a_model_does_not_know_are_refused(odd):
    with pytest.raises(ValueError, match=r"the model knows no '日本' \(of 日本/.*\); its classes are cat; dog"):
        PictureFolder(odd, class_names=CLASSES[:-1])
    shutil.rmtree(odd / "日本")
    assert len(PictureFolder(odd, class_names=CLASSES).images("all")) == 36  # which need not all be there


def test_the_same_picture_under_two_labels_or_in_two_splits_is_refused_by_name(tmp_path):
    folder = plain(tmp_path, [f"{split}/{c}/{n}.png" for split in ("train", "val", "test") for c in "ab" for n in "12"])
    assert len(PictureFolder(folder).images("test")) == 4
    Image.open(folder / "train" / "a" / "1.png").save(folder / "test" / "a" / "copy.bmp")  # other bytes, same pixels
    with pytest.raises(ValueError, match=r"two splits.*test/a/copy\.bmp \(test\) and train/a/1\.png \(train\)"):
        PictureFolder(folder)
    (folder / "test" / "a" / "copy.bmp").rename(folder / "train" / "b" / "copy.bmp")
    with pytest.raises(ValueError, match=r"two labels: train/a/1\.png \(a\) and train/b/copy\.bmp \(b\)"):
        PictureFolder(folder)


# Tables


def table(folder, *lines, name="labels.csv", encoding="utf-8-sig"):
    (folder / name).write_text("\n".join(lines), encoding=encoding)
    return folder / name


def test_a_table_says_file_label_split_and_group(tmp_path):
    plain(tmp_path, ["all/a 1.png", "all/ä,2.png", "3.png"])
    told = table(
        tmp_path, "Label;Note;file;split", "cat;;all/a 1.png;Train", 'dog;"x;y";all/ä,2.png;val', "", "cat;;3.png;test"
    )
    entries, beside = find_entries(told)
    assert find_entries(tmp_path) == (entries, beside)
    assert [(entry.name, entry.label, entry.split) for entry in entries] == [
        ("3.png", "cat", "test"),
        ("all/a 1.png", "cat", "train"),
        ("all/ä,2.png", "dog", "validation"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label", "a.png,"], "line 2 of .* says no label"),
        (["file,label", "a.png,x", ",y"], "line 3 of .* says no file"),
        (["file,label", "a.png,x", "a.png,x"], "line 3 of .* names a.png again"),
        (["file,label,split", "a.png,x,extra"], "split must be one of train, validation, test, got 'extra'"),
        (["file,label,split", "a.png,x,test", "b.png,x,"], "but none of b.png"),
        (["file,label", '"a.png,x'], "line 2 of .* can't be read"),
        (["name,class", "a.png,x"], "is no table"),
        (["file,label"], "holds no pictures"),
        (["file,label", "a.png,Smith, John"], "line 2 of .* has 3 cells, but 2 columns have a name: .* in quotes"),
        (["file,label,Label", "a.png,x,y"], "has more than one column label"),
        (["file,label", "a.png,x", "../b.png,x"], "line 3 of .* names ../b.png, which lies outside"),
        (["file,label", "/b.png,x"], "line 2 of .* names /b.png, which lies outside"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_table_is_told_by_its_line(lines, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        PictureFolder(table(tmp_path, *lines))


def test_a_table_of_missing_pictures_and_one_in_another_encoding_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no picture can be read: no picture at .*png"):
        PictureFolder(table(tmp_path, "file,label", "a.png,x", "b.png,y"))
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        PictureFolder(table(tmp_path, "file,label", "ä.png,x", encoding="latin-1"))
    table(tmp_path, "file,label", name="other.csv")
    with pytest.raises(ValueError, match=r"several tables, labels\.csv, other\.csv"):
        PictureFolder(tmp_path)


# Divided


def entries_of(labels, groups=None):
    return [
        Entry(f"{number}", None, label, group=None if groups is None else groups[number])
        for number, label in enumerate(labels)
    ]


def contents_of(count):
    return [bytes([number // 256, number % 256]) * 8 for number in range(count)]


def test_each_class_is_divided_by_the_same_shares_and_at_least_one():
    entries = entries_of(["a"] * 100 + ["b"] * 10 + ["c"] * 3)
    counts = Counter((entry.label, entry.split) for entry in divide(entries, contents_of(113), 0))
    assert [counts["a", split] for split in ("train", "validation", "test")] == [70, 15, 15]
    assert [counts["b", split] for split in ("train", "validation", "test")] == [6, 2, 2]
    assert [counts["c", split] for split in ("train", "validation", "test")] == [1, 1, 1]


def test_the_division_depends_on_seed_and_content_alone():
    entries, contents = entries_of(["a", "b"] * 40), contents_of(80)

    def splits(order, seed):
        found = divide([entries[n] for n in order], [contents[n] for n in order], seed)
        return {entry.name: entry.split for entry in found}

    order = np.random.RandomState(0).permutation(80)
    assert splits(range(80), 0) == splits(order, 0)
    assert splits(range(80), 0) != splits(range(80), 1)


def test_groups_and_copies_stay_together():
    groups = [f"{number // 4}" for number in range(80)]
    contents = contents_of(80)
    contents[6] = contents[40]  # a copy joins two groups
    found = divide(entries_of(["a", "b"] * 40, groups), contents, 3)
    check_entries(found, contents)
    assert all(len({entry.split for entry in found if entry.group == group}) == 1 for group in groups)
    assert found[4].split == found[43].split
    assert {entry.split for entry in found} == {"train", "validation", "test"}


def test_training_pictures_are_divided_where_there_is_nothing_to_validate_on(tmp_path):
    names = [
        f"{split}/{c}/{n}.png" for split, count in (("train", 10), ("test", 3)) for c in "ab" for n in range(count)
    ]
    counts = Counter(entry.split for entry in PictureFolder(plain(tmp_path, names)).entries)
    assert counts == {"train": 16, "validation": 4, "test": 6}


def test_a_group_that_a_table_puts_in_two_splits_is_refused(tmp_path):
    plain(tmp_path, ["1.png", "2.png"])
    with pytest.raises(ValueError, match=r"the group 'g' lies in two splits: 1\.png \(validation\), 2\.png \(test\)"):
        PictureFolder(table(tmp_path, "file,label,split,group", "1.png,a,train,g", "2.png,b,test,g"))


# Images


@pytest.mark.parametrize("stored", [True, False])
def test_windows_are_pieces_of_the_picture_anywhere_in_training_and_else_in_the_middle(stored, tmp_path, monkeypatch):
    if not stored:
        monkeypatch.setattr("dcnlib.data.folder_reading.MOST_STORED", 100)
    folder = plain(tmp_path, [f"{label}/{n}.png" for label in "ab" for n in range(4)], size=(60, 90))
    opened = PictureFolder(folder, size=(32, 40), windows=True)
    assert opened.stored == stored
    train, test = opened.images("train", seed=3), opened.images("test")
    for data, epochs in ((train, 6), (test, 2)):
        places = set()
        for epoch in range(epochs):
            image, _ = data.at_epoch(epoch)[1]
            whole = read_picture(folder / data.names[1]).pixels
            pieces = whole.unfold(1, 32, 1).unfold(2, 40, 1)  # (3, rows, columns, 32, 40)
            found = (pieces == image[:, None, None]).all(dim=(0, 3, 4)).nonzero().tolist()
            assert len(found) == 1
            places.add(tuple(found[0]))
        assert len(places) > 3 if data is train else places == {(14, 25)}
    small = plain(tmp_path / "small", ["a/1.png"], size=(16, 100))
    window = PictureFolder(small, size=(32, 40), windows=True, class_names=("a", "b")).images("all")[0][0]
    assert window.shape == (3, 32, 40)


def test_augmentation_is_torchvisions_and_the_same_for_the_same_seed_epoch_and_picture(odd):
    folder = PictureFolder(odd)
    plain_images = folder.images("train")
    assert plain_images.at_epoch(4) is plain_images
    texts = ("RandomHorizontalFlip(p=1.0)", "ColorJitter(brightness=0.3)")
    data = folder.images("train", augment=texts, seed=1)
    before = torch.get_rng_state()
    first, third = data.at_epoch(1)[[0, 5, 9]][0], data.at_epoch(1)[9][0]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first[2], third)
    assert not torch.equal(first, data.at_epoch(2)[[0, 5, 9]][0])
    assert not torch.equal(first, folder.images("train", augment=texts, seed=2).at_epoch(1)[[0, 5, 9]][0])
    flipped = folder.images("train", augment=texts[:1]).at_epoch(3)[5][0]
    assert torch.equal(flipped, plain_images[5][0].flip(2))
    assert data.describe()["augment"] == list(texts)


def test_batches_are_the_same_in_workers(odd):
    data = PictureFolder(odd).images("train", augment=["RandomAffine(20)"])
    batches = [
        torch.cat([images for images, _ in training_batches(data, 4, seed=0, epoch=1, workers=workers)])
        for workers in (0, 2)
    ]
    assert torch.equal(*batches)
    assert torch.equal(pickle.loads(pickle.dumps(data))[3][0], data[3][0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RandomFlip", "has no transform 'RandomFlip'"),
        ("__import__('os').system('touch /tmp/x')", "has no transform ''"),
        ("RandomRotation(print(1))", "malformed node"),
        ("RandomRotation(", "never closed"),
        ("RandomRotation('far')", 'not "RandomRotation'),
        ("functional", "has no transform"),
        ("Normalize([0.5], [0.5])", "images stay in [0, 1] here"),
    ],
)
def test_what_is_no_transform_is_refused_and_nothing_executed(text, message, capsys):
    with pytest.raises(ValueError, match="augmentation is by transforms of torchvision") as error:
        Augmentation([text])
    assert message in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_transform_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"must keep an image's shape.*made torch\.float32 \(3, 20, 20\) of"):
        Augmentation(["CenterCrop(20)"])(torch.rand(3, 32, 32), "key")
    with pytest.raises(ValueError, match=r"RandomCrop\(90\) can't be applied"):
        Augmentation(["RandomCrop(90)"])(torch.rand(3, 32, 32), "key")


# Records


def test_a_run_is_told_apart_by_the_pictures_contents_not_by_their_place(odd, tmp_path):
    model = torch.nn.Linear(1, 1)

    def identity(place):
        folder = PictureFolder(place)
        sets = folder.images("train"), folder.images("validation")
        return identify("run", {"kind": "x"}, model, *sets, TrainingSettings())

    before = identity(odd)
    shutil.copytree(odd, tmp_path / "elsewhere")
    assert differences(before, identity(tmp_path / "elsewhere")) == []
    name = next(entry.name for entry in PictureFolder(odd).entries if (entry.split, entry.label) == ("train", "zebra"))
    Image.fromarray(picture("zebra", 500)).save(odd / name, format="PNG")
    assert any(told.startswith("digests.train") for told in differences(before, identity(odd)))


def test_pictures_are_known_again_wherever_they_lie(odd, tmp_path):
    folder = PictureFolder(odd)
    train, test = folder.images("train"), folder.images("test")
    told = json.loads(json.dumps(train.describe()))
    assert train.count_shared(told) == len(train)
    assert test.count_shared(told) == 0
    for name in (*train.names[:2], test.names[0]):
        place = tmp_path / "new" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(odd / name, place)
    assert PictureFolder(tmp_path / "new", class_names=CLASSES).images("all").count_shared(told) == 2
