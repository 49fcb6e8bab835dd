"""The command line, for people at a terminal: which commands there are, and how each of them ends.

A command is a function whose arguments are its options: their names, types, defaults and docstrings make its help. It
is imported when it is asked for, so that what needs no network doesn't wait for torch.
"""

import importlib
import inspect
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from typing import Any

import tyro

from dcnlib.cli.options import PATHS
from dcnlib.cli.terminal import printable
from dcnlib.utils.launched import launched_as

COMMANDS = {
    "train": ("dcnlib.cli.train", "Train a model; a run that was interrupted goes on."),
    "test": ("dcnlib.cli.train", "Evaluate finished runs on the test set, and keep the results in their records."),
    "experiment": ("dcnlib.cli.train", "Run experiments of the project in full, resumed if need be."),
    "sweep": ("dcnlib.cli.sweep", "Train models by patches, seeds and settings, on this machine or on several."),
    "promote": ("dcnlib.cli.train", "Copy a finished run's record to results/ and its weights to the package."),
    "predict": ("dcnlib.cli.answer", "Say what pictures show, how sure that is, and where a model looked."),
    "evaluate": ("dcnlib.cli.answer", "Measure the error of shipped or own weights."),
    "export": ("dcnlib.cli.export", "Write a model to a file that ONNX Runtime, OpenVINO or PyTorch runs."),
    "calibrate": ("dcnlib.cli.budget", "Find how sure a network must be to keep to a budget."),
    "explore": ("dcnlib.cli.explore", "Open the explorer in a browser, for the shipped models or one of your own."),
    "count": ("dcnlib.cli.measure", "Count a model's multiplications part by part."),
    "benchmark": ("dcnlib.cli.measure", "Measure speed, side by side, in a quarter of an hour."),
    "clock": ("dcnlib.cli.clock", "Time every form of the models: runtimes, pieces of the batch, threads."),
    "int8": ("dcnlib.cli.clock", "Compare exported models in int8 with themselves in float32."),
    "controls": ("dcnlib.cli.measure", "Compare ways to choose patches, with the shipped DCN and other runs."),
    "budgets": ("dcnlib.cli.budget", "Measure DCNs at every budget, and beyond the images of their training."),
    "distil": ("dcnlib.cli.distil", "Measure how new coarse layers learn by hints alone, without labels."),
    "signs": ("dcnlib.cli.signs", "Measure the models of street signs on windows and whole photographs."),
    "check": ("dcnlib.cli.check", "Evaluate every shipped model again and compare with its record."),
    "table": ("dcnlib.cli.show", "Print the table of results, made from the records, as Markdown."),
    "record": ("dcnlib.cli.show", "Print the record of a run of this project as JSON."),
}
TOGETHER = ("train", "experiment")  # what several processes that a launcher starts do as one
USAGE = "usage: dcnlib COMMAND [OPTIONS]"
BAD_INPUT, PIPE_CLOSED = 2, 141  # exit statuses; others that stop a process are 128 and the signal's number


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status. What goes wrong ends with a message, never with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a console has no letters for
    try:
        status = _answer(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:  # who started the command may have closed it
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who read the output, such as `head`, has gone. Nobody is left to be told, at the interpreter's end neither.
        nobody = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nobody, stream.fileno())
        return PIPE_CLOSED


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else BAD_INPUT
    name, *options = arguments
    if name not in COMMANDS:
        print(f"dcnlib: error: there is no {name!r}; commands are {', '.join(COMMANDS)}\n{USAGE}", file=sys.stderr)
        return BAD_INPUT

    rank, processes = launched_as()

    def tell(kind: str, what: object) -> None:
        who = f"process {rank} of {processes}: " if rank else ""
        print(f"dcnlib {name}: {who}{kind}{printable(' '.join(str(what).split()))}", file=sys.stderr, flush=True)

    if processes > 1 and name not in TOGETHER:
        if rank == 0:
            tell("error: ", f"only {' and '.join(TOGETHER)} run in several processes: start {name} alone")
        return BAD_INPUT
    if processes > 1:  # torch, which isn't loaded yet, warns in each of them of what needs no warning
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with _quiet(rank > 0), warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_, **__: tell("warning: ", message)
            return run(name, options) or 0
    except SystemExit as stop:  # after help, or what is wrong with the options
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as stop:
        if rank == 0:
            tell("", stop if str(stop) else "interrupted")
        return getattr(stop, "exit_status", 128 + signal.SIGINT)  # which training that was stopped knows
    except (ValueError, TypeError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        tell("error: ", error)
        return BAD_INPUT


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Let a process among several that do the same tell nothing but what it fails of."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nobody, redirect_stdout(nobody), redirect_stderr(nobody):
        yield


def run(name: str, options: list[str]) -> int | None:
    """Call a command with the options that are given as text. Raises what it raises, and SystemExit after help and for
    options that can't be read."""
    module, _ = COMMANDS[name]
    command = getattr(importlib.import_module(module), name)
    prog = f"dcnlib {name}"
    defaults: dict[str, Any] = {  # of options that depend on other options
        parameter.name: parameter.annotation.asked_for(options, prog)
        for parameter in inspect.signature(command).parameters.values()
        if hasattr(parameter.annotation, "asked_for")
    }
    return tyro.cli(
        partial(command, **defaults), prog=prog, args=options, config=(tyro.conf.OmitArgPrefixes,), registry=PATHS
    )


def _help() -> str:
    lines = [USAGE, "", "Dynamic Capacity Networks: train, evaluate and take apart the models of the paper.", ""]
    lines += [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "dcnlib COMMAND --help tells a command's options."])
