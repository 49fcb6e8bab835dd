"""House numbers at one scale, from the records alone: each model by how it was trained, so that recipes can be chosen
on validation and compared, and the DCN that begins with the fine model at other numbers of patches."""

from itertools import product

from dcnlib.paper.aims import long_fine_runs, mean_error
from dcnlib.paper.markdown import markdown_table, spread_text
from dcnlib.paper.pairs import at_k, check_same_images, wrong_alone, wrong_alone_at
from dcnlib.paper.records import Load, find_records
from dcnlib.paper.runs import (
    FIRST_SHARE_NUMBERS,
    FROM_FINE_NUMBERS,
    LONG_NUMBER_RUNS,
    NUMBER_RUNS,
    TEST_KS,
    NumberRun,
)
from dcnlib.utils.records import Record, load_record


def _usual(model: str) -> tuple[NumberRun, ...]:
    return tuple(run for run in NUMBER_RUNS if (run.model, run.scales) == (model, 1))


# Model and recipe in words, and the runs with it.
COARSE = ("coarse model", "as above"), _usual("coarse")
DCN = ("DCN, k = 8", "as above"), _usual("dcn-k8")
RECIPES = dict(
    (
        COARSE,
        (("fine model", "as above"), _usual("fine")),
        (("fine model", "as many epochs as the others"), LONG_NUMBER_RUNS),
        DCN,
        (("DCN, k = 8", "half of the loss for the first prediction"), (FIRST_SHARE_NUMBERS,)),
        (("DCN, k = 8", "begins with fine and top layers of the fine model"), FROM_FINE_NUMBERS),
    )
)


def number_recipes_table(load: Load = load_record) -> str:
    """Markdown: errors on validation and test images by model and recipe, means over the seeds with their range, the
    DCN's test errors by those of the coarse model, and who was wrong alone beside the usual DCN of the same seed, of a
    single run beside all of its seeds.

    load: as for `results_table`. Recipes without a record are left out. Raises FileNotFoundError if the coarse model or
    the usual DCN has none.
    """
    records = {what: find_records(((run.seed, run.name) for run in runs), load) for what, runs in RECIPES.items()}
    coarse, usual = (records[what] for what, _ in (COARSE, DCN))
    if not (coarse and usual):
        raise FileNotFoundError("the coarse model or the DCN of house numbers has no record")
    rows = [
        [
            *("model", "recipe", "epochs", "seeds", "validation error, %", "test error, %", "of the coarse model's"),
            "wrong alone: this, the DCN as above, seed by seed, or all of its seeds beside a single run (p)",
        ]
    ]
    for (model, recipe), found in records.items():
        if not found:
            continue
        validation, test = ([each[split]["error"] for each in found.values()] for split in ("validation", "test"))
        pairs = product(found, usual) if len(found) == 1 else ((seed, seed) for seed in found if seed in usual)
        beside = [str(wrong_alone(found[mine], usual[its])) for mine, its in pairs if found is not usual]
        ratio = mean_error(found.values()) / mean_error(coarse.values())
        rows.append(
            [
                *(model, recipe, str(next(iter(found.values()))["settings"]["epochs"])),
                *(", ".join(map(str, found)), spread_text(validation), spread_text(test)),
                "" if found is coarse else f"{100 * ratio:.0f} %",
                "; ".join(beside),
            ]
        )
    return markdown_table(rows)


def number_patches_table(load: Load = load_record) -> str:
    """Markdown: the DCN that begins with the fine model, given each number of patches: errors on validation images (of
    the runs whose records have them) and on test images, means over the seeds with their range, the latter by those of
    the coarse model, and who was wrong alone beside the fine model that it begins with, seed by seed.

    load: as for `results_table`. Raises FileNotFoundError if no such DCN, no such fine model or no coarse model has a
    record, and ValueError if two of them were tested on other images.
    """
    coarse = find_records(((run.seed, run.name) for run in COARSE[1]), load)
    fine, begun = long_fine_runs(load), find_records(((run.seed, run.name) for run in FROM_FINE_NUMBERS), load)
    if not (coarse and fine and begun):
        raise FileNotFoundError(
            "a DCN of house numbers, the fine model that it begins with or the coarse model is missing"
        )
    for record in (*coarse.values(), *fine.values()):
        check_same_images(record, next(iter(begun.values())))
    rows = [
        [
            *("patches", "validation error, %", "test error, %", "of the coarse model's"),
            "wrong alone: this, the fine model, seed by seed (p)",
        ]
    ]
    for k in TEST_KS:
        tested = [at_k(record, k)["error"] for record in begun.values()]
        validated = [found["error"] for record in begun.values() if (found := _validation_at(record, k))]
        beside = [str(wrong_alone_at(record, fine[seed], k)) for seed, record in begun.items() if seed in fine]
        ratio = sum(tested) / len(tested) / mean_error(coarse.values())
        errors = [spread_text(found) if found else "" for found in (validated, tested)]
        rows.append([f"k = {k}", *errors, f"{100 * ratio:.1f} %", "; ".join(beside)])
    seeds = ", ".join(str(seed) for seed, record in begun.items() if "validation_ways" in record)
    note = (
        f"Means over the seeds {', '.join(map(str, begun))} with their range, each run evaluated once. On validation "
        f"images records have other k than that of the training since December 2026 (seeds {seeds or 'none'})."
    )
    return f"{markdown_table(rows)}\n\n{note}"


def _validation_at(record: Record, k: int) -> Record | None:
    if record["model"]["k"] == k:
        return record["validation"]
    return record.get("validation_ways", {}).get(f"k{k}")
