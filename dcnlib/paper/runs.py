"""The recorded runs of house numbers, and the measurements: what can be said of them without building a network."""

from dataclasses import dataclass

# Records of measurements: of trained models, and of what the models of all runs cost.
MEASUREMENTS = ("benchmark", "controls", "house-numbers-benchmark", "multiplications", "rivals-benchmark")
SCALES = (1, 2, 3)
SEEDS = {"coarse": 3, "fine": 1, "dcn-k8": 3}  # how many runs a model has at one scale; it has one at the others


@dataclass(frozen=True)
class NumberRun:
    """A run of a model of house numbers, one of `NUMBER_MODELS`, at so many scales, with a seed."""

    model: str
    scales: int = 1
    seed: int = 0

    @property
    def name(self) -> str:
        scales = f"-scales{self.scales}" if self.scales > 1 else ""
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"house-numbers-{self.model}{scales}{seed}"


NUMBER_RUNS = tuple(
    NumberRun(model, scales, seed)
    for model, seeds in SEEDS.items()
    for scales in SCALES
    for seed in range(seeds if scales == 1 else 1)
)
