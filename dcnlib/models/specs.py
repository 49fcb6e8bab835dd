"""Which of the paper's models or of their rivals, for which data, with which options, and how it is built."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from dcnlib.core.dcn import DynamicCapacityNetwork, Objective
from dcnlib.core.multiscale import MultiScaleNetwork
from dcnlib.core.network import SingleCapacityNetwork
from dcnlib.models.cluttered_mnist import CoarseLayers, FineLayers, ScoreLayers, TopLayers
from dcnlib.models.house_numbers import (
    CoarseNumberLayers,
    FineNumberLayers,
    NumberTopLayers,
    fine_on_whole_images,
    number_pyramid,
)
from dcnlib.rivals.draw import DrawClassifier
from dcnlib.rivals.perturbed_topk import PerturbedTopKNetwork
from dcnlib.rivals.ram import RecurrentAttentionModel
from dcnlib.rivals.soft_attention import SoftAttentionNetwork
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import seed_everything
from dcnlib.utils.records import Record

DataName = Literal["cluttered-mnist", "house-numbers"]
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
NUMBER_KINDS: tuple[Kind, ...] = ("coarse", "fine", "dcn")
MOST_SCALES = 3  # of house numbers; at a fourth, they would be smaller than what a cell sees


@dataclass(frozen=True)
class ModelSpec:
    """Which of the paper's models or of their rivals, and for which data. `OPTIONS` says what concerns which of them.

    Models of house numbers see them at 1, 2 or 3 scales; there are no rivals of them.
    """

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
    data: DataName = "cluttered-mnist"
    scales: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"model must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.data not in get_args(DataName):
            raise ValueError(f"data must be one of {', '.join(get_args(DataName))}, got {self.data!r}")
        if self.data == "house-numbers" and self.kind not in NUMBER_KINDS:
            raise ValueError(f"models of house numbers are {', '.join(NUMBER_KINDS)}, got {self.kind!r}")
        most = MOST_SCALES if self.data == "house-numbers" else 1
        if not 1 <= self.scales <= most:
            raise ValueError(f"scales must be 1..{most} for {self.data}, got {self.scales}")

    def build(self) -> nn.Module:
        """A freshly initialised model (seed first: `seed_everything`)."""
        if self.data == "house-numbers":
            return self._build_for_numbers()
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

    def _build_for_numbers(self) -> nn.Module:
        pyramid = number_pyramid(self.scales)
        options: dict[str, Any] = {"image_shape": (1, *pyramid.canvas_shape), **self._options()}
        top = NumberTopLayers(pyramid.regions)
        network: SingleCapacityNetwork | DynamicCapacityNetwork
        if self.kind == "dcn":
            network = DynamicCapacityNetwork(coarse=CoarseNumberLayers(), fine=FineNumberLayers(), top=top, **options)
        else:
            layers = CoarseNumberLayers() if self.kind == "coarse" else fine_on_whole_images()
            network = SingleCapacityNetwork(layers=layers, top=top, **options)
        return network if self.scales == 1 else MultiScaleNetwork(network, pyramid)

    def describe(self) -> Record:
        """What a record says of the model. A DCN's policy stands in it where it isn't the paper's, and data and scales
        where the data isn't Cluttered MNIST."""
        described = {"kind": self.kind, **self._options()}
        if described.get("policy") == ModelSpec.policy:
            del described["policy"]
        if self.data != ModelSpec.data:
            described |= {"data": self.data, "scales": self.scales}
        return described

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS[self.kind]}


def _three_boxes() -> dict[str, Any]:
    return {"coarse": CoarseLayers(), "fine": FineLayers(), "top": TopLayers()}


# The models of house numbers at one scale.
NUMBER_MODELS: dict[str, ModelSpec] = {
    "coarse": ModelSpec("coarse", data="house-numbers"),
    "fine": ModelSpec("fine", data="house-numbers"),
    "dcn-k8": ModelSpec("dcn", k=8, hint_weight=0.01, data="house-numbers"),
}


def seeded_model(spec: ModelSpec, settings: TrainingSettings) -> nn.Module:
    """A model whose initial weights come from the settings' seed."""
    seed_everything(settings.seed)
    return spec.build()
