"""The command that holds the shipped weights to their records, and exported files to the models."""

from pathlib import Path

from dcnlib.cli.options import Flag
from dcnlib.paper.check import Outcome, check_weights, list_wrong_images
from dcnlib.paper.exports import EXPORTS, agrees, check_exports, exports_table
from dcnlib.training.run import Run
from dcnlib.utils.records import Record

WORDS = {True: "agrees", False: "DIFFERS", None: "not checked"}


def check(*, complete: Flag = False, exports: Flag = False) -> int:
    """Evaluate every shipped model again and compare with its record; the exit status is 1 if one differs.

    Args:
        complete: instead list the wrong images of the models whose records don't, in runs/wrong-images
        exports: instead compare each model with itself exported, image by image, in runs/exports; what was compared
            before isn't again, unless its weights changed. Needs GTSDB and SVHN
    """
    if complete and exports:
        raise ValueError("--complete and --exports do different things: give one of them")
    if exports:
        run = Run(Path("runs") / EXPORTS)
        before = run.read_record() if run.finished else None
        record = check_exports(before=before, keep=run.save_record, report=_print_row)
        print(f"\n{exports_table(record)}\n\nkept in {run.folder}")
        return int(not all(agrees(row) for row in record["models"]))
    if complete:
        record = list_wrong_images(report=lambda name: print(f"evaluating {name}", flush=True))
        run = Run(Path("runs") / record["name"])
        run.save_record(record)
        print(f"kept in {run.folder}")
        return 0
    outcomes = check_weights(report=_print)
    return int(any(outcome.agrees is False for outcome in outcomes))


def _print(outcome: Outcome) -> None:
    print(f"{outcome.name:<30}{outcome.split:<12}{WORDS[outcome.agrees]:<13}{outcome.told}", flush=True)


def _print_row(row: Record) -> None:
    told = f"scores within {row['scores']:.1e}, {row['other_answers']} answered otherwise, {row['elsewhere']} elsewhere"
    print(f"{row['model']:<30}{row['format']:<12}{WORDS[agrees(row)]:<13}{told}", flush=True)
