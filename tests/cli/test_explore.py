"""The explorer from a terminal: its page with the model that is asked for."""

from html import unescape

import nbformat
import pytest
import torch
from voila.app import Voila

from dcnlib.cli import explore as command
from dcnlib.cli.main import main
from dcnlib.core.policies import POLICIES
from dcnlib.data.house_numbers.numbers import number_text
from dcnlib.explorer.app import page
from dcnlib.models.pretrained import load_pretrained, load_trained
from dcnlib.utils.files import project_root


@pytest.fixture
def served(monkeypatch):
    """What would be served: the code of the page's one cell, and the server's options."""
    calls = []

    def launch(options, **settings):
        (cell,) = nbformat.read(options[0], as_version=4).cells
        calls.append((cell.source, options[1:], settings))

    monkeypatch.setattr(Voila, "launch_instance", launch)
    return calls


@pytest.mark.parametrize("source", ["", "perturbed-topk"])
def test_the_page_is_served_with_its_source_to_this_machine_alone(source, served):
    assert main(["explore", *([source] if source else []), "--port", "9000", "--no-browser"]) == 0
    ((code, options, settings),) = served
    assert code.endswith(f"page({source!r})")
    assert {"--Voila.ip=127.0.0.1", "--port=9000", "--no-browser"} <= set(options)
    assert "Content-Security-Policy" in settings["tornado_settings"]["headers"]
    assert settings["tornado_settings"]["allow_remote_access"] is False


def test_the_page_shows_the_asked_for_model_first_and_starts_a_game():
    head, pictures, explorer, sweep, rivals, finder = page("perturbed-topk").children
    assert pictures.label == "digits in clutter: perturbed-topk"
    assert explorer.choices["model"] == "perturbed-topk"
    assert explorer.playing
    assert explorer.view["hand"]["look"]["cells"] == []
    assert [model["name"] for model in explorer.view["references"]] == ["coarse model", "RAM", "DRAW", "fine model"]
    assert sweep.explorer is finder.explorer is rivals.explorer is explorer
    before = rivals.looks
    explorer.choose(index=3)
    assert rivals.request == explorer.view["request"]
    image, _ = explorer.explorer.data[[3]]
    for shown, old in zip(rivals.looks, before, strict=True):
        look = load_pretrained(shown["name"].lower()).attend(image)
        assert shown["boxes"] == look.boxes[0].tolist() != old["boxes"]
        assert shown["probabilities"] == pytest.approx(look.logits[0].softmax(-1).tolist())
    assert explorer.view["hand"]["look"]["cells"] == []
    explorer.playing = False
    explorer.choose(index=3)
    assert explorer.view["hand"] is None
    assert "prefers-color-scheme: dark" in head.value


def test_house_numbers_can_be_chosen_and_answer_as_whole_numbers(monkeypatch):
    monkeypatch.setenv("DCNLIB_DATA", "/nowhere")
    whole = page()
    pictures = whole.children[1]
    assert [title for title, _ in pictures.options] == ["digits in clutter", "rendered house numbers"]
    pictures.label = "rendered house numbers"
    _, _, explorer, sweep, finder = whole.children
    assert sweep.explorer is finder.explorer is explorer
    assert explorer.options["policies"] == tuple(POLICIES)  # no oracle: a number has more digits than one
    assert explorer.options["sources"] == ("validation", "upload")

    trained, view = load_trained("rendered-numbers-dcn-k8"), explorer.view
    image, label = trained.load_data()[141]
    look = trained.model.attend(image[None], k=8)
    probabilities = look.logits[0].softmax(-1)
    text = trained.task.answer(look.logits[0])
    assert view["truthText"] == number_text(label.tolist())
    said = view["looks"][8]["said"][1]
    assert said == {"text": text, "probability": pytest.approx(probabilities.amax(1).prod().item(), rel=1e-4)}
    assert view["looks"][8]["right"] is (text == view["truthText"])
    truth = probabilities.gather(1, label[:, None]).prod().item()
    assert view["looks"][8]["truth"] == pytest.approx(truth, rel=1e-4)

    explorer.choose(cells=(30, 60))
    by_hand = trained.model.attend(image[None], cells=torch.tensor([[30, 60]])).logits[0]
    assert explorer.view["hand"]["look"]["said"][1]["text"] == trained.task.answer(by_hand)
    assert explorer.view["yours"]["right"] == int(trained.task.answer(by_hand) == view["truthText"])
    found = finder.found["groups"][0]["images"][0]
    before, after = (
        trained.task.answer(trained.model(trained.load_data()[[found["index"]]][0], k=k)[0]) for k in (0, 8)
    )
    assert found["caption"] == f"{before} → {after}"
    pictures.label = "digits in clutter"
    assert len(whole.children) == 6


def test_photographs_are_unpacked_once_they_are_chosen_and_a_damaged_archive_is_told_then(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))
    folder = tmp_path / "<data>" / "SVHN"
    folder.mkdir(parents=True)
    (folder / "train.tar.gz").write_bytes(b"no archive")
    monkeypatch.setenv("DCNLIB_DATA", str(folder.parent))
    whole = page()
    pictures = whole.children[1]
    assert [title for title, _ in pictures.options] == ["digits in clutter", "house numbers", "rendered house numbers"]
    assert not (tmp_path / "cache" / "unpacked").exists()
    pictures.label = "house numbers"
    _, _, told = whole.children
    assert f"can't unpack {folder / 'train.tar.gz'}" in unescape(told.value)
    assert "<data>" not in told.value
    assert not pictures.disabled
    pictures.label = "digits in clutter"
    assert len(whole.children) == 6


@pytest.mark.parametrize("name", ["house-numbers-dcn-k8-scales3", "house-numbers-coarse", "street-signs"])
def test_what_cannot_be_shown_is_refused_before_anything_starts(name, served, capsys):
    assert main(["explore", name]) == 2
    assert f"see whole images at one scale; {name} is of kind" in capsys.readouterr().err
    assert not served


def test_photographs_that_are_not_at_hand_are_told_before_anything_starts(served, monkeypatch, capsys):
    monkeypatch.setenv("DCNLIB_DATA", "/nowhere")
    assert main(["explore", "house-numbers-dcn-k8"]) == 2
    assert "train.tar.gz" in capsys.readouterr().err
    assert not served


def test_make_app_is_the_command():
    makefile = (project_root() / "Makefile").read_text()
    assert "app: $(ENV)\n\t$(BIN)/python -m dcnlib explore\n" in makefile


def test_it_says_what_it_needs(served, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _: None)
    assert main(["explore"]) == 2
    assert "pip install 'dcnlib[notebooks]'" in capsys.readouterr().err
    assert not served
