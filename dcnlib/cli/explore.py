"""The command that opens the explorer."""

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.cli.options import Flag
from dcnlib.models.pretrained import PRETRAINED, load_trained, network_of_digits
from dcnlib.utils.files import project_root, user_path

# The page may fetch nothing from elsewhere, which its template would do for an icon font.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws://127.0.0.1:* data:"


def explore(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]", help_behavior_hint="(default: the shipped DCNs)")]] = "",
    *,
    port: int = 8866,
    no_browser: Flag = False,
) -> None:
    """Serve notebook 07, the explorer, as a web page without its code, for this machine alone, until Ctrl-C.

    It shows DCNs of Cluttered MNIST, models of kind dcn and perturbed-topk. It needs a checkout of the project, and the
    packages of its extra "notebooks".

    Args:
        source: a model to begin with: a shipped one by its name, the folder of a finished run, or a file of weights
            beside its record
        port: of the page, on 127.0.0.1
        no_browser: say only where the page is
    """
    if source:
        network_of_digits(load_trained(source))  # what can't be shown is told before anything starts
        source = source if source in PRETRAINED else str(user_path(source).resolve())
    notebook = project_root() / "notebooks" / "07_explorer.ipynb"
    if missing := [package for package in ("papermill", "voila") if importlib.util.find_spec(package) is None]:
        raise ValueError(f"the explorer needs {' and '.join(missing)}: pip install 'dcnlib[notebooks]'")

    import papermill
    from voila.app import Voila

    with TemporaryDirectory() as folder:
        page = Path(folder) / notebook.name
        papermill.execute_notebook(
            notebook, page, {"SOURCE": source}, prepare_only=True, progress_bar=False, kernel_name="python3"
        )
        Voila.launch_instance(
            [
                str(page),
                "--Voila.ip=127.0.0.1",
                f"--port={port}",
                *(["--no-browser"] if no_browser else []),
                f"--Voila.tornado_settings={ {'headers': {'Content-Security-Policy': POLICY}} }",
            ]
        )
