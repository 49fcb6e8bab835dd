"""The clock of looking until sure: what it takes an image on average, against the fine model in its fastest form.

How long a batch takes depends on its images, so each turn goes through the same many of them, batch after batch. The
thresholds are the highest with which the validation images get no more wrong answers than with the usual k = 8.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from dcnlib.analysis.budgets import thresholds
from dcnlib.analysis.clock import (
    RUNTIMES,
    Call,
    ClockSettings,
    Forms,
    calls_of,
    in_pieces,
    measure_batches,
    named,
    spread,
)
from dcnlib.analysis.until_sure import Answers, collect_answers, point_of, stops
from dcnlib.core.dcn import DynamicCapacityNetwork
from dcnlib.data.cluttered_mnist import ClutteredMNIST, load_cluttered
from dcnlib.inference.until_sure import UntilSure, compile_until_sure, export_until_sure, load_until_sure
from dcnlib.models.pretrained import load_pretrained
from dcnlib.utils.records import Record
from dcnlib.utils.timing import rounds_of, thread_count

MODEL, USUAL_K = "dcn-every-k", 8
IMAGES = 512  # that each turn goes through


@dataclass(frozen=True)
class CloserLook:
    """One round: k patches for who isn't sure below a threshold, and what that came to on the validation images."""

    k: int
    entropy_below: float
    going_on: float  # share of the images
    errors: int
    multiplications: float


def closer_look(answers: Answers, usual_k: int = USUAL_K) -> CloserLook:
    """Of usual_k and the larger k, each with the highest threshold that makes no more errors than usual_k does for all
    images, the one with the fewest multiplications."""
    allowed = int((~answers.right[:, answers.ks.index(usual_k)]).sum())
    looks = [_highest(answers, column, allowed) for column, k in enumerate(answers.ks) if k >= usual_k]
    return min((look for look in looks if look is not None), key=lambda look: look.multiplications)


def _highest(answers: Answers, column: int, allowed: int) -> CloserLook | None:
    k = answers.ks[column]
    pair = Answers((0, k), (answers.costs[0], answers.costs[column]), answers.logits[:, [0, column]], answers.labels)
    for below in reversed(thresholds(pair.doubt)):
        stopped = stops(pair.doubt, below)
        point = point_of(pair, stopped, below)
        if point.rate.errors <= allowed:
            return CloserLook(k, below, float(stopped.double().mean()), point.rate.errors, point.multiplications)
    return None


def run_until_sure_clock(
    settings: ClockSettings,
    *,
    before: Record | None = None,
    keep: Callable[[Record], None] = lambda record: None,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Measure on this machine's CPU, in a quarter of an hour on two cores; see `run_clock`."""
    model = load_pretrained(MODEL)
    assert isinstance(model, DynamicCapacityNetwork)
    data = load_cluttered("all", source="embedded")
    assert isinstance(data, ClutteredMNIST)
    report("errors of each k on the validation images")
    answers = collect_answers(model, data)
    look = closer_look(answers)
    images, _ = data[np.arange(IMAGES)]

    def measure(batch: int, forms: Forms) -> Record:
        return measure_until_sure(model, look, images, batch, settings, forms)

    record = measure_batches("clock-until-sure", settings, measure, before=before, keep=keep, report=report)
    usual = answers.right[:, answers.ks.index(USUAL_K)]
    record["validation"] = {"images": data.describe(), "k": USUAL_K, "errors": int((~usual).sum())}
    keep(record)
    return record


def measure_until_sure(
    model: DynamicCapacityNetwork,
    look: CloserLook,
    images: Tensor,
    batch: int,
    settings: ClockSettings,
    forms: Forms,
) -> Record:
    """Milliseconds an image, in batches of a size, of all forms of the fine model and of every way to look until sure;
    the fastest of both, and how many times faster than the fine model, round by round.

    Where the time goes: of the fastest way, the first glance alone; and of the library's own rounds, what each adds
    and how many of a batch it is for.
    """
    fine = calls_of(("fine",), images[:batch], settings, forms)
    ways = [(form, threads) for form in ("prepared", *RUNTIMES) for threads in sorted({1, torch.get_num_threads()})]
    own = {
        ("until sure", form, batch, threads): _made(model, look, form, images[:batch], threads, forms)
        for form, threads in ways
        if form in settings.forms
    }
    glances = {("glance", *key[1:]): call.glance for key, call in own.items()}
    rounds = {
        (f"rounds up to {k}", "eager", batch, torch.get_num_threads()): _in_rounds(model, k)
        for k in (0, *(2**n for n in range(5)))
    }
    calls = fine | {key: in_pieces(call, images, batch, key[3]) for key, call in (own | glances | rounds).items()}
    forms.report(f"batches of {batch}: {len(calls)} forms take turns")
    with thread_count(torch.get_num_threads()):
        names = {str(key): key for key in calls}
        seconds = rounds_of({name: calls[key] for name, key in names.items()}, settings.rounds)
    counts = {key: batch if key in fine else len(images) for key in calls}
    times = {key: 1e3 * np.asarray(seconds[name]) / counts[key] for name, key in names.items()}
    best = {
        what: min(among, key=lambda key: float(np.median(times[key]))) for what, among in (("fine", fine), ("own", own))
    }
    used = torch.cat([model.adaptive(piece).patches_used for piece in images.split(batch)])
    return {
        "batch": batch,
        "forms": [{**named(key), **spread(times[key])} for key in times],
        "look": asdict(look),
        "fastest": {what: {**named(key), **spread(times[key])} for what, key in best.items()},
        "glance": spread(times["glance", *best["own"][1:]]),
        "times_faster": spread(times[best["fine"]] / times[best["own"]], "ratio"),
        "going_on": {str(2**n): float((used >= 2**n).double().mean()) for n in range(5)},
    }


def _made(
    model: DynamicCapacityNetwork, look: CloserLook, form: str, images: Tensor, threads: int, forms: Forms
) -> UntilSure:
    forms.report(f"until sure, k = {look.k}, {form}, {len(images)} images, {threads} threads")
    with thread_count(threads):
        if form not in RUNTIMES:
            return compile_until_sure(model, images, look.entropy_below, look.k)
        folder = forms.folder / f"until-sure-{form}"
        if not folder.exists():  # as no other batch needs other files
            folder.mkdir()
            export_until_sure(model, folder, RUNTIMES[form], look.k)
        return load_until_sure(folder, RUNTIMES[form], look.entropy_below)


def _in_rounds(model: DynamicCapacityNetwork, k: int) -> Call:
    return lambda images: model.adaptive(images, max_k=k).logits
