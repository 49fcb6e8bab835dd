"""Commands that show what is recorded: table and record. They need no torch."""

import json
from contextlib import suppress
from typing import Annotated

from tyro.conf import Positional, arg

from dcnlib.cli.options import one_of
from dcnlib.paper.every_k import ablation_table, each_k_table, papers_training_table
from dcnlib.paper.number_recipes import number_patches_table, number_recipes_table
from dcnlib.paper.seeds import seeds_table
from dcnlib.paper.sign_tables import sign_aims_table, sign_runs_table
from dcnlib.paper.studies import hints_table, patches_table, precision_table
from dcnlib.paper.tables import house_numbers_table, number_targets_table, results_table, summary_table
from dcnlib.utils.records import load_record, records_folder, whole

TABLES = {  # by task
    "cluttered-mnist": (
        summary_table,
        results_table,
        seeds_table,
        patches_table,
        hints_table,
        precision_table,
        each_k_table,
        papers_training_table,
        ablation_table,
    ),
    "house-numbers": (house_numbers_table, number_targets_table, number_recipes_table, number_patches_table),
    "street-signs": (sign_runs_table, lambda: sign_aims_table(load_record("street-signs-measured"))),
}


def table(*, data: Annotated[str, one_of(TABLES)] = "cluttered-mnist") -> None:
    """Print the table of the README, made from the records alone, as Markdown.

    Args:
        data: whose results
    """
    first, *further = TABLES[data]
    with whole(records_folder()):
        print(first())
        for make in further:
            with suppress(FileNotFoundError):  # of studies that have no records yet
                print(f"\n{make()}")


def record(name: Positional[Annotated[str, arg(metavar="NAME")]]) -> None:
    """Print the record of a run of this project: how it was trained, on what, where, and what errors it makes.

    Args:
        name: of the run, such as dcn-k8-hints
    """
    print(json.dumps(load_record(name), indent=1))
