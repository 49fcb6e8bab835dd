"""What all commands promise: help, messages instead of tracebacks, exit statuses, and any console."""

import os
import re
import signal
import subprocess
import sys

import pytest

from dcnlib.cli import main as cli
from dcnlib.cli.main import COMMANDS, main
from dcnlib.cli.show import TABLES
from dcnlib.core.policies import POLICIES
from dcnlib.models.specs import SPECS
from dcnlib.models.tasks import TASKS

HELPS = [[name] for name in COMMANDS]
HELPS += [[name, "--model", kind] for name in ("train", "count") for kind in SPECS]
HELPS += [[name, "--data", "house-numbers", "--model", "dcn"] for name in ("train", "count")]


def run(*arguments, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, "-m", "dcnlib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def plain(text):
    """The words of a message, without the frame around it."""
    return " ".join(re.sub("[╭╮╰╯─│]", " ", text).split())


def test_help_names_every_command_and_says_what_it_does(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, (_, help) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(help)}$", told, re.M)


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_every_option_has_a_help_text_and_a_default_or_is_required(command, capsys):
    assert main([*command, "--help"]) == 0
    lines = [line.strip("│ \n") for line in capsys.readouterr().out.splitlines()]
    first = re.compile(r"--?[a-z]|[A-Z]+(\.\.\.)?(  |$)|\[[A-Z]+(\.\.\.)?\]")  # an option, or a name in capitals
    starts = [n for n, line in enumerate(lines) if first.match(line)]
    assert any(lines[n].startswith("-h, --help") for n in starts)
    for n, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        told = " ".join(lines[n:end]).split("╰")[0]
        if told.startswith("-h, --help"):
            continue
        help = re.sub(r"^(--[a-z-]+,? *|[A-Z]+ +|\{.*?\}\S* +)*", "", told)
        text = re.match(r"(.*?) *\((default: .+|required)\)", help)
        assert text, told
        assert len(text.group(1)) > 3, told


@pytest.mark.parametrize("command", ["train", "evaluate", "calibrate", "budgets", "sweep", "controls"])
def test_help_names_the_sources_of_every_tasks_images(command, capsys):
    assert main([command, "--help"]) == 0
    told = plain(capsys.readouterr().out)
    for task in TASKS.values():
        assert f"{' or '.join(task.sources)} for {task.name}" in told


def test_help_names_what_a_policy_and_a_kind_may_be(capsys):
    assert main(["train", "--help"]) == 0
    told = plain(capsys.readouterr().out)
    for name in (*POLICIES, *SPECS, *TASKS):
        assert name in told


def test_tables_are_there_for_every_task():
    assert list(TABLES) == list(TASKS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["table"],
        ["table", "--data", "house-numbers"],
        ["record", "coarse"],
        ["table", "--help"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_what_needs_no_network_answers_without_torch(arguments):
    code = f"import sys; from dcnlib.cli.main import main; main({arguments!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epoch", "1"], "Unrecognized options: --epoch"),  # abbreviations are typos too
        (["train", "--learning-rat", "1"], "Unrecognized options: --learning-rat"),
        (["train", "--model", "cnn"], "'perturbed-topk'"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs"], "--epochs"),
        (["evaluate"], "--weights SOURCE"),
        (["evaluate", "--model", "coarse", "--weights", "coarse"], "Unrecognized options: --model"),
        (["evaluate", "--pretrained", "dcn-k9"], "dcn-k8-hints"),
        (["experiment", "everything"], "'dcn-k8-hints'"),
        (["experiment"], "name at least one of coarse, fine"),
        (["table", "--data", "mnist"], "'house-numbers'"),
        (["predict", "a.png", "--invert", "--no-invert"], "--no-invert"),
        (["benchmark", "--rivals", "--data", "house-numbers"], "give one of them"),
        (["benchmark", "--rivals", "--ks", "4"], "--ks would change nothing"),
        (["benchmark", "--data", "house-numbers", "--batches", "4"], "--batches would change nothing"),
        (["tabel"], "commands are train, test"),
        ([], "usage: dcnlib COMMAND"),
        (["train", "--epochs", "0"], "epochs and batch_size must be at least 1"),
        (["train", "--device", "tpu"], "tpu"),
        (["train", "--k", "-1"], "k, the number of patches"),
        (["train", "--policy", "guess"], "entropy-gradient"),
        (["train", "--model", "ram", "--rollouts", "0"], "rollouts must be at least 1"),
        (["train", "--clip-norm", "0"], "clip_norm must be positive"),
        (["train", "--root", "/nowhere"], "no MNIST"),
        (["train", "--source", "embedded", "--test"], "'test'"),
        (["train", "--source", "rendered"], "source must be one of"),
        (["train", "--data", "house-numbers", "--source", "mnist"], "source must be one of"),
        (["train", "--data", "house-numbers", "--root", "/nowhere"], "no SVHN/train"),
        (["train", "--data", "house-numbers", "--model", "ram"], "models of house-numbers are"),
        (["count", "--data", "house-numbers", "--scales", "4"], "scales must be 1..3"),
        (["count", "--all", "--model", "draw"], "--all counts every experiment; leave out --model"),
        (["count", "--all", "--k", "4"], "--all counts every experiment; leave out --k"),
        (["count", "--scales", "2"], "cluttered-mnist has no --scales"),
        (["evaluate", "--pretrained", "coarse", "--split", "extra"], "'extra'"),
        (["evaluate", "--weights", "/nowhere.safetensors"], "nor a file of weights"),
        (["evaluate", "--pretrained", "coarse", "--split", "test", "--source", "embedded"], "'test'"),
        (["train", "--model", "ram", "--discount", "2"], "discount must be 0..1"),
        (["train", "--warm-up", "1"], "warm_up must lie between 0 and 1"),
        (["controls", "/nowhere"], "/nowhere is neither a shipped model"),
        (["promote", "/nowhere"], "no finished run"),
        (["predict"], "name at least one picture"),
        (["predict", "--weights", "/nowhere", "a.png"], "/nowhere is neither a shipped model"),
        (["evaluate", "--pretrained", "coarse", "--disturbance-seed", "7"], "for models of house-numbers"),
        (["evaluate", "--pretrained", "street-signs", "--disturbance-seed", "7"], "this one is for street-signs"),
        (["test", "/nowhere"], "nor a run's folder"),
        (["test"], "at least one folder"),
        (["train", "--data", "house-numbers", "--scales", "2", "--policy", "random"], "between the scales"),
        (["record", "dcn-k9"], "no record 'dcn-k9'"),
        (["explore", "/nowhere"], "/nowhere is neither a shipped model"),
        (["explore", "ram"], "that see whole images at one scale; ram is of kind ram for cluttered-mnist"),
        (["explore", "house-numbers-dcn-k8-scales3"], "house-numbers-dcn-k8-scales3 is of kind dcn for house-numbers"),
        # Options that would be ignored.
        (["train", "--model", "coarse", "--k", "4"], "coarse models have no --k; their options are none"),
        (["train", "--hint_weight=1", "--model=fine"], "fine models have no --hint-weight; their options are none"),
        (["count", "--model", "draw", "--sigma", "1", "--policy", "random"], "draw models have no --policy, --sigma; "),
        (["train", "--model", "ram", "--last-sigma", "0.2"], "--last-sigma is what sigma falls to in --sigma-steps"),
        (["train", "--composed", "0.2"], "--composed is for models of house-numbers"),
        (["train", "--data", "street-signs", "--composed", "0.2"], "this one is for street-signs"),
        (["evaluate", "--pretrained", "ram", "--k", "4"], "--k is for models that choose patches"),
        (["predict", "a.png", "--pretrained", "coarse", "--patches", "4"], "--k is for models that choose patches"),
    ],
)
def test_bad_input_ends_with_a_message_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert message in plain(told.err)
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("two\nlines"), 2, "dcnlib record: error: two lines\n"),
        (TypeError("a type"), 2, "dcnlib record: error: a type\n"),
        (OSError(28, "No space left"), 2, "dcnlib record: error: [Errno 28] No space left\n"),
        (FloatingPointError("not finite"), 2, "dcnlib record: error: not finite\n"),
        (KeyboardInterrupt(), 130, "dcnlib record: interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_ends_with_one_line(error, status, message, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert main(["record", "coarse"]) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("number", "status", "workers"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1), (signal.SIGHUP, 129, 0)]
)
def test_training_that_a_signal_stopped_ends_with_its_status_and_goes_on(number, status, workers, tmp_path):
    """Also where its workers get the signal too, as terminals, schedulers and launchers send it."""
    arguments = ["train", "--model", "coarse", "--source", "embedded", "--epochs", "500", "--device", "cpu"]
    arguments += ["--batch-size", "1000", "--workers", str(workers)]
    command = [sys.executable, "-m", "dcnlib", *arguments, "--run-dir", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        process.stdout.readline()  # an epoch is over
        os.killpg(process.pid, number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == status
    assert told.startswith(f"dcnlib train: stopped by {number.name} after ")
    assert told.count("\n") == 1
    assert (tmp_path / "checkpoint.pt").is_file()


def test_output_may_end_before_the_command(tmp_path):
    """Whoever reads may leave, at once or late: no traceback, also at the interpreter's end."""
    for arguments in (["table"], ["--help"], ["table", "--help"], ["record", "coarse"]):
        command = [sys.executable, "-m", "dcnlib", *arguments]
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")


def test_output_may_be_closed_from_the_start():
    command = f"{sys.executable} -m dcnlib record coarse >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_console_will_do(encoding, tmp_path):
    """Names that it has no letters for are told by their numbers, and no frame is drawn that it can't draw."""
    env = {"PYTHONIOENCODING": encoding}
    for arguments, status in ((["record", "数字"], 2), (["table", "--help"], 0), (["table", "--data", "数字"], 2)):
        done = run(*arguments, env=env)
        assert done.returncode == status
        assert "Traceback" not in done.stderr
        assert ("\\u6570" in done.stderr) == (status == 2)


def test_a_path_may_begin_with_the_home_folder(tmp_path):
    done = run("test", "~/nothing", env={"HOME": str(tmp_path)})
    assert f"{tmp_path}/nothing is neither" in done.stderr
    done = run("train", "--root=~/data", env={"HOME": str(tmp_path)})
    assert f"{tmp_path}/data" in done.stderr


def test_the_module_runs_from_any_folder(tmp_path):
    done = run("count", "--model", "coarse", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
