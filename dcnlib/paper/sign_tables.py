"""What was measured of street signs, as tables: of the record that `run_street_signs` makes."""

from dcnlib.data.street_signs.signs import CATEGORIES
from dcnlib.paper.markdown import markdown_table
from dcnlib.paper.runs import SIGN_RUNS
from dcnlib.utils.records import Record, load_record

TITLES = {
    "coarse": "coarse model",
    "fine": "fine model, everywhere",
    "dcn": "DCN, k = {k}",
    "until sure": "DCN, until sure: {patches:.1f} patches",
    "rounds": "DCN, k = {k}, chosen two by two",
    "random": "the same layers, {k} random patches",
    "center": "the same layers, {k} patches in the middle",
}


def sign_runs_table() -> str:
    """Markdown: every run of `SIGN_RUNS`, what it began with, and its errors on images like its own.

    Seeds after the first are left out where they have no record.
    """
    rows = [["run", "images", "epochs", "begins with", "validation error, %", "test error, % (95 % interval)"]]
    for run, before in SIGN_RUNS.items():
        try:
            record = load_record(run.name)
        except FileNotFoundError:
            if run.seed:
                continue
            raise
        low, high = record["test"]["interval_95"]
        rows.append(
            [
                f"`{run.name}`",
                f"windows of {run.window}" if run.window else "photographs",
                str(record["settings"]["epochs"]),
                " and ".join(f"`{each.name}`" for each in before) or "drawn weights",
                f"{100 * record['validation']['error']:.1f}",
                f"{100 * record['test']['error']:.1f} ({100 * low:.1f}..{100 * high:.1f})",
            ]
        )
    return markdown_table(rows)


def signs_table(record: Record, window: int) -> str:
    """Markdown: errors and average precisions of every way to answer on windows of so many pixels at half size, or on
    whole photographs (0); what they cost, and how many signs the patches touched."""
    shown = record["windows"][str(window)]
    fine = next(row for row in shown["rows"] if row["name"] == "fine")
    rows = [
        [
            "way",
            "error, % (95 % interval)",
            "more errors than fine, points",
            "average precision",
            "multiplications, M",
            "of the fine model's",
            "signs touched where right",
        ]
    ]
    for row in shown["rows"]:
        seed = f", seed {row['seed']}" if row.get("seed") else ""
        signs = f"{row['signs_touched']} of {row['signs_where_right']}" if row["patches"] else ""
        rows.append(
            [
                TITLES[row["name"]].format(**row) + seed,
                _with_interval(row, "error", 100, ".1f"),
                "" if row is fine else _with_interval(row, "more_errors_than_fine", 100, "+.1f"),
                _with_interval(row, "average_precision", 1, ".2f"),
                f"{row['multiplications'] / 1e6:.1f}",
                f"{100 * row['multiplications'] / fine['multiplications']:.1f} %",
                signs,
            ]
        )
    return markdown_table(rows)


def categories_table(record: Record, window: int, ways: tuple[tuple[str, int | None], ...]) -> str:
    """Markdown: error and average precision of each category, for some ways to answer by name and k."""
    rows = [["way", *CATEGORIES]]
    for row in record["windows"][str(window)]["rows"]:
        if (row["name"], row.get("k")) in ways and not row.get("seed"):
            told = zip(row["errors"], row["average_precisions"], strict=True)
            rows.append([TITLES[row["name"]].format(**row), *(f"{100 * error:.1f} %, {ap:.2f}" for error, ap in told)])
    return markdown_table(rows)


def signs_clock_table(record: Record) -> str:
    """Markdown: memory of a look at one image, by its size, and milliseconds where they were measured."""
    rows = [["image", "model", "ms", "peak memory, MB"]]
    for window, shown in record["windows"].items():
        times, name = shown.get("clock", {}).get("milliseconds"), f"{window}x{window}" if window != "0" else "680x400"
        rows += [
            [name, TITLES[model].format(k=8), f"{times[model]:.1f}" if times else "not measured", f"{count / 1e6:.0f}"]
            for model, count in shown["memory"].items()
        ]
    return markdown_table(rows)


# At most these shares of the fine model's multiplications, by the side of the windows; 0 are whole photographs.
SHARES = {300: 0.1, 0: 0.05}
TOUCHED = 0.8  # of the signs in images that are answered right, at least


def sign_aims_table(record: Record, k: int = 8) -> str:
    """Markdown: the aims for the first DCN with k patches, and what came of them, for the sizes that were measured."""
    rows = [["image", "aim", "measured", "reached"]]
    for window, share in SHARES.items():
        if str(window) not in record["windows"]:
            continue
        shown = {
            (row["name"], row.get("k")): row for row in record["windows"][str(window)]["rows"] if not row.get("seed")
        }
        dcn, fine = shown["dcn", k], shown["fine", None]
        image = f"windows of {window}" if window else "photographs"
        cost = dcn["multiplications"] / fine["multiplications"]
        told = f"at most {100 * share:.0f} % of the fine model's multiplications"
        rows.append([image, told, f"{100 * cost:.1f} %", _reached(cost <= share)])
        worse = dcn["more_errors_than_fine_interval_95"][0] > 0
        told = _with_interval(dcn, "more_errors_than_fine", 100, "+.1f")
        rows.append([image, "not significantly more errors than the fine model", f"{told} points", _reached(not worse)])
        part = dcn["signs_touched"] / max(1, dcn["signs_where_right"])
        told = f"{dcn['signs_touched']} of {dcn['signs_where_right']}, {100 * part:.0f} %"
        aim = f"at least {100 * TOUCHED:.0f} % of the signs touched where the answer is right"
        rows.append([image, aim, told, _reached(part >= TOUCHED)])
    return markdown_table(rows)


def _reached(yes: bool) -> str:
    return "yes" if yes else "no"


def _with_interval(row: Record, name: str, factor: float, form: str) -> str:
    low, high = row[f"{name}_interval_95"]
    return f"{factor * row[name]:{form}} ({factor * low:{form}}..{factor * high:{form}})"
