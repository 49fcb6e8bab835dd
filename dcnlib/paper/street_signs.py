"""The models of street signs on test images they never saw: small windows, large ones, and whole photographs."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcnlib.analysis.budgets import calibrate
from dcnlib.analysis.cost import count_multiplications, count_rounds
from dcnlib.analysis.memory import peak_memory_of
from dcnlib.analysis.presence import Presence, find, find_by_k, mean_of, touched
from dcnlib.core.budget import make_plan
from dcnlib.data.street_signs.images import SignImages, load_street_signs
from dcnlib.data.street_signs.signs import SignSource, SignSplit
from dcnlib.models.pretrained import load_model, load_trained
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.utils.records import Record, environment
from dcnlib.utils.statistics import percentiles, resampled
from dcnlib.utils.timing import interleaved, thread_count

WINDOWS = (128, 300, 0)  # sides of what is measured in pixels of halved photographs; 0 are whole ones
SPLITS: tuple[SignSplit, ...] = ("validation", "test")
KS = (0, 1, 2, 4, 8, 16, 24)
MAIN_K = 8
MAX_K = 32
ROUND_KS = (8, 24)  # of looks whose patches are chosen in rounds, with the saliency anew before each
PATCHES_A_ROUND = 2
ROUNDS = 9


def run_street_signs(
    coarse: str | Path,
    fine: str | Path,
    dcns: Sequence[str | Path],
    *,
    windows: Sequence[int] = WINDOWS,
    source: SignSource = "gtsdb",
    root: str | Path | None = None,
    workers: int = 0,
    timed: bool = True,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Every model on the test images of a source, of each size of `windows`: the first DCN in all its ways, the others
    with MAIN_K patches.

    Bootstrap over photographs: windows of one are not independent. Each way's error is compared with the fine model's
    on the same images. The threshold of looking until sure is chosen on validation images, so that it costs no more
    multiplications on average than MAIN_K patches for each. Time and memory are those of one image, with nothing else
    of this at work. workers: processes that share the sizes of windows, of one thread each. timed: whether time is
    measured, which needs a machine without other work.
    """
    sources = {"coarse": coarse, "fine": fine, "dcn": dcns[0]}
    start = time.perf_counter()
    measure = partial(_of_window, sources, dcns, source, root)
    if workers:
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            measured = list(pool.map(measure, windows))
    else:
        measured = [measure(window, report) for window in windows]
    told = {str(window): shown for window, shown in zip(windows, measured, strict=True)}
    for window in windows:
        report(f"{'time and ' * timed}memory of {window or 'whole'}")
        told[str(window)]["memory"] = _memory(sources, window)
        if timed:
            told[str(window)]["clock"] = _clock(sources, window)
    return {
        "name": "street-signs-measured",
        "models": {"coarse": load_trained(coarse).name, "fine": load_trained(fine).name}
        | {"dcn": [load_trained(dcn).name for dcn in dcns]},
        "windows": told,
        "wall_seconds": round(time.perf_counter() - start, 1),
        **environment("cpu"),
    }


def _of_window(
    sources: Mapping[str, str | Path],
    dcns: Sequence[str | Path],
    source: SignSource,
    root: str | Path | None,
    window: int,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    models = {name: load_trained(sources[name]) for name in ("coarse", "fine")}
    seeds = [load_trained(dcn) for dcn in dcns]
    validation, data = (
        SignImages(load_street_signs(split, source=source, root=root), window=window) for split in SPLITS
    )
    shape = (3, *data.shape)
    samples = resampled(np.array([data.photograph_of(index) for index in range(len(data))]))
    main: Any = seeds[0].model
    costs = {k: count_multiplications(main, shape, k).total for k in KS}
    threshold = calibrate(main, validation, multiplications=costs[MAIN_K], max_k=MAX_K, batch_size=8).entropy_below
    rounds = make_plan(threshold, MAX_K, None, False, MAX_K).rounds
    by_patches = dict(zip((0, *rounds), count_rounds(main, rounds, shape), strict=True))

    fine = find(models["fine"].model, data)
    rows: list[Record] = []

    def add(name: str, found: Presence, multiplications: float, **told: Any) -> None:
        report(f"{name} on {window or 'whole photographs'}")
        excess = mean_of(found.wrong.any(1).astype(float) - fine.wrong.any(1), samples)
        count, signs = touched(found, data)
        rows.append(
            {
                "name": name,
                **told,
                "multiplications": multiplications,
                **found.as_record(samples),
                "more_errors_than_fine": float(found.wrong.any(1).mean() - fine.wrong.any(1).mean()),
                "more_errors_than_fine_interval_95": percentiles(excess),
                "signs_where_right": signs,
                "signs_touched": count,
            }
        )

    for name, trained in models.items():
        found = fine if name == "fine" else find(trained.model, data)
        add(name, found, count_multiplications(trained.model, shape).total)
    for k, found in find_by_k(main, data, KS).items():
        add("dcn", found, costs[k], k=k, seed=0)
    for number, other in enumerate(seeds[1:], start=1):
        add("dcn", find(other.model, data, k=MAIN_K), costs[MAIN_K], k=MAIN_K, seed=number)
    found = find(main, data, entropy_below=threshold, max_k=MAX_K)
    mean_cost = float(np.mean([by_patches[int(k)] for k in found.patches]))
    add("until sure", found, mean_cost, entropy_below=threshold, max_k=MAX_K, seed=0)
    for k in ROUND_KS:
        rounds = tuple(range(PATCHES_A_ROUND, k + 1, PATCHES_A_ROUND))
        cost = count_rounds(main, rounds, shape, anew=True)[-1]
        add("rounds", find(main, data, entropy_below=0.0, rounds=rounds, anew=True), cost, k=k, seed=0)
    for policy in ("random", "center"):
        cost = count_multiplications(main, shape, MAIN_K, policy).total
        add(policy, find(main, data, k=MAIN_K, policy=policy), cost, k=MAIN_K, seed=0)
    return {"data": data.describe(), "validation": validation.describe(), "rows": rows}


def _options(name: str) -> dict[str, int]:
    """Of a call of each model: the DCN has MAIN_K patches."""
    return {"k": MAIN_K} if name == "dcn" else {}


def _memory(sources: Mapping[str, str | Path], window: int) -> Record:
    """Bytes at the peak of a look at one image by each model."""
    shape = StreetSignsTask(window=window).image_shape
    return {name: peak_memory_of(source, shape, **_options(name)) for name, source in sources.items()}


def _clock(sources: Mapping[str, str | Path], window: int) -> Record:
    """Milliseconds of a look at one image by each model."""
    shape = StreetSignsTask(window=window).image_shape
    images = torch.rand(1, *shape).contiguous(memory_format=torch.channels_last)
    calls = {name: partial(load_model(source), images, **_options(name)) for name, source in sources.items()}
    with torch.no_grad(), thread_count(1):
        seconds = interleaved(calls, rounds=ROUNDS)
    milliseconds = {name: 1000 * value for name, value in seconds.items()}
    return {"threads": 1, "rounds": ROUNDS, "milliseconds": milliseconds}
