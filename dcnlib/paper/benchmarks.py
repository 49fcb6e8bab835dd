"""The clocks of this project: the models of house numbers, and the models of Table 1 with their rivals.

And what the models of all experiments cost without a clock.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dcnlib.analysis.cost import count_multiplications
from dcnlib.analysis.speed import BenchmarkSettings, Milliseconds, check_compiler, per_image
from dcnlib.data.cluttered_mnist import ClutteredMNIST
from dcnlib.data.digits import load_digits
from dcnlib.data.house_numbers.images import project_images
from dcnlib.data.house_numbers.rendered import render_numbers
from dcnlib.inference.compile import compile_for_inference
from dcnlib.inference.exported import ExportedNetwork
from dcnlib.models.pretrained import Trained
from dcnlib.models.specs import SPECS
from dcnlib.models.tasks import MOST_SCALES, HouseNumbersTask
from dcnlib.paper.experiments import EXPERIMENTS
from dcnlib.paper.reported import TITLES
from dcnlib.utils.device import resolve_device, to_device
from dcnlib.utils.records import Record, environment

BATCH = 32


def run_number_benchmark(settings: BenchmarkSettings, *, report: Callable[[str], None] = lambda what: None) -> Record:
    """Measure every model as it is and compiled, in as many rounds as the settings say, in a quarter of an hour on two
    CPU cores. `report` is told what is being done.

    Raises ValueError where torch.compile has no C++ compiler, or the device isn't there.
    """
    device = resolve_device(settings.device)
    check_compiler()
    images = to_device(project_images(render_numbers("validation", BATCH))[np.arange(BATCH)], device)[0]
    tasks = [HouseNumbersTask(scales=scales) for scales in range(1, MOST_SCALES + 1)]
    specs = {
        f"{kind} at {task.scales} scales": SPECS[kind](task=task) for kind in HouseNumbersTask.kinds for task in tasks
    }
    models = {name: spec.build().to(device).eval() for name, spec in specs.items()}
    times = eager_and_compiled(models, images, settings.rounds, report)
    rows = [
        {
            **specs[name].describe(),
            "multiplications": count_multiplications(model).total,
            "milliseconds": times[name],
        }
        for name, model in models.items()
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


def run_rivals_benchmark(settings: BenchmarkSettings, *, report: Callable[[str], None] = lambda what: None) -> Record:
    """Measure every model as it is and compiled, on the settings' largest batch, in as many rounds as they say.
    `report` is told what is being done.

    Raises ValueError where torch.compile has no C++ compiler, or the device isn't there.
    """
    device = resolve_device(settings.device)
    check_compiler()
    batch = max(settings.batches)
    data = ClutteredMNIST(load_digits("all", source="embedded"), seed=0)
    images = to_device(data[np.arange(batch)], device)[0]
    models = {name: EXPERIMENTS[name].spec.build().to(device).eval() for name in TITLES}
    times = eager_and_compiled(models, images, settings.rounds, report)
    return {
        "name": "rivals-benchmark",
        "settings": {"batch": batch, "rounds": settings.rounds, "device": settings.device},
        "models": {
            name: {"multiplications": count_multiplications(model).total, "milliseconds": times[name]}
            for name, model in models.items()
        },
        **environment(device.type),
    }


def run_model_benchmark(
    trained: Trained, settings: BenchmarkSettings, *, report: Callable[[str], None] = lambda what: None
) -> Record:
    """Measure one trained model as it is and compiled, or an exported one as it is, on each of the settings' batches,
    in as many rounds as they say. `report` is told what is being done.

    Raises ValueError where torch.compile has no C++ compiler, or the device isn't there.
    """
    device = resolve_device(settings.device)
    check_compiler()
    data = trained.task.smoke("validation") if trained.task.smoke_counts else None
    model = trained.model.to(device)
    inference = []
    for batch in settings.batches:
        if data is None:  # pictures of one's own may be elsewhere, and what they show takes no time
            images = torch.rand(batch, *trained.task.image_shape, device=device)
        else:
            images = to_device(data[np.arange(batch) % len(data)], device)[0]
        report(f"batch {batch}")
        if isinstance(model, ExportedNetwork):
            times = per_image({"exported": model}, images, settings.rounds)
        else:
            times = eager_and_compiled({trained.name: model}, images, settings.rounds, report)[trained.name]
        inference.append({"batch": batch, "milliseconds": times})
    return {
        "name": f"{trained.name}-benchmark",
        "settings": {"batches": settings.batches, "rounds": settings.rounds, "device": settings.device},
        "model": trained.spec.describe(),
        "multiplications": count_multiplications(trained.spec.build(), trained.task.image_shape).total,
        "inference": inference,
        **environment(device.type),
    }


def count_experiments() -> Record:
    """Count the multiplications for one image of the model of every experiment.

    The tables read them from this record, so that they need no network, nor torch.
    """
    return {
        "name": "multiplications",
        "models": {
            name: count_multiplications(experiment.spec.build()).total for name, experiment in EXPERIMENTS.items()
        },
        **environment("cpu"),
    }
