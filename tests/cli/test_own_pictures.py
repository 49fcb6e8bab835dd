"""Your own pictures from a terminal: train on a folder, and every other command on the run, with no word repeated."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from needs import needs_compiler
from odd_pictures import CLASSES, damage, odd_folder
from PIL import Image

from dcnlib.cli.main import main
from dcnlib.cli.own_pictures import PictureOptions, name_of
from dcnlib.explorer.app import page
from dcnlib.inference.quantised import calibration_images
from dcnlib.models.grid import run_name
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import DCNSpec
from dcnlib.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def trained(place):
    """A run on a folder of odd pictures, some of them broken."""
    folder = odd_folder(place / "my pictures")
    damage(folder)
    run = place / "run"
    command = ["train", "--data", str(folder), "--epochs", "1", "--k", "2", "--device", "cpu", "--run-dir", str(run)]
    assert main([*command, "--augment", "RandomHorizontalFlip", "--test"]) == 0
    return run


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def test_the_record_says_all(trained, capsys):
    record = json.loads((trained / "record.json").read_text())
    model, train = record["model"], record["data"]["train"]
    assert model["data"] == "own-pictures"
    assert model["class_names"] == list(CLASSES)
    assert (model["height"], model["width"], model["channels"]) == (40, 56, 3)
    assert train["folder"] == str(trained.parent / "my pictures")
    assert train["augment"] == ["RandomHorizontalFlip"]
    assert len(train["skipped"]) == 8
    assert record["settings"]["batch_size"] == 7
    assert record["test"]["count"] == 7
    assert load_trained(trained).spec.describe() | {"class_names": list(CLASSES)} == model


def test_every_command_takes_the_run_as_it_is(trained, capsys):
    record = json.loads((trained / "record.json").read_text())
    for split in ("validation", "test"):
        assert main(["evaluate", "--weights", str(trained), "--split", split, "--device", "cpu"]) == 0
        assert f"{split} error {100 * record[split]['error']:.2f} %" in capsys.readouterr().out
    assert main(["controls", str(trained), "--ks", "0", "2", "--draws", "1", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "| entropy-gradient |" in told
    assert "oracle" not in told
    assert main(["test", str(trained)]) == 0


def test_an_exported_run_knows_its_pictures(trained, capsys):
    """Tracing takes its time, whatever is traced."""
    record = json.loads((trained / "record.json").read_text())
    assert main(["export", str(trained), "own.onnx"]) == 0
    assert main(["evaluate", "--weights", "own.onnx", "--device", "cpu"]) == 0
    assert f"validation error {100 * record['validation']['error']:.2f} %" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:8 of 50 files")
def test_in_int8_its_ranges_are_those_of_its_training_pictures(trained, capsys):
    folder = trained.parent / "my pictures"
    ranges = calibration_images(load_trained(trained).task, root=folder)
    train = load_trained(trained).task.load("train", root=folder)
    assert torch.equal(ranges, torch.stack([train[index][0] for index in range(28)]))
    assert main(["export", str(trained), "own8.onnx", "--int8"]) == 0
    assert main(["predict", str(folder / "cat" / "0.png"), "--weights", "own8.onnx"]) == 0
    folder.rename(trained.parent / "elsewhere")
    try:
        assert main(["export", str(trained), "none.onnx", "--int8"]) == 2
    finally:
        (trained.parent / "elsewhere").rename(folder)
    assert "my pictures" in capsys.readouterr().err
    assert not (trained.parent / "none.onnx").exists()


def test_training_pictures_are_measured_with_a_warning_wherever_they_lie(trained, capsys, tmp_path):
    assert main(["evaluate", "--weights", str(trained), "--split", "train", "--device", "cpu"]) == 0
    assert "was trained on 28 of these 28 pictures" in capsys.readouterr().err
    names = [path for path in (trained.parent / "my pictures" / "cat").glob("*.png") if path.name != "cut.png"]
    (tmp_path / "cat").mkdir()
    for path in names:
        shutil.copy(path, tmp_path / "cat" / f"copy of {path.name}")
    command = ["evaluate", "--weights", str(trained), "--split", "all", "--device", "cpu", "--root", str(tmp_path)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "on 5 images" in told.out
    assert re.search(r"was trained on [345] of these 5 pictures", told.err)
    (tmp_path / "cat").rename(tmp_path / "lion")
    assert main(command) == 2
    assert "the model knows no 'lion'" in capsys.readouterr().err


def test_predict_draws_where_it_looked(trained, capsys):
    folder = trained.parent / "my pictures"
    pictures = [
        str(folder / "cat" / "0.png"),
        str(folder / "dog" / "0.png"),
        str(folder / "Äpfel & Birnen" / "turned é.jpg"),
    ]
    assert main(["predict", *pictures, "--weights", str(trained), "--save", "drawn"]) == 0
    assert "drawn in drawn/0-2.png" in capsys.readouterr().out
    assert sorted(path.name for path in (trained.parent / "drawn").iterdir()) == ["0-2.png", "0.png", "turned é.png"]
    assert main(["predict", pictures[2], "--weights", str(trained), "--save", "one.png"]) == 0
    drawn = np.asarray(Image.open("one.png"))
    assert (drawn == (0xD5, 0x5E, 0x00)).all(-1).any()  # the first patch
    assert main(["predict", *pictures, "--weights", str(trained), "--save", "one.png"]) == 2
    assert "for one picture, or a folder for many" in capsys.readouterr().err
    assert main(["predict", pictures[0], "--pretrained", "coarse", "--save", "coarse.png"]) == 0


def test_the_explorer_shows_the_model_on_its_validation_pictures(trained):
    with pytest.warns(UserWarning, match="are skipped"):
        _, pictures, explorer, *_ = page(trained).children
    assert pictures.value == str(trained)
    assert explorer.options["sources"] == ("validation", "upload")
    assert "oracle" not in explorer.options["policies"]
    assert explorer.options["images"] == 7
    assert explorer.view["classes"] == CLASSES
    explorer.choose(index=3, k=2)
    assert explorer.view["title"] == "validation image 3"
    assert main(["explore", "ram"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "mnist"], "or a folder of your own pictures or a table (CSV) of them; there is no mnist"),
        (["--data", "my pictures", "--model", "draw"], "models of own-pictures are coarse"),
        (["--data", "my pictures", "--scales", "2"], "own-pictures has no --scales"),
        (["--data", "my pictures", "--source", "svhn"], "--data says where they are"),
        (["--data", "my pictures", "--composed", "0.1"], "--composed is for models of house-numbers"),
        (["--data", "my pictures", "--size", "big"], "--size is WIDTHxHEIGHT"),
        (["--data", "my pictures", "--size", "9"], "size must be at least 32"),
        (["--data", "my pictures", "--channels", "4"], "channels must be 1 or 3"),
        (["--data", "my pictures", "--augment", "Spin"], "has no transform 'Spin'"),
        (["--data", "my pictures", "--strict"], "8 files of"),
        (["--windows", "--size", "64"], "--size, --windows is for pictures of your own, not for cluttered-mnist"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_told(trained, options, message, capsys):
    assert main(["train", *options]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err


def test_another_folder_is_another_run(trained, capsys):
    odd_folder(trained.parent / "others", each=5)
    command = ["train", "--data", "others", "--epochs", "1", "--k", "2", "--device", "cpu", "--run-dir", str(trained)]
    assert main([*command, "--augment", "RandomHorizontalFlip"]) == 2
    assert "holds another run" in capsys.readouterr().err


def test_a_drawing_is_never_written_over_a_picture(trained, tmp_path, capsys):
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for path, source in zip(pictures, (trained.parent / "my pictures" / "cat").glob("[0-9].png"), strict=False):
        shutil.copy(source, path)
    before = [path.read_bytes() for path in pictures]
    predict = ["predict", "--weights", str(trained), *map(str, pictures)]
    assert main([*predict, "--save", str(tmp_path)]) == 0
    assert [path.read_bytes() for path in pictures] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.png", "a.png", "b-2.png", "b.png"]
    assert main([*predict[:-1], "--save", str(pictures[0])]) == 2
    assert "over the picture" in capsys.readouterr().err
    assert [path.read_bytes() for path in pictures] == before


def test_a_file_beside_the_pictures_changes_no_run(trained, capsys):
    folder, note = trained.parent / "my pictures", trained.parent / "my pictures" / "cat" / "Thumbs.db"
    command = [
        "train",
        "--data",
        str(folder),
        "--epochs",
        "1",
        "--k",
        "2",
        "--device",
        "cpu",
        "--run-dir",
        str(trained),
    ]
    before = (trained / "weights.safetensors").read_bytes()
    note.write_text("no picture")
    try:
        assert main([*command, "--augment", "RandomHorizontalFlip"]) == 0
    finally:
        note.unlink()
    assert (trained / "weights.safetensors").read_bytes() == before
    assert main(command) == 2
    assert "data.train.augment" in capsys.readouterr().err


def test_a_sweep_on_own_pictures_is_what_train_does_and_goes_on(trained, tmp_path, capsys):
    folder = trained.parent / "my pictures"
    sweep = ["sweep", str(tmp_path), "--data", str(folder), "--models", "dcn", "--k", "2", "--vary", "epochs=1"]
    for _ in range(2):
        assert main([*sweep, "--device", "cpu"]) == 0
        assert "1 done" in capsys.readouterr().out
    (run,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert run.name == "my pictures-dcn-k2-epochs1"
    assert json.loads((run / "record.json").read_text())["settings"]["batch_size"] == 7
    assert main([*sweep, "--root", str(tmp_path)]) == 2
    assert "--data says where they are" in capsys.readouterr().err


def test_names_of_runs_tell_how_images_are_made(place):
    table = place / "birds.v2.csv"
    table.write_text("file,label\n")
    options = PictureOptions(size="64x48", channels=1, augment=("RandomRotation(10)", "RandomHorizontalFlip"))
    names = {
        run_name(DCNSpec(task=OwnPicturesTask(("a", "b"), 64, 48)), TrainingSettings(), of="birds", also=chosen.named())
        for chosen in (PictureOptions(), PictureOptions(size="64x48"), options)
    }
    assert "birds-dcn-k8" in names
    assert "birds-dcn-k8-64x48" in names
    assert len(names) == 3
    assert all("RandomRotation10-RandomHorizontalFlip" in name for name in names if "channels1" in name)
    assert name_of(SimpleNamespace(place=place)) == place.name
    assert name_of(SimpleNamespace(place=table)) == "birds.v2"


@needs_compiler
def test_a_model_of_own_pictures_is_timed_without_them_and_kept_under_a_plain_name(trained, tmp_path, monkeypatch):
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    record = json.loads((run / "record.json").read_text()) | {"name": "../../out"}
    (run / "record.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "--weights", str(run), "--batches", "1", "--rounds", "1", "--device", "cpu"]) == 0
    (kept,) = (tmp_path / "runs").iterdir()
    assert kept.name == "-..-out-benchmark"
