"""README and docs say what the records say, link to what there is, and their code runs."""

import json
import re
import subprocess
from itertools import combinations, pairwise, product

import numpy as np
import papermill
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from dcnlib import Geometry, count_multiplications, load_cluttered, load_record
from dcnlib.models.specs import DCNSpec, FineSpec, PerturbedTopKSpec
from dcnlib.models.street_signs import StreetSignsTask
from dcnlib.models.tasks import HouseNumbersTask
from dcnlib.paper.aims import mean_error
from dcnlib.paper.benchmark_tables import (
    best_forms_table,
    fastest_table,
    inference_table,
    int8_table,
    limit_table,
    milliseconds,
    until_sure_clock_tables,
)
from dcnlib.paper.budget_tables import beyond_table, budgets_table, stops_table, until_sure_told
from dcnlib.paper.every_k import ablation_table, each_k_table, papers_training_table, seeds_of
from dcnlib.paper.exports import LIMIT, agrees, exports_table
from dcnlib.paper.headline import headline_caption
from dcnlib.paper.markdown import spread_text
from dcnlib.paper.number_recipes import number_patches_table, number_recipes_table
from dcnlib.paper.pairs import WrongAlone, at_k, pairs_table, wrong_alone, wrong_alone_at
from dcnlib.paper.records import find_records
from dcnlib.paper.reported import REPORTED, TITLES
from dcnlib.paper.runs import HINT_RUNS, TEST_KS, TRAIN_KS, VIEWS
from dcnlib.paper.seeds import seeds_table, view_runs
from dcnlib.paper.sign_tables import sign_aims_table, sign_runs_table, signs_clock_table, signs_table
from dcnlib.paper.studies import hints_table, patches_table, precision_table
from dcnlib.paper.tables import (
    controls_table,
    house_numbers_table,
    number_targets_table,
    p_value_text,
    results_table,
    summary_table,
)
from dcnlib.utils.files import project_root
from dcnlib.utils.statistics import paired_difference

ROOT = project_root()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(name):
    """A page in one line, so that a sentence is found wherever its lines end."""
    return " ".join((ROOT / name).read_text().split())


def percent(outcome, digits=2):
    return f"{100 * outcome['error']:.{digits}f} %"


def spread(records):
    return spread_text([record["test"]["error"] for record in records.values()], " %")


def in_tenths(errors):
    """As `spread_text`, for the thousand images of house numbers."""
    return f"{100 * np.mean(errors):.1f} % ({100 * min(errors):.1f}..{100 * max(errors):.1f})"


def mean_at(records, k):
    return 100 * np.mean([at_k(record, k)["error"] for record in records.values()])


def worse(this, other, k):
    """Whether a run errs more often than another with k patches, told apart."""
    pair = wrong_alone_at(this, other, k)
    return pair.this > pair.other and pair.p_value < 0.05


def test_the_tables_are_made_from_the_records():
    ours = load_record("dcn-k8-hints")
    others = [load_record(name) for name in TITLES if name != ours["name"]]
    tables = {
        "README.md": [summary_table()],
        "docs/results.md": [results_table(), pairs_table(ours, others)],
        "docs/studies.md": [seeds_table(), patches_table(), hints_table(), precision_table()],
        "docs/rivals.md": [controls_table(load_record("controls"), "dcn-k8-hints")],
        "docs/house_numbers.md": [
            house_numbers_table(),
            number_targets_table(),
            number_recipes_table(),
            number_patches_table(),
        ],
        "docs/budgets.md": [
            *(make(load_record("budgets")) for make in (budgets_table, stops_table, beyond_table)),
            *(each_k_table(), papers_training_table(), ablation_table()),
        ],
        "docs/street_signs.md": [
            sign_runs_table(),
            sign_aims_table(load_record("street-signs-measured")),
            *(signs_table(load_record("street-signs-measured"), window) for window in (0, 300)),
            signs_clock_table(load_record("street-signs-measured")),
        ],
        "docs/command_line.md": [exports_table(load_record("exports"))],
        "docs/clock.md": [
            fastest_table(load_record("clock")),
            limit_table(load_record("clock")),
            inference_table(load_record("benchmark")),
            int8_table(load_record("int8")),
            best_forms_table(load_record("clock-forms")),
            until_sure_clock_tables(load_record("clock-until-sure")),
        ],
    }
    for page, found in tables.items():
        for table in found:
            assert table in (ROOT / page).read_text()


def test_the_result_in_the_readme_is_that_of_the_records():
    readme, counted, runs = text_of("README.md"), load_record("multiplications")["models"], view_runs(next(iter(VIEWS)))
    dcn, fine = (list(runs[name].values()) for name in ("dcn-k8-hints", "fine"))
    assert {record["settings"]["epochs"] for record in dcn + fine} == {12}
    dcn_told, fine_told = (
        spread_text([record["test"]["error"] for record in records], " %") for records in (dcn, fine)
    )
    price = [f"{counted[name] / 1e6:.1f}" for name in ("dcn-k8-hints", "fine")]
    assert f"our DCN errs on {dcn_told} of the test images with {price[0]} million multiplications" in readme
    assert f"errs on {fine_told} with {price[1]}, three seeds too: fewer errors for five times the price" in readme
    assert (len(dcn), len(fine)) == (3, 3)
    assert round(counted["fine"] / counted["dcn-k8-hints"]) == 5
    assert [wrong_alone(*pair).p_value < 0.05 for pair in zip(fine, dcn, strict=True)] == [True, False, False]


def test_the_numbers_about_the_table_are_those_of_the_records():
    page = text_of("docs/results.md")
    short, fine, ours = (load_record(name) for name in ("dcn-k8-entropy-gradient", "fine", "dcn-k8-hints"))
    assert short["settings"]["epochs"] == fine["settings"]["epochs"] == 3
    assert f"the DCN errs on {percent(short['test'])} (record `{short['name']}`)" in page
    assert f"and the fine model on {percent(fine['test'])}" in page
    pair = wrong_alone(short, fine)
    assert f"{pair.this} are wrong with that DCN alone and {pair.other} with the fine model alone" in page
    difference = "{:+.2f} points, {:+.2f}..{:+.2f}".format(*(100 * x for x in paired_difference(*pair, 10_000)))
    assert f"(McNemar's p = {pair.p_value:.4f}; {difference})" in page
    assert f"at ten epochs, the DCN errs on {percent(ours['test'])}" in page
    assert ours["wall_seconds"] < fine["wall_seconds"] / 2
    falling = ", ".join(f"{100 * error:.1f}" for error in fine["curves"]["validation_error"])
    assert f"({falling} % of the validation images" in page
    eager = {name for name in TITLES if not load_record(name)["settings"]["compile"]}
    assert eager == {"ram", "perturbed-topk", "fine"}


def test_what_is_said_of_the_seeds_is_in_their_records():
    page, runs = text_of("docs/studies.md"), view_runs(next(iter(VIEWS)))
    coarse, ours = runs["coarse"], runs["dcn-k8-hints"]
    assert all(wrong_alone(coarse[seed], ours[seed]).p_value < 0.001 for seed in ours)
    for row, records in runs.items():
        apart = [wrong_alone(*pair).p_value < 0.05 for pair in combinations(records.values(), 2)]
        assert apart == [row == "perturbed-topk"] * 3
    assert "but for perturbed top-k, whose three are." in page
    means = [np.mean([record["test"]["error"] for record in records.values()]) for records in (ours, coarse)]
    assert means[0] > 0.009
    assert means[1] > 0.017
    assert (
        "aren't yet reached after twelve epochs: {:.2f} and {:.2f} % on average".format(*(100 * x for x in means))
        in page
    )
    none, hints = runs["dcn-k8-no-hints"], ours
    assert list(none) == list(hints) == [0, 1, 2]
    assert all(wrong_alone(none[seed], hints[seed]).p_value > 0.05 for seed in hints)
    first = [mean_at(records, 0) for records in (none, hints)]
    told = "the network errs on {:.2f} % with no patch, with them on {:.2f} % (means of three seeds)"
    assert told.format(*first) in page
    fine = runs["fine"]
    told = [
        f"{100 * np.mean([record['test']['error'] for record in records.values()]):.2f}" for records in (fine, ours)
    ]
    counted = load_record("multiplications")["models"]
    price = f"{counted['fine'] / counted['dcn-k8-hints']:.1f}"
    assert f"errs less than the DCN: on {told[0]} % on average, for {price} times its multiplications" in page
    notebook = text_of("notebooks/05_training.ipynb")
    assert f"errs less than the DCN, {told[0]} against {told[1]} % on average, for {price} times" in notebook
    assert f"it errs on {told[0]} %, the DCN on {told[1]} % (three seeds each)" in text_of("docs/results.md")
    apart = [[wrong_alone(run, others[seed]).p_value < 0.05 for seed, run in fine.items()] for others in (ours, none)]
    assert apart == [[True, False, False], [True, True, False]]
    assert all(record["test"]["error"] <= 0.01 for record in fine.values())
    learned = runs["perturbed-topk"]
    assert list(learned) == [0, 1, 2]
    assert f"Perturbed top-k errs on {spread(learned)}: with each seed more than the DCN with hints, told apart" in page
    assert all(worse(run, ours[seed], 8) for seed, run in learned.items())
    pairs = [wrong_alone(run, coarse[seed]) for seed, run in learned.items()]
    assert [pair.p_value < 0.05 for pair in pairs] == [True, True, False]
    assert [pair.this < pair.other for pair in pairs[:2]] == [True, False]
    assert f"with seed 0 less, with seed 2 not told apart from it ({'; '.join(map(str, pairs))})" in page
    widths = {row: np.ptp([run["test"]["error"] for run in records.values()]) for row, records in runs.items()}
    assert max(widths, key=widths.get) == "perturbed-topk"
    assert (
        f"({100 * mean_error(learned.values()):.2f} and {100 * means[0]:.2f} % on average, told apart with each)"
        in text_of("docs/results.md")
    )
    earlier = load_record("perturbed-topk")
    assert (earlier["settings"]["epochs"], earlier["settings"]["precision"]) == (10, "auto")
    pairs = [wrong_alone(run, earlier) for run in learned.values()]
    assert [pair.p_value < 0.05 for pair in pairs] == [False, True, True]
    words = f"errs on {percent(earlier['test'])}, told apart from seeds 1 and 2, not from seed 0"
    assert f"{words} ({'; '.join(map(str, pairs))})" in page
    sure = until_sure_told(load_record("budgets")).split()[0]
    bought = f"for {sure} % of errors where the fine model, trained as long, makes {told[0]}."
    assert bought in text_of("notebooks/11_every_budget.ipynb")


def test_what_is_said_of_the_papers_protocol_is_in_the_records():
    page, runs, fresh = text_of("docs/studies.md"), view_runs(list(VIEWS)[2]), view_runs("trained long")
    rows = ("coarse", "dcn-k8-no-hints", "dcn-k8-hints")
    coarse, none, hints = (runs[row] for row in rows)
    assert runs.keys() == {*rows, "fine"}
    assert list(coarse) == list(none) == list(hints) == [0, 1, 2]
    assert not any(run["data"]["train"]["fresh"] for records in runs.values() for run in records.values())
    told = [spread(records) for records in (hints, none)]
    reported = [REPORTED[row][0] for row in ("dcn-k8-hints", "dcn-k8-no-hints")]
    words = "the DCN errs on {} with hints and on {} without, where the paper reports {:.2f} and {:.2f}"
    assert f"three seeds each, {words.format(*told, *reported)}: no seed tells" in page
    pairs = [wrong_alone(none[seed], run) for seed, run in hints.items()]
    assert all(pair.p_value > 0.05 for pair in pairs)
    assert f"(wrong without and with them alone: {'; '.join(map(str, pairs))})" in page
    dcns = [*none.values(), *hints.values()]
    assert {f"{run['curves']['train_cross_entropy'][-1]:.3f}" for run in dcns} == {"0.001"}
    assert "a cross-entropy of 0.001 in the last epoch" in page
    fewer, more = ([mean_at(records, k) for records in (hints, none)] for k in (0, 24))
    assert "With no patch {:.2f} % err with them and {:.2f} % without, with 24 patches".format(*fewer) in page
    assert "patches {:.2f} and {:.2f} % (means; told apart with each seed, and with one of three)".format(*more) in page
    apart = {k: [wrong_alone_at(none[seed], run, k).p_value < 0.05 for seed, run in hints.items()] for k in (0, 24)}
    assert apart == {0: [True, True, True], 24: [True, False, False]}
    (fine,) = runs["fine"].values()
    assert (fine["settings"]["seed"], fine["settings"]["epochs"]) == (0, 12)
    pairs = [wrong_alone(fine, records[0]) for records in (hints, none)]
    assert all(pair.p_value > 0.05 for pair in pairs)
    words = f"errs on {percent(fine['test'])}, where the paper reports {REPORTED['fine'][0]:.2f}, and isn't told apart"
    assert words in page
    assert "from the DCN of that seed, with hints ({}) or without ({})".format(*pairs) in page
    assert all(run["test"]["error"] <= 0.022 for run in coarse.values())
    assert all(run["test"]["error"] <= 0.012 for run in (fine, *none.values()))
    assert all(run["test"]["error"] > 0.010 for run in hints.values())
    reached = f"{spread(coarse)}, {percent(fine['test'])} and {told[1]}"
    assert f"are reached by each run ({reached}), that of 1.0 % for the DCN with hints is missed by all three" in page
    compared = {(row, seed): (run, fresh[row][seed]) for row in runs for seed, run in runs[row].items()}
    assert all(run["settings"]["epochs"] == other["settings"]["epochs"] for run, other in compared.values())
    pairs = {name: wrong_alone(*both) for name, both in compared.items()}
    assert all(pair.this > pair.other for pair in pairs.values())
    same = {name: pair for name, pair in pairs.items() if pair.p_value > 0.05}
    assert set(same) == {("dcn-k8-hints", 1), ("fine", 0)}
    assert f"told apart with each seed but seed 1 with hints ({same['dcn-k8-hints', 1]})" in page
    errors = [percent(run["test"]).removesuffix(" %") for run in (fine, fresh["fine"][0])]
    words = "Of the fine model, {} and {} % with seed 0, it isn't shown"
    assert f"{words.format(*errors)} ({same['fine', 0]})" in page
    errors = [100 * mean_error([found[row][seed] for seed in runs[row]]) for row in rows for found in (runs, fresh)]
    words = "{:.2f} and {:.2f} % for the coarse model, {:.2f} and {:.2f} % without hints, {:.2f} and {:.2f} % with them"
    assert words.format(*errors) in page
    words = f"on fixed images the coarse network errs on {errors[0]:.2f} % of new ones, after as many on fresh"
    assert f"clutter in fresh places on {errors[1]:.2f} % (means of three seeds" in text_of(
        "notebooks/01_cluttered_mnist.ipynb"
    )
    assert words in text_of("notebooks/01_cluttered_mnist.ipynb")
    words = "err on {} with hints and {} without, three seeds each".format(*told)
    assert words in text_of("notebooks/05_training.ipynb")


def test_hints_let_k_be_turned_down_in_every_pair_of_runs():
    pairs = [
        (record, runs["dcn-k8-hints"][seed])
        for runs in map(view_runs, VIEWS)
        for seed, record in runs["dcn-k8-no-hints"].items()
    ]
    assert len(pairs) == 9
    times = [at_k(without, 0)["error"] / at_k(some, 0)["error"] for without, some in pairs]
    told = f"{min(times):.1f} to {max(times):.1f} times"
    notebook = text_of("notebooks/06_number_of_patches.ipynb")
    assert f"In all nine pairs the network without hints errs {told} as often with no patch" in notebook
    assert f"the error with no patch is {told} as high, in nine pairs of runs" in notebook
    assert all(worse(*pair, k) for pair in pairs for k in (0, 1))
    assert all(wrong_alone_at(*pair, 8).p_value > 0.05 for pair in pairs)
    more = {k: sum(worse(*pair, k) for pair in pairs) for k in (4, 8, 16, 24)}
    less = {k: sum(worse(some, without, k) for without, some in pairs) for k in (4, 8, 16, 24)}
    assert (more, less) == ({4: 1, 8: 0, 16: 0, 24: 2}, dict.fromkeys((4, 8, 16, 24), 0))
    told = "the two are told apart, in favour of hints, once with four patches, twice with 24 and never with eight"
    assert told in text_of("docs/studies.md")
    assert "(With four patches it is in one, with 24 in two, each time in favour of hints." in notebook


def test_what_is_open_has_no_record():
    planned = [run for runs in VIEWS.values() for run in runs]
    found = find_records(((run, run.name) for run in planned), load_record)
    assert {run.name for run in planned if run not in found} == {
        *(f"perturbed-topk-30-seed{seed}" for seed in (1, 2)),
    }
    assert "Open: perturbed top-k after thirty epochs, seeds 1 and 2." in text_of("docs/studies.md")


def test_what_is_said_of_long_training_is_in_the_records():
    page, short, runs = text_of("docs/studies.md"), view_runs("12 epochs each"), view_runs("trained long")
    coarse, none, hints, fine = (runs[row] for row in ("coarse", "dcn-k8-no-hints", "dcn-k8-hints", "fine"))
    assert list(coarse) == list(none) == list(hints) == list(fine) == [0, 1, 2]
    told = [spread(records) for records in (hints, none)]
    seeds = "it errs on {} with hints and on {} without, three seeds each".format(*told)
    assert f"{seeds}; beside the fine model" in page
    with_hints, without = ([wrong_alone(run, fine[seed]) for seed, run in runs.items()] for runs in (hints, none))
    assert all(pair.p_value > 0.05 for pair in with_hints + without)
    pairs = ["; ".join(map(str, pairs)) for pairs in (with_hints, without)]
    assert f"{100 * mean_error(fine.values()):.2f} %, no seed tells them apart (wrong alone with hints:" in page
    assert "(wrong alone with hints: {}; without: {})".format(*pairs) in page
    counted = load_record("multiplications")["models"]
    ratio = 12 * counted["fine"] / (30 * counted["dcn-k8-hints"])
    assert f"Those twelve epochs took {ratio:.1f} times as many multiplications" in page
    assert ratio == pytest.approx(2, rel=0.1)  # "half"
    words = f"half of the multiplications of the fine model's twelve, our DCN errs on {told[0]}, three seeds"
    assert words in text_of("README.md")
    words = f"the DCN errs on {told[0]} and isn't told apart from it by any of three seeds"
    assert words in text_of("docs/results.md")
    assert seeds in text_of("notebooks/05_training.ipynb")
    pairs = [wrong_alone(run, hints[seed]) for seed, run in none.items()]
    assert all(pair.p_value > 0.05 for pair in pairs)
    assert f"aren't told apart there either ({'; '.join(map(str, pairs))})" in page
    first = [mean_at(records, 0) for records in (hints, none)]
    assert "with no patch {:.2f} % err with them and {:.2f} % without, on average".format(*first) in page
    assert all(wrong_alone_at(run, hints[seed], 0).p_value < 0.001 for seed, run in none.items())
    assert f"is reached on average, {100 * mean_error(hints.values()):.2f} %, by two seeds of three" in page
    assert mean_error(hints.values()) <= 0.009
    errors = [run["test"]["error"] for run in hints.values()]
    assert [sum(error <= aim for error in errors) for aim in (0.008, 0.009)] == [1, 2]
    assert f"the moonshot, 0.8 %, by seed 2 alone, {percent(hints[2]['test'])}" in page
    assert all(run["test"]["error"] <= 0.017 for run in coarse.values())
    cheap = spread(coarse)
    between = {row: [wrong_alone(*pair) for pair in combinations(runs[row].values(), 2)] for row in runs}
    own = {row: pairs for row, pairs in between.items() if row not in ("fine", "perturbed-topk")}
    assert {row: [pair.p_value < 0.05 for pair in pairs] for row, pairs in own.items()} == {
        "coarse": [True, False, False],
        "dcn-k8-no-hints": [False, False, False],
        "dcn-k8-hints": [False, False, True],
    }
    assert f"by the coarse model with each seed, {cheap}." in page
    told = f"seeds 0 and 1 of the coarse model are told apart ({between['coarse'][0]})"
    assert f"{told}, and, barely, 1 and 2 of the DCN with hints ({between['dcn-k8-hints'][2]})" in page
    (learned,) = runs["perturbed-topk"].values()
    pairs = [wrong_alone(learned, records[learned["settings"]["seed"]]) for records in (hints, coarse)]
    assert pairs[0].this > pairs[0].other
    assert [pair.p_value < 0.05 for pair in pairs] == [True, False]
    told = (
        f"Perturbed top-k of thirty epochs, one seed, errs on {percent(learned['test'])}: more than the DCN with hints"
    )
    assert (
        f"{told} of that seed, told apart ({pairs[0]}), and not told apart from its coarse model ({pairs[1]})" in page
    )
    fell, apart = [], {}
    for row in ("dcn-k8-hints", "dcn-k8-no-hints", "coarse"):
        each = [
            [f"{100 * found[row][seed]['validation']['error']:.2f}" for found in (short, runs)] for seed in runs[row]
        ]
        assert all(float(later) < float(before) for before, later in each)
        fell.append(", ".join(" to ".join(pair) for pair in each))
        apart |= {(row, seed): wrong_alone(run, short[row][seed]) for seed, run in runs[row].items()}
    assert "every seed: {} % with hints; {} % without; {} % for the coarse model".format(*fell) in page
    same = {name: pair for name, pair in apart.items() if pair.p_value > 0.05}
    assert (len(apart), list(same)) == (9, [("dcn-k8-hints", 1), ("dcn-k8-no-hints", 2), ("coarse", 1)])
    words = "six of the nine runs are told apart from their shorter one; not seed 1 of the DCN with hints ({}), "
    words += "seed 2 of the one without ({}) and seed 1 of the coarse model ({})"
    assert words.format(*same.values()) in page
    apart = {
        row: [wrong_alone(run, short[row][seed], "validation").p_value < 0.05 for seed, run in runs[row].items()]
        for row in ("dcn-k8-hints", "dcn-k8-no-hints", "coarse")
    }
    assert (sum(sum(told) for told in apart.values()), any(apart["dcn-k8-hints"])) == (4, False)
    assert "On the validation images four of the nine are, none of them with hints." in page
    missed = {
        (view, row): [seed for seed, run in found[row].items() if worse(run, found["fine"][seed], 8)]
        for view, found in {"short": short, "long": runs}.items()
        for row in ("dcn-k8-hints", "dcn-k8-no-hints")
    }
    assert list(missed.values()) == [[0], [0, 1], [], []]
    assert "is missed after twelve epochs, with hints by seed 0, without by seeds 0 and 1; trained long, it is" in page


def test_seeds_differ_in_machine_and_revision_too():
    records = [record for view in VIEWS for records in map(dict.values, view_runs(view).values()) for record in records]
    assert len({record["machine"]["processor"].split()[0] for record in records}) == 2
    assert len({record["git_revision"] for record in records}) > 2
    assert {record["settings"]["precision"] for record in records} == {"bfloat16"}
    assert "trained on two kinds of processor and at several revisions of the code" in text_of("docs/studies.md")


def test_what_is_said_of_the_k_of_the_training_is_in_the_records():
    page, notebook = text_of("docs/studies.md"), text_of("notebooks/06_number_of_patches.ipynb")
    runs = {k: load_record(f"dcn-k{k}-hints-12-seed0") for k in TRAIN_KS if k != 8}
    usual = [load_record(f"dcn-k8-hints-12-seed{seed}") for seed in range(3)]
    every = [*runs.values(), *usual]
    one, *others = [100 * at_k(record, 1)["error"] for record in (runs[1], *usual)]
    told = "{:.2f} % beside {:.2f}, {:.2f} and {:.2f}".format(one, *others)
    assert f"With one patch that of one errs less than each of them, {told}, told apart." in page
    assert f"With one patch, that of one beats all three of eight, {told}." in notebook
    own = {k: [worse(record, run, k) for record in usual] for k, run in runs.items()}
    assert own == {1: [True] * 3, **{k: [False, False, True] for k in (2, 4, 16, 24)}}
    assert all(at_k(usual[2], k)["error"] == max(at_k(record, k)["error"] for record in usual) for k in (2, 4, 16, 24))
    assert not any(worse(run, other, run["model"]["k"]) for run in every for other in every)
    seeds = [k for k in TEST_KS if any(wrong_alone_at(*pair, k).p_value < 0.05 for pair in combinations(usual, 2))]
    assert seeds == [0, 1, 2, 16, 24]

    for k in (8, 16, 24):
        assert all(worse(runs[few], more, k) for few in (1, 2) for more in (runs[4], *usual))
    assert all(worse(runs[more], runs[4], k) for more in (16, 24) for k in (1, 2, 4))
    assert all(worse(runs[16], other, 8) for other in (runs[4], *usual))
    assert all(worse(runs[more], usual[0], 4) for more in (16, 24))
    assert wrong_alone_at(runs[16], usual[0], 16).p_value > 0.5
    beside = [[worse(runs[more], record, k) for record in usual] for more in (16, 24) for k in (1, 2)]
    assert beside == [[True, False, False]] * 4
    last = [(4, 16, 16), (4, 24, 24)]
    pairs = [wrong_alone_at(runs[this], runs[other], k) for this, other, k in last]
    assert "than that of sixteen ({}), with 24 than that of 24 ({})".format(*pairs) in page
    assert all(worse(runs[this], runs[other], k) for this, other, k in last)

    turned = [[worse(record, runs[4], k) for record in usual] for k in TEST_KS]
    assert turned[:3] == [[False, True, True]] * 3
    assert turned[4:] == [[False] * 3] * 3
    assert [[worse(runs[4], record, k) for record in usual] for k in TEST_KS] == [
        *[[False] * 3] * 5,
        [True, False, False],
        [False] * 3,
    ]
    assert f"seed 0 errs less often than that of four ({wrong_alone_at(usual[0], runs[4], 16)})" in page
    odd = wrong_alone_at(runs[16], runs[24], 8)
    assert f"than that of 24 with eight patches ({odd}), though eight is nearer to sixteen" in page
    assert worse(runs[16], runs[24], 8)


def test_what_notebook_6_says_of_the_networks_at_their_own_k_is_in_the_records():
    notebook = text_of("notebooks/06_number_of_patches.ipynb")
    runs = {k: load_record(f"dcn-k{k}-hints-12-seed0") for k in TRAIN_KS}
    coarse, fine = (load_record(f"{row}-12-seed0") for row in ("coarse", "fine"))
    ladder = [coarse, *runs.values(), fine]
    apart = [wrong_alone(*pair).p_value < 0.05 for pair in pairwise(ladder)]
    assert apart == [False, False, True, False, True, False, False]
    others = [wrong_alone(runs[16], load_record(f"dcn-k8-hints-12-seed{seed}")) for seed in (1, 2)]
    assert "not with the other two ({} and {})".format(*others) in notebook
    assert all(pair.p_value > 0.05 for pair in others)
    assert all(wrong_alone(runs[k], coarse).p_value > 0.05 for k in (1, 2))
    beside = {k: wrong_alone(run, fine) for k, run in runs.items()}
    assert {k for k, pair in beside.items() if pair.p_value < 0.05 and pair.this > pair.other} == {1, 2, 4, 8}
    assert {k for k, pair in beside.items() if pair.p_value > 0.05} == {16, 24}
    counted = load_record("multiplications")["models"]
    share = count_multiplications(DCNSpec(k=16).build()).total / counted["fine"]
    seeds = {k: [wrong_alone(run, load_record(f"fine-12-seed{seed}")) for seed in range(3)] for k, run in runs.items()}
    more = {k: [pair.p_value < 0.05 and pair.this > pair.other for pair in pairs] for k, pairs in seeds.items()}
    assert {k: more[k] for k in more if k != 8} == {
        **dict.fromkeys((1, 2), [True] * 3),
        4: [True, True, False],
        **dict.fromkeys((16, 24), [False] * 3),
    }
    assert all(pair.p_value > 0.05 for pair in seeds[16])
    told = "; ".join(f"{pair.this}, {pair.other}" for pair in seeds[16])
    assert f"at {100 * share:.0f} % of its price (wrong alone: {told})" in notebook
    assert [pair.p_value < 0.05 for pair in seeds[24]] == [False, False, True]
    assert seeds[24][2].this < seeds[24][2].other
    share = count_multiplications(DCNSpec(k=24).build()).total / counted["fine"]
    assert f"that of 24, at {100 * share:.0f} %, errs less than one ({seeds[24][2]}) and isn't told apart" in notebook
    clock = text_of("notebooks/10_time_and_scale.ipynb")
    told = "one of them of four ({}; {}) and one of eight ({}; {}; beside the network of eight with their own seeds"
    assert told.format(*seeds[4][1:], *seeds[8][1:]) in clock
    assert more[8] == [True, True, False]
    assert "that of four and the one of eight shown more than two of them" in notebook
    own = [wrong_alone(load_record(f"dcn-k8-hints-12-seed{s}"), load_record(f"fine-12-seed{s}")) for s in (1, 2)]
    assert all(pair.p_value > 0.05 for pair in own)
    assert "any of the three ({} and {} with the others)".format(*seeds[16][1:]) in clock
    assert "errs less often than one of them ({} and {})".format(*seeds[24][1:]) in clock
    longer = wrong_alone(load_record("dcn-k8-hints-30-seed0"), fine)
    assert longer.p_value > 0.05
    told = f"at a fifth of the price ({longer.this} and {longer.other} with the one shown)"
    assert f"neither is that of eight with any of three seeds, {told}" in notebook
    assert counted["dcn-k8-hints"] / counted["fine"] == pytest.approx(0.2, abs=0.02)
    assert 30 * counted["dcn-k8-hints"] < 12 * counted["fine"]


def test_what_is_said_of_hints_is_in_the_records():
    page, runs = text_of("docs/studies.md"), {}
    for run in HINT_RUNS:
        runs.setdefault(run.model.removeprefix("dcn-k8-"), []).append(load_record(run.name))
    none, some, (weak,), (strong,), (relative,) = (
        runs[kind] for kind in ("no-hints", "hints", "hints0.01", "hints1", "relative-hints")
    )
    assert len(none) == len(some) == 3
    drawn = [*some, strong, relative]
    first = [[100 * at_k(record, 0)["error"] for record in records] for records in (none, drawn)]
    told = "With no patch {:.2f} to {:.2f} % err without hints, and {:.2f} to {:.2f} % with hints"
    assert told.format(*(bound(errors) for errors in first for bound in (min, max))) in page

    assert all(worse(bare, record, k) for bare in none for record in drawn for k in (0, 1, 2))
    assert all(wrong_alone_at(bare, record, 8).p_value > 0.05 for bare in none for record in drawn)
    assert all(worse(bare, weak, k) for bare in none for k in (0, 1))
    assert [sum(worse(weak, record, k) for record in some) for k in (0, 1)] == [3, 2]
    assert [worse(weak, bare, 24) for bare in none] == [True, False, True]
    assert [worse(weak, bare, 8) for bare in none] == [False, False, True]
    assert [worse(weak, record, 8) for record in some] == [False, True, True]
    pairs = [wrong_alone(weak, none[2]), *(wrong_alone(weak, record) for record in some[1:])]
    told = "more often than one of three seeds without hints ({}) and than two of weight 0.1 ({}; {})"
    assert told.format(*pairs) in page
    every = [weak, *none, *drawn]
    lowest = min(every, key=lambda record: record["validation"]["error"])
    assert lowest is weak
    assert f"it is the lowest of all these, {percent(weak['validation'])}, not told apart from any seed" in page
    assert all(wrong_alone(weak, record, "validation").p_value > 0.05 for record in some)
    assert [worse(relative, record, 0) for record in some] == [True, False, False]
    assert [worse(record, relative, 0) for record in some] == [False, True, False]
    assert [worse(relative, some[0], k) for k in TEST_KS] == [True, True, *[False] * 5]
    assert not any(worse(some[0], relative, k) for k in TEST_KS)
    first = (none[0], weak, some[0], strong, relative)
    assert all(wrong_alone_at(*pair, 8).p_value > 0.05 for pair in combinations(first, 2))
    assert all(worse(weak, record, k) for k in (0, 1) for record in first[2:])

    def last(record, part):
        return record["curves"][f"train_{part}"][-1]

    for part in ("coarse_length", "fine_length"):
        bare = [last(record, part) for record in none]
        assert last(weak, part) < min(bare)
        assert max(bare) < min(last(record, part) for record in drawn)
        assert min(last(record, part) for record in some) < last(relative, part) < max(last(r, part) for r in some)
        assert last(relative, part) == pytest.approx(last(some[0], part), rel=0.03)
    assert last(relative, "cosine") == pytest.approx(last(some[0], "cosine"), abs=0.01)
    distances = [last(record, "distance") for record in none]
    told = f"({last(strong, 'distance'):.2f} beside {min(distances):.2f} to {max(distances):.2f})"
    assert f"The distance doesn't: with weight 1 it is as large as without hints {told}" in page
    assert min(distances) < last(strong, "distance") < max(distances)
    assert max(last(bare, "cosine") for bare in none) < last(weak, "cosine") < min(last(r, "cosine") for r in some)


def test_no_loss_is_seen_under_bfloat16():
    pairs = [
        (load_record(f"{model}-12-float32-seed0"), load_record(f"{model}-12-seed0"))
        for model in ("coarse", "dcn-k8-hints")
    ]
    for full, half in pairs:
        assert (full["settings"]["precision"], half["settings"]["precision"]) == ("float32", "bfloat16")
        assert all(wrong_alone(full, half, split).p_value > 0.05 for split in ("validation", "test"))
    assert all(wrong_alone_at(*pairs[1], k).p_value > 0.05 for k in TEST_KS)
    assert "- No loss is seen: neither model under float32 is told apart" in text_of("docs/studies.md")


def test_the_numbers_about_the_rivals_are_those_of_the_records():
    page = text_of("docs/rivals.md")
    coarse, random = load_record("coarse"), load_record("dcn-k8-random")
    assert f"twice as often as the coarse model, {percent(coarse['test'])}" in page
    assert f"from the coarse model's error to {percent(load_record('dcn-k8-hints')['test'])}" in page
    counted = load_record("multiplications")["models"]
    more = counted["perturbed-topk"] - counted["dcn-k8-hints"]
    assert f"for {more / 1e6:.1f}M multiplications more" in page
    scores = count_multiplications(PerturbedTopKSpec().build()).saliency
    told = f"({scores / 1e6:.1f}M multiplications on top of the DCN's {counted['dcn-k8-hints'] / 1e6:.1f}M, "
    told += f"less {(scores - more) / 1e6:.2f}M of saliency"
    assert told in text_of("docs/method.md")
    controls = load_record("controls")["models"]["dcn-k8-hints"]["controls"]
    assert all(row["error"] > coarse["test"]["error"] for name in ("random", "center") for row in controls[name])
    named = {"entropy-gradient": "entropy's gradient", "coarse-norm": "coarse norm", "random": "random cells"}
    errors = {policy: percent(load_record(f"dcn-k8-{policy}")["test"]) for policy in named}
    assert ", ".join(f"{error} under {'the ' * (p != 'random')}{named[p]}" for p, error in errors.items()) in page
    pair = wrong_alone(random, coarse)
    told = f"{pair.this} are wrong with that network alone and {pair.other} with the coarse model alone"
    assert f"{told} (p {p_value_text(pair.p_value)})" in page


def test_what_is_said_of_where_perturbed_topk_looks_is_in_the_records():
    page, told = text_of("docs/rivals.md"), load_record("controls-topk")["models"]

    def at_eight(name, control):
        (row,) = told[name]["controls"][control]
        return row

    one, two, long = names = [f"perturbed-topk-{run}" for run in ("12-seed1", "12-seed2", "30-seed0")]
    touching = {name: f"{100 * at_eight(name, 'own')['touching']:.0f} %" for name in names}
    chance = {f"{100 * at_eight(name, 'random')['touching']:.0f} %" for name in names}
    words = (
        f"Of the patches of seed 1 of twelve epochs {touching[one]} touch it, of those of seed 2 {touching[two]}, where"
    )
    assert f"{words} random ones do {chance.pop()}; shown the digit" in page
    assert not chance
    shown = [f"{100 * at_eight(name, 'oracle')['error']:.0f}" for name in (one, two)]
    assert "their layers err on {} and {} %".format(*shown) in page
    assert f"with the one of thirty epochs {touching[long]} touch it" in page
    runs = view_runs(next(iter(VIEWS)))
    assert (
        f"with each of three seeds of twelve epochs, {spread(runs['perturbed-topk'])}, and with the one of thirty"
        in page
    )
    beside = [100 * runs[row][seed]["test"]["error"] for seed in (2, 1) for row in ("perturbed-topk", "coarse")]
    assert "(seed 2, {:.2f} beside {:.2f} %) or worse (seed 1, {:.2f} beside {:.2f} %)".format(*beside) in page
    shipped = load_record("controls")["models"]["perturbed-topk"]["controls"]["own"]
    (own,) = (row for row in shipped if row["k"] == 8)
    assert f"({100 * own['touching']:.0f} % against 100), and its error isn't told apart" in page
    pair = wrong_alone(load_record("dcn-k8-hints"), load_record("perturbed-topk"))
    assert pair.p_value > 0.05
    assert f"({pair.this}, {pair.other}: one run of each)" in page


def test_the_numbers_about_the_clock_are_those_of_the_records():
    page = text_of("docs/clock.md")
    times = {row["batch"]: row["best"] for row in load_record("benchmark")["inference"]}
    assert f"takes {times[16]['fine']:.3f} ms an image at batch 16" in page
    fair, printed = (times[batch]["fine"] / times[128]["dcn, prepared"] for batch in (16, 128))
    assert f"the DCN would look {printed:.1f} times faster; against the pieces of 16 it is {fair:.1f} times" in page
    first, second = (times[128]["dcn, prepared"], times[128]["fine"]), milliseconds()
    second = second["dcn-k8-hints"], second["fine"]
    assert f"has {first[0]:.3f} and {first[1]:.3f} ms for the DCN and the fine model" in page
    apart = " and ".join(f"{100 * (one / other - 1):.0f}" for one, other in zip(first, second, strict=True))
    assert f"{second[0]:.3f} and {second[1]:.3f}: {apart} % apart" in page


def test_the_numbers_about_the_fastest_forms_are_those_of_the_records():
    page, counted = text_of("docs/clock.md"), load_record("multiplications")["models"]
    batches, again = ({row["batch"]: row for row in load_record(name)["batches"]} for name in ("clock", "clock-again"))
    ratios = [{batch: row["times_faster"]["dcn-k8-hints"] for batch, row in rows.items()} for rows in (batches, again)]
    told = [f"{ratio['ratio']:.2f}" for ratio in ratios[1].values()]
    assert f"has the DCN {told[0]}, {told[1]} and {told[2]} times faster at batch 1, 16 and 128" in page
    for one, other in (ratios, ratios[::-1]):  # within each other's ranges
        assert all(other[batch]["low"] <= one[batch]["ratio"] <= other[batch]["high"] for batch in one)
    assert all(ratios[0][batch]["ratio"] < aim for batch, aim in {1: 3.5, 16: 5, 128: 5.3}.items())
    assert f"{len(batches[128]['forms'])} forms" in page
    fine, dcn = counted["fine"], counted["dcn-k8-hints"]
    assert f"By the count of multiplications the DCN would be {fine / dcn:.1f} times faster" in page
    assert 5.25 < fine / dcn < 5.3  # the last aim is the limit
    parts = load_record("benchmark")["parts"]
    ms, work = parts["milliseconds"], parts["multiplications"]
    cheap = [sum(of[part] for part in ("coarse layers", "first pass")) for of in (ms, work)]
    assert f"take {cheap[0]:.3f} of {ms['whole']:.3f} ms" in page
    assert f"at {cheap[1] / cheap[0] / 1e6:.0f} million multiplications a millisecond" in page
    assert f"while the fine layers reach {work['fine layers'] / ms['fine layers'] / 1e6:.0f}" in page


def test_what_the_forms_gain_is_what_their_record_says():
    page, batches = text_of("docs/clock.md"), load_record("clock-forms")["batches"]

    def best(batch, model, form):
        forms = [one for one in batch["forms"] if (one["model"], one["form"]) == (model, form)]
        return min(forms, key=lambda one: one["milliseconds"])

    def apart(batch, model, form):
        before, after = (best(batch, model, one) for one in ("compiled", form))
        return before["high"] < after["low"] or after["high"] < before["low"]

    def gain(model):
        before, after = (best(batches[0], model, form)["milliseconds"] for form in ("compiled", "multiplied"))
        return before / after

    assert (
        f"single image {gain('coarse'):.2f} times faster for the coarse model, and {gain('dcn-k8-hints'):.2f}" in page
    )
    assert apart(batches[0], "coarse", "multiplied")
    assert not apart(batches[0], "dcn-k8-hints", "multiplied")
    for form in ("folded", "multiplied", "prepared"):
        assert not any(apart(batch, "fine", form) for batch in batches)
        assert not any(apart(batch, model, form) for batch in batches[1:] for model in ("coarse", "dcn-k8-hints"))
    assert not any(apart(batches[0], model, "folded") for model in ("coarse", "dcn-k8-hints"))


def test_the_time_of_the_page_is_that_of_its_record():
    page, times = text_of("docs/explorer.md"), load_record("page")["times"]
    first, k, image = (times[what] for what in ("first_answer", "another_k", "another_image"))
    assert f"the first answer stood after {first['median'] / 1000:.2f} s" in page
    assert f"the slowest of ten visits after {first['most'] / 1000:.2f} s" in page
    assert len(first["milliseconds"]) == 10
    assert f"another k after {k['median']:.0f} ms, that for another image after {image['median']:.0f} ms" in page
    later = sorted(k["milliseconds"] + image["milliseconds"])
    assert f"one of {len(later)} took {later[-1]:.0f} ms" in page
    assert later[-2] < 100


def test_the_numbers_about_looking_until_sure_on_the_clock_are_those_of_the_record():
    page, batches = text_of("docs/clock.md"), load_record("clock-until-sure")["batches"]
    aims = {1: 4, 16: 5, 128: 6}
    assert [row["batch"] for row in batches] == list(aims)
    assert all(row["times_faster"]["ratio"] < aims[row["batch"]] for row in batches)
    mean, fine = batches[0]["look"]["multiplications"], load_record("multiplications")["models"]["fine"]
    told = f"takes {mean / 1e6:.1f} million multiplications on average, {fine / mean:.1f} times fewer than the fine"
    assert told in page
    shares = [100 * row["glance"]["milliseconds"] / row["fastest"]["own"]["milliseconds"] for row in batches]
    assert "it is {:.0f}, {:.0f} and {:.0f} % of the whole at batch 1, 16 and 128".format(*shares) in page
    one, many = ([form["milliseconds"] for form in batches[i]["forms"] if form["form"] == "eager"] for i in (0, -1))
    assert one[0] > batches[0]["fastest"]["fine"]["milliseconds"]
    assert f"the first look alone takes {one[0]:.2f} ms" in page
    assert f"after the first look take {many[-1] - many[0]:.2f} ms an image" in page


def test_the_numbers_about_a_single_image_are_those_of_the_record():
    page, counted = text_of("docs/clock.md"), load_record("multiplications")["models"]
    rows = load_record("clock")["batches"]
    times = {
        (one["model"], one["form"], row["batch"]): one["milliseconds"]
        for row in rows
        for one in row["forms"]
        if one["threads"] == 1 and one["pieces"] == row["batch"]
    }
    best = {model: row["milliseconds"] for model, row in rows[0]["fastest"].items()}
    assert rows[0]["batch"] == 1
    assert f"takes {best['coarse']:.2f} of its {best['dcn-k8-hints']:.2f} ms" in page
    assert rows[0]["fastest"]["dcn-k8-hints"]["form"] == "onnxruntime"
    dcn, fine = (counted[model] / 1e6 for model in ("dcn-k8-hints", "fine"))
    larger = [
        dcn / one["milliseconds"]
        for name in ("clock", "clock-again")
        for row in load_record(name)["batches"]
        for one in row["forms"]
        if (one["model"], one["form"], one["threads"]) == ("dcn-k8-hints", "onnxruntime", 1)
        and one["pieces"] == row["batch"] > 1
    ]
    rate = dcn / times["dcn-k8-hints", "onnxruntime", 1]
    assert f"does {rate:.0f} million of the DCN's multiplications a millisecond in one thread" in page
    assert f"and {fine / times['fine', 'onnxruntime', 1]:.0f} million of the fine model's" in page
    assert f"hardly better, {min(larger):.0f} to {max(larger):.0f} in the two runs." in page
    torch_alone, sixteen, many = (times["dcn-k8-hints", "prepared", batch] for batch in (1, 16, 128))
    assert f"an image takes it {torch_alone:.2f} ms alone, {sixteen:.2f} in a batch of 16 and {many:.2f} in" in page
    gains = [
        min(ms for (name, _, batch), ms in times.items() if (name, batch) == (model, 1)) / best[model]
        for model in ("fine", "dcn-k8-hints")
    ]
    assert f"makes the fine model {gains[0]:.2f} times faster, the DCN {gains[1]:.2f} times" in page


def test_the_numbers_about_int8_are_those_of_the_record():
    page, record = text_of("docs/clock.md"), load_record("int8")
    rows = {(row["model"], row["runtime"]): row for row in record["models"]}
    gains = [
        row["milliseconds"]["float32"][batch] / row["milliseconds"]["int8"][batch]
        for (model, _), row in rows.items()
        if model == "fine"
        for batch in row["milliseconds"]["int8"]
    ]
    assert f"The fine model gains up to {max(gains):.2f} times" in page
    points = {key: 100 * (row["errors"]["int8"] - row["errors"]["float32"]) / row["count"] for key, row in rows.items()}
    assert f"errs on {points.pop(('dcn-k8-hints', 'openvino')):.2f} points more" in page
    assert max(points.values()) <= 0.1
    assert f"ranges that {record['calibrated_on']} training images fill" in page


def test_what_is_said_of_exported_files_is_what_their_record_says():
    page, rows = text_of("docs/command_line.md"), load_record("exports")["models"]
    assert all(row["other_answers"] == row["elsewhere"] == 0 for row in rows)
    assert {row["model"] for row in rows if row["scores"] > LIMIT} == {"draw"}
    assert {row["model"] for row in rows if row["tie"] > LIMIT} == {"dcn-every-k"}
    assert [(row["model"], row["format"], row["faults"]) for row in rows if not agrees(row)] == [
        ("draw", "onnx", 1),
        ("draw", "openvino", 2),
    ]
    assert "but for one image in ONNX Runtime and two in OpenVINO" in page
    rounding = max(row["rounding"] for row in rows if row["model"] == "draw")
    assert f"its own scores in float32 are up to {100 * rounding:.1f} % off those in float64" in page


def test_the_numbers_about_house_numbers_are_those_of_the_records_and_of_the_notebook():
    page = text_of("docs/house_numbers.md")
    notebook = json.loads((ROOT / "notebooks" / "09_house_numbers.ipynb").read_text())
    printed = "".join(str(output.get("data")) for cell in notebook["cells"] for output in cell.get("outputs", []))
    plain = re.search(r"as they are \| ([\d.]+) %", printed)[1]
    one, two, three = re.findall(r"shifted and rescaled, seed \d \| ([\d.]+) %", printed)
    assert f"the error of {plain} % becomes {one}, {two} and {three} %" in page
    doubtful, surest = (
        re.search(rf"in {most} doubt \| [\d.]+ \| (\d+) % \| (\d+) %", printed).groups() for most in ("most", "least")
    )
    assert "most doubt ({} % of the patches, where blind choice would give it {} %)".format(*doubtful) in page
    assert "the surest one ({} and {} %)".format(*surest) in page
    for (this, other), words in {
        ("dcn-k8-seed1", "dcn-k8"): "seeds 1 and 0 are wrong alone on",
        ("coarse", "coarse-seed1"): "seeds 0 and 1 on",
    }.items():
        pair = wrong_alone(load_record(f"house-numbers-{this}"), load_record(f"house-numbers-{other}"))
        images = " images" if "alone" in words else ""
        assert f"{words} {pair.this} and {pair.other}{images} (p = {p_value_text(pair.p_value)})" in page
    rendered = load_record("rendered-numbers-dcn-k8")
    train, test, first = rendered["data"]["train"], rendered["test"], rendered["test_ways"]["k0"]
    told = f"trained on {train['photographs']:,} of them for {rendered['settings']['epochs']} epochs"
    assert f"{told}, is shipped too: it errs on {percent(test, 1)} of {test['count']:,} others" in page
    assert f"and on {percent(first, 1)} without a patch" in page
    seeds = ("", "-seed1", "-seed2")
    long, dcns, coarse, begun = (
        [load_record(f"house-numbers-{name}{seed}") for seed in seeds]
        for name in ("fine-epochs100", "dcn-k8", "coarse", "dcn-k8-from-fine")
    )
    short = load_record("house-numbers-fine")
    pairs = [wrong_alone(record, short) for record in dcns]
    scaled = [wrong_alone(*(load_record(f"house-numbers-{m}-scales{n}") for m in ("dcn-k8", "fine"))) for n in (2, 3)]
    assert [pair.p_value < 0.05 for pair in pairs + scaled] == [False, True, False, True, False]
    assert all(pair.this < pair.other for pair in pairs + scaled)
    told = f"in two of the five pairs: at one scale with one seed of three ({'; '.join(map(str, pairs))}), and at two"
    assert told in page
    tried = load_record("house-numbers-dcn-k8-first-share0.5")
    pairs = [wrong_alone(tried, record) for record in dcns]
    assert all(pair.this > pair.other for pair in pairs)
    assert [pair.p_value < 0.05 for pair in pairs] == [False, True, False]
    assert f"one seed errs on {percent(tried['test'], 1)} (validation {100 * tried['validation']['error']:.1f})" in page
    assert f"each seed of the usual recipe, told apart from one of three ({'; '.join(map(str, pairs))})" in page
    first = load_record("house-numbers-budgets")["models"]["house-numbers-dcn-k8"]["data"]["fixed"][0]
    told = f"errs on {percent(tried['test_ways']['k0'], 1)}, where that of the usual one errs on {percent(first, 1)}"
    assert f"with no patch, {told}" in page
    assert {record["settings"]["epochs"] for record in (*long, *dcns, *coarse, *begun)} == {100}
    assert [[record["settings"]["seed"] for record in records] for records in (long, dcns, begun)] == [[0, 1, 2]] * 3
    pairs = [wrong_alone(*pair) for pair in zip(long, dcns, strict=True)]
    assert all(pair.this < pair.other and pair.p_value < 0.05 for pair in pairs)
    assert f"(wrong alone: fine model, DCN: {'; '.join(map(str, pairs))}), and in eight of all nine pairs" in page
    assert sum(wrong_alone(*pair).p_value < 0.05 for pair in product(long, dcns)) == 8
    scaled = [load_record(f"house-numbers-dcn-k8-scales{scales}") for scales in (2, 3)]
    assert all(worse(many, one, 8) for one, many in product(long, scaled))
    fine_told, dcn_told, begun_told = (
        in_tenths([run["test"]["error"] for run in runs]) for runs in (long, dcns, begun)
    )
    assert f"it errs on {fine_told}, for 3.3 times the multiplications, and the DCN on {dcn_told}, three seeds" in page
    counted = load_record("multiplications")["models"]
    price = [counted[f"house-numbers-{name}"] for name in ("dcn-k8", "fine")]
    assert f"{price[1] / price[0]:.1f}" == "3.3"
    assert 30 * price[1] == pytest.approx(100 * price[0], rel=0.05)  # "which take as many as a hundred of the DCN"
    assert short["wall_seconds"] == pytest.approx(dcns[0]["wall_seconds"], rel=0.15)
    told = f"our DCN misreads {dcn_told.split(' (')[0]} with {price[0] / 1e6:.1f} million, a fine model trained for as "
    told += f"many epochs {fine_told.split(' (')[0]} with {price[1] / 1e6:.1f}, three seeds each, told apart with each."
    assert told in text_of("README.md")
    lowest = [100 * record["validation"]["error"] for record in long]
    assert "With a hundred it comes to {:.1f}, {:.1f} and {:.1f} % there, at one scale".format(*lowest) in page
    notebook = text_of("notebooks/09_house_numbers.ipynb")
    words = (
        f"it errs on {fine_told.split(' (')[0]} on average, told apart from the DCN of the same seed with each of three"
    )
    assert words in notebook
    share = mean_error(long) / mean_error(coarse)
    assert f"The fine model of a hundred epochs makes {100 * share:.0f} % of the coarse model's errors" in page
    assert f"errs on {begun_told}, three seeds: told apart from the usual recipe with two of three seeds" in page
    pairs = [wrong_alone(*pair) for pair in zip(begun, dcns, strict=True)]
    assert [pair.p_value < 0.05 and pair.this < pair.other for pair in pairs] == [True, False, True]
    pairs = [wrong_alone(*pair) for pair in zip(begun, long, strict=True)]
    assert [pair.p_value < 0.05 and pair.this > pair.other for pair in pairs] == [True, False, False]
    assert f"that it begins with in one of three pairs ({'; '.join(map(str, pairs))})" in page
    validated = [100 * np.mean([run["validation"]["error"] for run in runs]) for runs in (begun, dcns)]
    assert "Its mean on validation is lower, too ({:.1f} and {:.1f} %;".format(*validated) in page
    machines = [
        {run["machine"]["processor"].split()[0] for run in runs} for runs in (long + begun + [tried], dcns + coarse)
    ]
    assert machines[0].isdisjoint(machines[1])  # "on another kind of processor"
    share = mean_error(begun) / mean_error(coarse)
    assert f"Its error is {100 * share:.0f} % of the coarse model's errors: missed still, with eight patches" in page
    assert f"comes nearest, {100 * share:.0f} % of the coarse model's errors, and with sixteen" in notebook
    assert all(short["test"]["error"] > record["test"]["error"] for record in dcns)
    curve = short["curves"]["validation_error"]
    assert min(curve) == curve[-1]
    assert f"the best of its thirty epochs is the last, {100 * curve[-1]:.1f} %" in page


def test_what_more_patches_bring_to_house_numbers_is_in_the_records():
    page, seeds = text_of("docs/house_numbers.md"), ("", "-seed1", "-seed2")
    long, coarse, begun = (
        [load_record(f"house-numbers-{name}{seed}") for seed in seeds]
        for name in ("fine-epochs100", "coarse", "dcn-k8-from-fine")
    )
    errors = [at_k(record, 16)["error"] for record in begun]
    share = np.mean(errors) / mean_error(coarse)
    assert 0.7 - 0.002 / mean_error(coarse) < share < 0.7  # "less than two images of the thousand away"
    own = [error / record["test"]["error"] for error, record in zip(errors, coarse, strict=True)]
    assert sum(ratio < 0.7 for ratio in own) == 1
    assert "({:.0f}, {:.0f} and {:.0f} %): so on which side".format(*(100 * ratio for ratio in own)) in page
    assert f"err on {in_tenths(errors)}: {100 * share:.1f} % of the coarse model's errors" in page
    assert all(wrong_alone_at(*pair, 16).p_value > 0.05 for pair in zip(begun, long, strict=True))
    own = [WrongAlone.of(at_k(record, 16)["wrong"], at_k(record, 8)["wrong"]) for record in begun]
    assert [pair.p_value < 0.05 for pair in own] == [True, False, False]
    told = f"with one of three (wrong alone with sixteen, eight: {'; '.join(map(str, own))})"
    assert f"from their own eight patches {told}" in page
    assert ["validation_ways" in record for record in begun] == [False, True, True]
    means = {
        k: np.mean([record["validation_ways"].get(f"k{k}", record["validation"])["error"] for record in begun[1:]])
        for k in TEST_KS
    }
    assert min(means, key=means.get) == 16
    price = count_multiplications(DCNSpec(k=16, task=HouseNumbersTask()).build()).total
    whole = load_record("multiplications")["models"]["house-numbers-fine"]
    assert f"{price / 1e6:.1f} million multiplications are {100 * price / whole:.0f} % of the fine model's" in page
    notebook = text_of("notebooks/09_house_numbers.ipynb")
    assert (
        f"with sixteen patches hardly less than 70 %, at {100 * price / whole:.0f} % of the fine model's multi"
        in notebook
    )


def test_the_numbers_about_house_numbers_until_sure_are_those_of_the_record():
    page, record = text_of("docs/house_numbers.md"), load_record("house-numbers-budgets")
    found, whole = record["models"]["house-numbers-dcn-k8"], load_record("multiplications")["models"]
    one = whole["house-numbers-dcn-k8"]
    first, *_, usual = found["data"]["fixed"]
    sure, stops = found["data"]["until_sure"], found["data"]["stops"]
    assert record["settings"]["multiplications"] == pytest.approx(0.6 * one, rel=1e-3)
    assert usual["k"] == 8
    assert f"for {record['settings']['multiplications'] / 1e6:.1f} million on average, {percent(sure, 1)} of" in page
    assert f"with k = 8 for all {percent(usual, 1)} for {one / 1e6:.1f} million" in page
    assert f"its first prediction errs on {percent(first, 1)}" in page
    rounds, at_once = usual["multiplications"] / 1e6, one / 1e6
    assert f"take {rounds:.1f} million multiplications, and {at_once:.1f} all at once" in page
    alone = [
        f"{row['only_this_wrong']} and {row['only_entropy_wrong']}, p = {row['p_value']:.3f}"
        for row in (found[part]["stops"]["position"] for part in ("data", "validation"))
    ]
    told = f"{percent(stops['position'], 1)} (wrong alone: {alone[0]}; on validation {alone[1]})"
    assert f"a little better at equal cost, {told}" in page
    assert f"does no worse than that, {percent(stops['margin'], 1)}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert re.match("https?://", link) or (page.parent / link).exists(), link


def test_the_front_page_is_short():
    """What it is, the result, a picture, how to begin and the table: before the first heading."""
    front, *_ = (ROOT / "README.md").read_text().split("\n## ")
    assert len(front.splitlines()) <= 50


def test_the_look_changes_the_answer_in_the_readmes_ten_lines(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(code, {})
    before, after, looked, *by_k = capsys.readouterr().out.splitlines()
    assert (before, after) == ("before 6", "after  0 truth 0")
    assert len(json.loads(looked.removeprefix("looked at "))) == 8
    assert [line[:8] for line in by_k] == ["k = 0: 6", "k = 1: 0", "k = 2: 0", "k = 4: 0", "k = 8: 0"]


def test_the_picture_to_predict_is_the_image_of_the_ten_lines():
    image, _ = load_cluttered("all", source="embedded")[141]
    picture = np.asarray(Image.open(ROOT / "docs" / "six_or_zero.png"))
    assert np.array_equal(picture, (255 * image[0]).round().byte().numpy())


def test_the_python_for_your_own_networks_runs(tmp_path, monkeypatch):
    own, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_networks.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    data = TensorDataset(torch.rand(64, 3, 64, 96), torch.arange(64) % 10)
    names = {"train_data": data, "validation_data": data}
    exec(own, names)
    assert len(names["record"]["curves"]["train_loss"]) == 5
    assert (tmp_path / "runs" / "mine" / "weights.safetensors").is_file()


def test_the_python_from_one_trained_network_runs(tmp_path, monkeypatch):
    """In one epoch of few images: it takes some seconds, as a whole body is trained."""
    _, code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_networks.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    data = TensorDataset(torch.rand(16, 3, 64, 96), torch.arange(16) % 10)
    names = {"train_data": data, "validation_data": data, "pictures": [image for image, _ in data]}
    exec(code.replace("epochs=5", "epochs=1"), names)
    assert names["dcn"].geometry == Geometry(stride=4, offset=-24, size=46)
    assert len(names["record"]["curves"]["train_hint"]) == 1
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"whole", "hints", "together"}


def test_what_is_said_of_every_budget_is_in_its_record():
    page, record = text_of("docs/budgets.md"), load_record("budgets")
    fine = load_record("multiplications")["models"]["fine"]
    assert f"an average of {record['settings']['multiplications'] / 1e6:.0f} million multiplications" in page
    for found in seeds_of(record).values():
        sure, most = found["data"]["until_sure"], found["data"]["fixed"][-1]
        assert sure["multiplications"] < fine / 10
        assert sure["errors"] - most["errors"] <= 10
        assert most["k"] == 16
        stops = found["data"]["stops"]
        assert all(abs(stops[stop]["errors"] - sure["errors"]) <= 3 for stop in ("probability", "margin"))
        first = found["data"]["fixed"][0]["error"]
        assert stops["random"]["error"] - sure["error"] > 0.8 * (first - sure["error"])
        patches = [images["until_sure"]["patches"] for images in found["beyond"][:3]]
        assert patches == sorted(patches)
    shipped = record["models"]["dcn-every-k"]["threshold"]["entropy_below"]
    # Another processor rounds otherwise.
    assert load_record("dcn-every-k")["until_sure"]["entropy_below"] == pytest.approx(shipped, rel=1e-5)
    assert f"looks until it is sure, and errs on {until_sure_told(record)} ([every budget]" in text_of("README.md")


def test_what_is_said_of_the_first_predictions_share_is_in_the_records():
    page, usual, without = text_of("docs/budgets.md"), load_record("dcn-every-k"), load_record("dcn-every-k-share0")
    errors = [at_k(record, 0)["error"] for record in (without, usual)]
    assert "without it {:.2f} instead of {:.2f} % err at k = 0".format(*(100 * error for error in errors)) in page
    pairs = {k: wrong_alone_at(without, usual, k) for k in TEST_KS}
    assert {k for k, pair in pairs.items() if pair.p_value < 0.05 and pair.this > pair.other} == {0, 1, 2}
    assert all(pairs[k].p_value >= 0.05 for k in (4, 8, 16, 24))
    assert [record["settings"]["precision"] for record in (without, usual)] == ["float32", "bfloat16"]
    assert "of twenty-one comparisons one is told apart, without hints at four patches, where a seed" in page
    names = ("no-hints", "no-means", "reciprocal", "seed2", "fixed")
    others = {name: load_record(f"dcn-every-k-{name}") for name in names}
    apart = {
        (name, k) for name, record in others.items() for k in TEST_KS if wrong_alone_at(record, usual, k).p_value < 0.05
    }
    assert apart == {("no-hints", 4), ("seed2", 4), ("fixed", 16), ("fixed", 24)}
    fixed = others["fixed"]
    assert [percent(at_k(fixed, k)) for k in (16, 24)] == ["0.81 %", "0.81 %"]
    alone = {k: load_record(f"dcn-k{k}-hints-12-seed0") for k in TRAIN_KS if k != 8}
    ours = [usual, *(load_record(f"dcn-every-k-seed{seed}") for seed in (1, 2))]
    beside = {k: [wrong_alone_at(fixed, run, k) for run in ours] for k in TEST_KS}
    apart = {k: [pair.p_value < 0.05 for pair in pairs] for k, pairs in beside.items()}
    assert {k: told for k, told in apart.items() if any(told)} == {
        4: [False, False, True],
        16: [True, True, True],
        24: [True, False, True],
    }
    sixteen, most = ("; ".join(map(str, beside[k])) for k in (16, 24))
    assert f"the three seeds whose k was drawn ({sixteen}), with 24, on 0.81 %, than two of them ({most})" in page
    assert f"with four it errs more often than one ({beside[4][2]})" in page
    assert "errs less than each of three seeds whose $k$ was drawn, with 24 than two, and with four it errs" in text_of(
        "notebooks/11_every_budget.ipynb"
    )
    told = "with four patches (one of three), with sixteen (two) and with 24 (all three; more than ours was ever"
    assert told in page
    assert "told apart from one, two and all three of our seeds" in text_of("notebooks/11_every_budget.ipynb")
    assert {k: sum(worse(run, one, k) for run in ours) for k, one in alone.items()} == {1: 0, 2: 0, 4: 1, 16: 2, 24: 3}
    assert all(wrong_alone_at(fixed, usual, k).p_value > 0.05 for k in (0, 1, 2, 4))
    short = {k: [load_record(f"{row}-12-seed{s}") for s in range(3)] for k, row in ((0, "coarse"), (8, "dcn-k8-hints"))}
    single = {**{k: [one] for k, one in alone.items()}, **short}
    assert sorted(single) == list(TEST_KS)
    assert all(wrong_alone_at(fixed, one, k).p_value > 0.05 for k, ones in single.items() for one in ones)
    pairs = [wrong_alone_at(fixed, alone[k], k) for k in (16, 24)]
    told = "of one k at any of these k: with sixteen and 24, {} and {}, {} and {} wrong alone"
    assert told.format(*pairs[0], *pairs[1]) in page
    assert pairs[0].p_value > 0.5
    assert pairs[1].p_value > 0.4
    chosen = [record["validation"]["errors"] for record in (fixed, usual)]
    assert "({} and {} wrong of 5,000 with sixteen)".format(*chosen) in page
    assert wrong_alone(fixed, usual, "validation").p_value > 0.05


def test_the_headline_in_the_readme_is_that_of_the_records():
    readme = (ROOT / "README.md").read_text()
    assert " ".join(headline_caption(load_record("budgets")).split()) in " ".join(readme.split())
    assert "(figures/11_errors_and_multiplications.png)" in readme


def test_the_core_of_the_course_takes_two_and_a_half_hours_and_is_that_of_the_notebooks():
    page = (ROOT / "docs" / "course.md").read_text()
    rows = re.findall(r"^\| \[.*?\]\(\.\./(.*?)\) \| (\d+) \| (.*?) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    assert sum(int(minutes) for *_, minutes in rows) == 150
    for path, reading, core, minutes in rows:
        head = " ".join("".join(json.loads((ROOT / path).read_text())["cells"][0]["source"]).split())
        told = re.split(r";|:|\. |\.$", head.split("**Short of time?** The core is ")[1])[0]
        assert re.findall(r"\d\.\d", told) == re.findall(r"\d\.\d", core), path
        words = {"an hour": "60 minutes"}.get(re.search(r"\*\*Reading\*\* takes about ([^.]*)", head)[1])
        assert (words or re.search(r"takes about (\d+ minutes)", head)[1]) == f"{reading} minutes"
        assert int(minutes) <= int(reading)


def test_one_notebook_alone_is_run_by_make():
    command = ["make", "--dry-run", "reproduce", "NOTEBOOKS=notebooks/06_number_of_patches.ipynb"]
    assert " ".join(command[2:]) in text_of("docs/course.md")
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "for notebook in 06_number_of_patches.ipynb; do" in told


def test_the_lines_of_papermill_name_parameters_that_the_notebooks_have():
    lines = re.findall(r"papermill (notebooks/\S+) \S+ --cwd notebooks (.*)", (ROOT / "docs" / "course.md").read_text())
    assert len(lines) == 2
    for path, options in lines:
        assert set(re.findall(r"\b(KS?)\b", options)) <= papermill.inspect_notebook(ROOT / path).keys()


def test_what_is_said_of_street_signs_is_in_the_records():
    page = text_of("docs/street_signs.md")

    def error(name, k=16):
        return percent(at_k(load_record(f"street-signs{name}"), k), 1)

    told = (
        f"on {error('', 8)} with eight patches and on {error('')} with sixteen, the coarse model on {error('-coarse')},"
    )
    assert f"{told} and the fine model, which looks everywhere, on {error('-fine')};" in page
    small = [error("-windows128", 8), error("-windows128"), error("-coarse-windows128"), error("-fine-windows128")]
    assert "on windows of 128 pixels it errs on {} and {}, beside {} and {}.".format(*small) in page
    seeds = [error(f"-seed{seed}", k) for k in (8, 16) for seed in (1, 2)]
    told = "Two more seeds of the DCN err on {} and {} of the photographs with eight patches, and on {} and {} with"
    assert told.format(*seeds) in page
    clock = load_record("street-signs-measured")["windows"]["0"]["clock"]["milliseconds"]
    assert "and about a seventh of the time" in page
    assert round(clock["fine"] / clock["dcn"]) == 7
    counts = [load_record(f"street-signs{kind}")["validation"] for kind in ("", "-fine")]
    assert f"it errs on {counts[0]['errors']} of them" in page
    assert f"which looks everywhere, on {counts[1]['errors']}." in page
    (shown,) = re.findall(r"true places among them on (\d+)", page)
    printed = (ROOT / "notebooks" / "12_street_signs.ipynb").read_text()
    assert f"16 patches, shown the places | {shown} of 120 |" in printed
    assert f"16 patches, its own choice | {counts[0]['errors']} of 120 |" in printed


def test_what_is_said_of_the_seeds_of_street_signs_is_in_the_records():
    page, notebook = text_of("docs/street_signs.md"), text_of("notebooks/12_street_signs.ipynb")
    windows, fine = load_record("street-signs-measured")["windows"], load_record("street-signs-fine")
    small, whole = ({(r["name"], r.get("k"), r.get("seed")): r for r in windows[w]["rows"]} for w in ("300", "0"))
    told = "on {:.1f}, {:.1f} and {:.1f} %".format(*(100 * small["dcn", 8, seed]["error"] for seed in range(3)))
    assert f"of 300 pixels they err {told} with eight patches" in page
    assert f"on windows of 300 they err {told}, so that" in notebook

    def alone(this, other):
        return WrongAlone.of(this["wrong"], other["wrong"])

    by_two = [alone(rows["rounds", 8, 0], rows["dcn", 8, 0]) for rows in (whole, small)]
    told = "two by two, at once: not told apart on photographs, {}, and on windows of 300 told apart, {})"
    assert told.format(*by_two) in page
    seeds = [alone(small["dcn", 8, 0], small["dcn", 8, seed]) for seed in (1, 2)]
    assert all(pair.p_value < 0.05 for pair in seeds)
    assert "is told apart from both others ({}; {})".format(*seeds) in page
    assert f"told apart from eight ({alone(small['dcn', 8, 0], small['dcn', 16, 0])}, seed 0)" in page
    assert [pair.p_value < 0.05 for pair in by_two] == [False, True]
    runs = [load_record(f"street-signs{seed}") for seed in ("", "-seed1", "-seed2")]
    more = [[alone(at_k(run, 8), at_k(run, k)) for run in runs] for k in (16, 24)]
    assert [[pair.p_value < 0.05 for pair in pairs] for pairs in more] == [[False] * 3, [False, True, True]]
    assert "with any seed ({}; {}; {} wrong alone with eight and sixteen)".format(*more[0]) in page
    assert "24 are with two of three ({}; {}; {})".format(*more[1]) in page
    beside = [wrong_alone(run, fine) for run in runs]
    assert all(pair.this > pair.other and pair.p_value < 0.05 for pair in beside)
    assert "told apart ({}, {}; {}, {}; {}, {})".format(*(count for pair in beside for count in pair)) in page
    own, *_, last = (wrong_alone(run, fine, "validation") for run in runs)
    assert own.p_value > 0.05
    assert f"isn't told apart from the fine model there ({own}), and seed 2 errs on 15, too" in page
    assert runs[2]["validation"]["errors"] == fine["validation"]["errors"] == 15
    assert last.this == last.other
    for name, photographs in (("street-signs", ""), ("street-signs-windows128", "-windows128")):
        errors = [at_k(load_record(f"{name}{seed}"), 8)["error"] for seed in ("", "-seed1", "-seed2")]
        times = [error / load_record(f"street-signs-fine{photographs}")["test"]["error"] for error in errors]
        assert [f"{value:.1f}" for value in times] == (["1.8", "1.6", "1.5"] if photographs else ["2.0", "1.9", "1.9"])
    assert "and 1.5 to 1.8 times as often on windows of 128" in notebook


def test_shares_of_street_signs_are_those_that_are_counted():
    task = StreetSignsTask(window=0)
    fine, dcn = FineSpec(task=task).build(), DCNSpec(task=task).build()
    shares = [
        count_multiplications(dcn, shape, 16).total / count_multiplications(fine, shape).total
        for shape in ((3, 300, 300), (3, 400, 680))
    ]
    told = "take {:.1%} of the fine model's multiplications on windows of 300, and {:.1%} on photographs"
    told = told.format(*shares)
    assert told.replace("%", " %") in text_of("docs/street_signs.md")
