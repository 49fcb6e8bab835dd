"""The models of the paper's table by name: how each is built, and the trained weights shipped with the package."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from torch import nn

from dcnlib.checkpoints import load_weights
from dcnlib.dcn import DynamicCapacityNetwork, Objective, SingleCapacityNetwork
from dcnlib.layers import CoarseLayers, FineLayers, TopLayers
from dcnlib.results import PACKAGE, Record

Kind = Literal["coarse", "fine", "dcn"]
IMAGE_SHAPE = (1, 100, 100)


@dataclass(frozen=True)
class ModelSpec:
    """Which of the paper's Cluttered MNIST models. k, hint_weight and objective concern the DCN only."""

    kind: Kind
    k: int = 8
    hint_weight: float = 0.1
    objective: Objective = "sum"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"model must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")

    def build(self) -> nn.Module:
        """A freshly initialised model (seed first: `seed_everything`)."""
        if self.kind == "dcn":
            return DynamicCapacityNetwork(
                coarse=CoarseLayers(),
                fine=FineLayers(),
                top=TopLayers(),
                k=self.k,
                image_shape=IMAGE_SHAPE,
                hint_weight=self.hint_weight,
                objective=self.objective,
            )
        layers = CoarseLayers() if self.kind == "coarse" else FineLayers()
        return SingleCapacityNetwork(layers=layers, top=TopLayers(), image_shape=IMAGE_SHAPE)

    def describe(self) -> Record:
        return asdict(self) if self.kind == "dcn" else {"kind": self.kind}


PRETRAINED: dict[str, ModelSpec] = {
    "coarse": ModelSpec("coarse"),
    "fine": ModelSpec("fine"),
    "dcn-k8-hints": ModelSpec("dcn", k=8),
    "dcn-k8-no-hints": ModelSpec("dcn", k=8, hint_weight=0.0),
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
