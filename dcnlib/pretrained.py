"""The models of the paper's table by name: how each is built, and the trained weights shipped with the package."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from dcnlib.checkpoints import load_weights
from dcnlib.dcn import DynamicCapacityNetwork, Objective, SingleCapacityNetwork
from dcnlib.draw import DrawClassifier
from dcnlib.layers import CoarseLayers, FineLayers, ScoreLayers, TopLayers
from dcnlib.perturbed_topk import PerturbedTopKNetwork
from dcnlib.ram import RecurrentAttentionModel
from dcnlib.results import PACKAGE, Record
from dcnlib.soft_attention import SoftAttentionNetwork

Kind = Literal["coarse", "fine", "dcn", "ram", "draw", "perturbed-topk", "soft-attention"]
# Which fields of a `ModelSpec` concern which kind of model.
OPTIONS: dict[Kind, tuple[str, ...]] = {
    "coarse": (),
    "fine": (),
    "dcn": ("k", "hint_weight", "objective", "policy"),
    "ram": ("glimpses", "hidden", "sigma", "last_sigma", "sigma_steps", "rollouts", "discount"),
    "draw": ("glimpses", "hidden"),
    "perturbed-topk": ("k", "hint_weight", "objective", "sigma_steps"),
    "soft-attention": (),
}
IMAGE_SHAPE = (1, 100, 100)


@dataclass(frozen=True)
class ModelSpec:
    """Which of the paper's Cluttered MNIST models or of their rivals. `OPTIONS` says what concerns which of them."""

    kind: Kind
    k: int = 8
    hint_weight: float = 0.1
    objective: Objective = "sum"
    policy: str = "entropy-gradient"
    glimpses: int = 8
    hidden: int = 256
    sigma: float = 0.4
    last_sigma: float = 0.1
    sigma_steps: int | None = None
    rollouts: int = 4
    discount: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"model must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")

    def build(self) -> nn.Module:
        """A freshly initialised model (seed first: `seed_everything`)."""
        options: dict[str, Any] = {"image_shape": IMAGE_SHAPE, **self._options()}
        match self.kind:
            case "coarse":
                return SingleCapacityNetwork(layers=CoarseLayers(), top=TopLayers(), **options)
            case "fine":
                return SingleCapacityNetwork(layers=FineLayers(), top=TopLayers(), **options)
            case "dcn":
                return DynamicCapacityNetwork(**_three_boxes(), **options)
            case "ram":
                return RecurrentAttentionModel(**options)
            case "draw":
                return DrawClassifier(**options)
            case "perturbed-topk":
                return PerturbedTopKNetwork(**_three_boxes(), scorer=ScoreLayers(), **options)
            case "soft-attention":
                return SoftAttentionNetwork(**_three_boxes(), scorer=ScoreLayers(), **options)

    def describe(self) -> Record:
        """What a record says of the model. A DCN's policy stands in it where it isn't the paper's."""
        described = {"kind": self.kind, **self._options()}
        if described.get("policy") == ModelSpec.policy:
            del described["policy"]
        return described

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS[self.kind]}


def _three_boxes() -> dict[str, Any]:
    return {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}


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
