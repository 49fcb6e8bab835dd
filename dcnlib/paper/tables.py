"""The tables, made from the records alone: our rows of the paper's Table 1 beside the reported ones."""

from dcnlib.paper.aims import NumberModel, long_fine_runs, mean_error, number_runs, number_targets
from dcnlib.paper.benchmark_tables import number_times
from dcnlib.paper.markdown import markdown_table, p_value_text, spread_text
from dcnlib.paper.pairs import check_same_images
from dcnlib.paper.records import Load, find_records, multiplications_of
from dcnlib.paper.reported import ORIGINS, REPORTED, REPORTED_NUMBERS, TITLES, WAYS, origin_of
from dcnlib.paper.runs import VIEWS, NumberRun
from dcnlib.utils.records import Record, load_record
from dcnlib.utils.statistics import ErrorRate

EARLIER = "two earlier ones of DRAW and one of perturbed top-k were tested, too"
OTHER_GENERATORS = "The reported figures come from other generators."


def summary_table(load: Load = load_record) -> str:
    """Markdown: the test errors of all models of Table 1 that are trained with fresh clutter, with every number of
    epochs that they have runs with several seeds of (`ROWS`), else those of their one experiment. Mean and range over
    the seeds, or of one run its 95 % interval.

    load: as for `results_table`. Raises FileNotFoundError if there are no records at all, and ValueError if two runs
    were tested on other images.
    """
    rows = [
        [
            *("model", "epochs", "seeds", "test error, %", "parameters", "multiplications, M"),
            *("error, as reported, not re-checked", "M, as reported, not re-checked"),
        ]
    ]
    first: Record = {}
    for name, title in TITLES.items():
        runs = [run for view in VIEWS.values() for run in view if run.model == name and not run.fixed]
        found = find_records(((run.name, run.name) for run in runs), load) or find_records([(name, name)], load)
        by_epochs: dict[int, list[Record]] = {}
        for record in found.values():
            first = first or record
            check_same_images(first, record)
            by_epochs.setdefault(record["settings"]["epochs"], []).append(record)
        for epochs, records in sorted(by_epochs.items()):
            if len(records) > 1:
                error = spread_text([record["test"]["error"] for record in records])
            else:
                error = _with_interval(records[0]["test"]) + _other_ways(records[0])
            reported, multiplications = REPORTED.get(name, (None, None))
            rows.append(
                [
                    *(title, str(epochs), str(len(records)), error, f"{records[0]['parameters']:,}"),
                    f"{multiplications_of(name) / 1e6:.1f}",
                    *(f"{reported:.2f}" if reported else "", str(multiplications or "")),
                ]
            )
    if not first:
        raise FileNotFoundError("no run of Table 1 has a record")
    note = (
        "Test error: mean over the seeds and their range, of a single run its 95 % interval, on "
        f"{_images_told(first['data'], 'test')}; each run evaluated once, but of every model except RAM and soft "
        "attention earlier runs, by other recipes, had been tested before; training with fresh clutter every epoch; "
        f"chosen on {first['data']['validation']['count']:,} validation images. {OTHER_GENERATORS}"
    )
    return f"{markdown_table(rows)}\n\n{note}"


def results_table(load: Load = load_record) -> str:
    """Markdown: test error with 95 % interval, training, size and cost of the models, and what the paper reports.

    load: gives the record of an experiment by name, or raises FileNotFoundError, and the model is left out; by default
    the records of this project. Where runs never saw the test set, their validation errors stand there, and are called
    so. Raises FileNotFoundError if there are no records at all.
    """
    records = find_records(((name, name) for name in TITLES), load)
    if not records:
        raise FileNotFoundError("no run of Table 1 has a record")
    first = next(iter(records.values()))
    split = "test" if "test" in first else "validation"
    lines = [
        f"| model | {split} error, % (95 % interval) | epochs | training, min | parameters | multiplications, M "
        "| error, as reported, not re-checked | M, as reported, not re-checked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        error, multiplications = REPORTED.get(name, (None, None))
        lines.append(
            f"| {TITLES[name]} | {_with_interval(record[split])}{_other_ways(record)} "
            f"| {record['settings']['epochs']} | {record['wall_seconds'] / 60:.0f} | {record['parameters']:,} "
            f"| {multiplications_of(name) / 1e6:.1f} | {f'{error:.2f}' if error else ''} | {multiplications or ''} |"
        )
    seen = f"each run evaluated once ({EARLIER})" if split == "test" else "the ones chosen on"
    lines += [
        "",
        f"Our column: {_images_told(first['data'], split)}, {seen}; training with fresh clutter every epoch; chosen on "
        f"{first['data']['validation']['count']:,} validation images. {OTHER_GENERATORS}",
    ]
    return "\n".join(lines)


def _images_told(data: Record, split: str) -> str:
    told = data[split]
    return (
        f"{told['count']:,} {split} images of {told['size']}x{told['size']} pixels with {told['distractors']} "
        f"fragments of {told['crop']}x{told['crop']}, clutter seed {told['seed']}"
    )


def _with_interval(tested: Record) -> str:
    rate = ErrorRate.from_record(tested)
    low, high = rate.interval
    return f"{100 * rate.fraction:.2f} ({100 * low:.2f}..{100 * high:.2f})"


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
    long = list(long_fine_runs(load).values())
    for model, records in runs.items():
        cost = multiplications_of(records[0]["name"])
        rows.append(_number_row(model, records, cost, times.get(model)))
        if long and model == NumberModel("fine", 1):
            rows.append(_number_row(model, long, cost, times.get(model)))
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


def _number_row(model: NumberModel, records: list[Record], cost: int, milliseconds: float | None) -> list[str]:
    first = records[0]
    rate = ErrorRate.from_record(first["test"])
    low, high = rate.interval
    seeds = ", ".join(str(record["settings"]["seed"]) for record in records)
    errors = ", ".join(f"{100 * record['test']['error']:.1f}" for record in records)
    mean = 100 * mean_error(records)
    whole = multiplications_of(NumberRun("fine", model.scales).name)
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
            "fine model's epochs",
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
                str(answer.fine_epochs),
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
