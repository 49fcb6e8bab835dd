"""The commands that time every form of the models, and those in int8."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from dcnlib.analysis.clock import ClockSettings, run_clock
from dcnlib.analysis.clock_until_sure import run_until_sure_clock
from dcnlib.analysis.int8 import Int8Settings, run_int8
from dcnlib.cli.options import Flag, by_default, differences
from dcnlib.paper.benchmark_tables import clock_tables, forms_table, int8_table, until_sure_clock_tables
from dcnlib.training.run import Run
from dcnlib.utils.records import whole


def clock(
    *,
    settings: ClockSettings = ClockSettings(),
    until_sure: Flag = False,
    quick: Flag = False,
    run_dir: Annotated[Path | None, by_default("runs/clock or runs/clock-until-sure", metavar="FOLDER")] = None,
) -> None:
    """Time the fine model, the coarse model and the DCN in every runtime, splitting of the batch and number of threads.

    Ten minutes on two CPU cores. All take turns; the fine model is compared in its fastest form. One that was stopped
    goes on after the last batch that it finished.

    Args:
        until_sure: instead, the network that looks until it is sure beside the fine model, in a quarter of an hour
        quick: a batch of 4 in two rounds; not for figures
        run_dir: keeps record.json
    """
    name, measure, tables = (
        ("clock-until-sure", run_until_sure_clock, until_sure_clock_tables)
        if until_sure
        else ("clock", run_clock, clock_tables)
    )
    if quick:
        settings = ClockSettings(**{"batches": (1, 4), "rounds": 2, **differences(settings, ClockSettings())})
    run = Run(run_dir or Path("runs") / name)
    before = run.read_record() if run.finished else None
    if before is not None:
        with whole(run.record_path):
            forms_table(before)
    record = measure(
        settings,
        before=before,
        keep=run.save_record,
        report=lambda what: print(f"clock: {what}", file=sys.stderr, flush=True),
    )
    with whole(run.record_path):
        print(tables(record))
    print(f"\nkept in {run.folder}")


def int8(
    *,
    settings: Int8Settings = Int8Settings(),
    quick: Flag = False,
    run_dir: Annotated[Path, arg(metavar="FOLDER")] = Path("runs") / "int8",
) -> None:
    """Compare exported models in int8 with themselves in float32: errors on the same images, and time.

    Five minutes on two CPU cores.

    Args:
        quick: 100 images and a batch of 4 in two rounds; not for figures
        run_dir: keeps record.json
    """
    if quick:
        less = {"images": 100, "batches": (4,), "rounds": 2}
        settings = Int8Settings(**{**less, **differences(settings, Int8Settings())})
    record = run_int8(settings, report=lambda what: print(f"int8: {what}", file=sys.stderr, flush=True))
    run = Run(run_dir)
    run.save_record(record)
    print(int8_table(record))
    print(f"\nkept in {run.folder}")
