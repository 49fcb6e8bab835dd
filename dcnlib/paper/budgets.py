"""Networks at every budget, side by side: errors against average multiplications, and beyond the images of training."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from dcnlib.analysis.budgets import budget_curves
from dcnlib.analysis.doubt import compare_stops, doubt_record
from dcnlib.analysis.until_sure import Answers, Point, collect_answers, evaluate_until_sure, point_of, stops
from dcnlib.core.selection import check_k
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.models.task import Images
from dcnlib.training.loading import Data
from dcnlib.utils.checks import check_whole
from dcnlib.utils.device import resolve_device
from dcnlib.utils.records import Record, environment

Report = Callable[[str], None]


@dataclass(frozen=True)
class BudgetSettings:
    """What is measured."""

    multiplications: float = 8e6
    """The average budget an image, for which a threshold is chosen on the validation images."""
    max_k: int = 16
    """Most patches an image."""
    distractors: tuple[int, ...] = (4, 16, 32)
    """Numbers of fragments beyond those of training."""
    sizes: tuple[int, ...] = (150, 200, 400)
    """Sides of canvases beyond those of training, in pixels; the fragments grow in number with the area."""
    beyond: int = 1000
    """Images of each of these."""
    batch_size: int = 50
    """Images a call."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU."""

    def __post_init__(self) -> None:
        check_k(self.max_k)
        check_whole("beyond", self.beyond)
        check_whole("batch_size", self.batch_size)


def run_budgets(
    models: Mapping[str, nn.Module],
    validation: Images,
    data: Images | None = None,
    settings: BudgetSettings = BudgetSettings(),
    *,
    report: Report = lambda what: None,
) -> Record:
    """Each network with a fixed k and looking until it is sure, with the saliency of the first look and anew.

    The threshold is chosen on the validation images and used on all others. data: images that are looked at once, such
    as test images; the record then holds their curves beside those of validation. Beyond: the first images of `data`
    (or of validation) with other numbers of fragments and on other canvases. Moves the models to the settings' device.
    """
    device, start = resolve_device(settings.device), time.perf_counter()
    record: Record = {
        "name": "budgets",
        "settings": asdict(settings),
        "validation": validation.describe(),
        "models": {},
    }
    if data is not None:
        record["data"] = data.describe()
    for name, model in models.items():
        report(name)
        record["models"][name] = _of_model(model.to(device), validation, data, settings, report)
    record["wall_seconds"] = round(time.perf_counter() - start, 1)
    return {**record, **environment(device.type)}


def _of_model(
    model: nn.Module,
    validation: Images,
    data: Images | None,
    settings: BudgetSettings,
    report: Report,
) -> Record:
    answers = _collect(model, validation, settings)
    within = [p for p in budget_curves(answers).budgeted if p.multiplications <= settings.multiplications]
    if not within:
        raise ValueError(f"no threshold keeps within {settings.multiplications:g} multiplications")
    threshold = within[0].entropy_below
    assert threshold is not None
    told: Record = {
        "threshold": within[0].as_record(),
        "validation": _curves(model, validation, answers, threshold, settings),
    }
    if data is not None:
        told["data"] = _curves(model, data, _collect(model, data, settings), threshold, settings)
    usual = validation if data is None else data
    if not isinstance(usual, ClutteredMNIST):
        return told
    told["beyond"] = []
    free = _for_any_canvas(model)
    for images in beyond(usual, settings):
        report(f"{images.rules}")
        answers = _collect(free, images, settings)
        told["beyond"].append(
            {
                "data": images.describe(),
                "fixed": [point.as_record() for point in budget_curves(answers, points=2).anytime],
                "until_sure": point_of(answers, stops(answers.doubt, threshold), threshold).as_record(),
                "doubt": doubt_record(answers),
            }
        )
    return told


def _curves(model: nn.Module, data: Data, answers: Answers, threshold: float, settings: BudgetSettings) -> Record:
    curves = budget_curves(answers, points=40)
    anew: Point = evaluate_until_sure(
        model, data, threshold, max_k=settings.max_k, batch_size=settings.batch_size, anew=True
    )
    return {
        "fixed": [{"k": k, **point.as_record()} for k, point in zip(answers.ks, curves.anytime, strict=True)],
        "budgeted": [point.as_record() for point in curves.budgeted],
        "until_sure": point_of(answers, stops(answers.doubt, threshold), threshold).as_record(),
        "anew": anew.as_record(),
        "stops": compare_stops(answers, threshold),
        "doubt": doubt_record(answers),
    }


def beyond(data: ClutteredMNIST, settings: BudgetSettings) -> list[ClutteredMNIST]:
    """The first of a set's digits among other numbers of fragments, and on larger canvases as densely strewn."""
    digits, usual = data.digits.subset(min(settings.beyond, len(data))), data.rules
    rules = [replace(usual, distractors=count) for count in settings.distractors]
    for size in settings.sizes:
        fragments = round(usual.distractors * size**2 / usual.size**2)
        rules.append(replace(usual, size=size, distractors=fragments))
    return [ClutteredMNIST(digits, rules=each, seed=data.seed) for each in rules]


def _collect(model: nn.Module, data: Data, settings: BudgetSettings) -> Answers:
    return collect_answers(model, data, max_k=settings.max_k, batch_size=settings.batch_size)


def _for_any_canvas(model: nn.Module) -> nn.Module:
    """The same network, sharing its layers, for images of any size: its top has a global pool."""
    free: Any = copy.copy(model)
    free.image_shape = None
    return free
