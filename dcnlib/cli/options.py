"""Options that several commands have, and how paths are read."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from dcnlib.utils.files import user_path

Flag = Annotated[bool, FlagCreatePairsOff]
SOURCE: dict[str, Any] = {
    "aliases": ["--pretrained"],
    "metavar": "SOURCE",
    "help": "a shipped model by its name, the folder of a finished run, or a file of weights beside its record",
}
Weights = Annotated[str, arg(**SOURCE)]
ANY_SOURCE = SOURCE | {"help": f"{SOURCE['help']}, or an exported file (.onnx, .xml)"}
AnyWeights = Annotated[str, arg(**ANY_SOURCE)]
Root = Annotated[
    Path | None,
    arg(
        metavar="FOLDER",
        help="holds MNIST/raw, SVHN or GTSDB; of pictures of your own, the folder itself",
        help_behavior_hint="(default: $DCNLIB_DATA, or the user's cache)",
    ),
]
Device = Annotated[str, arg(help="auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU")]


def one_of(choices: Iterable[str]) -> PrimitiveConstructorSpec[str]:
    """Marks an option with the list of its allowed values."""
    allowed = tuple(choices)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(allowed)}}}",
        instance_from_str=lambda text: text[0],
        is_instance=lambda value: value in allowed,
        str_from_instance=lambda value: [value],
        choices=allowed,
    )


def by_default(told: str, **options: Any) -> Any:
    """Marks an option whose default is best told in words."""
    return arg(help_behavior_hint=f"(default: {told})", **options)


def flag(name: str) -> str:
    """How an option is spelled on the command line."""
    return f"--{name.replace('_', '-')}"


def differences(options: Any, usual: Any) -> dict[str, Any]:
    """The fields of a dataclass in which it differs from the usual one."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != getattr(usual, field.name)
    }


PATHS = ConstructorRegistry()


@PATHS.primitive_rule
def _path(type_info: Any) -> PrimitiveConstructorSpec[Path] | None:
    """A path may begin with ~, also where the shell leaves it alone, as in --root=~/data."""
    if type_info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda text: user_path(text[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )
