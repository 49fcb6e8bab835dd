"""The recorded runs by name: what a notebook loads or trains, and what `make paper` trains in full."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.data.cluttered_mnist import ClutteredMNIST, load_cluttered
from dcnlib.data.house_numbers.images import HouseNumberImages, load_house_number_images
from dcnlib.models.pretrained import PRETRAINED, load_pretrained
from dcnlib.models.specs import NUMBER_MODELS, DataName, ModelSpec, seeded_model
from dcnlib.paper.profiles import Scale, check_scale, smoke_digits, smoke_numbers
from dcnlib.paper.records import load_record
from dcnlib.paper.runs import NUMBER_RUNS
from dcnlib.training.loop import fit
from dcnlib.training.run import test_once
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import can_compile
from dcnlib.utils.files import project_root
from dcnlib.utils.records import Record
from dcnlib.utils.weights import load_weights

Images = ClutteredMNIST | HouseNumberImages


@dataclass(frozen=True)
class Experiment:
    """A model, how many epochs it is trained, and where else its `TrainingSettings` aren't the default."""

    spec: ModelSpec
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)


NUMBER_EPOCHS = {"coarse": 100, "fine": 30, "dcn-k8": 100}
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
    **{
        run.name: Experiment(
            replace(NUMBER_MODELS[run.model], scales=run.scales),
            epochs=NUMBER_EPOCHS[run.model],
            settings={"precision": "bfloat16", "seed": run.seed},
        )
        for run in NUMBER_RUNS
    },
}


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
