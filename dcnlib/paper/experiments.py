"""The runs by name: what a notebook loads or trains, and what `make paper` trains in full."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.models.grid import SpecJob
from dcnlib.models.pretrained import NUMBER_MODELS, PRETRAINED, load_pretrained, load_trained
from dcnlib.models.specs import CoarseSpec, DCNSpec, FineSpec, Spec, seeded_model
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.profiles import Profile, check_profile
from dcnlib.paper.runs import (
    EQUAL_EPOCHS,
    EVERY_K_RUNS,
    FIRST_SHARE_NUMBERS,
    FROM_FINE_NUMBERS,
    LONG_NUMBER_RUNS,
    NUMBER_RUNS,
    ROWS,
    SIGN_RUNS,
    STUDY_RUNS,
    TEST_KS,
    TRAIN_KS,
    SignRun,
)
from dcnlib.training.loop import fit
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.device import Precision, can_compile
from dcnlib.utils.files import project_root
from dcnlib.utils.records import Record, load_record


@dataclass(frozen=True)
class Experiment:
    """A model, how many epochs it is trained, where else its `TrainingSettings` aren't the default, whether its images
    for training are fixed instead of fresh each epoch, the source of all, if it isn't the task's usual one, the
    experiments whose weights it begins with, and which parts stay as they begin."""

    spec: Spec
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)
    fixed: bool = False
    source: str | None = None
    begin: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()


NUMBER_EPOCHS = {"coarse": 100, "fine": 30, "dcn-k8": 100}
EXPERIMENTS: dict[str, Experiment] = {
    "coarse": Experiment(PRETRAINED["coarse"], epochs=10),
    "fine": Experiment(PRETRAINED["fine"], epochs=3),
    "dcn-k8-hints": Experiment(PRETRAINED["dcn-k8-hints"], epochs=10),
    "dcn-k8-no-hints": Experiment(PRETRAINED["dcn-k8-no-hints"], epochs=10),
    "dcn-k8-entropy-gradient": Experiment(DCNSpec(k=8), epochs=3),
    "dcn-k8-random": Experiment(DCNSpec(k=8, policy="random"), epochs=3),
    "dcn-k8-coarse-norm": Experiment(DCNSpec(k=8, policy="coarse-norm"), epochs=3),
    "ram": Experiment(
        PRETRAINED["ram"],
        epochs=45,
        settings={
            "batch_size": 32,
            "learning_rate": 1e-3,
            "warm_up": 0.03,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "compile": False,
        },
    ),
    "draw": Experiment(
        PRETRAINED["draw"],
        epochs=280,
        settings={"learning_rate": 5e-4, "warm_up": 0.05, "clip_norm": 1.0, "precision": "bfloat16"},
    ),
    "perturbed-topk": Experiment(PRETRAINED["perturbed-topk"], epochs=10, settings={"compile": False}),
    "soft-attention": Experiment(PRETRAINED["soft-attention"], epochs=3),
    **{
        run.name: Experiment(
            replace(NUMBER_MODELS[run.model], task=HouseNumbersTask(scales=run.scales)),
            epochs=NUMBER_EPOCHS[run.model],
            settings={"precision": "bfloat16", "seed": run.seed},
        )
        for run in NUMBER_RUNS
    },
}
# The models of `STUDY_RUNS`. Relative hints of weight 1 pull about as hard as the others do with 0.1: the mean squared
# length of the fine vectors that they are divided by is some 10 to 15.
STUDY_MODELS: dict[str, Spec] = {
    **{row: PRETRAINED[row] for row in ROWS},
    **{f"dcn-k{k}-hints": DCNSpec(k=k) for k in TRAIN_KS},
    **{f"dcn-k8-hints{weight:g}": DCNSpec(hint_weight=weight) for weight in (0.01, 1.0)},
    "dcn-k8-relative-hints": DCNSpec(hint="relative", hint_weight=1.0),
}
# The house numbers of machines without photographs: trained on numbers that the library renders, which are everywhere.
RENDERED = "rendered-numbers-dcn-k8"
# Runs that have records as they come: those with several seeds and those of the studies of k and hints, all by one
# recipe, and of house numbers those of rendered ones and of other recipes.
STUDIES: dict[str, Experiment] = {
    RENDERED: Experiment(NUMBER_MODELS["dcn-k8"], epochs=60, settings={"precision": "bfloat16"}, source="rendered"),
    **{
        run.name: Experiment(
            STUDY_MODELS[run.model],
            epochs=run.epochs,
            settings={
                **(EXPERIMENTS[run.model].settings if run.model in EXPERIMENTS else {}),
                **{"precision": run.precision, "seed": run.seed},
            },
            fixed=run.fixed,
        )
        for run in STUDY_RUNS.values()
    },
    **{
        run.name: Experiment(
            NUMBER_MODELS["fine"],
            epochs=NUMBER_EPOCHS["dcn-k8"],
            settings={"precision": "bfloat16", "seed": run.seed},
        )
        for run in LONG_NUMBER_RUNS
    },
    FIRST_SHARE_NUMBERS.name: Experiment(
        DCNSpec(k=8, hint_weight=0.01, first_share=0.5, task=HouseNumbersTask()),
        epochs=NUMBER_EPOCHS["dcn-k8"],
        settings={"precision": "bfloat16"},
    ),
    **{
        run.name: Experiment(
            NUMBER_MODELS["dcn-k8"],
            epochs=NUMBER_EPOCHS["dcn-k8"],
            settings={"precision": "bfloat16", "seed": run.seed},
            begin=(fine.name,),
        )
        for run, fine in zip(FROM_FINE_NUMBERS, LONG_NUMBER_RUNS, strict=True)
    },
}
# One network for every budget. k is a whole number of Python that differs from step to step, for which torch.compile
# would make the step anew each time.
EVERY_K = DCNSpec(k=16, first_share=0.5, training_k="uniform")
EVERY_K_MODELS: dict[str, Spec] = {
    "share0": replace(EVERY_K, first_share=0.0),
    "share0.25": replace(EVERY_K, first_share=0.25),
    "fixed": replace(EVERY_K, training_k="fixed"),
    "reciprocal": replace(EVERY_K, training_k="reciprocal"),
    "no-hints": replace(EVERY_K, hint_weight=0.0),
    "hints1": replace(EVERY_K, hint_weight=1.0),
}
STUDIES |= {
    run.name: Experiment(
        EVERY_K_MODELS.get(run.choice, EVERY_K),
        epochs=EQUAL_EPOCHS,
        settings={
            "precision": "bfloat16",
            "compile": False,
            "seed": run.seed,
            "mean_decay": None if run.choice == "no-means" else 0.999,
        },
    )
    for run in EVERY_K_RUNS
}


# Street signs. One network for every budget again.
SIGN_MODELS: dict[str, type[Spec]] = {"fine": FineSpec, "coarse": CoarseSpec}
# Epochs, images a step and learning rates by model and side of the windows, set so that two CPU cores are enough; 0 are
# whole photographs. Batches are small, since it is steps that the networks lack.
SIGN_EPOCHS = {"fine": {64: 120, 128: 20, 0: 8}, "coarse": {64: 300, 128: 80, 0: 20}, "dcn": {128: 40, 0: 30}}
SIGN_BATCHES = {64: 16, 128: 16, 0: 4}
SIGN_RATES = {64: 3e-3, 128: 2e-3, 0: 1e-3}
# In bfloat16 a CPU takes longer for coarse layers, most of whose convolutions are of one channel.
SIGN_PRECISIONS = {"fine": "bfloat16", "coarse": "float32", "dcn": "float32"}


def _sign_spec(run: SignRun) -> Spec:
    task = StreetSignsTask(window=run.window)
    return replace(PRETRAINED["street-signs"], task=task) if run.model == "dcn" else SIGN_MODELS[run.model](task=task)


STUDIES |= {
    run.name: Experiment(
        _sign_spec(run),
        epochs=SIGN_EPOCHS[run.model][run.window],
        settings={
            "precision": SIGN_PRECISIONS[run.model],
            "compile": False,
            "seed": run.seed,
            "mean_decay": 0.99,
            "batch_size": SIGN_BATCHES[run.window],
            "learning_rate": SIGN_RATES[run.window],
        },
        begin=tuple(each.name for each in before),
        # Nothing but the coarse layers of a DCN learns, since its fine and top layers know signs already.
        freeze=("fine", "top") if run.model == "dcn" else (),
    )
    for run, before in SIGN_RUNS.items()
}


def run_experiment(
    name: str, *, profile: Profile, device: str = "auto", precision: Precision | None = None, **reporting: Any
) -> tuple[nn.Module | None, Record]:
    """A model of `EXPERIMENTS` or `STUDIES` in eval mode on the CPU, and the record of its run.

    smoke: trained here and now on a few images for one epoch (`Task.smoke`); nothing is written.
    fast: shipped weights (None where none are shipped) and the committed record.
    paper: trained in full in `runs/NAME` of the project, resumed if it was interrupted, loaded if it is finished; the
    test set is looked at once, at the end. `reporting` (`progress`, `on_epoch`) goes to `fit`.

    precision: of a training in full, instead of the experiment's own.
    """
    check_profile(profile)
    experiment = find_experiment(name)
    task = experiment.spec.task
    if profile == "fast":
        return (load_pretrained(name) if name in PRETRAINED else None), load_record(name)

    if profile == "smoke":
        run: dict[str, Any] = {"name": name, "description": experiment.spec.describe(), **reporting}
        few: dict[str, Any] = {"epochs": 1, "batch_size": 32, "device": device, "precision": "auto"}
        settings = TrainingSettings(**experiment.settings | few)
        model = seeded_model(experiment.spec, settings)
        record = fit(model, task.smoke("train"), task.smoke("validation"), settings, **run)
        return model.cpu(), record

    job, kept = experiment_job(name, device=device, precision=precision), Run(project_root() / "runs" / name)
    if job.finished(kept):
        trained = load_trained(kept.folder)
        return trained.model, trained.record
    return job.run(kept, **reporting).cpu(), kept.read_record()


def full_record(name: str, *, profile: Profile, device: str = "auto") -> Record:
    """The record of an experiment in full: in the `paper` profile that of its run here, otherwise the committed one."""
    check_profile(profile)
    return run_experiment(name, profile=profile, device=device)[1] if profile == "paper" else load_record(name)


def experiment_job(name: str, *, device: str = "auto", precision: Precision | None = None) -> SpecJob:
    """The job that trains an experiment in full, as its recorded run was trained, and tests it once.

    precision: instead of the experiment's own, for processors that are slow at that.
    """
    experiment = find_experiment(name)
    usual: dict[str, Any] = {"epochs": experiment.epochs, "device": device, "compile": can_compile()}
    chosen = {} if precision is None else {"precision": precision}
    settings = TrainingSettings(**usual | experiment.settings | chosen)
    ks = TEST_KS if name in STUDIES and isinstance(experiment.spec, DCNSpec) else ()
    images: dict[str, Any] = {"source": experiment.source, "fixed": experiment.fixed}
    return SpecJob(
        name=name,
        spec=experiment.spec,
        settings=settings,
        test=True,
        test_ks=ks,
        begin=tuple(map(Path, experiment.begin)),
        freeze=experiment.freeze,
        **images,
    )


def find_experiment(name: str) -> Experiment:
    """An experiment of `EXPERIMENTS` or `STUDIES`. Raises ValueError for an unknown name."""
    known = EXPERIMENTS | STUDIES
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}, got {name!r}")
    return known[name]
