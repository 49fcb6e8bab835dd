"""Weights, checkpoints, records, settings and jobs."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from hostile import mutations
from hostile.kinds.kind import Kind, digest
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from dcnlib.models.pretrained import load_trained
from dcnlib.paper.promote import promote
from dcnlib.training.jobs import JobFolder
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.files import PACKAGE
from dcnlib.utils.weights import load_weights, save_weights


class Tiny(nn.Module):
    """A network with a buffer, by the contract that `fit` trains by."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.linear(images.flatten(1)))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.cross_entropy(self(images), labels)
        return loss, {"cross_entropy": loss.detach()}

    def digest(self) -> str:
        return digest(*(value.detach() for value in self.state_dict().values()))


DATA = TensorDataset(torch.rand(8, 1, 2, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4)
SETTINGS = TrainingSettings(epochs=3, batch_size=4, device="cpu")


def good_weights() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        save_weights(path := Path(folder) / "weights", Tiny())
        return [path.read_bytes()]


def read_weights(path: Path) -> str:
    model = Tiny()
    nn.init.ones_(model.linear.weight)
    before = model.digest()
    try:
        load_weights(path, model)
    except Exception:
        assert model.digest() == before, "an error, and yet the model has changed"
        raise
    return model.digest()


class Enough(Exception):
    """The training stops here, as if it were killed."""


def good_checkpoints() -> list[bytes]:
    def stop(figures: dict[str, Any]) -> None:
        raise Enough

    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(Tiny(), DATA, DATA, SETTINGS, run_dir=folder, checkpoint_seconds=0, on_epoch=stop)
        except Enough:
            return [Run(folder).checkpoint_path.read_bytes()]
    raise AssertionError("it didn't stop")


def read_checkpoint(path: Path) -> str:
    model = Tiny()
    record = fit(model, DATA, DATA, SETTINGS, run_dir=path.parent)
    json.dumps(record, allow_nan=False)
    return model.digest()


SHIPPED = ("coarse", "draw", "ram", "dcn-k8-hints", "house-numbers-dcn-k8")


def good_records() -> list[bytes]:
    folder = PACKAGE.parent / "results"
    return [(folder / f"{name}.json").read_bytes() for name in SHIPPED]


def good_settings() -> list[bytes]:
    return [json.dumps(json.loads(record)["settings"]).encode() for record in good_records()]


def read_run(path: Path) -> object:
    """A record with the weights that belong to it, as far as its name still tells which."""
    try:
        name = json.loads(path.read_bytes())["name"]
    except Exception:
        name = None
    weights = PACKAGE / "weights" / f"{name if name in SHIPPED else 'coarse'}.safetensors"
    shutil.copy(weights, Run(path.parent).weights_path)
    trained = load_trained(path.parent)
    trained.check_unseen("validation", trained.source)
    with torch.no_grad():
        trained.model(torch.zeros(1, *trained.task.image_shape))
    return trained.name


def good_jobs() -> list[bytes]:
    settings = json.loads(good_records()[0])["settings"]
    return [json.dumps({"name": "job", "model": {"kind": "coarse"}, "settings": settings, "test": False}).encode()]


def read_job(path: Path) -> str:
    return JobFolder(path.parent).status().state


def read_promoted(path: Path) -> list[str]:
    written = promote(path.parent)
    assert all(place.parent in (Path.cwd() / "results", Path.cwd() / "dcnlib" / "weights") for place in written)
    return [place.name for place in written]


def project(folder: Path) -> None:
    for name in ("dcnlib", "notebooks", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGE / "weights" / "coarse.safetensors", Run(folder / "run").weights_path)


def read_settings(path: Path) -> TrainingSettings:
    settings = json.loads(path.read_text())
    if not isinstance(settings, dict):
        raise TypeError("no settings")
    return TrainingSettings(**settings)


KINDS = (
    Kind("weights", "weights.safetensors", good_weights, read_weights, (mutations.safetensors_header,), whole=True),
    Kind(
        "checkpoint",
        "checkpoint.pt",
        good_checkpoints,
        read_checkpoint,
        (mutations.zip_member,),
        whole=True,
        also=(FloatingPointError,),  # what goes on from it isn't finite
    ),
    Kind("run", "record.json", good_records, read_run, (mutations.json_tree,)),
    Kind(
        "promoted run",
        "run/record.json",
        lambda: good_records()[:1],
        read_promoted,
        (mutations.json_tree,),
        beside=project,
    ),
    Kind("settings", "settings.json", good_settings, read_settings, (mutations.json_tree,), names_file=False),
    Kind("job", "sweep/job/job.json", good_jobs, read_job, (mutations.json_tree,)),
)
