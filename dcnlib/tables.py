"""The tables, made from the records alone: our rows of the paper's Table 1 beside the reported ones, and the clock."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from dcnlib.controls import REFERENCE
from dcnlib.cost import count_multiplications
from dcnlib.experiments import EXPERIMENTS
from dcnlib.house_numbers import ORIGINS, origin_of
from dcnlib.number_targets import number_runs, number_targets
from dcnlib.pretrained import ModelSpec
from dcnlib.results import ErrorRate, Record, load_record

# Test error in % on 100x100 Cluttered MNIST and multiplications in millions as reported by the paper (RAM and DRAW are
# quoted by it from other papers with other generators). Not re-checked against its text.
REPORTED: dict[str, tuple[float, float | None]] = {
    "ram": (8.11, None),
    "draw": (3.36, None),
    "coarse": (3.69, None),
    "fine": (1.70, 84.5),
    "dcn-k8-no-hints": (1.71, None),
    "dcn-k8-hints": (1.39, 27.7),
}
# Error of whole house numbers in % as reported by the paper (section 4.2), by kind of model and number of scales. Not
# re-checked either, and on other data than ours.
REPORTED_NUMBERS: dict[tuple[str, int], float] = {
    **{("coarse", 1): 40.6, ("coarse", 2): 40.0},
    **{("fine", 1): 25.2, ("fine", 2): 23.7, ("fine", 3): 23.3},
    **{("dcn", 1): 20.0, ("dcn", 2): 18.2, ("dcn", 3): 16.6},
}
# The rows of our table, and what they are called.
TITLES = {
    "ram": "RAM, 8 glimpses",
    "draw": "DRAW, 8 glimpses",
    "coarse": "coarse model",
    "fine": "fine model",
    "dcn-k8-no-hints": "DCN, k = 8, no hints",
    "dcn-k8-hints": "DCN, k = 8, hints",
    "perturbed-topk": "perturbed top-k, k = 8, hints",
    "soft-attention": "soft attention on the fine model",
}


def results_table(load: Callable[[str], Record] = load_record) -> str:
    """Markdown: test error with 95 % interval, training, size and cost of the models, and what the paper reports.

    load: gives the record of an experiment by name, or raises FileNotFoundError, and the model is left out; by default
    the records of this project. Where runs never saw the test set, their validation errors stand there, and are called
    so. Raises FileNotFoundError if there are no records at all.
    """
    records = {}
    for name in TITLES:
        with suppress(FileNotFoundError):
            records[name] = load(name)
    if not records:
        raise FileNotFoundError("no run of Table 1 has a record")
    first = next(iter(records.values()))
    split = "test" if "test" in first else "validation"
    data = first["data"][split]
    lines = [
        f"| model | {split} error, % (95 % interval) | epochs | training, min | parameters | multiplications, M "
        "| error, as reported, not re-checked | M, as reported, not re-checked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        rate = ErrorRate.from_record(record[split])
        low, high = rate.interval
        cost = count_multiplications(EXPERIMENTS[name].spec.build()).total
        error, multiplications = REPORTED.get(name, (None, None))
        lines.append(
            f"| {TITLES[name]} | {100 * rate.fraction:.2f} ({100 * low:.2f}..{100 * high:.2f}) "
            f"| {record['settings']['epochs']} | {record['wall_seconds'] / 60:.0f} | {record['parameters']:,} "
            f"| {cost / 1e6:.1f} | {f'{error:.2f}' if error else ''} | {multiplications or ''} |"
        )
    seen = "evaluated once" if split == "test" else "the ones chosen on"
    lines += [
        "",
        f"Our column: {data['count']:,} {split} images of {data['size']}x{data['size']} pixels with "
        f"{data['distractors']} fragments of {data['crop']}x{data['crop']}, clutter seed {data['seed']}, {seen}; "
        f"training with fresh clutter every epoch; chosen on {first['data']['validation']['count']:,} validation "
        "images. The reported figures come from other generators.",
    ]
    return "\n".join(lines)


def house_numbers_table(load: Callable[[str], Record] = load_record) -> str:
    """Markdown: the error of whole house numbers of each model at each number of scales, and what it took.

    load: as for `results_table`. Models without a record are left out, and milliseconds if they were not measured.
    Raises FileNotFoundError if there are no records at all.
    """
    runs = number_runs(load)
    if not runs:
        raise FileNotFoundError("no run of house numbers has a record")
    times = _number_times(load)
    rows = [
        [
            *("model", "scales", "error of whole numbers, % (95 % interval)", "every seed", "epochs", "training, min"),
            *("parameters", "multiplications, M", "of the fine model's", "ms an image", "error, reported"),
        ]
    ]
    rows += [_number_row(spec, records, times.get((spec.kind, spec.scales))) for spec, records in runs.items()]
    first = next(iter(runs.values()))[0]
    train, validation, test = (first["data"][split] for split in ("train", "validation", "test"))
    origin = origin_of(test)
    verdict = "" if origin == "photographs" else ", so the two columns can't be compared"
    lines = [
        _markdown(rows),
        "",
        f"Our error: on {test['count']:,} test images, evaluated once, with the weights of lowest error on "
        f"{validation['count']:,} validation images. Training: on {train['photographs']:,} other images and, fresh in "
        f"every epoch, {train['count'] - train['photographs']:,} numbers composed of their digits. Intervals, epochs "
        f"and minutes are those of the first seed. The images are {ORIGINS[origin]}. The reported errors are on the "
        f"original photographs and were not re-checked{verdict}.",
    ]
    return "\n".join(lines)


def _number_row(spec: ModelSpec, records: list[Record], milliseconds: float | None) -> list[str]:
    first = records[0]
    rate = ErrorRate.from_record(first["test"])
    low, high = rate.interval
    seeds = ", ".join(str(record["settings"]["seed"]) for record in records)
    errors = ", ".join(f"{100 * record['test']['error']:.1f}" for record in records)
    mean = 100 * sum(record["test"]["error"] for record in records) / len(records)
    cost, whole = (count_multiplications(replace(spec, kind=kind).build()).total for kind in (spec.kind, "fine"))
    reported = REPORTED_NUMBERS.get((spec.kind, spec.scales))
    return [
        f"DCN, k = {spec.k}" if spec.kind == "dcn" else f"{spec.kind} model",
        str(spec.scales),
        f"{100 * rate.fraction:.1f} ({100 * low:.1f}..{100 * high:.1f})",
        f"seeds {seeds}: {errors}; mean {mean:.1f}" if len(records) > 1 else f"seed {seeds}",
        str(first["settings"]["epochs"]),
        f"{first['wall_seconds'] / 60:.0f}",
        f"{first['parameters']:,}",
        f"{cost / 1e6:.1f}",
        f"{100 * cost / whole:.0f} %",
        f"{milliseconds:.2f}" if milliseconds else "",
        f"{reported:.1f}" if reported else "",
    ]


def number_targets_table(load: Callable[[str], Record] = load_record) -> str:
    """Markdown: the answers of `number_targets`, one line for each number of scales."""
    rows = [
        [
            "scales",
            "errors of the coarse model's",
            "multiplications of the fine model's",
            "wrong alone: DCN, fine (p)",
            "aims reached",
        ]
    ]
    for answer in number_targets(load):
        pairs = zip(answer.against_fine, answer.p_values, strict=True)
        rows.append(
            [
                str(answer.scales),
                f"{100 * answer.errors:.0f} %",
                f"{100 * answer.multiplications:.0f} %",
                "; ".join(f"{only_dcn}, {only_fine} ({p_value_text(p)})" for (only_dcn, only_fine), p in pairs),
                "yes" if answer.met else "no",
            ]
        )
    return _markdown(rows)


def number_benchmark_table(record: Record) -> str:
    """Markdown: milliseconds an image of each model of house numbers, and how many times faster than the fine model."""
    fine = {row["scales"]: row["milliseconds"] for row in record["models"] if row["kind"] == "fine"}
    rows = [["model", "scales", "multiplications, M", *(f"{way}, ms an image" for way in fine[1])]]
    for row in record["models"]:
        times = [
            f"{milliseconds:.2f} ({fine[row['scales']][way] / milliseconds:.2f}x)"
            for way, milliseconds in row["milliseconds"].items()
        ]
        rows.append([row["kind"], str(row["scales"]), f"{row['multiplications'] / 1e6:.1f}", *times])
    return _markdown(rows)


def _number_times(load: Callable[[str], Record]) -> dict[tuple[str, int], float]:
    """Milliseconds an image of compiled models of house numbers, by kind and scales; nothing if not measured."""
    try:
        record = load("house-numbers-benchmark")
    except FileNotFoundError:
        return {}
    return {(row["kind"], row["scales"]): row["milliseconds"]["compiled"] for row in record["models"]}


def controls_table(record: Record, model: str) -> str:
    """Error in % by control and number of patches k, and, at the model's own k, where the patches lie and which control
    answers otherwise than the entropy gradient."""
    told = record["models"][model]
    ks = [row["k"] for row in told["controls"][REFERENCE]]
    rows = [["patches chosen by", *(f"k = {k}" for k in ks), "touching", "inside", "p"]]
    for control, outcomes in told["controls"].items():
        own = next(row for row in outcomes if row["k"] == told["k"])
        p = max(draw["p_value"] for draw in own["draws"])
        rows.append(
            [
                control,
                *(f"{100 * row['error']:.2f}" for row in outcomes),
                *("" if own[share] is None else f"{100 * own[share]:.0f} %" for share in ("touching", "inside")),
                "" if control == REFERENCE else p_value_text(p),
            ]
        )
    return _markdown(rows)


def milliseconds(load: Callable[[str], Record] = load_record) -> dict[str, float]:
    """Milliseconds an image of the compiled models of Table 1, by experiment, from the clock for the rivals.

    load: as for `results_table`.
    """
    return {name: row["milliseconds"]["compiled"] for name, row in load("rivals-benchmark")["models"].items()}


def rivals_benchmark_table(record: Record) -> str:
    """Markdown: milliseconds an image of each model of Table 1, and how many times faster than the fine model."""
    fine = record["models"]["fine"]["milliseconds"]
    rows = [["model", "multiplications, M", *(f"{way}, ms an image" for way in fine)]]
    for name, row in record["models"].items():
        times = [f"{time:.3f} ({fine[way] / time:.2f}x)" for way, time in row["milliseconds"].items()]
        rows.append([TITLES[name], f"{row['multiplications'] / 1e6:.1f}", *times])
    return _markdown(rows)


def benchmark_tables(record: Record) -> str:
    """Markdown: what `dcnlib.benchmark` measured, as ratios."""
    return "\n\n".join(
        [
            _machine(record),
            inference_table(record),
            parts_table(record),
            training_table(record),
            growth_table(record),
        ]
    )


def inference_table(record: Record) -> str:
    """Milliseconds an image by batch, each competitor at its better number of threads; times faster than `fine`."""
    batches = record["inference"]
    rows = [["", *(f"batch {row['batch']}" for row in batches)]]
    for name in batches[0]["best"]:
        title = "fine, compiled and frozen (baseline)" if name == "fine" else name
        rows.append([title, *(f"{row['best'][name]:.3f} ({row['times_faster'][name]:.2f}x)" for row in batches)])
    return _markdown(rows)


def parts_table(record: Record) -> str:
    """A DCN's time and multiplications part by part, each part compiled on its own."""
    parts = record["parts"]
    rows = [["part", "ms an image", "multiplications, M", "G multiplications a second"]]
    for name, milliseconds in parts["milliseconds"].items():
        count = parts["multiplications"][name]
        rate = f"{count / milliseconds / 1e6:.1f}" if count else ""
        rows.append([name, f"{milliseconds:.4f}", f"{count / 1e6:.3f}" if count else "", rate])
    return _markdown(rows)


def training_table(record: Record) -> str:
    """A training step on batches of 64, data included."""
    rows = [["training", "eager, ms an image", "compiled, ms an image", "s an epoch, the better", "data's share"]]
    for name, row in record["training"].items():
        best = min(row["eager"]["epoch_seconds"], row["compiled"]["epoch_seconds"])
        times = [f"{row[way]['milliseconds']:.3f}" for way in ("eager", "compiled")]
        rows.append([name, *times, f"{best:.0f}", f"{100 * row['data_share']:.1f} %"])
    return _markdown(rows)


def growth_table(record: Record) -> str:
    """How many times the fine model's multiplications, time and memory are the DCN's, by the size of the image."""
    rows = [["pixels a side", "fine, ms", "DCN, ms", "time", "multiplications", "peak memory"]]
    for row in record["growth"]:
        fine, dcn = row["milliseconds"].values()
        ratios = []
        for what in ("milliseconds", "multiplications", "peak_memory"):
            large, small = row[what].values()
            ratios.append(f"{large / small:.2f}x" if small else "")
        rows.append([str(row["size"]), f"{fine:.3f}", f"{dcn:.3f}", *ratios])
    return _markdown(rows)


def _machine(record: Record) -> str:
    machine = record["machine"]
    rates = ", ".join(f"{rate / 1e9:.0f} G/s on {n} threads" for n, rate in record["convolution_rate"].items())
    return f"{machine['processor']}, {machine['cores']} cores, {machine['device']}; convolution rate {rates}"


def p_value_text(p: float) -> str:
    """A p value as the tables give it: three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
