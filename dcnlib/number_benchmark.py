"""The clock for models of house numbers: milliseconds an image of each model at each number of scales, side by side.

The models are untrained: how long one takes doesn't depend on its weights.
"""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor, nn

from dcnlib.benchmark import BenchmarkSettings, Milliseconds, check_compiler, per_image
from dcnlib.cost import count_multiplications
from dcnlib.evaluation import to_device
from dcnlib.inference import compile_for_inference
from dcnlib.number_images import project_images
from dcnlib.pretrained import MOST_SCALES, NUMBER_KINDS, ModelSpec
from dcnlib.rendered_numbers import render_numbers
from dcnlib.results import Record, environment
from dcnlib.training import resolve_device

BATCH = 32


def run_number_benchmark(settings: BenchmarkSettings, *, report: Callable[[str], None] = lambda what: None) -> Record:
    """Measure every model as it is and compiled, in as many rounds as the settings say, in a quarter of an hour on two
    CPU cores. `report` is told what is being done.

    Raises ValueError where torch.compile has no C++ compiler, or the device isn't there.
    """
    device = resolve_device(settings.device)
    check_compiler()
    images = to_device(project_images(render_numbers("validation", BATCH))[np.arange(BATCH)], device)[0]
    specs = [
        ModelSpec(kind, data="house-numbers", scales=scales)
        for kind in NUMBER_KINDS
        for scales in range(1, MOST_SCALES + 1)
    ]
    models = {f"{spec.kind} at {spec.scales} scales": spec.build().to(device).eval() for spec in specs}
    times = eager_and_compiled(models, images, settings.rounds, report)
    rows = [
        {
            **spec.describe(),
            "multiplications": count_multiplications(model).total,
            "milliseconds": times[name],
        }
        for spec, (name, model) in zip(specs, models.items(), strict=True)
    ]
    return {
        "name": "house-numbers-benchmark",
        "settings": {"batch": BATCH, "rounds": settings.rounds, "device": settings.device},
        "models": rows,
        **environment(device.type),
    }


def eager_and_compiled(
    models: Mapping[str, nn.Module], images: Tensor, rounds: int, report: Callable[[str], None]
) -> dict[str, Milliseconds]:
    """Milliseconds an image that each model, in eval mode, takes as it is and compiled, by its name."""
    competitors: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, model in models.items():
        report(f"compiling, {name}")
        competitors[f"{name} eager"] = model
        competitors[f"{name} compiled"] = compile_for_inference(model, images)
    report("inference")
    times = per_image(competitors, images, rounds)
    return {name: {way: times[f"{name} {way}"] for way in ("eager", "compiled")} for name in models}
