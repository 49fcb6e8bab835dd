"""Trained models by name, shipped with the package, or from the folder of a run."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from torch import nn

from dcnlib.models.specs import NUMBER_MODELS, Kind, ModelSpec
from dcnlib.training.run import finished_record
from dcnlib.utils.files import PACKAGE
from dcnlib.utils.weights import load_weights


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


PRETRAINED: dict[str, ModelSpec] = {
    "coarse": ModelSpec("coarse"),
    "fine": ModelSpec("fine"),
    "dcn-k8-hints": ModelSpec("dcn", k=8),
    "dcn-k8-no-hints": ModelSpec("dcn", k=8, hint_weight=0.0),
    "ram": ModelSpec("ram", sigma_steps=45000),
    "draw": ModelSpec("draw"),
    "perturbed-topk": ModelSpec("perturbed-topk", k=8),
    "soft-attention": ModelSpec("soft-attention"),
    "house-numbers-coarse": NUMBER_MODELS["coarse"],
    "house-numbers-fine": NUMBER_MODELS["fine"],
    "house-numbers-dcn-k8": NUMBER_MODELS["dcn-k8"],
    "house-numbers-dcn-k8-scales3": replace(NUMBER_MODELS["dcn-k8"], scales=3),
}


def load_pretrained(name: str) -> nn.Module:
    """A trained model in eval mode on the CPU. `load_record(name)` tells how it was trained and what errors it makes.

    Raises ValueError for an unknown name.
    """
    if name not in PRETRAINED:
        raise ValueError(f"name must be one of {', '.join(PRETRAINED)}, got {name!r}")
    model = PRETRAINED[name].build()
    load_weights(PACKAGE / "weights" / f"{name}.safetensors", model)
    return model.eval()
