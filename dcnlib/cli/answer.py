"""Commands that ask a trained model: predict and evaluate."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg, create_mutex_group

from dcnlib.analysis.until_sure import Point, evaluate_until_sure
from dcnlib.cli.model_options import IMAGES_FROM
from dcnlib.cli.options import AnyWeights, Device, Flag, Root, by_default
from dcnlib.cli.terminal import printable
from dcnlib.data.house_numbers.images import TEST_DISTURBANCE
from dcnlib.data.pictures import read_picture
from dcnlib.inference.predict import Prediction, look_options
from dcnlib.inference.predict import predict as predict_pictures
from dcnlib.inference.runtimes import Runtime, load_in_runtime
from dcnlib.models.pretrained import Trained
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.training.evaluation import Evaluation
from dcnlib.training.evaluation import evaluate as evaluate_model
from dcnlib.utils.device import resolve_device
from dcnlib.utils.files import atomic_write

SOME_PICTURES_FAILED = 1
LIGHT_OR_DARK = create_mutex_group(required=False, title="light or dark")
InRuntime = Annotated[Runtime | None, by_default("torch, or what an exported file is made for")]
Nats = Annotated[float | None, by_default("the one that came with the weights", metavar="NATS")]
MostPatches = Annotated[int | None, by_default("those of the calibration, or 16", metavar="INT")]
Patches = Annotated[int | None, by_default("the model's own number", metavar="INT", aliases=["--patches"])]


def predict(
    pictures: Positional[Annotated[tuple[Path, ...], arg(metavar="PICTURE...", help_behavior_hint="(required)")]],
    *,
    weights: AnyWeights = "dcn-k8-hints",
    runtime: InRuntime = None,
    k: Patches = None,
    until_sure: Flag = False,
    entropy_below: Nats = None,
    max_k: MostPatches = None,
    invert: Annotated[Flag, LIGHT_OR_DARK] = False,
    no_invert: Annotated[Flag, LIGHT_OR_DARK] = False,
    save: Annotated[Path | None, by_default("nowhere", metavar="FILE|FOLDER")] = None,
    device: Device = "auto",
) -> int:
    """Say what pictures show, how sure the model is, what it saw at first glance, and where it looked.

    Without --invert or --no-invert, the model's task decides whether dark ink on a light ground is inverted, and that
    is said. A picture that can't be read is told, the others are answered, and the exit status is 1.

    Args:
        pictures: files, in colour or grey and of any size: PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, or .npy
        runtime: what computes; a model that isn't an exported file is exported for it
        k: patches an image, for models that choose them
        until_sure: as many patches for each picture as it takes, instead of --k
        entropy_below: how sure, with --until-sure: a picture is when its entropy is below this
        max_k: most patches a picture, with --until-sure
        invert: take light for dark in every picture
        no_invert: take every picture as it is
        save: draw patches and answer on the picture: in a file that ends in .png, or each of several in a folder, under
            its own name
    """
    if not pictures:
        raise ValueError("name at least one picture")
    trained = load_in_runtime(weights, runtime, k=k)
    _check_patches(trained, k)
    how: dict[str, Any] = {"k": k, "until_sure": until_sure, "entropy_below": entropy_below, "max_k": max_k}
    look_options(trained, **how)  # what doesn't go together is told once, not for each picture
    inverted = True if invert else False if no_invert else None
    status = 0
    kept = _places(save, pictures)
    for path, place in zip(pictures, kept, strict=True):
        try:
            picture = read_picture(path)
            (prediction,) = predict_pictures(trained, picture, invert=inverted, device=device, **how)
        except (ValueError, OSError) as error:
            print(f"dcnlib predict: error: {printable(str(error))}", file=sys.stderr, flush=True)
            status = SOME_PICTURES_FAILED
            continue
        print("\n  ".join(map(printable, _told(prediction))), flush=True)
        if place is not None:
            from dcnlib.plots.photograph import draw_answer  # matplotlib takes its time

            drawn = draw_answer(picture.pixels, prediction.boxes, _caption(prediction))
            atomic_write(place, lambda file, drawn=drawn: drawn.save(file, format="PNG"))  # type: ignore[misc]
            print(f"  drawn in {printable(str(place))}", flush=True)
    return status


def _told(prediction: Prediction) -> list[str]:
    told = [str(prediction)]
    if prediction.first_answer is not None:
        told.append(f"at first glance {prediction.first_answer}, entropy {prediction.first_entropy:.2f} nats")
    if len(prediction.boxes):
        boxes = prediction.boxes.round().int().tolist()
        told.append("looked at " + " ".join(f"{top},{left}-{bottom},{right}" for top, left, bottom, right in boxes))
    return told


def _caption(prediction: Prediction) -> list[str]:
    """What stands below a picture with an answer."""
    told = [f"{prediction.answer} ({100 * prediction.probability:.1f} %)"]
    if prediction.first_answer is not None and len(prediction.boxes):
        told.append(
            f"at first glance {prediction.first_answer}, entropy {prediction.first_entropy:.2f} nats; "
            f"after {len(prediction.boxes)} patches {prediction.entropy:.2f}"
        )
    return told


def _places(save: Path | None, pictures: Sequence[Path]) -> list[Path | None]:
    """Where each picture is drawn: in a file, if there is one picture, or else in a folder, under its own name, or one
    of a number more where that is a picture's already.

    Raises ValueError for a file that isn't a PNG, that is to hold several pictures, or that is the picture itself.
    """
    if save is None:
        return [None] * len(pictures)
    given = {path.resolve() for path in pictures}
    if save.suffix and not save.is_dir():
        if save.suffix.lower() != ".png" or len(pictures) > 1:
            raise ValueError(f"--save takes a name that ends in .png for one picture, or a folder for many, got {save}")
        if save.resolve() in given:
            raise ValueError(f"--save would write the drawing over the picture {save}: give another name")
        return [save]
    places: list[Path | None] = []
    for path in pictures:
        names = (f"{path.stem}{'' if number == 1 else f'-{number}'}.png" for number in itertools.count(1))
        free = (save / name for name in names)
        places.append(next(place for place in free if place not in places and place.resolve() not in given))
    return places


def evaluate(
    *,
    weights: AnyWeights,
    runtime: InRuntime = None,
    split: Annotated[str | None, by_default("validation", metavar="NAME")] = None,
    source: Annotated[str | None, by_default("the one that the model was trained on", **IMAGES_FROM)] = None,
    root: Root = None,
    k: Patches = None,
    entropy_below: Annotated[float | None, by_default("the same patches for all", metavar="NATS")] = None,
    max_k: MostPatches = None,
    disturbance_seed: Annotated[int | None, by_default("undisturbed", metavar="INT")] = None,
    device: Device = "auto",
) -> None:
    """Measure the error of a trained model, by default on the validation images of the source that it was trained on.

    Images that it was trained on are only measured if their split is named, with a warning.

    Args:
        split: of the images: train, validation, test or all, where the source has it
        runtime: what computes; a model that isn't an exported file is exported for it
        k: patches an image, for models that choose them
        entropy_below: look at each image until its entropy is below this
        max_k: most patches an image, with --entropy-below
        disturbance_seed: shift and rescale each image, drawn by this seed, for house-numbers
    """
    trained = load_in_runtime(weights, runtime, k=k)
    _check_patches(trained, k)
    if entropy_below is not None and k is not None:
        raise ValueError("--k gives all images the same patches, --entropy-below each its own: give one of them")
    if max_k is not None and entropy_below is None:
        raise ValueError("--max-k is for --entropy-below")
    if entropy_below is not None:  # an exported file can't
        look_options(trained, until_sure=True, entropy_below=entropy_below, max_k=max_k)
    options: dict[str, Any] = {}
    if disturbance_seed is not None:
        if not isinstance(trained.task, HouseNumbersTask):
            raise ValueError(
                f"--disturbance-seed is for models of {HouseNumbersTask.name}, this one is for {trained.task.name}"
            )
        options = {"disturbance": TEST_DISTURBANCE, "seed": disturbance_seed}
    model = trained.model.to(resolve_device(device))
    data = trained.load_data(split, source=source, root=root, **options)
    found: Point | Evaluation
    if entropy_below is not None:
        found = evaluate_until_sure(model, data, entropy_below, max_k=max_k)
        told = f", {found.patches:.2f} patches and {found.multiplications / 1e6:.2f}M multiplications an image"
    else:
        found, told = evaluate_model(model, data, k=k), ""
    disturbed = f", shifted and rescaled by seed {disturbance_seed}" if options else ""
    named = split or "validation"
    print(f"{named} error {found.rate} on {len(data)} images, source {data.describe()['source']}{disturbed}{told}")


def _check_patches(trained: Trained, k: int | None) -> None:
    if k is not None and "k" not in trained.spec.options():
        raise ValueError(f"--k is for models that choose patches, dcn and perturbed-topk; this is {trained.spec.kind}")
