"""The command that writes models for other runtimes."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.cli.options import SOURCE, Flag, by_default
from dcnlib.inference.export import Part, export_model
from dcnlib.inference.formats import SUFFIXES, Format
from dcnlib.inference.quantised import calibration_images
from dcnlib.models.pretrained import load_trained


def export(
    source: Positional[Annotated[str, arg(metavar="SOURCE", help=SOURCE["help"])]],
    file: Positional[Annotated[Path, arg(metavar="FILE")]],
    *,
    to: Annotated[Format | None, by_default("by FILE's ending")] = None,
    k: Annotated[int | None, by_default("the model's own number", metavar="INT", aliases=["--patches"])] = None,
    part: Part = "whole",
    outputs: Annotated[tuple[str, ...], by_default("all that the model has", metavar="NAME...")] = (),
    int8: Flag = False,
) -> None:
    """Write a trained model to a file that ONNX Runtime, OpenVINO or PyTorch runs, at batches of any size.

    FILE ends in .onnx, .xml (OpenVINO's, with its weights in a .bin beside it) or .pt2. predict, evaluate and
    benchmark take the first two as --weights. The file tells task, classes, preprocessing, record and versions.

    Args:
        file: where to
        to: the format
        k: patches an image, for models that choose them
        part: the whole; or, to vary k from call to call, first (what is known before a patch is chosen) and refine
        outputs: of logits, boxes, cells, coarse_logits, entropy and saliency
        int8: convolutions and products in 8 bits, for ONNX and OpenVINO, in the ranges that training images fill, for
            pictures of your own those that it was trained on; the answers are then nearly the model's
    """
    formats: dict[str, Format] = {suffix: name for name, suffix in SUFFIXES.items()}
    if to is None and file.suffix not in formats:
        raise ValueError(f"FILE must end in one of {', '.join(formats)}, got {file}")
    trained = load_trained(source)
    about = export_model(
        trained,
        file,
        to or formats[file.suffix],
        k=k,
        part=part,
        outputs=outputs or None,
        calibration=calibration_images(trained.task, source=trained.source, root=trained.folder) if int8 else None,
    )
    for what in ("inputs", "outputs"):
        for name, tensor in about[what].items():
            print(f"{what[:-1]:<8}{name:<15}{tensor['dtype']:<9}({', '.join(map(str, tensor['shape']))})")
    print(f"kept in {file}")
