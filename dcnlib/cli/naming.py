"""How a run is called that nobody gave a name."""

from typing import Any

from dcnlib.cli.options import differences
from dcnlib.data.house_numbers.images import COMPOSED
from dcnlib.models.specs import Spec
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.training.settings import TrainingSettings

ELSEWHERE = {"device", "workers"}  # settings that say how a run is trained here, not what it is


def run_name(spec: Spec, settings: TrainingSettings, *, source: str | None = None, composed: float = COMPOSED) -> str:
    """A name for a run that no run of another model, other settings or other images has: the task and the kind of
    model, the number of patches, and whatever else isn't as usual."""
    usual = type(spec)(task=spec.task)
    patches = {"k": spec.options()["k"]} if "k" in spec.options() else {}
    told = patches | differences(spec, usual) | differences(spec.task, type(spec.task)())
    told |= {
        option: value for option, value in differences(settings, TrainingSettings()).items() if option not in ELSEWHERE
    }
    if source not in (None, next(iter(spec.task.sources))):
        told["source"] = source
    if composed != COMPOSED:
        told["composed"] = composed
    task = "" if spec.task == CLUTTERED_MNIST else f"{spec.task.name}-"
    return "-".join([task + spec.kind, *(_part(option, value) for option, value in told.items())])


def _part(option: str, value: Any) -> str:
    """How a name tells an option: words speak for themselves, numbers need to be told what they are."""
    if isinstance(value, str):
        return value
    number = "" if value is True else str(value).removesuffix(".0")
    return f"{option.replace('_', '-')}{number}"
