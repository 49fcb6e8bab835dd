"""The explorer from a terminal: its page with the model that is asked for."""

import nbformat
import pytest
from voila.app import Voila

from dcnlib.cli import explore as command
from dcnlib.cli.main import main
from dcnlib.explorer.app import page
from dcnlib.models.pretrained import load_pretrained
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
    head, explorer, sweep, rivals, finder = page("perturbed-topk").children
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


def test_make_app_is_the_command():
    makefile = (project_root() / "Makefile").read_text()
    assert "app: $(ENV)\n\t$(BIN)/python -m dcnlib explore\n" in makefile


def test_it_says_what_it_needs(served, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _: None)
    assert main(["explore"]) == 2
    assert "pip install 'dcnlib[notebooks]'" in capsys.readouterr().err
    assert not served
