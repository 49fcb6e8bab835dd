"""What `dcnlib.experiments` and `dcnlib.pretrained` had that goes by another way now, for one release."""

from pathlib import Path
from typing import Any, Literal

from torch import nn

from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.house_numbers.images import HouseNumberImages
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import SPECS
from dcnlib.models.task import Images
from dcnlib.models.tasks import CLUTTERED_MNIST, ClutteredMNISTTask, HouseNumbersTask, make_task
from dcnlib.paper.profiles import Profile, check_profile
from dcnlib.training.run import Run
from dcnlib.utils.records import Record

Scale = Profile
DataName = Literal["cluttered-mnist", "house-numbers"]
Kind = Literal["coarse", "fine", "dcn", "ram", "draw", "perturbed-topk", "soft-attention"]
OPTIONS = {kind: tuple(spec().options()) for kind, spec in SPECS.items()}
IMAGE_SHAPE = CLUTTERED_MNIST.image_shape
NUMBER_KINDS = HouseNumbersTask.kinds
SMOKE_DIGITS, SMOKE_NUMBERS = ClutteredMNISTTask.smoke_counts, HouseNumbersTask.smoke_counts

# What says each of them now.
INSTEAD = {
    "DataName": "dcnlib.models.tasks.TASKS",
    "IMAGE_SHAPE": "dcnlib.models.tasks.CLUTTERED_MNIST.image_shape",
    "Kind": "dcnlib.models.specs.SPECS",
    "NUMBER_KINDS": "dcnlib.models.tasks.HouseNumbersTask.kinds",
    "OPTIONS": "the options() of a spec, such as dcnlib.models.specs.DCNSpec",
    "SMOKE_DIGITS": "dcnlib.models.tasks.ClutteredMNISTTask.smoke_counts",
    "SMOKE_NUMBERS": "dcnlib.models.tasks.HouseNumbersTask.smoke_counts",
    "Scale": "dcnlib.paper.profiles.Profile",
    "check_scale": "dcnlib.paper.profiles.check_profile",
    "finished_record": "dcnlib.training.run.Run(run_dir).read_record()",
    "load_data": "dcnlib.models.tasks.make_task(data).load(split)",
    "load_run": "dcnlib.models.pretrained.load_trained(run_dir)",
    "smoke_digits": "dcnlib.models.tasks.ClutteredMNISTTask().smoke(split)",
    "smoke_numbers": "dcnlib.models.tasks.HouseNumbersTask().smoke(split)",
    "test_once": "dcnlib.training.run.Run(run_dir).test(model, test_data)",
}


def check_scale(scale: str) -> None:
    """Raise ValueError for an unknown profile."""
    check_profile(scale)


def finished_record(run_dir: str | Path) -> Record:
    """The record of a finished run. Raises FileNotFoundError for an unfinished one."""
    return Run(run_dir).read_record()


def load_data(data: str, split: Any, *, source: Any = None, root: str | Path | None = None, **options: Any) -> Images:
    """A split of the data that a model is for."""
    return make_task(data).load(split, source=source, root=root, **options)


def load_run(run_dir: str | Path) -> tuple[str, nn.Module]:
    """Name and trained model, in eval mode on the CPU, of a finished run."""
    Run(run_dir).read_record()  # a file of weights, or a shipped model, is no run
    trained = load_trained(run_dir)
    return trained.name, trained.model


def smoke_digits(split: str) -> ClutteredMNIST:
    """A few embedded digits in clutter."""
    return ClutteredMNISTTask().smoke(split)


def smoke_numbers(split: str) -> HouseNumberImages:
    """A few rendered house numbers."""
    return HouseNumbersTask().smoke(split)


def test_once(model: nn.Module, run_dir: str | Path, test_data: Images) -> Record:
    """Evaluate a finished run's model on the test set, and keep the results in the run's record."""
    return Run(run_dir).test(model, test_data)
