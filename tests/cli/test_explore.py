"""The explorer from a terminal: notebook 07 with the model that is asked for."""

from pathlib import Path

import nbformat
import pytest
from voila.app import Voila

from dcnlib.cli import explore as command
from dcnlib.cli.main import main
from dcnlib.utils.files import project_root


@pytest.fixture
def served(monkeypatch):
    """What would be served: the notebook's injected parameters and the server's options."""
    calls = []

    def launch(options):
        cells = nbformat.read(options[0], as_version=4).cells
        (injected,) = (cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", []))
        calls.append((injected, options[1:]))

    monkeypatch.setattr(Voila, "launch_instance", launch)
    return calls


@pytest.mark.parametrize("source", ["", "perturbed-topk"])
def test_the_notebook_is_served_with_its_source_to_this_machine_alone(source, served):
    assert main(["explore", *([source] if source else []), "--port", "9000", "--no-browser"]) == 0
    ((injected, options),) = served
    assert f'SOURCE = "{source}"' in injected
    assert {"--Voila.ip=127.0.0.1", "--port=9000", "--no-browser"} <= set(options)
    assert "Content-Security-Policy" in options[-1]


def test_make_app_is_the_command():
    makefile = (project_root() / "Makefile").read_text()
    assert "app: $(ENV)\n\t$(BIN)/python -m dcnlib explore\n" in makefile


def test_it_says_what_it_needs(served, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _: None)
    assert main(["explore"]) == 2
    assert "pip install 'dcnlib[notebooks]'" in capsys.readouterr().err

    def outside() -> Path:
        raise FileNotFoundError("not inside a checkout of dcnlib")

    monkeypatch.setattr(command, "project_root", outside)
    assert main(["explore"]) == 2
    assert "not inside a checkout" in capsys.readouterr().err
    assert not served
