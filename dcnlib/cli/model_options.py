"""The options that name a model: its kind, its task, and what may be chosen about either."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Self

import tyro
from tyro.conf import arg

from dcnlib.cli.options import differences, flag, one_of
from dcnlib.models.own_pictures import OwnPicturesTask
from dcnlib.models.specs import SPECS, DCNSpec, Spec
from dcnlib.models.tasks import CLUTTERED_MNIST, TASKS
from dcnlib.utils.files import user_path

DATA = arg(
    metavar="NAME|FOLDER",
    help=f"what the model is for: {', '.join(TASKS)}; or a folder of your own pictures, with a subfolder for each "
    "class, or a table of them (CSV with the columns file and label). house-numbers and pictures of your own have "
    "options of their own",
)
IMAGES_FROM: dict[str, Any] = {
    "metavar": "NAME",
    "help": "of the images: "
    + ", ".join(f"{' or '.join(task.sources)} for {name}" for name, task in TASKS.items())
    + "; the last of each is always at hand",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Which kind of model, for which task."""

    model: Annotated[str, one_of(SPECS)] = DCNSpec.kind
    """Which of the paper's models, or of their rivals. Each has options of its own: see --model KIND --help."""
    data: Annotated[str, DATA] = CLUTTERED_MNIST.name


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Kind):
    """The model that is asked for. The spec of a model for pictures of one's own has no task yet: see `is_own`."""

    spec: Spec = field(default_factory=DCNSpec)

    @property
    def is_own(self) -> bool:
        """Whether the data are pictures of one's own."""
        return self.data not in TASKS

    @classmethod
    def asked_for(cls, arguments: list[str], prog: str) -> Self:
        """The kind of model that the arguments ask for, with its options as they are by default.

        Raises ValueError for options that only other models have, and for data that there are none of.
        """
        kind, _ = tyro.cli(Kind, args=arguments, prog=prog, return_unknown_args=True, add_help=False)
        given = {argument.split("=")[0].replace("_", "-") for argument in arguments if argument.startswith("--")}
        own, task = SPECS[kind.model], TASKS.get(kind.data, OwnPicturesTask)
        check_data(kind.data)
        if kind.model not in task.kinds:
            raise ValueError(f"models of {task.name} are {', '.join(task.kinds)}, got {kind.model!r}")
        if strange := sorted(given & _flags(SPECS.values()) - _flags([own])):
            options = ", ".join(flag(option.name) for option in fields(own) if option.name != "task") or "none"
            raise ValueError(f"{own.kind} models have no {', '.join(strange)}; their options are {options}")
        if strange := sorted(given & _flags(TASKS.values()) - _flags([task])):
            raise ValueError(f"{task.name} has no {', '.join(strange)}")
        if "--last-sigma" in given and "--sigma-steps" not in given:
            raise ValueError("--last-sigma is what sigma falls to in --sigma-steps: give both")
        spec = own() if task is OwnPicturesTask else own(task=task())
        return cls(model=kind.model, data=kind.data, spec=spec)

    def flags_given(self) -> list[str]:
        """The options in which this isn't the model that is taken if none is named."""
        usual = ModelOptions()
        told = [name for name in differences(self, usual) if name != "spec"]
        if not told:
            told = [*differences(self.spec, usual.spec)]
        return list(map(flag, told))


def check_data(data: str) -> None:
    """Raise ValueError for what is neither a task's name nor a place."""
    if data not in TASKS and not user_path(data).exists():
        raise ValueError(
            f"--data must be one of {', '.join(TASKS)}, or a folder of your own pictures or a table (CSV) of them; "
            f"there is no {data}"
        )


def _flags(classes: Iterable[type]) -> set[str]:
    return {flag(option.name) for one in classes for option in fields(one)} - {"--task"}
