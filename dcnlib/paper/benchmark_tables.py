"""The tables of the clock, made from its records alone."""

from dcnlib.paper.markdown import markdown_table
from dcnlib.paper.records import Load
from dcnlib.paper.reported import TITLES
from dcnlib.utils.records import Record, load_record


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
    return markdown_table(rows)


def number_times(load: Load) -> dict[tuple[str, int], float]:
    """Milliseconds an image of compiled models of house numbers, by kind and scales; nothing if not measured."""
    try:
        record = load("house-numbers-benchmark")
    except FileNotFoundError:
        return {}
    return {(row["kind"], row["scales"]): row["milliseconds"]["compiled"] for row in record["models"]}


def milliseconds(load: Load = load_record) -> dict[str, float]:
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
    return markdown_table(rows)


def model_benchmark_table(record: Record) -> str:
    """Markdown: milliseconds an image of one model, by batch."""
    ways = list(record["inference"][0]["milliseconds"])
    rows = [["batch", *(f"{way}, ms an image" for way in ways)]]
    rows += [[str(row["batch"]), *(f"{row['milliseconds'][way]:.3f}" for way in ways)] for row in record["inference"]]
    return markdown_table(rows)


def benchmark_tables(record: Record) -> str:
    """Markdown: what `dcnlib.analysis.speed` measured, as ratios."""
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
    """Milliseconds an image by batch, each competitor at its better number of threads; in brackets how many times
    faster than the same model eager."""
    batches = record["inference"]
    rows = [["", *(f"batch {row['batch']}" for row in batches)]]
    for name in batches[0]["best"]:
        eager = f"{name.split(',')[0]}, eager"
        told = [f"{row['best'][name]:.3f}" for row in batches]
        if eager != name and eager in batches[0]["best"]:
            gains = [row["best"][eager] / row["best"][name] for row in batches]
            told = [f"{ms} ({gain:.2f}x)" for ms, gain in zip(told, gains, strict=True)]
        rows.append(["fine, compiled and frozen" if name == "fine" else name, *told])
    return markdown_table(rows)


def clock_tables(record: Record) -> str:
    """Markdown: of `dcnlib.analysis.clock`, the fastest forms and all of them."""
    machine = record["machine"]
    return f"{machine['processor']}, {machine['cores']} cores\n\n{fastest_table(record)}\n\n{forms_table(record)}"


def fastest_table(record: Record) -> str:
    """Each model's fastest form, and how many times faster than the fine model's fastest it is. In brackets the range
    that four fifths of the rounds lie in."""
    rows = [["", *(f"batch {row['batch']}" for row in record["batches"])]]
    for model in record["batches"][0]["fastest"]:
        cells = []
        for row in record["batches"]:
            best, ratio = row["fastest"][model], row["times_faster"][model]
            faster = "" if model == "fine" else f": **{ratio['ratio']:.2f}x** ({ratio['low']:.2f}..{ratio['high']:.2f})"
            cells.append(f"{_ranged(best, 'milliseconds', 3)} ms, {_form(best)}{faster}")
        rows.append([model, *cells])
    return markdown_table(rows)


def limit_table(record: Record, load: Load = load_record) -> str:
    """What each model would take if it multiplied as fast as the fine model, which is the arithmetic limit, and what it
    takes; both in their fastest forms. load: as for `results_table`."""
    counted = load("multiplications")["models"]
    others = [model for model in record["batches"][0]["fastest"] if model != "fine"]
    rows = [["batch", "fine, M multiplications a ms", *(f"{model}: ms at that rate, of its own" for model in others)]]
    for row in record["batches"]:
        times = {model: best["milliseconds"] for model, best in row["fastest"].items()}
        rate = counted["fine"] / times["fine"]
        told = [
            f"{counted[model] / rate:.3f} of {times[model]:.3f} ({100 * counted[model] / rate / times[model]:.0f} %)"
            for model in others
        ]
        rows.append([str(row["batch"]), f"{rate / 1e6:.0f}", *told])
    return markdown_table(rows)


def forms_table(record: Record) -> str:
    """Milliseconds an image of every form of every model, with the same range."""
    rows = [["model", "form", *(f"batch {row['batch']}, ms an image" for row in record["batches"])]]
    by_batch = [{(one["model"], _form(one)): one for one in row["forms"]} for row in record["batches"]]
    for model, form in dict.fromkeys(key for forms in by_batch for key in forms):
        told = [_ranged(forms[model, form], "milliseconds", 3) if (model, form) in forms else "" for forms in by_batch]
        rows.append([model, form, *told])
    return markdown_table(rows)


def best_forms_table(record: Record) -> str:
    """Milliseconds an image of every form, each with its best splitting of the batch and number of threads, with the
    same range, and how many times faster than the first form."""
    forms = list(dict.fromkeys(one["form"] for one in record["batches"][0]["forms"]))
    rows = [["model", "batch", *forms]]
    for model in record["batches"][0]["fastest"]:
        for row in record["batches"]:
            best = [
                min(
                    (one for one in row["forms"] if (one["model"], one["form"]) == (model, form)),
                    key=lambda one: one["milliseconds"],
                )
                for form in forms
            ]
            told = [
                f"{_ranged(one, 'milliseconds', 3)}: {best[0]['milliseconds'] / one['milliseconds']:.2f}x"
                for one in best
            ]
            rows.append([model, str(row["batch"]), *told])
    return markdown_table(rows)


def int8_table(record: Record) -> str:
    """Markdown: of `dcnlib.analysis.int8`, each model's errors and milliseconds an image in float32 and in int8."""
    batches = list(record["models"][0]["milliseconds"]["float32"])
    columns = [f"batch {batch}, ms in float32 and int8" for batch in batches]
    rows = [["model", "runtime", "wrong in float32", "in int8", "wrong in one alone", "p", *columns]]
    for row in record["models"]:
        before, after = (row["milliseconds"][precision] for precision in ("float32", "int8"))
        rows.append(
            [
                row["model"],
                row["runtime"],
                *(f"{wrong} of {row['count']}" for wrong in row["errors"].values()),
                f"{row['only_float32_wrong']}, {row['only_int8_wrong']}",
                f"{row['p_value']:.2g}",
                *(f"{before[n]:.3f}, {after[n]:.3f} ({before[n] / after[n]:.2f}x)" for n in batches),
            ]
        )
    return markdown_table(rows)


def until_sure_clock_tables(record: Record) -> str:
    """Markdown: of `dcnlib.analysis.clock_until_sure`, the fastest forms of both and how many times faster looking
    until sure is; and where its time goes. In brackets the range that four fifths of the rounds lie in."""
    rows = [["", *(f"batches of {row['batch']}" for row in record["batches"])]]
    for what, title in (("fine", "fine model, ms an image"), ("own", "until sure, ms an image")):
        told = [row["fastest"][what] for row in record["batches"]]
        rows.append([title, *(f"{_ranged(best, 'milliseconds', 3)}: {_form(best)}" for best in told)])
    rows.append(["times faster", *(_ranged(row["times_faster"], "ratio", 2) for row in record["batches"])])
    rows.append(["the first glance alone", *(_ranged(row["glance"], "milliseconds", 3) for row in record["batches"])])
    parts = [["in rounds, as the library looks", "images left", *rows[0][1:]]]
    by_batch = [
        {one["model"]: one["milliseconds"] for one in row["forms"] if one["form"] == "eager"}
        for row in record["batches"]
    ]
    before = [0.0] * len(by_batch)
    for name in by_batch[0]:
        k = name.split()[-1]
        left = record["batches"][0]["going_on"].get(k, 1.0)
        added = [f"{times[name] - so_far:.3f}" for times, so_far in zip(by_batch, before, strict=True)]
        parts.append(["first look" if k == "0" else f"up to {k} patches", f"{100 * left:.1f} %", *added])
        before = [times[name] for times in by_batch]
    look, validation = record["batches"][0]["look"], record["validation"]
    note = (
        f"Sure is below {look['entropy_below']:.3f} nats; {100 * look['going_on']:.1f} % of "
        f"{validation['images']['count']:,} validation images go on to {look['k']} patches: {look['errors']} errors, "
        f"where k = {validation['k']} for all makes {validation['errors']}."
    )
    machine = record["machine"]
    return "\n\n".join(
        [f"{machine['processor']}, {machine['cores']} cores", markdown_table(rows), note, markdown_table(parts)]
    )


def _form(row: Record) -> str:
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    return f"{row['form']}, pieces of {row['pieces']}, {threads}"


def _ranged(row: Record, what: str, digits: int) -> str:
    return f"{row[what]:.{digits}f} ({row['low']:.{digits}f}..{row['high']:.{digits}f})"


def parts_table(record: Record) -> str:
    """A DCN's time and multiplications part by part, each part compiled on its own."""
    parts = record["parts"]
    rows = [["part", "ms an image", "multiplications, M", "G multiplications a second"]]
    for name, milliseconds in parts["milliseconds"].items():
        count = parts["multiplications"][name]
        rate = f"{count / milliseconds / 1e6:.1f}" if count else ""
        rows.append([name, f"{milliseconds:.4f}", f"{count / 1e6:.3f}" if count else "", rate])
    return markdown_table(rows)


def training_table(record: Record) -> str:
    """A training step on batches of 64, data included."""
    rows = [["training", "eager, ms an image", "compiled, ms an image", "s an epoch, the better", "data's share"]]
    for name, row in record["training"].items():
        best = min(row["eager"]["epoch_seconds"], row["compiled"]["epoch_seconds"])
        times = [f"{row[way]['milliseconds']:.3f}" for way in ("eager", "compiled")]
        rows.append([name, *times, f"{best:.0f}", f"{100 * row['data_share']:.1f} %"])
    return markdown_table(rows)


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
    return markdown_table(rows)


def _machine(record: Record) -> str:
    machine = record["machine"]
    rates = ", ".join(f"{rate / 1e9:.0f} G/s on {n} threads" for n, rate in record["convolution_rate"].items())
    return f"{machine['processor']}, {machine['cores']} cores, {machine['device']}; convolution rate {rates}"
