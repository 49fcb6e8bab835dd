"""The runs by name, and the measurements: what can be said of them without building a network."""

from collections.abc import Iterable
from dataclasses import dataclass

# Records of measurements: of trained models, and of what the models of all runs cost.
MEASUREMENTS = (
    "benchmark",
    "budgets",
    "clock",
    "clock-again",
    "clock-forms",
    "clock-until-sure",
    "controls",
    "controls-topk",
    "exports",
    "house-numbers-benchmark",
    "house-numbers-budgets",
    "int8",
    "multiplications",
    "page",
    "rivals-benchmark",
    "street-signs-measured",
    "wrong-images",
)
SCALES = (1, 2, 3)
SEEDS = {"coarse": 3, "fine": 1, "dcn-k8": 3}  # how many runs a model has at one scale; it has one at the others


@dataclass(frozen=True)
class NumberRun:
    """A run of a model of house numbers, one of `NUMBER_MODELS`, at so many scales, with a seed.

    recipe: what it is trained with instead of the usual, in the words of its name.
    """

    model: str
    scales: int = 1
    seed: int = 0
    recipe: str = ""

    @property
    def name(self) -> str:
        recipe = f"-{self.recipe}" if self.recipe else ""
        scales = f"-scales{self.scales}" if self.scales > 1 else ""
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"house-numbers-{self.model}{recipe}{scales}{seed}"


NUMBER_RUNS = tuple(
    NumberRun(model, scales, seed)
    for model, seeds in SEEDS.items()
    for scales in SCALES
    for seed in range(seeds if scales == 1 else 1)
)
# The fine model for as many epochs as the others, and what was tried for the aim of 70 % of the coarse model's errors:
# the first prediction trained too, and beginning with the fine model.
LONG_NUMBER_RUNS = tuple(NumberRun("fine", seed=seed, recipe="epochs100") for seed in range(3))
FIRST_SHARE_NUMBERS = NumberRun("dcn-k8", recipe="first-share0.5")
FROM_FINE_NUMBERS = tuple(NumberRun("dcn-k8", seed=seed, recipe="from-fine") for seed in range(3))


# Table 1 with several seeds. A row is called like the run of one seed that has its model.
ROWS = ("coarse", "fine", "dcn-k8-no-hints", "dcn-k8-hints", "perturbed-topk")
STUDY_SEEDS = 3
EQUAL_EPOCHS = 12
TRAIN_KS = (1, 2, 4, 8, 16, 24)
TEST_KS = (0, *TRAIN_KS)  # what every Dynamic Capacity Network of the studies is tested with


@dataclass(frozen=True)
class StudyRun:
    """A run of Cluttered MNIST, with a seed, of one of `STUDY_MODELS`.

    fixed: with one cluttered image for each training digit, as in the paper, instead of fresh clutter each epoch.
    precision: what it is trained under.
    """

    model: str
    epochs: int
    seed: int = 0
    fixed: bool = False
    precision: str = "bfloat16"

    @property
    def name(self) -> str:
        precision = "" if self.precision == "bfloat16" else f"-{self.precision}"
        return f"{'fixed-' if self.fixed else ''}{self.model}-{self.epochs}{precision}-seed{self.seed}"


def _table(epochs: dict[str, int], seeds: dict[str, int], *, fixed: bool = False) -> tuple[StudyRun, ...]:
    """All rows with seed 0, then all with seed 1: seeds come one after another, so that a stopped study is a table."""
    return tuple(
        StudyRun(row, epochs[row], seed, fixed)
        for seed in range(STUDY_SEEDS)
        for row in epochs
        if seed < seeds.get(row, STUDY_SEEDS)
    )


def _seeds(models: Iterable[str]) -> tuple[StudyRun, ...]:
    return tuple(
        StudyRun(model, EQUAL_EPOCHS, seed) for model in models for seed in range(STUDY_SEEDS if model in ROWS else 1)
    )


_LONG = {row: 12 if row == "fine" else 30 for row in ROWS}
# What the table with seeds is told from, each view in the words that its heading has.
VIEWS = {
    f"{EQUAL_EPOCHS} epochs each": _table(dict.fromkeys(ROWS, EQUAL_EPOCHS), {}),
    "trained long": _table(_LONG, {}),
    "the paper's protocol: one fixed cluttered image for each training digit": _table(
        {row: _LONG[row] for row in ROWS if row != "perturbed-topk"}, {"fine": 1}, fixed=True
    ),
}
# The patches trained with by the patches used at test time, and the study of hints: one seed each, but for the rows of
# the table, which have several.
K_RUNS = _seeds(f"dcn-k{k}-hints" for k in TRAIN_KS)
HINT_RUNS = _seeds(f"dcn-k8-{hints}" for hints in ("no-hints", "hints0.01", "hints", "hints1", "relative-hints"))
# What bfloat16 costs: two of the rows again without it. The fine model's would take hours for each seed.
PRECISION_RUNS = tuple(
    StudyRun(model, EQUAL_EPOCHS, seed, precision="float32")
    for model in ("coarse", "dcn-k8-hints")
    for seed in range(STUDY_SEEDS)
)
STUDY_RUNS = {run.name: run for runs in (*VIEWS.values(), K_RUNS, HINT_RUNS, PRECISION_RUNS) for run in runs}


@dataclass(frozen=True)
class EveryKRun:
    """A run, with a seed, of the network that is trained for every budget, or of it with another `choice`."""

    choice: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        return f"dcn-every-k{f'-{self.choice}' if self.choice else ''}{f'-seed{self.seed}' if self.seed else ''}"


@dataclass(frozen=True)
class SignRun:
    """A run, with a seed, of a model of street signs on windows of so many pixels, or, with 0, on whole photographs.

    Whole photographs teach nothing to drawn weights, windows do: each of these but the first begins with the weights of
    another.
    """

    model: str
    window: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        model = "" if self.model == "dcn" else f"-{self.model}"
        window = f"-windows{self.window}" if self.window else ""
        return f"street-signs{model}{window}{f'-seed{self.seed}' if self.seed else ''}"


# From small windows to whole photographs, and what each begins with: a DCN with fine and top layers of the fine model
# and the coarse layers of the coarse one.
SIGN_RUNS: dict[SignRun, tuple[SignRun, ...]] = {
    SignRun("fine", 64): (),
    SignRun("fine", 128): (SignRun("fine", 64),),
    SignRun("fine"): (SignRun("fine", 128),),
    SignRun("coarse", 64): (),
    SignRun("coarse", 128): (SignRun("coarse", 64),),
    SignRun("coarse"): (SignRun("coarse", 128),),
    **{SignRun("dcn", 128, seed): (SignRun("fine"), SignRun("coarse", 128)) for seed in range(STUDY_SEEDS)},
    **{SignRun("dcn", seed=seed): (SignRun("dcn", 128, seed),) for seed in range(STUDY_SEEDS)},
}
# What differs in each run of the ablation, one seed each: the first prediction's share of the loss, how k is drawn, the
# hints, and running means of the weights.
EVERY_K_CHOICES = ("share0", "share0.25", "fixed", "reciprocal", "no-hints", "hints1", "no-means")
EVERY_K_RUNS = (
    *(EveryKRun(seed=seed) for seed in range(STUDY_SEEDS)),
    *(EveryKRun(choice) for choice in EVERY_K_CHOICES),
)
