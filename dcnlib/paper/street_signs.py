"""The models of street signs on test images they never saw: small windows, large ones, and whole photographs."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcnlib.analysis.budgets import calibrate
from dcnlib.analysis.cost import count_multiplications, count_rounds
from dcnlib.analysis.memory import peak_memory_of
from dcnlib.analysis.presence import Presence, find, mean_of, touched
from dcnlib.core.budget import make_plan
from dcnlib.data.street_signs.images import SignImages, load_street_signs
from dcnlib.data.street_signs.signs import SignSource, SignSplit
from dcnlib.models.pretrained import Trained, load_trained
from dcnlib.utils.records import Record, environment
from dcnlib.utils.statistics import percentiles, resampled
from dcnlib.utils.timing import interleaved

WINDOWS = (128, 300, 0)  # sides of what is measured in pixels of halved photographs; 0 are whole ones
SPLITS: tuple[SignSplit, ...] = ("validation", "test")
KS = (0, 1, 2, 4, 8, 16, 24)
MAIN_K = 8
MAX_K = 32
ROUNDS = 9


def run_street_signs(
    coarse: str | Path,
    fine: str | Path,
    dcns: Sequence[str | Path],
    *,
    source: SignSource = "gtsdb",
    root: str | Path | None = None,
    clock: bool = True,
    report: Callable[[str], None] = lambda what: None,
) -> Record:
    """Every model on the test images of a source: the first DCN in all its ways, the others with MAIN_K patches.

    Bootstrap over photographs: windows of one are not independent. Each way's error is compared with the fine model's
    on the same images. The threshold of looking until sure is chosen on validation images, so that it costs no more
    multiplications on average than MAIN_K patches for each. clock: whether to take time and memory too, of one image.
    """
    models = {"coarse": load_trained(coarse), "fine": load_trained(fine)}
    sources = {"coarse": coarse, "fine": fine, "dcn": dcns[0]}
    seeds = [load_trained(dcn) for dcn in dcns]
    start = time.perf_counter()
    record: Record = {
        "name": "street-signs-measured",
        "models": {name: trained.name for name, trained in models.items()} | {"dcn": [each.name for each in seeds]},
        "windows": {},
    }
    signs = {split: load_street_signs(split, source=source, root=root) for split in SPLITS}
    for window in WINDOWS:
        report(f"windows of {window} pixels" if window else "whole photographs")
        data, validation = (SignImages(signs[split], window=window) for split in ("test", "validation"))
        record["windows"][str(window)] = _of_window(models, seeds, data, validation, report)
        if clock:
            record["windows"][str(window)]["clock"] = _clock(models | {"dcn": seeds[0]}, sources, data)
    record["wall_seconds"] = round(time.perf_counter() - start, 1)
    return {**record, **environment("cpu")}


def _of_window(
    models: Mapping[str, Trained],
    seeds: Sequence[Trained],
    data: SignImages,
    validation: SignImages,
    report: Callable[[str], None],
) -> Record:
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
        report(name)
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
    for k in KS:
        add("dcn", find(main, data, k=k), costs[k], k=k, seed=0)
    for number, other in enumerate(seeds[1:], start=1):
        add("dcn", find(other.model, data, k=MAIN_K), costs[MAIN_K], k=MAIN_K, seed=number)
    found = find(main, data, entropy_below=threshold, max_k=MAX_K)
    mean_cost = float(np.mean([by_patches[int(k)] for k in found.patches]))
    add("until sure", found, mean_cost, entropy_below=threshold, max_k=MAX_K, seed=0)
    for policy in ("random", "center"):
        cost = count_multiplications(main, shape, MAIN_K, policy).total
        add(policy, find(main, data, k=MAIN_K, policy=policy), cost, k=MAIN_K, seed=0)
    return {"data": data.describe(), "validation": validation.describe(), "rows": rows}


def _clock(models: Mapping[str, Trained], sources: Mapping[str, str | Path], data: SignImages) -> Record:
    """Milliseconds and bytes at the peak of a look at one image by each model, the DCN with MAIN_K patches."""
    images = data[np.arange(1)][0].contiguous(memory_format=torch.channels_last)
    options = {name: {"k": MAIN_K} if name == "dcn" else {} for name in models}
    calls = {name: partial(trained.model, images, **options[name]) for name, trained in models.items()}
    with torch.no_grad():
        seconds = interleaved(calls, rounds=ROUNDS)
    return {
        "threads": torch.get_num_threads(),
        "rounds": ROUNDS,
        "milliseconds": {name: 1000 * value for name, value in seconds.items()},
        "peak_bytes": {
            name: peak_memory_of(source, (3, *data.shape), **options[name]) for name, source in sources.items()
        },
    }
