"""What was measured at every budget, as tables and as a sentence: of the record that `run_budgets` makes.

With one seed, errors have the 95 % interval that the images allow; with more, their mean and range over the seeds.
"""

from collections.abc import Iterable

from dcnlib.paper.every_k import seeds_of
from dcnlib.paper.markdown import markdown_table, spread_text
from dcnlib.utils.records import Record

STOPS = {
    "entropy": "entropy",
    "probability": "the top probability",
    "margin": "the margin to the second",
    "random": "at random, as many of each kind",
}
COUNTS = {1: "one", 2: "two", 3: "three"}


def budgets_table(record: Record) -> str:
    """Markdown: test errors with each fixed k, and with patches until it is sure, at what average cost.

    Sure is below the threshold that validation images chose for the record's budget. Raises KeyError if the network
    wasn't measured on test images.
    """
    seeds = list(seeds_of(record).values())
    below = " or ".join(f"{seed['threshold']['entropy_below']:.3f}" for seed in seeds)
    told = {f"k = {rows[0]['k']}": list(rows) for rows in zip(*(seed["data"]["fixed"] for seed in seeds), strict=True)}
    told[f"until sure: below {below} nats"] = [seed["data"]["until_sure"] for seed in seeds]
    told["the same, saliency anew after each round"] = [seed["data"]["anew"] for seed in seeds]
    table = [["patches", _heading(seeds), "patches, mean", "multiplications, M, mean"]]
    table += [[name, _error(rows), f"{_mean(rows, 'patches'):.1f}", _millions(rows)] for name, rows in told.items()]
    return markdown_table(table)


def stops_table(record: Record) -> str:
    """Markdown: test errors when the network stops by one measure of doubt or another, at the same average cost."""
    seeds = list(seeds_of(record).values())
    rows = [["stops by", _heading(seeds), "multiplications, M, mean"]]
    for stop, text in STOPS.items():
        told = [seed["data"]["stops"][stop] for seed in seeds]
        rows.append([text, _error(told), _millions(told)])
    return markdown_table(rows)


def beyond_table(record: Record) -> str:
    """Markdown: errors on images of other clutter and of other sizes than those of training, each with new clutter
    around the same test digits: fixed k, and until sure by the threshold chosen before. Means over the seeds."""
    seeds = list(seeds_of(record).values())
    ks = [row["k"] for row in seeds[0]["data"]["fixed"]]
    rows = [["pixels", "fragments", *(f"k = {k}" for k in ks), "until sure", "patches, mean"]]
    for images in zip(*(seed["beyond"] for seed in seeds), strict=True):
        data, sure = images[0]["data"], [each["until_sure"] for each in images]
        fixed = zip(*(each["fixed"] for each in images), strict=True)
        errors = [f"{100 * _mean(told, 'error'):.1f}" for told in (*fixed, sure)]
        rows.append(
            [f"{data['size']}x{data['size']}", str(data["distractors"]), *errors, f"{_mean(sure, 'patches'):.1f}"]
        )
    return markdown_table(rows)


def until_sure_told(record: Record) -> str:
    """The result in words: errors, multiplications, and of how many seeds."""
    seeds = list(seeds_of(record).values())
    sure = [seed["data"]["until_sure"] for seed in seeds]
    errors = spread_text([row["error"] for row in sure], " %")
    return f"{errors} with {_millions(sure)} million on average, {COUNTS[len(seeds)]} seed{'s' * (len(seeds) > 1)}"


def _heading(seeds: list[Record]) -> str:
    count = len(seeds)
    return "test error, % (95 % interval)" if count == 1 else f"test error, %: mean of {COUNTS[count]} seeds (range)"


def _error(rows: list[Record]) -> str:
    if len(rows) > 1:
        return spread_text([row["error"] for row in rows])
    (row,) = rows
    low, high = row["interval_95"]
    return f"{100 * row['error']:.2f} ({100 * low:.2f}..{100 * high:.2f})"


def _mean(rows: Iterable[Record], what: str) -> float:
    values = [row[what] for row in rows]
    return float(sum(values) / len(values))


def _millions(rows: list[Record]) -> str:
    return f"{_mean(rows, 'multiplications') / 1e6:.1f}"
