"""The command that measures the models of street signs."""

import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from dcnlib.cli.options import Root
from dcnlib.data.street_signs.signs import SignSource
from dcnlib.paper.runs import SIGN_RUNS
from dcnlib.paper.sign_tables import signs_table
from dcnlib.paper.street_signs import WINDOWS, run_street_signs
from dcnlib.training.run import Run


def signs(
    *,
    runs: Annotated[Path, arg(metavar="FOLDER")] = Path("runs"),
    source: SignSource = "gtsdb",
    root: Root = None,
    windows: tuple[int, ...] = WINDOWS,
    workers: int = 0,
    timed: bool = True,
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "street-signs-measured",
) -> None:
    """Measure the models of street signs on test images: windows of two sizes and whole photographs, or some of them.

    Errors and average precisions with intervals by a bootstrap over photographs, cost, time and memory.

    Args:
        runs: holds the finished runs of the experiments street-signs-coarse, street-signs-fine and street-signs, and as
            many more seeds of the last as are finished
        source: of the images
        windows: sides in pixels of halved photographs; 0 are whole ones
        workers: processes that share the work
        timed: whether time is measured, which needs a machine without other work
        run_dir: keeps record.json
    """
    last = [run for run in SIGN_RUNS if run.window == 0]
    coarse, fine = (next(runs / run.name for run in last if run.model == model) for model in ("coarse", "fine"))
    dcns = [runs / run.name for run in last if run.model == "dcn" and Run(runs / run.name).finished]
    if not dcns:
        raise ValueError(f"{runs} holds no finished run of the experiment street-signs")

    def report(what: str) -> None:
        print(f"measuring {what}", file=sys.stderr, flush=True)

    how: dict[str, Any] = {"source": source, "root": root, "workers": workers, "timed": timed, "windows": windows}
    record = run_street_signs(coarse, fine, dcns, **how, report=report)
    for window in windows:
        print(f"{signs_table(record, window)}\n")
    Run(run_dir).save_record(record)
    print(f"kept in {run_dir}")
