"""The tables, made from the records alone: our rows of the paper's Table 1 beside the reported ones."""

from contextlib import suppress

from dcnlib.paper.aims import NumberModel, number_runs, number_targets
from dcnlib.paper.benchmark_tables import number_times
from dcnlib.paper.markdown import markdown_table, p_value_text
from dcnlib.paper.records import Load, multiplications_of
from dcnlib.paper.reported import ORIGINS, REPORTED, REPORTED_NUMBERS, TITLES, WAYS, origin_of
from dcnlib.paper.runs import NumberRun
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import ErrorRate


def results_table(load: Load = load_record) -> str:
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
        error, multiplications = REPORTED.get(name, (None, None))
        lines.append(
            f"| {TITLES[name]} | {100 * rate.fraction:.2f} ({100 * low:.2f}..{100 * high:.2f}){_other_ways(record)} "
            f"| {record['settings']['epochs']} | {record['wall_seconds'] / 60:.0f} | {record['parameters']:,} "
            f"| {multiplications_of(name) / 1e6:.1f} | {f'{error:.2f}' if error else ''} | {multiplications or ''} |"
        )
    earlier = "two earlier ones of DRAW and one of perturbed top-k were tested, too"
    seen = f"each run evaluated once ({earlier})" if split == "test" else "the ones chosen on"
    lines += [
        "",
        f"Our column: {data['count']:,} {split} images of {data['size']}x{data['size']} pixels with "
        f"{data['distractors']} fragments of {data['crop']}x{data['crop']}, clutter seed {data['seed']}, {seen}; "
        f"training with fresh clutter every epoch; chosen on {first['data']['validation']['count']:,} validation "
        "images. The reported figures come from other generators.",
    ]
    return "\n".join(lines)


def _other_ways(record: Record) -> str:
    """The test errors of a model that answers in several ways, after the one at its mean locations."""
    ways = record.get("test_ways", {}) if "test" in record else {}
    told = [f"{100 * ways[way]['error']:.2f} {words}" for way, words in WAYS.items() if way in ways]
    return "; ".join([" at mean locations", *told]) if told else ""


def house_numbers_table(load: Load = load_record) -> str:
    """Markdown: the error of whole house numbers of each model at each number of scales, and what it took.

    load: as for `results_table`. Models without a record are left out, and milliseconds if they were not measured.
    Raises FileNotFoundError if there are no records at all.
    """
    runs = number_runs(load)
    if not runs:
        raise FileNotFoundError("no run of house numbers has a record")
    times = number_times(load)
    rows = [
        [
            *("model", "scales", "error of whole numbers, % (95 % interval)", "every seed", "epochs", "training, min"),
            *("parameters", "multiplications, M", "of the fine model's", "ms an image", "error, reported"),
        ]
    ]
    rows += [_number_row(model, records, times.get(model)) for model, records in runs.items()]
    first = next(iter(runs.values()))[0]
    train, validation, test = (first["data"][split] for split in ("train", "validation", "test"))
    origin = origin_of(test)
    verdict = "" if origin == "photographs" else ", so the two columns can't be compared"
    lines = [
        markdown_table(rows),
        "",
        f"Our error: on {test['count']:,} test images, each run evaluated once, with the weights of lowest error on "
        f"{validation['count']:,} validation images. Training: on {train['photographs']:,} other images and, fresh in "
        f"every epoch, {train['count'] - train['photographs']:,} numbers composed of their digits. Intervals, epochs "
        f"and minutes are those of the first seed. The images are {ORIGINS[origin]}. The reported errors are on the "
        f"original photographs and were not re-checked{verdict}.",
    ]
    return "\n".join(lines)


def _number_row(model: NumberModel, records: list[Record], milliseconds: float | None) -> list[str]:
    first = records[0]
    rate = ErrorRate.from_record(first["test"])
    low, high = rate.interval
    seeds = ", ".join(str(record["settings"]["seed"]) for record in records)
    errors = ", ".join(f"{100 * record['test']['error']:.1f}" for record in records)
    mean = 100 * sum(record["test"]["error"] for record in records) / len(records)
    cost, whole = (multiplications_of(name) for name in (first["name"], NumberRun("fine", model.scales).name))
    reported = REPORTED_NUMBERS.get(model)
    return [
        f"DCN, k = {first['model']['k']}" if model.kind == "dcn" else f"{model.kind} model",
        str(model.scales),
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


def number_targets_table(load: Load = load_record) -> str:
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
    return markdown_table(rows)


def controls_table(record: Record, model: str) -> str:
    """Error in % by control and number of patches k, and, at the model's own k, where the patches lie and which control
    answers otherwise than the entropy gradient, which stands first."""
    told = record["models"][model]
    reference = next(iter(told["controls"]))
    ks = [row["k"] for row in told["controls"][reference]]
    rows = [["patches chosen by", *(f"k = {k}" for k in ks), "touching", "inside", "p"]]
    for control, outcomes in told["controls"].items():
        own = next(row for row in outcomes if row["k"] == told["k"])
        p = max(draw["p_value"] for draw in own["draws"])
        rows.append(
            [
                control,
                *(f"{100 * row['error']:.2f}" for row in outcomes),
                *("" if own[share] is None else f"{100 * own[share]:.0f} %" for share in ("touching", "inside")),
                "" if control == reference else p_value_text(p),
            ]
        )
    return markdown_table(rows)
