"""Old names and module paths, which work for one release with a warning that says where they are now."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Names that stood at the top of the library, and the module where each is now.
NAMES = {
    "ClutterRules": "dcnlib.data.cluttered_mnist",
    "CoarseNumberLayers": "dcnlib.models.house_numbers",
    "Digits": "dcnlib.data.digits",
    "Disturbance": "dcnlib.data.house_numbers.images",
    "DrawClassifier": "dcnlib.rivals.draw",
    "DrawLook": "dcnlib.rivals.draw",
    "EXPERIMENTS": "dcnlib.paper.experiments",
    "ErrorRate": "dcnlib.utils.statistics",
    "Evaluation": "dcnlib.training.evaluation",
    "FineNumberLayers": "dcnlib.models.house_numbers",
    "HouseNumberImages": "dcnlib.data.house_numbers.images",
    "HouseNumbers": "dcnlib.data.house_numbers.numbers",
    "ModelSpec": "dcnlib.models.specs",
    "Multiplications": "dcnlib.analysis.cost",
    "NumberTopLayers": "dcnlib.models.house_numbers",
    "POLICIES": "dcnlib.core.policies",
    "PRETRAINED": "dcnlib.models.pretrained",
    "PerturbedTopKNetwork": "dcnlib.rivals.perturbed_topk",
    "Pyramid": "dcnlib.core.multiscale",
    "RamLook": "dcnlib.rivals.ram",
    "RecurrentAttentionModel": "dcnlib.rivals.ram",
    "SoftAttentionNetwork": "dcnlib.rivals.soft_attention",
    "SoftLook": "dcnlib.rivals.soft_attention",
    "TEST_DISTURBANCE": "dcnlib.data.house_numbers.images",
    "TRAINING_DISTURBANCE": "dcnlib.data.house_numbers.images",
    "attention_pass": "dcnlib.core.saliency",
    "class_score_gradient": "dcnlib.core.policies",
    "covered_size": "dcnlib.core.geometry",
    "derive_geometry": "dcnlib.core.geometry",
    "label_loss_gradient": "dcnlib.core.policies",
    "load_digits": "dcnlib.data.digits",
    "load_house_number_images": "dcnlib.data.house_numbers.images",
    "load_house_numbers": "dcnlib.data.house_numbers.load",
    "load_weights": "dcnlib.utils.weights",
    "number_pyramid": "dcnlib.models.house_numbers",
    "number_text": "dcnlib.data.house_numbers.numbers",
    "number_validation_set": "dcnlib.paper.profiles",
    "oracle_scores": "dcnlib.core.policies",
    "project_root": "dcnlib.utils.files",
    "receptive_field": "dcnlib.core.geometry",
    "resolve_device": "dcnlib.utils.device",
    "run_experiment": "dcnlib.paper.experiments",
    "save_weights": "dcnlib.utils.weights",
    "validation_set": "dcnlib.paper.profiles",
}
# Modules that lay flat in the package, and where what they held is now. Three of them are rooms of the same name now.
MODULES = {
    "dcnlib.attention": (
        "dcnlib.core.saliency",
        "dcnlib.core.policies",
        "dcnlib.core.selection",
        "dcnlib.utils.modules",
    ),
    "dcnlib.benchmark": (
        "dcnlib.analysis.speed",
        "dcnlib.analysis.memory",
    ),
    "dcnlib.checkpoints": (
        "dcnlib.training.checkpoint",
        "dcnlib.utils.weights",
    ),
    "dcnlib.checks": ("dcnlib.utils.checks",),
    "dcnlib.clock": ("dcnlib.utils.timing",),
    "dcnlib.cluttered": ("dcnlib.data.cluttered_mnist",),
    "dcnlib.composition": ("dcnlib.data.house_numbers.composition",),
    "dcnlib.controls": (
        "dcnlib.analysis.ablation",
        "dcnlib.utils.statistics",
    ),
    "dcnlib.cost": ("dcnlib.analysis.cost",),
    "dcnlib.dcn": (
        "dcnlib.core.patches",
        "dcnlib.core.look",
        "dcnlib.core.dcn",
        "dcnlib.core.network",
        "dcnlib.utils.checks",
    ),
    "dcnlib.digits": (
        "dcnlib.data.digits",
        "dcnlib.utils.files",
    ),
    "dcnlib.draw": ("dcnlib.rivals.draw",),
    "dcnlib.evaluation": (
        "dcnlib.training.evaluation",
        "dcnlib.utils.device",
    ),
    "dcnlib.experiments": (
        "dcnlib.paper.experiments",
        "dcnlib.models.pretrained",
        "dcnlib.models.specs",
        "dcnlib.paper.profiles",
        "dcnlib.paper.promote",
        "dcnlib.training.run",
        "dcnlib.utils.device",
        "dcnlib.paper.earlier",
    ),
    "dcnlib.explorer": ("dcnlib.explorer.state",),
    "dcnlib.explorer_plots": ("dcnlib.explorer.plots",),
    "dcnlib.house_numbers": (
        "dcnlib.data.house_numbers.numbers",
        "dcnlib.data.house_numbers.load",
        "dcnlib.paper.reported",
    ),
    "dcnlib.inference": ("dcnlib.inference.compile",),
    "dcnlib.layers": (
        "dcnlib.models.cluttered_mnist",
        "dcnlib.core.passes",
    ),
    "dcnlib.looks": ("dcnlib.analysis.looks",),
    "dcnlib.number_benchmark": ("dcnlib.paper.benchmarks",),
    "dcnlib.number_images": ("dcnlib.data.house_numbers.images",),
    "dcnlib.number_layers": ("dcnlib.models.house_numbers",),
    "dcnlib.number_targets": ("dcnlib.paper.aims",),
    "dcnlib.passes": (
        "dcnlib.core.passes",
        "dcnlib.core.patches",
    ),
    "dcnlib.patches": (
        "dcnlib.core.geometry",
        "dcnlib.core.patches",
    ),
    "dcnlib.perturbed_topk": ("dcnlib.rivals.perturbed_topk",),
    "dcnlib.pretrained": (
        "dcnlib.models.specs",
        "dcnlib.models.pretrained",
        "dcnlib.models.task",
        "dcnlib.models.tasks",
        "dcnlib.paper.earlier",
    ),
    "dcnlib.ram": ("dcnlib.rivals.ram",),
    "dcnlib.rendered_numbers": ("dcnlib.data.house_numbers.rendered",),
    "dcnlib.results": (
        "dcnlib.utils.records",
        "dcnlib.utils.files",
        "dcnlib.utils.statistics",
    ),
    "dcnlib.rival_benchmark": ("dcnlib.paper.benchmarks",),
    "dcnlib.scales": ("dcnlib.core.multiscale",),
    "dcnlib.soft_attention": ("dcnlib.rivals.soft_attention",),
    "dcnlib.svhn": ("dcnlib.data.house_numbers.svhn",),
    "dcnlib.tables": (
        "dcnlib.paper.tables",
        "dcnlib.paper.benchmark_tables",
        "dcnlib.paper.markdown",
        "dcnlib.paper.reported",
    ),
    "dcnlib.training": (
        "dcnlib.training.loop",
        "dcnlib.training.settings",
        "dcnlib.utils.device",
    ),
    "dcnlib.uploads": ("dcnlib.data.pictures", "dcnlib.data.preparation"),
    "dcnlib.widgets": ("dcnlib.explorer.widgets",),
}


def find(name: str, module: str = "dcnlib") -> Any:
    """What stood at the top of the library, or in a module that is a room now, under this name.

    Raises AttributeError for a name that never did.
    """
    places = MODULES.get(module, (NAMES[name],) if name in NAMES else ())
    if not name.startswith("__"):
        for place in places:
            there = importlib.import_module(place)
            found = getattr(there, name, None)
            if found is not None:
                _warn(f"{module}.{name}", getattr(there, "INSTEAD", {}).get(name, f"{place}.{name}"))
                return found
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


class Finder(MetaPathFinder):
    """Finds the modules that lay flat in the package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Loader()) if fullname in MODULES else None


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run: each name is looked up where it is now."""


class _Moved(ModuleType):
    """A module of an old path: its names are those of the modules that hold them now."""

    def __getattr__(self, name: str) -> Any:
        return find(name, self.__name__)


def _warn(old: str, new: str) -> None:
    # The warning points at the code that used the old name, past this package and the import system.
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("dcnlib", "importlib")):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{old} has moved: use {new}", DeprecationWarning, stacklevel=level)
