"""The tables, made from the records alone: our rows of the paper's Table 1 beside the reported ones, and the clock."""

from collections.abc import Callable

from dcnlib.controls import REFERENCE
from dcnlib.cost import count_multiplications
from dcnlib.experiments import EXPERIMENTS
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
# The rows of our table, and what they are called.
TITLES = {
    "ram": "RAM, 8 glimpses",
    "draw": "DRAW, 8 glimpses",
    "coarse": "coarse model",
    "fine": "fine model",
    "dcn-k8-no-hints": "DCN, k = 8, no hints",
    "dcn-k8-hints": "DCN, k = 8, hints",
}


def results_table(load: Callable[[str], Record] = load_record) -> str:
    """Markdown: test error with 95 % interval, training, size and cost of the shipped models, and what is reported.

    load: gives the record of an experiment by name; by default those of this project.
    """
    lines = [
        "| model | test error, % (95 % interval) | epochs | training, min | parameters | multiplications, M "
        "| error, reported | M, reported |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        record = load(name)
        rate = ErrorRate.from_record(record["test"])
        low, high = rate.interval
        cost = count_multiplications(EXPERIMENTS[name].spec.build()).total
        error, multiplications = REPORTED.get(name, (None, None))
        lines.append(
            f"| {title} | {100 * rate.fraction:.2f} ({100 * low:.2f}..{100 * high:.2f}) "
            f"| {record['settings']['epochs']} | {record['wall_seconds'] / 60:.0f} | {record['parameters']:,} "
            f"| {cost / 1e6:.1f} | {f'{error:.2f}' if error else ''} | {multiplications or ''} |"
        )
    data = load("dcn-k8-hints")["data"]["test"]
    lines += [
        "",
        f"Our column: {data['count']:,} test images of {data['size']}x{data['size']} pixels with {data['distractors']} "
        f"fragments of {data['crop']}x{data['crop']}, clutter seed {data['seed']}, evaluated once; training with fresh "
        "clutter every epoch; chosen on 5,000 validation images. The reported figures come from other "
        "generators and were not re-checked.",
    ]
    return "\n".join(lines)


def controls_table(record: Record, model: str) -> str:
    """Error in % by control and number of patches k, and, at the model's own k, where the patches lie and which control
    answers otherwise than the entropy gradient."""
    told = record["models"][model]
    rows = [["patches chosen by", *(f"k = {k}" for k in record["settings"]["ks"]), "touching", "inside", "p"]]
    for control, outcomes in told["controls"].items():
        own = next(row for row in outcomes if row["k"] == told["k"])
        p = max(draw["p_value"] for draw in own["draws"])
        rows.append(
            [
                control,
                *(f"{100 * row['error']:.2f}" for row in outcomes),
                f"{100 * own['touching']:.0f} %",
                f"{100 * own['inside']:.0f} %",
                "" if control == REFERENCE else "< 0.001" if p < 0.001 else f"{p:.3f}",
            ]
        )
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


def _markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
