"""The clock for the rivals: milliseconds an image of each model of our Table 1, side by side.

The models are untrained: how long one takes doesn't depend on its weights.
"""

from collections.abc import Callable

import numpy as np

from dcnlib.benchmark import BenchmarkSettings, check_compiler
from dcnlib.cluttered import ClutteredMNIST
from dcnlib.cost import count_multiplications
from dcnlib.digits import load_digits
from dcnlib.evaluation import to_device
from dcnlib.experiments import EXPERIMENTS
from dcnlib.number_benchmark import eager_and_compiled
from dcnlib.results import Record, environment
from dcnlib.tables import TITLES
from dcnlib.training import resolve_device


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
