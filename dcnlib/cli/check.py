"""The command that holds the shipped weights to their records."""

from pathlib import Path

from dcnlib.cli.options import Flag
from dcnlib.paper.check import Outcome, check_weights, list_wrong_images
from dcnlib.training.run import Run

WORDS = {True: "agrees", False: "DIFFERS", None: "not checked"}


def check(*, complete: Flag = False) -> int:
    """Evaluate every shipped model again and compare with its record; the exit status is 1 if one differs.

    Args:
        complete: instead list the wrong images of the models whose records don't, in runs/wrong-images
    """
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
