"""The command that opens the explorer."""

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.cli.options import Flag
from dcnlib.models.pretrained import PRETRAINED, load_trained, network_of_one_map
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.utils.files import user_path

# The page may fetch nothing from elsewhere, which its template would do for an icon font.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws://127.0.0.1:* data:"

# Kernels that have the page ready before it is asked for, also when it is loaded again at once; and those that no page
# is connected to any more are shut down. (A closing page says goodbye, but the server doesn't take it from a page
# without a token.)
KERNELS = (
    "--preheat_kernel=True",
    "--pool_size=2",
    "--VoilaConfiguration.multi_kernel_manager_class=dcnlib.explorer.kernels.PageKernels",
    "--MappingKernelManager.cull_interval=10",
    "--MappingKernelManager.cull_idle_timeout=60",
)


def explore(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]", help_behavior_hint="(default: the shipped DCNs)")]] = "",
    *,
    port: int = 8866,
    no_browser: Flag = False,
) -> None:
    """Serve the explorer as a web page, for this machine alone, until Ctrl-C.

    It shows DCNs, models of kind dcn and perturbed-topk: those of Cluttered MNIST, house numbers, beside what single
    models say, and one for pictures of your own, on its validation pictures. It needs the packages of the extra
    "notebooks".

    Args:
        source: a model to begin with: a shipped one by its name, the folder of a finished run, or a file of weights
            beside its record
        port: of the page, on 127.0.0.1
        no_browser: say only where the page is
    """
    if source:
        trained = load_trained(source)
        network_of_one_map(trained)  # what can't be shown is told before anything starts
        if trained.task != CLUTTERED_MNIST:  # whose images are always at hand
            trained.load_data()
        source = source if source in PRETRAINED else str(user_path(source).resolve())
    if missing := [package for package in ("anywidget", "voila") if importlib.util.find_spec(package) is None]:
        raise ValueError(f"the explorer needs {' and '.join(missing)}: pip install 'dcnlib[notebooks]'")

    import nbformat
    from voila.app import Voila

    cell = nbformat.v4.new_code_cell(f"from dcnlib.explorer.app import page\n\npage({source!r})")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    with TemporaryDirectory() as folder:
        notebook = Path(folder) / "explorer.ipynb"
        print(f"the explorer: http://127.0.0.1:{port}/ until Ctrl-C", flush=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), notebook)
        Voila.launch_instance(
            [
                str(notebook),
                "--Voila.ip=127.0.0.1",
                f"--port={port}",
                *(["--no-browser"] if no_browser else []),
                *KERNELS,
                "--Voila.log_level=ERROR",  # it warns of a page that nobody has signed
            ],
            # Voilà answers whatever host it is called by; a page elsewhere could have its own name lead here.
            tornado_settings={"headers": {"Content-Security-Policy": POLICY}, "allow_remote_access": False},
        )
