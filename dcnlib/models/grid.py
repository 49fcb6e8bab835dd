"""Jobs that train the models of a spec, names that say what a run is, and grids of jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from dcnlib.data.house_numbers.images import COMPOSED
from dcnlib.models.pretrained import load_trained
from dcnlib.models.specs import Spec
from dcnlib.models.start import begin_with
from dcnlib.models.task import Images, Task
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.training.jobs import Job
from dcnlib.training.run import Run
from dcnlib.training.settings import TrainingSettings
from dcnlib.utils.records import Record

ELSEWHERE = {"device", "workers"}  # settings that say where a run is trained, not what it is
SETTINGS = tuple(field.name for field in fields(TrainingSettings))


@dataclass(frozen=True, kw_only=True)
class SpecJob(Job):
    """Train a spec's model on its task's images: of a source, looked for in `root`. Training images are drawn by the
    settings' seed, fresh each epoch unless they are to be fixed.

    test_ks: numbers of patches that the model is tested with beside its own. It begins with others as `begin_with` has
    it. freeze: parts of the model, such as fine, that stay as they begin.
    """

    spec: Spec
    source: str | None = None
    root: Path | None = None
    fixed: bool = False
    test_ks: tuple[int, ...] = ()
    freeze: tuple[str, ...] = ()

    def build(self) -> nn.Module:
        return self.spec.build()

    def load(self, split: str) -> Images:
        drawn: dict[str, Any] = {"seed": self.settings.seed} if split == "train" else {}
        if split == "train" and self.fixed:
            drawn["fresh"] = False
        return self.spec.task.load(split, source=self.source, root=self.root, **drawn)

    def describe(self) -> Record:
        return self.spec.describe()

    def start(self, model: nn.Module, begin: Sequence[Run]) -> Record | None:
        told = [begin_with(model, load_trained(before.folder)) for before in begin]
        for part in self.freeze:
            model.get_submodule(part).eval().requires_grad_(False)
        return {"parts": told} if len(told) > 1 else told[0] if told else None

    def ways(self, model: nn.Module) -> dict[str, dict[str, Any]]:
        return super().ways(model) | {f"k{k}": {"k": k} for k in self.test_ks}


def run_name(
    spec: Spec,
    settings: TrainingSettings,
    *,
    source: str | None = None,
    composed: float = COMPOSED,
    of: str | None = None,
    also: Mapping[str, str | int] = {},
) -> str:
    """A name for a run that no run of another model, other settings or other images has: the task (or `of` what it is,
    for pictures of one's own) and the kind of model, the number of patches, and whatever else isn't as usual, `also`
    what neither of them tells."""
    patches = {"k": spec.options()["k"]} if "k" in spec.options() else {}
    told = patches | _differences(spec, type(spec)(task=spec.task)) | _chosen(spec.task)
    told |= _differences(settings, TrainingSettings())
    if source not in (None, next(iter(spec.task.sources))):
        told["source"] = source
    if composed != COMPOSED:
        told["composed"] = composed
    told |= also
    task = f"{of}-" if of else "" if spec.task == CLUTTERED_MNIST else f"{spec.task.name}-"
    return _name(task + spec.kind, told)


def grid(bases: Iterable[SpecJob], options: Mapping[str, Sequence[Any]]) -> list[SpecJob]:
    """Each of the jobs with each combination of options: names of its settings or of its model's options, with values.

    What a job's model doesn't have isn't varied for it. A job's name tells what differs from the one that it came from:
    "fine-epochs3-seed1" from "fine". Raises ValueError for an option that no job has.
    """
    kept = list(bases)
    if strange := options.keys() - {*SETTINGS, *(name for job in kept for name in job.spec.options())}:
        raise ValueError(f"neither training nor any of these models has {', '.join(sorted(strange))}")
    return list(dict.fromkeys(job for base in kept for job in _varied(base, options)))


def _varied(base: SpecJob, options: Mapping[str, Sequence[Any]]) -> Iterator[SpecJob]:
    own = [name for name in options if name in SETTINGS or name in base.spec.options()]
    for values in product(*(options[name] for name in own)):
        chosen = dict(zip(own, values, strict=True))
        spec = _with(base.spec, {name: value for name, value in chosen.items() if name not in SETTINGS})
        settings = _with(base.settings, {name: value for name, value in chosen.items() if name in SETTINGS})
        told = _differences(spec, base.spec) | _differences(settings, base.settings)
        yield replace(base, name=_name(base.name, told), spec=spec, settings=settings)


def _with(options: Any, values: dict[str, Any]) -> Any:
    """A dataclass with other values; a whole number where a float is usual is that float: 1 and 1.0 are one job."""
    usual = {name: getattr(options, name) for name in values}
    floats = {name: float(value) for name, value in values.items() if isinstance(usual[name], float)}
    return replace(options, **values | floats)


def _differences(options: Any, usual: Any) -> dict[str, Any]:
    """The fields in which a dataclass differs from the usual one, but for those that change no result."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name not in ELSEWHERE and getattr(options, field.name) != getattr(usual, field.name)
    }


def _chosen(task: Task) -> dict[str, Any]:
    """The options of a task that aren't as usual; what has no usual value is told otherwise."""
    usual = {field.name: field.default for field in fields(task) if field.default is not MISSING}
    return {name: getattr(task, name) for name, value in usual.items() if getattr(task, name) != value}


def _name(beginning: str, told: dict[str, Any]) -> str:
    """Words speak for themselves; numbers need to be told what they are."""
    parts = []
    for option, value in told.items():
        number = "" if value is True else str(value).removesuffix(".0")
        parts.append(value if isinstance(value, str) else f"{option.replace('_', '-')}{number}")
    return "-".join([beginning, *parts])
