"""The command that times every form of the models."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from dcnlib.analysis.clock import ClockSettings, run_clock
from dcnlib.cli.options import Flag, differences
from dcnlib.paper.benchmark_tables import clock_tables
from dcnlib.training.run import Run


def clock(
    *,
    settings: ClockSettings = ClockSettings(),
    quick: Flag = False,
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "clock",
) -> None:
    """Time the fine model, the coarse model and the DCN in every runtime, splitting of the batch and number of threads.

    Ten minutes on two CPU cores. All take turns; the fine model is compared in its fastest form. One that was stopped
    goes on after the last batch that it finished.

    Args:
        quick: a batch of 4 in two rounds; not for figures
        run_dir: keeps record.json
    """
    if quick:
        settings = ClockSettings(**{"batches": (1, 4), "rounds": 2, **differences(settings, ClockSettings())})
    run = Run(run_dir)
    before = run.read_record() if run.finished else None
    record = run_clock(
        settings,
        before=before,
        keep=run.save_record,
        report=lambda what: print(f"clock: {what}", file=sys.stderr, flush=True),
    )
    print(clock_tables(record))
    print(f"\nkept in {run.folder}")
