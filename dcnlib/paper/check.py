"""Every shipped weight against its record: does the model still err as often, and on the same images?"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from torch.utils.data import Subset

from dcnlib.models.pretrained import PRETRAINED, Trained, load_trained
from dcnlib.models.task import Images
from dcnlib.models.tasks import CLUTTERED_MNIST
from dcnlib.paper.profiles import validation_set
from dcnlib.training.evaluation import evaluate
from dcnlib.utils.device import seed_everything
from dcnlib.utils.records import Record, environment, load_record
from dcnlib.utils.weights import digest_of, weights_of

LISTS = "wrong-images"  # the record of wrong images that runs' own records don't list
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Outcome:
    """What re-evaluating a model on a split came to: whether it agrees with the record, None if that can't be said, and
    in words how it doesn't or why not."""

    name: str
    split: str
    agrees: bool | None
    told: str


def check_weights(
    names: Collection[str] = tuple(PRETRAINED),
    *,
    first: int | None = None,
    load: Callable[[str], Record] = load_record,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Re-evaluate shipped models on validation and test images, all of them or the `first` so many.

    The wrong images are compared one by one where a record lists them, else their number. On another machine or version
    of torch, an answer that hung on the last digit may fall otherwise. `load`: gives a record by name. `report` is told
    each outcome as it comes.
    """
    lists: Record = {}
    with suppress(FileNotFoundError):
        lists = load(LISTS)["models"]
    outcomes = []
    for name in names:
        trained, record = load_trained(name), load(name)
        listed = lists.get(name, {})
        for split in SPLITS:
            if listed and listed["weights"] != digest_of(weights_of(trained.model)):
                outcome = Outcome(name, split, False, f"these aren't the weights that {LISTS} tells of")
            else:
                outcome = _check(trained, split, record, record[split] | listed.get(split, {}), first)
            outcomes.append(outcome)
            report(outcome)
    return outcomes


def list_wrong_images(
    names: Collection[str] | None = None, *, report: Callable[[str], None] = lambda name: None
) -> Record:
    """Which images shipped models get wrong: by default those models whose own records don't list the test images.

    A new measurement, since records of runs are never changed; `weights` there is the digest of the weights measured.
    Raises FileNotFoundError if images are missing, and ValueError if these are others than the record's.
    """
    if names is None:
        names = [name for name in PRETRAINED if "wrong" not in load_record(name)["test"]]
    models: Record = {}
    for name in names:
        report(name)
        trained = load_trained(name)
        models[name] = {"weights": digest_of(weights_of(trained.model))}
        for split in SPLITS:
            wrong = _wrong_images(trained, _images(trained, split, trained.record["data"][split]))
            models[name][split] = {"errors": len(wrong), "count": trained.record[split]["count"], "wrong": wrong}
    return {"name": LISTS, "models": models, **environment("cpu")}


def _check(trained: Trained, split: str, record: Record, expected: Record, first: int | None) -> Outcome:
    def outcome(agrees: bool | None, told: str) -> Outcome:
        return Outcome(trained.name, split, agrees, told)

    if first is not None and "wrong" not in expected:
        return outcome(None, "the record doesn't list the wrong images, so a part of them can't be compared")
    try:
        images = _images(trained, split, record["data"][split])
    except (OSError, ValueError) as error:
        return outcome(None, f"can't be checked: {error}")
    count = len(images) if first is None else min(first, len(images))
    wrong = _wrong_images(trained, images if count == len(images) else Subset(images, range(count)))  # type: ignore[arg-type]
    if "wrong" not in expected:
        told = f"{len(wrong)} of {count} wrong, {expected['errors']} in the record"
        return outcome(len(wrong) == expected["errors"], told)
    listed = [image for image in expected["wrong"] if image < count]
    new, gone = sorted(set(wrong) - set(listed)), sorted(set(listed) - set(wrong))
    told = f"{len(wrong)} of {count} wrong, {len(listed)} in the record"
    if new or gone:
        told += f"; wrong now: {_few(new)}; right now: {_few(gone)}"
    return outcome(not new and not gone, told)


def _images(trained: Trained, split: str, told: Record) -> Images:
    """Those that a record tells of. Raises FileNotFoundError if they are missing, ValueError if they are other ones."""
    if (trained.task, split) == (CLUTTERED_MNIST, "validation"):
        return validation_set("fast")  # the very images, which are always at hand
    images = trained.task.load(split, source=told["source"])
    found = images.describe()
    if strange := [part for part in told if found.get(part) != told[part]]:
        raise ValueError(f"the images differ from the record's in {', '.join(strange)}")
    return images


def _wrong_images(trained: Trained, images: Images | Subset) -> list[int]:
    seed_everything(trained.record["settings"]["seed"])  # as the run was tested
    return evaluate(trained.model, images).wrong.nonzero().flatten().tolist()


def _few(images: list[int], most: int = 8) -> str:
    more = f" and {len(images) - most} more" if len(images) > most else ""
    return (", ".join(map(str, images[:most])) or "none") + more
