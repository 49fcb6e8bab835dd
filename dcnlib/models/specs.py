"""Which of the paper's models or of their rivals, with which options: one frozen dataclass a kind of model.

An option stands here once: its name, its type, its default and what it means. Command line and records follow.
"""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from dcnlib.core.dcn import DynamicCapacityNetwork, Objective
from dcnlib.core.every_k import TrainingK
from dcnlib.core.hints import Hint
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.models.task import Task
from dcnlib.models.tasks import CLUTTERED_MNIST, make_task
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import seed_everything
from dcnlib.utils.records import Record


@dataclass(frozen=True, kw_only=True)
class Spec(ABC):
    """A kind of model with its options, for a task."""

    kind: ClassVar[str]

    task: Task = CLUTTERED_MNIST
    """What the model is for."""

    def __post_init__(self) -> None:
        for name, value in self.options().items():
            if isinstance(value, np.generic):  # a number of numpy is kept as a plain one, which a record can hold
                object.__setattr__(self, name, value.item())
        if self.kind not in self.task.kinds:
            raise ValueError(f"models of {self.task.name} are {', '.join(self.task.kinds)}, got {self.kind!r}")

    def build(self) -> nn.Module:
        """A freshly initialised model (seed first: `seed_everything`)."""
        # Tensors made in inference mode could never be trained or saved for a backward pass again.
        with torch.inference_mode(False):
            return self._build()

    @abstractmethod
    def _build(self) -> nn.Module:
        """The model of these options."""

    def options(self) -> dict[str, Any]:
        """What may be chosen about this kind of model, and was."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "task"}

    def describe(self) -> Record:
        """What a record says of the model. Policy, hint, share and drawing of k stand in it where they aren't the
        paper's, and the task where it isn't Cluttered MNIST."""
        described = {"kind": self.kind, **self.options(), **self.task.describe()}
        return {name: value for name, value in described.items() if (name, value) not in PAPERS.items()}


PAPERS: Record = {"policy": "entropy-gradient", "hint": "distance", "first_share": 0.0, "training_k": "fixed"}


@dataclass(frozen=True, kw_only=True)
class CoarseSpec(Spec):
    """The coarse model: top layers on the coarse map of the whole image."""

    kind: ClassVar[str] = "coarse"

    def _build(self) -> nn.Module:
        top, layers = self.task.boxes("top", "coarse")
        return self.task.network(SingleCapacityNetwork(layers=layers, top=top, image_shape=self.task.box_shape))


@dataclass(frozen=True, kw_only=True)
class FineSpec(Spec):
    """The fine model: top layers on the fine map of the whole image."""

    kind: ClassVar[str] = "fine"

    def _build(self) -> nn.Module:
        top, layers = self.task.boxes("top", "fine on images")
        return self.task.network(SingleCapacityNetwork(layers=layers, top=top, image_shape=self.task.box_shape))


@dataclass(frozen=True, kw_only=True)
class DCNSpec(Spec):
    """The Dynamic Capacity Network."""

    kind: ClassVar[str] = "dcn"

    k: int = 8
    """Patches per image."""
    hint_weight: float = 0.1
    """Weight of the hints; 0 for none."""
    objective: Objective = "sum"
    """How hints are added to the cross-entropy: "sum", or the paper's "convex" combination."""
    policy: str = PAPERS["policy"]
    """What chooses the patches: entropy-gradient, random, center, coarse-norm or class-score-gradient."""
    hint: Hint = PAPERS["hint"]
    """What hints measure: the squared distance of coarse and fine vectors, or relative, that by the fine ones' squared
    length."""
    first_share: float = PAPERS["first_share"]
    """What the first prediction gets of the loss; 0 in the paper."""
    training_k: TrainingK = PAPERS["training_k"]
    """Patches of a training step: fixed, or drawn from 1..k, uniform or reciprocal, which draws n as often as 1/n
    says."""

    def _build(self) -> nn.Module:
        top, coarse, fine = self.task.boxes("top", "coarse", "fine")
        network = DynamicCapacityNetwork(
            coarse=coarse, fine=fine, top=top, image_shape=self.task.box_shape, **self.options()
        )
        return self.task.network(network)


@dataclass(frozen=True, kw_only=True)
class RAMSpec(Spec):
    """RAM, the recurrent attention model."""

    kind: ClassVar[str] = "ram"

    glimpses: int = 8
    """Looks at each image."""
    hidden: int = 256
    """Units of the recurrent state."""
    sigma: float = 0.4
    """Spread of the locations tried in training; the image is 2 wide."""
    last_sigma: float = 0.1
    """What sigma falls to in `sigma_steps`."""
    sigma_steps: int | None = None
    """Training steps in which sigma falls; it stays as it is if they aren't given."""
    rollouts: int = 4
    """Ways to look tried per training image."""
    discount: float = 0.5
    """What a gain one glimpse later counts."""

    def _build(self) -> nn.Module:
        return RecurrentAttentionModel(image_shape=self.task.image_shape, **self.options())


@dataclass(frozen=True, kw_only=True)
class DrawSpec(Spec):
    """DRAW's attention as a classifier."""

    kind: ClassVar[str] = "draw"

    glimpses: int = 8
    """Looks at each image."""
    hidden: int = 256
    """Units of the recurrent state."""

    def _build(self) -> nn.Module:
        return DrawClassifier(image_shape=self.task.image_shape, **self.options())


@dataclass(frozen=True, kw_only=True)
class PerturbedTopKSpec(Spec):
    """A DCN whose choice of patches is learned, by perturbed top-k."""

    kind: ClassVar[str] = "perturbed-topk"

    k: int = 8
    """Patches per image."""
    hint_weight: float = 0.1
    """Weight of the hints; 0 for none."""
    objective: Objective = "sum"
    """How hints are added to the cross-entropy: "sum", or the paper's "convex" combination."""
    sigma_steps: int | None = None
    """Training steps in which the noise falls to a hundredth; it stays as it is if they aren't given."""

    def _build(self) -> nn.Module:
        coarse, fine, top, scorer = self.task.boxes("coarse", "fine", "top", "scorer")
        return PerturbedTopKNetwork(
            coarse=coarse, fine=fine, top=top, scorer=scorer, image_shape=self.task.box_shape, **self.options()
        )


@dataclass(frozen=True, kw_only=True)
class SoftAttentionSpec(Spec):
    """The fine model, its map weighed by learned scores."""

    kind: ClassVar[str] = "soft-attention"

    def _build(self) -> nn.Module:
        coarse, fine, top, scorer = self.task.boxes("coarse", "fine", "top", "scorer")
        return SoftAttentionNetwork(
            coarse=coarse, fine=fine, top=top, scorer=scorer, image_shape=self.task.box_shape, **self.options()
        )


SPECS: dict[str, type[Spec]] = {
    spec.kind: spec for spec in (CoarseSpec, FineSpec, DCNSpec, RAMSpec, DrawSpec, PerturbedTopKSpec, SoftAttentionSpec)
}


def spec_from_record(model: Record) -> Spec:
    """The spec that a record's account of its model, `record["model"]`, stands for.

    Raises ValueError for an unknown kind, task or option.
    """
    kind, options = model.get("kind"), {name: value for name, value in model.items() if name != "kind"}
    if kind not in SPECS:
        raise ValueError(f"model must be one of {', '.join(SPECS)}, got {kind!r}")
    own = {field.name for field in fields(SPECS[kind])}
    task_options = {name: options.pop(name) for name in list(options) if name not in own and name != "data"}
    task = make_task(options.pop("data", CLUTTERED_MNIST.name), **task_options)
    return SPECS[kind](task=task, **options)


def ModelSpec(kind: str, *, data: str = CLUTTERED_MNIST.name, scales: int = 1, **options: Any) -> Spec:
    """The old way to name a model, for one release: `ModelSpec("dcn", k=4)` is `DCNSpec(k=4)` now."""
    warnings.warn("ModelSpec has given way to CoarseSpec, DCNSpec, ...", DeprecationWarning, stacklevel=2)
    if (data, scales) != (CLUTTERED_MNIST.name, 1):
        options |= {"data": data, "scales": scales}
    return spec_from_record({"kind": kind, **options})


def seeded_model(spec: Spec, settings: TrainingSettings) -> nn.Module:
    """A model whose initial weights come from the settings' seed."""
    seed_everything(settings.seed)
    return spec.build()
