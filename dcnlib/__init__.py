"""Dynamic Capacity Networks (Almahairi et al., ICML 2016, arXiv 1511.07838): learn, run and extend them.

The names of the library, and its rooms (CONTRIBUTING.md shows them). Each is imported at its first use, so that what
needs no torch doesn't wait for it.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from dcnlib import moved

if TYPE_CHECKING:
    from dcnlib.analysis.cost import count_multiplications as count_multiplications
    from dcnlib.core.dcn import Attention as Attention
    from dcnlib.core.dcn import DynamicCapacityNetwork as DynamicCapacityNetwork
    from dcnlib.core.geometry import Geometry as Geometry
    from dcnlib.core.multiscale import MultiScaleNetwork as MultiScaleNetwork
    from dcnlib.core.network import SingleCapacityNetwork as SingleCapacityNetwork
    from dcnlib.core.patches import extract_patches as extract_patches
    from dcnlib.core.saliency import entropy as entropy
    from dcnlib.core.saliency import saliency_map as saliency_map
    from dcnlib.core.selection import select_patches as select_patches
    from dcnlib.data.cluttered_mnist import ClutteredMNIST as ClutteredMNIST
    from dcnlib.data.cluttered_mnist import load_cluttered as load_cluttered
    from dcnlib.inference.compile import compile_for_inference as compile_for_inference
    from dcnlib.inference.predict import predict as predict
    from dcnlib.models.cluttered_mnist import CoarseLayers as CoarseLayers
    from dcnlib.models.cluttered_mnist import FineLayers as FineLayers
    from dcnlib.models.cluttered_mnist import TopLayers as TopLayers
    from dcnlib.models.pretrained import load_model as load_model
    from dcnlib.models.pretrained import load_pretrained as load_pretrained
    from dcnlib.training.evaluation import evaluate as evaluate
    from dcnlib.training.loop import fit as fit
    from dcnlib.training.settings import TrainingSettings as TrainingSettings
    from dcnlib.utils.device import seed_everything as seed_everything
    from dcnlib.utils.records import load_record as load_record

__all__ = [
    "Attention",
    "ClutteredMNIST",
    "CoarseLayers",
    "DynamicCapacityNetwork",
    "FineLayers",
    "Geometry",
    "MultiScaleNetwork",
    "SingleCapacityNetwork",
    "TopLayers",
    "TrainingSettings",
    "compile_for_inference",
    "count_multiplications",
    "entropy",
    "evaluate",
    "extract_patches",
    "fit",
    "load_cluttered",
    "load_model",
    "load_pretrained",
    "load_record",
    "predict",
    "saliency_map",
    "seed_everything",
    "select_patches",
]

_PLACES = {
    "count_multiplications": "dcnlib.analysis.cost",
    "Attention": "dcnlib.core.dcn",
    "DynamicCapacityNetwork": "dcnlib.core.dcn",
    "Geometry": "dcnlib.core.geometry",
    "MultiScaleNetwork": "dcnlib.core.multiscale",
    "SingleCapacityNetwork": "dcnlib.core.network",
    "extract_patches": "dcnlib.core.patches",
    "entropy": "dcnlib.core.saliency",
    "saliency_map": "dcnlib.core.saliency",
    "select_patches": "dcnlib.core.selection",
    "ClutteredMNIST": "dcnlib.data.cluttered_mnist",
    "load_cluttered": "dcnlib.data.cluttered_mnist",
    "compile_for_inference": "dcnlib.inference.compile",
    "predict": "dcnlib.inference.predict",
    "CoarseLayers": "dcnlib.models.cluttered_mnist",
    "FineLayers": "dcnlib.models.cluttered_mnist",
    "TopLayers": "dcnlib.models.cluttered_mnist",
    "load_model": "dcnlib.models.pretrained",
    "load_pretrained": "dcnlib.models.pretrained",
    "load_record": "dcnlib.utils.records",
    "evaluate": "dcnlib.training.evaluation",
    "fit": "dcnlib.training.loop",
    "TrainingSettings": "dcnlib.training.settings",
    "seed_everything": "dcnlib.utils.device",
}
_ROOMS = (
    "analysis",
    "core",
    "data",
    "explorer",
    "inference",
    "models",
    "paper",
    "plots",
    "rivals",
    "training",
    "utils",
)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"dcnlib.{name}")
    return moved.find(name)


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]


sys.meta_path.append(moved.Finder())
