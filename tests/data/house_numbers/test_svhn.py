"""SVHN's format 1 is read from whatever program wrote it, and damage is reported or counted."""

import io
import os
import shutil
import tarfile
import warnings
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from svhn_files import ENCODINGS, Entry, sample_entries, write_folder, write_labels

import dcnlib.data.house_numbers.svhn
from dcnlib.data.house_numbers.load import load_house_numbers
from dcnlib.data.house_numbers.numbers import NO_DIGIT, Dropped, held_out
from dcnlib.data.house_numbers.svhn import decode_svhn, find_svhn, read_svhn, unpack


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """Nothing of the user's own cache is read or written."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.delenv("DCNLIB_DATA", raising=False)
    return tmp_path / "cache"


def bad(**changes: object) -> Entry:
    good = {"name": "2.png", "labels": [3.0, 4.0], "boxes": [(5.0, 5.0, 9.0, 20.0), (20.0, 5.0, 9.0, 20.0)]}
    return Entry(**(good | changes))  # type: ignore[arg-type]


def archive_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_labels_and_boxes_come_back_from_every_encoding(tmp_path, encoding):
    entries = sample_entries(7)
    numbers = decode_svhn(write_folder(tmp_path / "train", entries, encoding))
    assert numbers.names.tolist() == [entry.name for entry in entries]
    assert numbers.dropped == Dropped()
    for entry, labels, boxes in zip(entries, numbers.labels, numbers.boxes, strict=True):
        length = len(entry.labels)
        assert labels[:length].tolist() == [label % 10 for label in entry.labels]
        assert (labels[length:] == NO_DIGIT).all()
        left, top, width, height = np.array(entry.boxes).T
        expected = np.stack([top * 64 / 40, left * 128 / 96, (top + height) * 64 / 40, (left + width) * 128 / 96], 1)
        np.testing.assert_allclose(boxes[:length], expected, rtol=1e-6)
        assert (boxes[length:] == 0).all()


def test_a_file_of_a_single_photograph_is_read_as_matlab_writes_it(tmp_path):
    (entry,) = sample_entries(1)
    folder = write_folder(tmp_path / "train", [entry])
    with h5py.File(folder / "digitStruct.mat", "w") as file:
        file["digitStruct/name"] = np.array([[ord(letter)] for letter in entry.name], dtype="u2")
        left, top, width, height = entry.boxes[0]
        for field, value in {"label": 10, "left": left, "top": top, "width": width, "height": height}.items():
            file[f"digitStruct/bbox/{field}"] = np.array([[value]], dtype=float)
    assert decode_svhn(folder).labels.tolist() == [[0, 10, 10, 10, 10]]


@pytest.mark.parametrize("size", [(24, 13), (96, 40), (1000, 500), (40, 90)])
def test_the_whole_photograph_is_resized_and_its_boxes_with_it(tmp_path, size):
    box = (size[0] // 2, size[1] // 4, size[0] // 4, size[1] // 2)
    numbers = decode_svhn(write_folder(tmp_path / "train", [Entry("1.png", [1], [box])], size=size))
    top, left, bottom, right = numbers.boxes[0, 0].round().astype(int)
    image = numbers.images[0].astype(int)
    assert image.shape == (64, 128)
    inside, margin = np.zeros_like(image, dtype=bool), 5  # where small photographs are enlarged, edges are soft
    inside[top:bottom, left:right] = True
    assert (image[top + margin : bottom - margin, left + margin : right - margin] > 200).all()
    outside = np.ones_like(inside)
    outside[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin] = False
    assert (image[outside] < 40).all()


def test_large_photographs_are_averaged_not_sampled(tmp_path):
    folder = write_folder(tmp_path / "train", [Entry("1.png", [1], [(0, 0, 999, 499)])], size=(1024, 512))
    board = np.indices((512, 1024)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(folder / "1.png")
    assert np.abs(decode_svhn(folder).images.astype(int) - 127).max() < 10


DAMAGED = {
    "more than five digits": (bad(labels=[1.0] * 6, boxes=[(5.0, 5.0, 9.0, 20.0)] * 6), "too_long"),
    "no digits": (bad(labels=[], boxes=[]), "no_digits"),
    "a label of 0": (bad(labels=[0.0, 4.0]), "bad_label"),
    "a label of 11": (bad(labels=[3.0, 11.0]), "bad_label"),
    "half a label": (bad(labels=[3.5, 4.0]), "bad_label"),
    "a label that is no number": (bad(labels=[float("nan"), 4.0]), "bad_label"),
    "a box without width": (bad(boxes=[(5.0, 5.0, 0.0, 20.0), (20.0, 5.0, 9.0, 20.0)]), "bad_box"),
    "a box of negative height": (bad(boxes=[(5.0, 5.0, 9.0, -20.0), (20.0, 5.0, 9.0, 20.0)]), "bad_box"),
    "an infinite box": (bad(boxes=[(5.0, 5.0, np.inf, 20.0), (20.0, 5.0, 9.0, 20.0)]), "bad_box"),
    "a box right of the photograph": (bad(boxes=[(96.0, 5.0, 9.0, 20.0), (20.0, 5.0, 9.0, 20.0)]), "bad_box"),
    "a box above the photograph": (bad(boxes=[(5.0, -30.0, 9.0, 20.0), (20.0, 5.0, 9.0, 20.0)]), "bad_box"),
    "a missing label": (bad(labels=[3.0]), "unreadable"),
    "a missing photograph": (bad(name="7.png"), "no_image"),
    "a name that climbs out of the folder": (bad(name="../2.png"), "no_image"),
    "an absolute name": (bad(name="/etc/hostname"), "no_image"),
    "the name of the folder": (bad(name="."), "no_image"),
    "an endless name": (bad(name="2" * 5000 + ".png"), "unreadable"),
}


@pytest.mark.parametrize(("entry", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_bad_entry_is_left_out_and_counted_and_the_others_stay(tmp_path, entry, reason):
    good = sample_entries(3)
    folder = write_folder(tmp_path / "train", good)
    (tmp_path / "2.png").write_bytes((folder / "2.png").read_bytes())  # what a climbing name would find
    write_labels(folder / "digitStruct.mat", [good[0], entry, good[2]])
    numbers = decode_svhn(folder)
    assert numbers.names.tolist() == ["1.png", "3.png"]
    assert asdict(numbers.dropped) == asdict(Dropped()) | {reason: 1}
    assert numbers.dropped.total == 1
    assert str(numbers.dropped) == f"1 {reason}"


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", None], ids=["empty", "text", "head", "half"]
)
def test_a_broken_photograph_is_left_out_and_counted(tmp_path, content):
    folder = write_folder(tmp_path / "train", sample_entries(3))
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    numbers = decode_svhn(folder)
    assert numbers.names.tolist() == ["1.png", "3.png"]
    assert numbers.dropped == Dropped(bad_image=1)


def test_a_photograph_in_another_format_is_not_opened(tmp_path):
    folder = write_folder(tmp_path / "train", sample_entries(2))
    Image.new("L", (96, 40)).save(folder / "2.png", format="GIF")
    assert decode_svhn(folder).dropped == Dropped(bad_image=1)


def empty_reference(file: h5py.File) -> None:
    file["digitStruct/bbox"][1, 0] = h5py.Reference()


def reference_to_numbers(file: h5py.File) -> None:
    file["digitStruct/bbox"][1, 0] = file["digitStruct/name"].ref


def field_gone(file: h5py.File) -> None:
    del file[file["digitStruct/bbox"][1, 0]]["top"]


def words_for_numbers(file: h5py.File) -> None:
    group = file[file["digitStruct/bbox"][1, 0]]
    del group["top"]
    group["top"] = np.array([b"a", b"b"])


def huge_list(file: h5py.File) -> None:
    group = file[file["digitStruct/bbox"][1, 0]]
    del group["top"]
    group.create_dataset("top", shape=(10**12,), dtype="f8", chunks=(1024,))


@pytest.mark.parametrize("damage", [empty_reference, reference_to_numbers, field_gone, words_for_numbers, huge_list])
def test_an_entry_with_a_broken_structure_is_left_out_and_counted(tmp_path, damage):
    folder = write_folder(tmp_path / "train", sample_entries(3))
    with h5py.File(folder / "digitStruct.mat", "r+") as file:
        damage(file)
    numbers = decode_svhn(folder)
    assert numbers.names.tolist() == ["1.png", "3.png"]
    assert numbers.dropped == Dropped(unreadable=1)


def test_a_box_that_sticks_out_is_cut_at_the_border(tmp_path):
    folder = write_folder(tmp_path / "train", [Entry("1.png", [1], [(-5.0, 10.0, 20.0, 60.0)])])
    assert decode_svhn(folder).boxes[0, 0].tolist() == [16, 0, 64, 20]


@pytest.mark.parametrize("kept", [0, 10, 700, 0.5, 0.9])
def test_a_truncated_file_of_labels_is_an_error(tmp_path, kept):
    path = write_folder(tmp_path / "train", sample_entries(20)) / "digitStruct.mat"
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=r"digitStruct\.mat is damaged"):
        decode_svhn(path.parent)


WRONG_FILES = {
    "nothing in it": lambda file: None,
    "numbers for the struct": lambda file: file.create_dataset("digitStruct", data=[1, 2]),
    "no boxes": lambda file: file.create_dataset("digitStruct/name", data=[1.0]),
    "numbers for references": lambda file: [
        file.create_dataset(f"digitStruct/{field}", data=[1.0, 2.0]) for field in ("name", "bbox")
    ],
}


@pytest.mark.parametrize("make", WRONG_FILES.values(), ids=WRONG_FILES)
def test_another_file_in_place_of_the_labels_is_an_error(tmp_path, make):
    folder = write_folder(tmp_path / "train", sample_entries(1))
    with h5py.File(folder / "digitStruct.mat", "w") as file:
        make(file)
    with pytest.raises(ValueError, match=r"digitStruct\.mat is damaged or no"):
        decode_svhn(folder)


def test_a_folder_without_a_usable_number_is_an_error_that_says_why(tmp_path):
    folder = write_folder(tmp_path / "train", sample_entries(2))
    (folder / "2.png").unlink()
    (folder / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no usable house number in .*train; left out: 1 no_image, 1 bad_image"):
        decode_svhn(folder)


def test_the_cache_gives_back_the_same_and_notices_every_change(tmp_path, own_cache, monkeypatch):
    folder = write_folder(tmp_path / "train", [*sample_entries(4), bad(name="5.png", labels=[11.0, 1.0])])
    first = read_svhn(folder)
    with monkeypatch.context() as patch:
        patch.setattr(dcnlib.data.house_numbers.svhn, "decode_svhn", lambda _: pytest.fail("not taken from the cache"))
        again = read_svhn(folder)
    for name in ("images", "labels", "boxes", "names"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert again.dropped == first.dropped == Dropped(bad_label=1)

    Image.new("L", (96, 40), 255).save(folder / "1.png")
    assert (read_svhn(folder).images[0] == 255).all()
    (folder / "1.png").unlink()
    assert read_svhn(folder).dropped == Dropped(bad_label=1, no_image=1)
    assert len(list(own_cache.glob("*.npz"))) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a whole archive"])
def test_a_damaged_cache_is_made_anew(tmp_path, own_cache, content):
    folder = write_folder(tmp_path / "train", sample_entries(3))
    first = read_svhn(folder)
    (cached,) = own_cache.glob("*.npz")
    cached.write_bytes(content)
    assert np.array_equal(read_svhn(folder).images, first.images)
    assert cached.stat().st_size > 1000


def test_a_cache_that_would_execute_code_is_not_loaded(tmp_path, own_cache):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trap"),)

    folder = write_folder(tmp_path / "train", sample_entries(3))
    read_svhn(folder)
    (cached,) = own_cache.glob("*.npz")
    np.savez(cached, **{name: np.array(Trap()) for name in ("images", "labels", "boxes", "names", "dropped")})
    assert len(read_svhn(folder)) == 3
    assert not (tmp_path / "trap").exists()


def test_an_archive_gives_what_its_folder_gives(tmp_path, own_cache):
    folder = write_folder(tmp_path / "made" / "test", sample_entries(4))
    (tmp_path / "SVHN").mkdir()
    archive_of(folder, tmp_path / "SVHN" / "test.tar.gz")
    numbers = load_house_numbers("test", source="svhn", root=tmp_path)
    assert np.array_equal(numbers.images, decode_svhn(folder).images)
    assert (numbers.source, numbers.split) == ("svhn", "test")
    (unpacked,) = (own_cache / "unpacked").iterdir()
    assert find_svhn("test", tmp_path / "SVHN") == unpacked


def test_an_archive_is_unpacked_once_and_again_when_it_has_changed(tmp_path):
    archive = archive_of(write_folder(tmp_path / "a" / "test", sample_entries(2)), tmp_path / "test.tar.gz")
    first = unpack(archive, "test")
    marker = first / "marker"
    marker.touch()
    assert unpack(archive, "test") == first
    assert marker.exists()
    archive_of(write_folder(tmp_path / "b" / "test", sample_entries(3)), archive)
    assert len(decode_svhn(unpack(archive, "test"))) == 3


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


CLIMBING = {
    "a path upwards": tarfile.TarInfo("../evil.png"),
    "a path upwards from within": tarfile.TarInfo("test/../../evil.png"),
    "an absolute path": tarfile.TarInfo("/tmp/evil.png"),
    "a symbolic link outside": link("test/evil.png", "/etc/hostname", tarfile.SYMTYPE),
    "a symbolic link inside": link("test/evil.png", "1.png", tarfile.SYMTYPE),
    "a hard link": link("test/evil.png", "../../evil", tarfile.LNKTYPE),
    "a device": link("test/evil.png", "", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("member", CLIMBING.values(), ids=CLIMBING)
def test_an_archive_that_climbs_out_is_refused_and_leaves_nothing(tmp_path, own_cache, member):
    folder = write_folder(tmp_path / "made" / "test", sample_entries(2))
    with tarfile.open(tmp_path / "test.tar.gz", "w:gz") as archive:
        archive.add(folder, "test")
        archive.addfile(member, io.BytesIO())
    with pytest.raises(ValueError, match=r"can't unpack .*test\.tar\.gz: .*evil"):
        load_house_numbers("test", source="svhn", root=tmp_path)
    assert list((own_cache / "unpacked").iterdir()) == []
    assert not list(tmp_path.parent.rglob("evil*"))


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_truncated_archive_is_an_error_and_leaves_nothing(tmp_path, own_cache, kept):
    archive = archive_of(write_folder(tmp_path / "made" / "test", sample_entries(5)), tmp_path / "test.tar.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=r"test\.tar\.gz"):
        unpack(archive, "test")
    assert list((own_cache / "unpacked").iterdir()) == []


def test_a_damaged_archive_gives_the_right_data_or_an_error_and_harms_no_later_one(tmp_path, own_cache):
    """Also where the damage is behind what unpacking has to read: gzip's checksum is the last thing in the file."""
    archive = archive_of(write_folder(tmp_path / "made" / "test", sample_entries(3)), tmp_path / "test.tar.gz")
    whole, expected = archive.read_bytes(), decode_svhn(tmp_path / "made" / "test")
    refused = 0
    for place in [*range(10, len(whole), len(whole) // 40), *range(len(whole) - 10, len(whole))]:
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            numbers = decode_svhn(unpack(archive, "test"))
        except ValueError:
            refused += 1
        else:
            assert np.array_equal(numbers.images, expected.images)
        archive.write_bytes(whole)
        numbers = decode_svhn(unpack(archive, "test"))
        assert np.array_equal(numbers.images, expected.images)
        assert np.array_equal(numbers.labels, expected.labels)
        shutil.rmtree(own_cache)
    assert refused > 40


def test_a_partly_unpacked_folder_says_how_much_is_missing(tmp_path):
    folder = write_folder(tmp_path / "test", [*sample_entries(9), bad(name="10.png", labels=[11.0, 1.0])])
    for number in range(1, 8):
        (folder / f"{number}.png").unlink()
    for _ in ("decoded", "from the cache"):
        with pytest.warns(UserWarning, match=r"7 of 10 images .*digitStruct\.mat are missing, 3 are there"):
            assert len(load_house_numbers("test", source="svhn", root=tmp_path)) == 2


def test_a_whole_folder_warns_of_nothing(tmp_path):
    write_folder(tmp_path / "test", [*sample_entries(3), bad(name="4.png", labels=[11.0, 1.0])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_house_numbers("test", source="svhn", root=tmp_path)) == 3


def test_without_a_cache_folders_are_read_and_archives_say_why_not(tmp_path, monkeypatch):
    def no_home(_):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", no_home)
    folder = write_folder(tmp_path / "test", sample_entries(3))
    assert len(load_house_numbers("test", source="svhn", root=tmp_path)) == 3
    archive_of(folder, tmp_path / "train.tar.gz")
    with pytest.raises(FileNotFoundError, match=r"no cache to unpack .*train\.tar\.gz into: unpack it where it is"):
        load_house_numbers("train", source="svhn", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"DCNLIB_DATA isn't set.*no home.*rendered"):
        load_house_numbers("train", source="svhn")


@pytest.mark.parametrize("part", ["labels", "boxes"])
def test_a_cache_of_another_type_is_made_anew(tmp_path, own_cache, part):
    folder = write_folder(tmp_path / "train", sample_entries(3))
    first = read_svhn(folder)
    (cached,) = own_cache.glob("*.npz")
    with np.load(cached) as arrays:
        stored = dict(arrays)
    other = stored[part].astype(float if part == "labels" else int)
    np.savez(cached, **stored | {part: other})
    assert getattr(read_svhn(folder), part).dtype == getattr(first, part).dtype


def test_an_archive_of_something_else_is_an_error(tmp_path):
    (tmp_path / "train_32x32").mkdir()
    with pytest.raises(ValueError, match=r"holds no train/digitStruct\.mat"):
        unpack(archive_of(tmp_path / "train_32x32", tmp_path / "train.tar.gz"), "train")


def test_missing_data_says_where_it_was_looked_for_and_where_to_get_it(tmp_path, own_cache, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"SVHN/test/digitStruct\.mat.*nowhere.*ufldl.*rendered"):
        load_house_numbers("test", source="svhn", root=tmp_path / "nowhere")
    monkeypatch.setenv("DCNLIB_DATA", str(tmp_path / "given"))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'given'} or {own_cache}"):
        load_house_numbers("test", source="svhn")
    write_folder(tmp_path / "given" / "SVHN" / "test", sample_entries(2))
    assert len(load_house_numbers("test", source="svhn")) == 2


def test_the_split_is_by_photograph_and_stays_when_others_are_missing(tmp_path):
    entries = sample_entries(60)
    write_folder(tmp_path / "whole" / "train", entries)
    write_folder(tmp_path / "some" / "train", entries[::-3], ENCODINGS["strings and plain lists"])
    sides = {
        (base, split): set(load_house_numbers(split, source="svhn", root=tmp_path / base).names.tolist())
        for base in ("whole", "some")
        for split in ("train", "validation")
    }
    whole, held = sides["whole", "train"], sides["whole", "validation"]
    assert whole.isdisjoint(held)
    assert whole | held == {entry.name for entry in entries}
    assert sides["some", "train"] < whole
    assert sides["some", "validation"] < held


def test_a_tenth_of_the_photographs_is_held_out_the_same_ones_everywhere():
    mask = held_out(np.array([f"{number}.png" for number in range(1, 33_403)]))
    assert mask.mean() == pytest.approx(0.1, abs=0.005)
    assert (np.flatnonzero(mask[:60]) + 1).tolist() == [6, 8, 33, 40, 42]


@pytest.fixture(scope="module")
def whole() -> Path:
    """The folder of $DCNLIB_DATA that holds the re-assembled SVHN."""
    root = Path(os.environ.get("DCNLIB_DATA", "nowhere"))
    if not (root / "SVHN" / "train" / "digitStruct.mat").is_file():
        pytest.skip("DCNLIB_DATA does not hold SVHN")
    return root


def test_the_re_assembled_photographs_are_all_there(whole, monkeypatch):
    monkeypatch.undo()  # with the user's own cache: reading them anew takes a minute
    sets = {split: load_house_numbers(split, source="svhn", root=whole) for split in ("train", "validation", "test")}
    if len(sets["test"]) != 1000:
        pytest.skip("DCNLIB_DATA holds other photographs")
    assert {split: len(numbers) for split, numbers in sets.items()} == {"train": 3634, "validation": 399, "test": 1000}
    assert sets["train"].dropped == Dropped()
    assert sets["test"].dropped == Dropped()
    assert np.bincount(sets["test"].lengths).tolist() == [0, 197, 620, 172, 11]
    assert np.median((sets["test"].boxes[..., 2] - sets["test"].boxes[..., 0])[sets["test"].present]) > 25


def test_a_photograph_that_two_entries_name_is_read_once(tmp_path):
    entries = sample_entries(2)
    folder = write_folder(tmp_path / "train", [*entries, Entry("1.png", [1.0], [(4.0, 6.0, 10.0, 20.0)])])
    numbers = decode_svhn(folder)
    assert numbers.names.tolist() == ["1.png", "2.png"]
    assert numbers.dropped == Dropped(no_image=1)


def test_a_name_that_no_system_takes_is_left_out_and_counted(tmp_path):
    folder = write_folder(tmp_path / "train", sample_entries(1))
    write_labels(folder / "digitStruct.mat", [*sample_entries(1), bad(name="x" * 900), bad(name="a\0b")])
    assert decode_svhn(folder).dropped == Dropped(no_image=2)
