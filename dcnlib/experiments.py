"""The recorded runs by name, at three scales: what a notebook loads or trains, and what `make paper` trains in full."""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from dcnlib.checkpoints import load_weights, save_weights
from dcnlib.cluttered import SEEDS, ClutteredMNIST, load_cluttered
from dcnlib.digits import load_digits
from dcnlib.evaluation import evaluate
from dcnlib.number_images import HouseNumberImages, load_house_number_images, project_images
from dcnlib.pretrained import MOST_SCALES, NUMBER_MODELS, PRETRAINED, DataName, Kind, ModelSpec, load_pretrained
from dcnlib.rendered_numbers import render_numbers
from dcnlib.results import Record, load_record, project_root, save_record
from dcnlib.training import TrainingSettings, fit, seed_everything

Scale = Literal["smoke", "fast", "paper"]
Images = ClutteredMNIST | HouseNumberImages


@dataclass(frozen=True)
class Experiment:
    """A model, how many epochs it is trained, and where else its `TrainingSettings` aren't the default."""

    spec: ModelSpec
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)


def _number_experiments() -> dict[str, Experiment]:
    """The runs of house numbers: each model at each number of scales and, at one scale, with so many seeds."""
    runs = {}
    for name, seeds, epochs, precision in (
        ("coarse", 3, 100, "bfloat16"),
        ("fine", 1, 30, "bfloat16"),
        ("dcn-k8", 3, 100, "bfloat16"),
    ):
        for scales in range(1, MOST_SCALES + 1):
            for seed in range(seeds if scales == 1 else 1):
                spec = replace(NUMBER_MODELS[name], scales=scales)
                suffix = (f"-scales{scales}" if scales > 1 else "") + (f"-seed{seed}" if seed else "")
                settings = {"precision": precision, "seed": seed}
                runs[f"house-numbers-{name}{suffix}"] = Experiment(spec, epochs, settings)
    return runs


EXPERIMENTS: dict[str, Experiment] = {
    "coarse": Experiment(PRETRAINED["coarse"], epochs=10),
    "fine": Experiment(PRETRAINED["fine"], epochs=3),
    "dcn-k8-hints": Experiment(PRETRAINED["dcn-k8-hints"], epochs=10),
    "dcn-k8-no-hints": Experiment(PRETRAINED["dcn-k8-no-hints"], epochs=10),
    "dcn-k2-hints": Experiment(ModelSpec("dcn", k=2), epochs=3),
    "dcn-k4-hints": Experiment(ModelSpec("dcn", k=4), epochs=3),
    "dcn-k16-hints": Experiment(ModelSpec("dcn", k=16), epochs=3),
    "dcn-k24-hints": Experiment(ModelSpec("dcn", k=24), epochs=3),
    "dcn-k8-entropy-gradient": Experiment(ModelSpec("dcn", k=8), epochs=3),
    "dcn-k8-random": Experiment(ModelSpec("dcn", k=8, policy="random"), epochs=3),
    "dcn-k8-coarse-norm": Experiment(ModelSpec("dcn", k=8, policy="coarse-norm"), epochs=3),
    "ram": Experiment(
        PRETRAINED["ram"],
        epochs=45,
        settings={
            "batch_size": 32,
            "learning_rate": 1e-3,
            "warm_up": 0.03,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "compile": False,
        },
    ),
    "draw": Experiment(
        PRETRAINED["draw"],
        epochs=280,
        settings={"learning_rate": 5e-4, "warm_up": 0.05, "clip_norm": 1.0, "precision": "bfloat16"},
    ),
    "perturbed-topk": Experiment(PRETRAINED["perturbed-topk"], epochs=10, settings={"compile": False}),
    "soft-attention": Experiment(PRETRAINED["soft-attention"], epochs=3),
    **_number_experiments(),
}


# Records of measurements on trained models.
MEASUREMENTS = ("benchmark", "controls", "house-numbers-benchmark", "rivals-benchmark")
# How many images smoke scale takes of what is always at hand.
SMOKE_DIGITS = {"train": 256, "validation": 200}
SMOKE_NUMBERS = {"train": 64, "validation": 100}


def run_experiment(
    name: str, *, scale: Scale, device: str = "auto", **reporting: Any
) -> tuple[nn.Module | None, Record]:
    """A model of `EXPERIMENTS` in eval mode on the CPU, and the record of its run.

    smoke: trained here and now on a few images for one epoch (`smoke_digits`, `smoke_numbers`); nothing is written.
    fast: shipped weights (None where none are shipped) and the committed record.
    paper: trained in full in `runs/NAME` of the project, resumed if it was interrupted, loaded if it is finished; the
    test set is looked at once, at the end. `reporting` (`progress`, `on_epoch`) goes to `fit`.
    """
    check_scale(scale)
    if name not in EXPERIMENTS:
        raise ValueError(f"name must be one of {', '.join(EXPERIMENTS)}, got {name!r}")
    experiment = EXPERIMENTS[name]
    data = experiment.spec.data
    if scale == "fast":
        return (load_pretrained(name) if name in PRETRAINED else None), load_record(name)

    run: dict[str, Any] = {"name": name, "description": experiment.spec.describe(), **reporting}
    if scale == "smoke":
        settings = TrainingSettings(**experiment.settings | {"epochs": 1, "batch_size": 32, "device": device})
        model = seeded_model(experiment.spec, settings)
        few: Callable[..., Images] = smoke_numbers if data == "house-numbers" else smoke_digits
        record = fit(model, few("train"), few("validation"), settings, **run)
        return model.cpu(), record

    usual: dict[str, Any] = {"epochs": experiment.epochs, "device": device, "compile": can_compile()}
    settings = TrainingSettings(**usual | experiment.settings)
    folder = project_root() / "runs" / name
    model = seeded_model(experiment.spec, settings)
    if (folder / "record.json").is_file():
        record = json.loads((folder / "record.json").read_text())
        if "test" in record:
            load_weights(folder / "weights.safetensors", model)
            return model.eval(), record
    train = load_data(data, "train", seed=settings.seed)
    validation, test = (load_data(data, split) for split in ("validation", "test"))
    fit(model, train, validation, settings, run_dir=folder, **run)
    return model.cpu(), test_once(model, folder, test)


def load_data(
    data: DataName, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any
) -> Images:
    """A split of the data that a model is for: of MNIST or SVHN, unless another source is named.

    The options go to `load_cluttered` or `load_house_number_images`.
    """
    if data == "house-numbers":
        return load_house_number_images(split, source=source or "svhn", root=root, **options)
    return load_cluttered(split, source=source or "mnist", root=root, **options)


def smoke_digits(split: Literal["train", "validation"]) -> ClutteredMNIST:
    """A few embedded digits in clutter, fresh each epoch for `train`."""
    digits = load_digits(split, source="embedded").subset(SMOKE_DIGITS[split])
    return ClutteredMNIST(digits, seed=SEEDS[split], fresh=split == "train")


def smoke_numbers(split: Literal["train", "validation"]) -> HouseNumberImages:
    """A few rendered house numbers; those of `train` are disturbed and as many composed ones come with them."""
    return project_images(render_numbers(split, SMOKE_NUMBERS[split]))


def seeded_model(spec: ModelSpec, settings: TrainingSettings) -> nn.Module:
    """A model whose initial weights come from the settings' seed."""
    seed_everything(settings.seed)
    return spec.build()


def test_once(model: nn.Module, run_dir: str | Path, test_data: Images) -> Record:
    """Evaluate a finished run's model on the test set, in all its `ways` of answering if it has several, and keep the
    results in the run's record. Which images it got wrong stands there too, so that runs compare image by image."""
    path = Path(run_dir) / "record.json"
    record = json.loads(path.read_text())
    record["data"]["test"] = test_data.describe()
    seed, ways = record["settings"]["seed"], getattr(model, "ways", {})
    seed_everything(seed)  # a model that chooses at random draws the same whenever it is tested
    result = evaluate(model, test_data)
    record["test"] = {**result.as_record(), "wrong": result.wrong.nonzero().flatten().tolist()}
    for way, options in ways.items():
        seed_everything(seed)
        record.setdefault("test_ways", {})[way] = evaluate(model, test_data, **options).as_record()
    save_record(path, record)
    return record


def load_run(run_dir: str | Path) -> tuple[str, nn.Module]:
    """Name and trained model, in eval mode on the CPU, of a finished run of one of the `ModelSpec` models.

    Raises FileNotFoundError for an unfinished run, ValueError for one of another model.
    """
    record = finished_record(run_dir)
    if "kind" not in record.get("model", {}):
        raise ValueError(f"{run_dir} holds no run of a model that a ModelSpec names ({', '.join(get_args(Kind))})")
    model = ModelSpec(**record["model"]).build()
    load_weights(Path(run_dir) / "weights.safetensors", model)
    return record["name"], model.eval()


def finished_record(run_dir: str | Path) -> Record:
    """The record of a finished run. Raises FileNotFoundError for an unfinished one."""
    path = Path(run_dir) / "record.json"
    if not path.is_file():
        raise FileNotFoundError(f"{run_dir} holds no finished run: no record.json")
    return json.loads(path.read_text())


def promote(run_dir: str | Path) -> list[Path]:
    """Copy a finished, tested run (or one of `MEASUREMENTS`) into the project: its record to `results/`, and the
    weights of a shipped model to `dcnlib/weights/`. Returns the files written; raises FileNotFoundError or ValueError
    for an unfinished run."""
    record = finished_record(run_dir)
    if "test" not in record and record["name"] not in MEASUREMENTS:
        raise ValueError(f"{run_dir} was not evaluated on the test set: finish it first")
    root, name = project_root(), record["name"]
    written = [root / "results" / f"{name}.json"]
    if name in PRETRAINED:
        model = PRETRAINED[name].build()
        load_weights(Path(run_dir) / "weights.safetensors", model)  # refuses the weights of another model
        written.append(root / "dcnlib" / "weights" / f"{name}.safetensors")
        save_weights(written[1], model)
    save_record(written[0], record)
    return written


def validation_set(scale: Scale) -> ClutteredMNIST:
    """What a notebook evaluates on: at smoke scale 200 embedded digits kept from training, else all 5,000 of them.

    The 5,000 are the validation set of the shipped models, which were trained on none of them.
    """
    check_scale(scale)
    if scale == "smoke":
        return smoke_digits("validation")
    return load_cluttered("all", source="embedded")


def number_validation_set(scale: Scale) -> HouseNumberImages:
    """What a notebook evaluates on: at smoke scale 100 rendered numbers, else the validation photographs of SVHN.

    Where there is no SVHN, all rendered validation numbers stand in for them: look at `.numbers.source`.
    """
    check_scale(scale)
    if scale == "smoke":
        return smoke_numbers("validation")
    try:
        return load_house_number_images("validation", source="svhn")
    except FileNotFoundError:
        return load_house_number_images("validation", source="rendered")


def check_scale(scale: str) -> None:
    """Raise ValueError for an unknown scale."""
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(get_args(Scale))}, got {scale!r}")


def can_compile() -> bool:
    """Whether torch.compile has what it needs here: a GPU, or a C++ compiler and Python's headers for the CPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return torch.cuda.is_available() or (shutil.which(compiler) is not None and headers.is_file())
