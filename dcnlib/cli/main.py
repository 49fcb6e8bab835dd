"""The command line: the library from a terminal, for people on a GPU server."""

import argparse
import json
import sys
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from dcnlib.analysis.ablation import ControlSettings, run_controls
from dcnlib.analysis.cost import count_multiplications
from dcnlib.analysis.speed import SMOKE, BenchmarkSettings, run_benchmark
from dcnlib.core.dcn import DynamicCapacityNetwork, Objective
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.policies import POLICIES
from dcnlib.data.cluttered_mnist import load_cluttered
from dcnlib.data.digits import SPLITS
from dcnlib.data.house_numbers.images import COMPOSED, TEST_DISTURBANCE, standardise
from dcnlib.data.house_numbers.numbers import NO_DIGIT, NUMBER_SPLITS, in_frame, number_text
from dcnlib.models.pretrained import PRETRAINED, load_pretrained, load_trained
from dcnlib.models.specs import SPECS, Spec, seeded_model, spec_from_record
from dcnlib.models.tasks import CLUTTERED_MNIST, MOST_SCALES, TASKS
from dcnlib.paper.benchmark_tables import benchmark_tables, number_benchmark_table, rivals_benchmark_table
from dcnlib.paper.benchmarks import count_experiments, run_number_benchmark, run_rivals_benchmark
from dcnlib.paper.experiments import EXPERIMENTS, run_experiment
from dcnlib.paper.promote import promote
from dcnlib.paper.tables import controls_table, house_numbers_table, number_targets_table, results_table
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.ram import RamLook, RecurrentAttentionModel
from dcnlib.training.evaluation import evaluate
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.checks import check_values
from dcnlib.utils.device import resolve_device
from dcnlib.utils.records import Record, load_record, save_record
from dcnlib.utils.weights import load_weights

DIGIT_SPLITS = sorted({split for splits in SPLITS.values() for split in splits})
ALL_SPLITS = sorted({*DIGIT_SPLITS, *(split for splits in NUMBER_SPLITS.values() for split in splits)})
ROOT_HELP = "folder that holds MNIST/raw or SVHN, by default $DCNLIB_DATA or the cache"
MODEL = "dcn"
OPTIONS = {kind: [field.name for field in fields(spec) if field.name != "task"] for kind, spec in SPECS.items()}
DEFAULTS = {field.name: field.default for spec in SPECS.values() for field in fields(spec) if field.name != "task"}
# The fields of a `ModelSpec` that only some kinds of models have.
MODEL_OPTIONS = {
    "k": "patches per image",
    "hint_weight": "weight of the hints",
    "objective": "how hints are added",
    "policy": "what chooses the patches",
    "glimpses": "looks at each image",
    "hidden": "units of the recurrent state",
    "sigma": "spread of the locations tried in training",
    "last_sigma": "what sigma falls to in --sigma-steps",
    "sigma_steps": "training steps in which sigma falls; for perturbed-topk it is the noise, and falls to a hundredth",
    "rollouts": "ways to look tried per training image",
    "discount": "what a gain one glimpse later counts",
}
CHOICES: dict[str, Collection[str]] = {"objective": get_args(Objective), "policy": POLICIES}
DESCRIPTION = "Dynamic Capacity Networks: train, evaluate and take apart the models of the paper."


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Bad input ends with a message and exit status 2, like a mistyped option."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"{parser.prog} {args.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options and help."""
    parser = argparse.ArgumentParser(prog="dcnlib", description=DESCRIPTION, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=help,
            description=help,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    train = command("train", _train, "Train a model; a run that was interrupted goes on.")
    _add_model(train)
    _add_data(train)
    train.add_argument("--name", help="name of the run, by default made from the model")
    train.add_argument("--run-dir", type=Path, help="where the run is kept, by default runs/NAME")
    train.add_argument("--test", action="store_true", help="evaluate once on the test set at the end")
    train.add_argument(
        "--composed",
        type=float,
        default=argparse.SUPPRESS,
        help=f"share of composed numbers in training, for house-numbers (default: {COMPOSED})",
    )
    for option in fields(TrainingSettings):
        kind: dict[str, Any] = {"type": float if option.default is None else type(option.default)}
        if isinstance(option.default, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        train.add_argument(_flag(option.name), default=option.default, help=" ", **kind)

    test = command("evaluate", _evaluate, "Measure the error of shipped or own weights.")
    which = test.add_mutually_exclusive_group(required=True)
    which.add_argument("--pretrained", choices=PRETRAINED, help="a model shipped with the package")
    which.add_argument("--weights", type=Path, help="a weights.safetensors file of a run; say which --model it is")
    _add_model(test)
    _add_data(test)
    test.add_argument("--split", default="validation", choices=ALL_SPLITS)
    test.add_argument(
        "--patches", type=int, help="override the number of patches at test time, for dcn and perturbed-topk"
    )
    test.add_argument(
        "--disturbance-seed", type=int, help="shift and rescale each image, drawn by this seed (house-numbers)"
    )
    test.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")

    late_test = command("test", _test, "Evaluate finished runs on the test set, and keep the results in their records.")
    late_test.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    late_test.add_argument("--root", type=Path, help=ROOT_HELP)

    predict = command(
        "predict", _predict, "Say what an image shows, and where a shipped model looked, if it looks at places."
    )
    predict.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="picture files, of 100x100 pixels for digits and of any size for house numbers, or .npy with values in "
        "[0, 1]",
    )
    predict.add_argument("--pretrained", default="dcn-k8-hints", choices=PRETRAINED, help="a shipped model")

    count = command("count", _count, "Count a model's multiplications part by part.")
    _add_model(count)
    count.add_argument("--all", action="store_true", help="the total of every experiment, kept in runs/multiplications")

    experiment = command("experiment", _experiment, "Run experiments of the project in full, resumed if need be.")
    experiment.add_argument(
        "experiments",
        nargs="+",
        choices=["all", *EXPERIMENTS],
        metavar="NAME",
        help="one of {}, or all".format(", ".join(EXPERIMENTS)),
    )
    experiment.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")

    benchmark = command("benchmark", _benchmark, "Measure speed, side by side, in a quarter of an hour.")
    benchmark.add_argument("--device", default="auto", help="auto, cpu or cuda")
    benchmark.add_argument(
        "--quick", action="store_true", help="a little of everything, in few rounds; not for figures"
    )
    models = benchmark.add_mutually_exclusive_group()
    models.add_argument(
        "--data", default=CLUTTERED_MNIST.name, choices=TASKS, help="what is measured are the models for this"
    )
    models.add_argument("--rivals", action="store_true", help="measure the models of Table 1, rivals and all")
    benchmark.add_argument("--run-dir", type=Path, help="keeps record.json, by default runs/NAME of the record")

    controls = command("controls", _controls, "Compare ways to choose patches, with the shipped DCN and other runs.")
    controls.add_argument("runs", nargs="*", type=Path, help="folders of finished runs of DCNs to measure too")
    _add_data(controls)
    controls.add_argument("--split", default="test", choices=DIGIT_SPLITS)
    controls.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    controls.add_argument("--run-dir", type=Path, default=Path("runs") / "controls", help="keeps record.json")

    promotion = command("promote", _promote, "Copy a finished run's record to results/ and its weights to the package.")
    promotion.add_argument("run_dir", type=Path)

    record = command("record", _record, "Print the record of a run of this project as JSON.")
    record.add_argument("record", help="its name, such as dcn-k8-hints")

    table = command("table", _table, "Print the table of results, made from the records, as Markdown.")
    table.add_argument("--data", default=CLUTTERED_MNIST.name, choices=TASKS, help="whose results")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    """The fields of a `ModelSpec` as options. Those that aren't given stay out of the namespace: see `_given`."""

    def add(name: str, default: Any, help: str, **kind: Any) -> None:
        parser.add_argument(_flag(name), default=argparse.SUPPRESS, help=f"{help} (default: {default})", **kind)

    add("model", MODEL, "which of the paper's models, or of their rivals", choices=SPECS)
    add("data", CLUTTERED_MNIST.name, "what the model is for", choices=TASKS)
    add("scales", 1, f"of each image, 1..{MOST_SCALES}, for house-numbers", type=int)
    for name, help in MODEL_OPTIONS.items():
        default = DEFAULTS[name]
        value = int if default is None else type(default)
        kinds = " and ".join(kind for kind, options in OPTIONS.items() if name in options)
        add(name, default, f"{help}, for {kinds}", type=value, choices=CHOICES.get(name))


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        choices=[*SPLITS, *NUMBER_SPLITS],
        help="of cluttered-mnist: mnist (if not given) or embedded, 5,000 digits that are always at hand; "
        "of house-numbers: svhn (if not given) or rendered, always at hand too",
    )
    parser.add_argument("--root", type=Path, help=ROOT_HELP)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Which options of `_add_model` were given."""
    return {name: getattr(args, name) for name in ("model", "data", "scales", *MODEL_OPTIONS) if hasattr(args, name)}


def _spec(args: argparse.Namespace) -> Spec:
    """The model that is asked for. Raises ValueError for options that it doesn't have, which would be ignored."""
    given = {"model": MODEL} | _given(args)
    kind = given.pop("model")
    if strange := given.keys() & MODEL_OPTIONS.keys() - set(OPTIONS[kind]):
        raise ValueError(
            f"{kind} models have no {', '.join(sorted(map(_flag, strange)))}; "
            f"their options are {', '.join(map(_flag, OPTIONS[kind])) or 'none'}"
        )
    if "last_sigma" in given and "sigma_steps" not in given:
        raise ValueError("--last-sigma is what sigma falls to in --sigma-steps: give both")
    return spec_from_record({"kind": kind, **given})


def _train(args: argparse.Namespace) -> None:
    settings = TrainingSettings(**{option.name: getattr(args, option.name) for option in fields(TrainingSettings)})
    spec = _spec(args)
    name = args.name or _name(spec)
    run_dir = args.run_dir or Path("runs") / name
    where = {"source": args.source, "root": args.root}
    options = {"composed": args.composed} if hasattr(args, "composed") else {}
    if options and spec.task == CLUTTERED_MNIST:
        raise ValueError(f"--composed is for models of house-numbers, this one is for {spec.task.name}")
    test_data = spec.task.load("test", **where) if args.test else None  # a missing one is told before training
    model = seeded_model(spec, settings)
    record = fit(
        model,
        spec.task.load("train", **where, seed=settings.seed, **options),
        spec.task.load("validation", **where),
        settings,
        name=name,
        description=spec.describe(),
        run_dir=run_dir,
        **_reporting(),
    )
    if test_data is not None and "test" not in record:
        record = Run(run_dir).test(model, test_data)
    _print_outcome(record)
    print(f"kept in {run_dir}")


def _name(spec: Spec) -> str:
    told = spec.describe()
    kind = spec.kind
    if "k" in told and kind == "dcn":
        kind = f"dcn-k{told['k']}" + (f"-{told['policy']}" if "policy" in told else "")
    return kind if spec.task == CLUTTERED_MNIST else f"{spec.task.name}-{kind}-scales{told['scales']}"


def _evaluate(args: argparse.Namespace) -> None:
    if args.pretrained:
        if given := _given(args):
            told = ", ".join(map(_flag, given))
            raise ValueError(f"{told}: --pretrained says which model it is; at test time only --patches overrides it")
        spec, model = PRETRAINED[args.pretrained], load_pretrained(args.pretrained)
    else:
        spec = _spec(args)
        model = spec.build()
        load_weights(args.weights, model)
    if args.patches is not None and "k" not in OPTIONS[spec.kind]:
        raise ValueError(f"--patches is for models that choose patches, dcn and perturbed-topk; this is {spec.kind}")
    model.to(resolve_device(args.device))
    options: dict[str, Any] = {}
    if args.disturbance_seed is not None:
        if spec.task == CLUTTERED_MNIST:
            raise ValueError(f"--disturbance-seed is for models of house-numbers, this one is for {spec.task.name}")
        options = {"disturbance": TEST_DISTURBANCE, "seed": args.disturbance_seed}
    data = spec.task.load(args.split, source=args.source, root=args.root, **options)
    result = evaluate(model, data, k=args.patches)
    disturbed = f", shifted and rescaled by seed {args.disturbance_seed}" if options else ""
    print(f"{args.split} error {result.rate} on {len(data)} images, source {data.describe()['source']}{disturbed}")


def _test(args: argparse.Namespace) -> None:
    for run_dir in args.runs:
        trained = load_trained(run_dir)
        data = trained.task.load("test", source=trained.record["data"]["train"]["source"], root=args.root)
        print(f"== {trained.name}")
        _print_outcome(Run(run_dir).test(trained.model, data))


@torch.no_grad()
def _predict(args: argparse.Namespace) -> None:
    spec, model = PRETRAINED[args.pretrained], load_pretrained(args.pretrained)
    for path in args.images:
        image, size = read_image(path, spec.task.name)
        told = []
        if "k" in OPTIONS[spec.kind]:
            assert isinstance(model, DynamicCapacityNetwork | MultiScaleNetwork)
            look = model.attend(image)
            logits, boxes = look.logits[0], _in_picture(look.boxes[0], image, size)
            corners = " ".join(f"{top},{left}-{bottom},{right}" for top, left, bottom, right in boxes.tolist())
            told = [f"at first glance {_answer(look.coarse_logits[0])}", f"patches at {corners}"]
        elif isinstance(model, RecurrentAttentionModel | DrawClassifier):
            glimpse = model.attend(image)
            centers = glimpse.locations if isinstance(glimpse, RamLook) else glimpse.centers
            logits = glimpse.logits[0]
            told = ["glimpses at " + " ".join(f"{y:.0f},{x:.0f}" for y, x in centers[0].tolist())]
        else:
            logits = model(image)[0]
        if spec.task != CLUTTERED_MNIST:
            told.insert(0, f"digits {_digits(logits)}")
        print(f"{path}: {_answer(logits)}" + (f" ({'; '.join(told)})" if told else ""))


def _answer(logits: Tensor) -> str:
    """The digit that scores (L,) favour, or the number that scores (P, L) do."""
    return number_text(logits.argmax(-1).tolist()) if logits.ndim == 2 else str(int(logits.argmax()))


def _digits(logits: Tensor) -> str:
    """The digits that scores (P, L) favour, each with its probability."""
    probabilities, labels = logits.softmax(-1).max(-1)
    pairs = zip(labels.tolist(), probabilities.tolist(), strict=True)
    return ", ".join(f"{label} {probability:.0%}" for label, probability in pairs if label != NO_DIGIT) or "none"


def _in_picture(boxes: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (k, 4) in pixels of an image, in those of the picture of `size` that it was made from; none goes beyond."""
    ends = torch.tensor(size).repeat(2)
    scaled = boxes * ends / torch.tensor(image.shape[2:]).repeat(2)
    return scaled.round().int().clamp(min=0).minimum(ends)


def read_image(path: Path, data: str) -> tuple[Tensor, tuple[int, int]]:
    """A grey image (1, 1, H, W) as models of this data know them, and height and width in pixels of the picture it was.

    The file is a picture, which is resized for house numbers, or an .npy array (H, W) of values in [0, 1]. Raises
    FileNotFoundError or ValueError if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}")
    if path.suffix == ".npy":
        pixels = np.load(path, allow_pickle=False)
        if pixels.ndim != 2 or pixels.size == 0:
            raise ValueError(f"an image must have shape (H, W), {path} has {pixels.shape}")
        size = pixels.shape
    else:
        try:
            with Image.open(path) as picture:
                grey = ImageOps.exif_transpose(picture).convert("L")
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} can't be read as a picture: {error}") from error
        size = grey.height, grey.width
        pixels = (in_frame(grey) if data == "house-numbers" else np.asarray(grey)) / 255
    image = torch.from_numpy(pixels.astype(float))[None, None]
    check_values(image)
    return standardise((255 * image).float()) if data == "house-numbers" else image.float(), size


def _count(args: argparse.Namespace) -> None:
    if args.all:
        if given := _given(args):
            raise ValueError(f"--all counts every experiment; leave out {', '.join(map(_flag, given))}")
        record = count_experiments()
        for name, total in record["models"].items():
            print(f"{name:<35}{total:>12,}")
        run_dir = Path("runs") / record["name"]
        save_record(run_dir / "record.json", record)
        print(f"kept in {run_dir}")
        return
    cost = count_multiplications(_spec(args).build())
    for part in ("layers", "top", "saliency", "fine_per_patch", "fine", "second_pass", "total", "discarded"):
        print(f"{part:<15}{getattr(cost, part):>12,}")
    for number, glimpse in enumerate(cost.glimpses, start=1):
        print(f"{f'glimpse_{number}':<15}{glimpse:>12,}")


def _experiment(args: argparse.Namespace) -> None:
    names = list(EXPERIMENTS) if "all" in args.experiments else args.experiments
    for task in {EXPERIMENTS[name].spec.task for name in names}:  # what is missing is told before training
        for split in ("validation", "test"):
            task.load(split)
    for name in names:
        print(f"== {name}", flush=True)
        _, record = run_experiment(name, scale="paper", device=args.device, **_reporting())
        _print_outcome(record)


def _benchmark(args: argparse.Namespace) -> None:
    settings = replace(SMOKE if args.quick else BenchmarkSettings(), device=args.device)
    run, tables = run_benchmark, benchmark_tables
    if args.data == "house-numbers":
        run, tables = run_number_benchmark, number_benchmark_table
    if args.rivals:
        run, tables = run_rivals_benchmark, rivals_benchmark_table
    record = run(settings, report=lambda what: print(f"measuring {what}", file=sys.stderr, flush=True))
    run_dir = args.run_dir or Path("runs") / record["name"]
    save_record(run_dir / "record.json", record)
    print(tables(record))
    print(f"\nkept in {run_dir}")


def _controls(args: argparse.Namespace) -> None:
    networks = {"dcn-k8-hints": _network_of_digits(load_pretrained("dcn-k8-hints"), "the shipped model")}
    for run in args.runs:
        trained = load_trained(run)
        name, model = trained.name, trained.model
        if name in networks:
            raise ValueError(f"{run} holds a run named {name}, and so is another model here: train it with a --name")
        networks[name] = _network_of_digits(model, f"{name} in {run}")
    record = run_controls(
        networks,
        load_cluttered(args.split, source=args.source or "mnist", root=args.root),
        ControlSettings(device=args.device),
        report=lambda what: print(f"measuring {what}", file=sys.stderr, flush=True),
    )
    save_record(args.run_dir / "record.json", record)
    for name in networks:
        print(f"{name}\n\n{controls_table(record, name)}\n")
    print(f"kept in {args.run_dir}")


def _network_of_digits(model: nn.Module, told: str) -> DynamicCapacityNetwork:
    if not isinstance(model, DynamicCapacityNetwork) or model.image_shape != CLUTTERED_MNIST.image_shape:
        raise ValueError(f"the models must be dcn or perturbed-topk for {CLUTTERED_MNIST.name}, {told} is another")
    return model


def _promote(args: argparse.Namespace) -> None:
    for path in promote(args.run_dir):
        print(path)


def _record(args: argparse.Namespace) -> None:
    print(json.dumps(load_record(args.record), indent=1))


def _table(args: argparse.Namespace) -> None:
    if args.data == "house-numbers":
        print(house_numbers_table(), number_targets_table(), sep="\n\n")
    else:
        print(results_table())


def _reporting() -> dict[str, Any]:
    def report(figures: Record) -> None:
        told = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(told, flush=True)

    return {"progress": sys.stderr.isatty(), "on_epoch": report}


def _print_outcome(record: Record) -> None:
    for part in ("validation", "test"):
        if part in record:
            print(f"{part} error {100 * record[part]['error']:.2f} % of {record[part]['count']}")
