"""The command that measures how new coarse layers learn to stand in for a trained network's first layers."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from dcnlib.paper.stand_in import StandInSettings, run_stand_in, stand_in_table
from dcnlib.training.run import Run


def distil(
    *,
    settings: StandInSettings = StandInSettings(),
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "stand-in",
) -> None:
    """Cut the shipped fine model in two and let new coarse layers stand in: by hints alone, then together.

    On the embedded digits, in some minutes. A run that was stopped goes on.

    Args:
        run_dir: keeps record.json and the three trainings
    """

    def report(what: str) -> None:
        print(f"training {what}", file=sys.stderr, flush=True)

    record = run_stand_in(settings, run_dir=run_dir, report=report)
    print(stand_in_table(record))
    Run(run_dir).save_record(record)
    print(f"\nkept in {run_dir}")
