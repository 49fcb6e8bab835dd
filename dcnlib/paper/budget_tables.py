"""What was measured at every budget, as tables: of the record that `run_budgets` makes."""

from dcnlib.paper.markdown import markdown_table
from dcnlib.utils.records import Record

STOPS = {
    "entropy": "entropy",
    "probability": "the top probability",
    "margin": "the margin to the second",
    "random": "at random, as many of each kind",
}


def budgets_table(record: Record, name: str) -> str:
    """Markdown: test errors of a DCN with each fixed k, and with patches until it is sure, at what average cost.

    Sure is below the threshold that validation images chose for the record's budget. Raises KeyError if the network
    wasn't measured on test images.
    """
    found = record["models"][name]
    below = found["threshold"]["entropy_below"]
    told = {f"k = {row['k']}": row for row in found["data"]["fixed"]}
    told[f"until sure: below {below:.3f} nats"] = found["data"]["until_sure"]
    told["the same, saliency anew after each round"] = found["data"]["anew"]
    rows = [["patches", "test error, % (95 % interval)", "patches, mean", "multiplications, M, mean"]]
    rows += [[name, _error(row), f"{row['patches']:.1f}", _millions(row)] for name, row in told.items()]
    return markdown_table(rows)


def stops_table(record: Record, name: str) -> str:
    """Markdown: test errors when a DCN stops by one measure of doubt or another, at the same average cost."""
    stops = record["models"][name]["data"]["stops"]
    rows = [["stops by", "test error, % (95 % interval)", "multiplications, M, mean"]]
    return markdown_table(
        [*rows, *([text, _error(stops[stop]), _millions(stops[stop])] for stop, text in STOPS.items())]
    )


def beyond_table(record: Record, name: str) -> str:
    """Markdown: errors of a DCN on images of other clutter and of other sizes than it was trained on, each with new
    clutter around the same test digits: fixed k, and until it is sure by the threshold chosen before."""
    found = record["models"][name]["beyond"]
    ks = [row["k"] for row in record["models"][name]["data"]["fixed"]]
    rows = [["pixels", "fragments", *(f"k = {k}" for k in ks), "until sure", "patches, mean"]]
    for images in found:
        data, sure = images["data"], images["until_sure"]
        errors = [f"{100 * row['error']:.1f}" for row in (*images["fixed"], sure)]
        rows.append([f"{data['size']}x{data['size']}", str(data["distractors"]), *errors, f"{sure['patches']:.1f}"])
    return markdown_table(rows)


def _error(row: Record) -> str:
    low, high = row["interval_95"]
    return f"{100 * row['error']:.2f} ({100 * low:.2f}..{100 * high:.2f})"


def _millions(row: Record) -> str:
    return f"{row['multiplications'] / 1e6:.1f}"
