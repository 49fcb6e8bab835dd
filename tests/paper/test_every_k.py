"""The tables of the network for every budget follow the records that there are, of one seed or more."""

import copy

import pytest

from dcnlib import load_record
from dcnlib.paper.budget_tables import beyond_table, budgets_table, stops_table, until_sure_told
from dcnlib.paper.every_k import CHOICES, ONE_K, ablation_table, each_k_table, papers_training_table, seeds_of
from dcnlib.paper.headline import headline_caption
from dcnlib.paper.runs import EVERY_K_CHOICES, TEST_KS

COUNT = 1000


def answers(wrong):
    return {"errors": len(wrong), "count": COUNT, "error": len(wrong) / COUNT, "wrong": list(wrong)}


def run_of(name, wrong_at, k=16, precision="bfloat16"):
    """A run's record, wrong with k patches on `wrong_at(k)`; k None is a model that chooses none."""
    return {
        "name": name,
        "model": {} if k is None else {"k": k},
        "settings": {"precision": precision},
        "data": {"test": {"count": COUNT, "seed": 5}},
        "test": answers(wrong_at(k)),
        "test_ways": {f"k{used}": answers(wrong_at(used)) for used in TEST_KS if used != k},
    }


def loader(*records):
    by_name = {record["name"]: record for record in records}

    def load(name):
        if name not in by_name:
            raise FileNotFoundError(name)
        return by_name[name]

    return load


def rows_of(table):
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()][2:]


def test_each_k_is_compared_with_the_network_that_was_trained_with_it():
    ours = run_of("dcn-every-k", lambda k: range(40 - k))
    again = run_of("dcn-every-k-seed1", lambda k: range(30, 60))
    coarse = run_of(f"{ONE_K[0]}-12-seed0", lambda k: range(10, 50), k=None)
    two = run_of(f"{ONE_K[2]}-12-seed0", lambda k: range(8), k=2)
    first, second = rows_of(each_k_table(loader(ours, coarse, two)))
    assert first == ["k = 0", "4.00", "4.00", "10, 10 (1.000)", "no"]
    assert second == ["k = 2", "3.80", "0.80", "30, 0 (< 0.001)", "1 of 1 seeds"]
    other = run_of(f"{ONE_K[0]}-12-seed1", lambda k: range(35, 65), k=None)
    first, second = rows_of(each_k_table(loader(ours, again, coarse, two, other)))
    assert first[1:3] == ["3.50 (3.00..4.00)", "3.50 (3.00..4.00)"]
    assert first[3] == "10, 10 (1.000); 5, 5 (1.000)"  # seed by seed
    assert second[3] == "30, 0 (< 0.001); 30, 8 (< 0.001)"  # both beside the only one that there is
    assert second[4] == "2 of 2 seeds"
    third = run_of(f"{ONE_K[0]}-12-seed2", lambda k: range(40), k=None)
    first, _ = rows_of(each_k_table(loader(ours, again, two, other, third)))
    assert first[3] == "5, 5 (1.000)"  # a seed without its like stands beside none


def test_the_papers_training_is_compared_at_every_k():
    ours, papers = (
        run_of("dcn-every-k", lambda k: range(20)),
        run_of(f"{ONE_K[8]}-12-seed0", lambda k: range(40 - k), k=8),
    )
    rows = rows_of(papers_training_table(loader(ours, papers)))
    assert [row[0] for row in rows] == [f"k = {k}" for k in TEST_KS]
    assert rows[0][1:] == ["2.00", "4.00", "0, 20 (< 0.001)", "no"]
    assert rows[-1][1:] == ["2.00", "1.60", "4, 0 (0.125)", "no"]


def test_a_choice_made_otherwise_is_bold_where_it_is_told_apart():
    usual = run_of("dcn-every-k", lambda k: range(20))
    share0 = run_of("dcn-every-k-share0", lambda k: range(60) if k == 0 else range(21), precision="float32")
    table = rows_of(ablation_table(loader(usual, run_of("dcn-every-k-seed2", lambda k: range(22)), share0)))
    assert [row[0] for row in table] == ["as it is, seed 0", "as it is, seed 2", f"{CHOICES['share0']}, in float32"]
    assert table[0][1:] == ["2.00"] * len(TEST_KS)
    assert table[2][1:] == ["**6.00**", *["2.10"] * (len(TEST_KS) - 1)]
    assert CHOICES.keys() == set(EVERY_K_CHOICES)


@pytest.mark.parametrize("table", [each_k_table, papers_training_table, ablation_table])
def test_without_a_record_there_is_no_table(table):
    with pytest.raises(FileNotFoundError, match="no run of the network for every budget"):
        table(loader(run_of("dcn-every-k-share0", range)))


def test_one_seed_has_intervals_and_more_have_means_and_ranges():
    record = copy.deepcopy(load_record("budgets"))
    seed = record["models"]["dcn-every-k"]
    record["models"] = {"dcn-every-k": seed, "dcn-k8-hints": seed}
    assert list(seeds_of(record)) == [0]
    assert "test error, % (95 % interval)" in budgets_table(record)
    assert until_sure_told(record).endswith("on average, one seed")

    other = record["models"]["dcn-every-k-seed1"] = copy.deepcopy(seed)
    sure = other["data"]["until_sure"]
    sure["error"], sure["multiplications"] = sure["error"] + 0.002, sure["multiplications"] + 1e6
    other["beyond"][0]["until_sure"]["error"] += 0.004
    low, high = 100 * seed["data"]["until_sure"]["error"], 100 * sure["error"]
    told = f"{(low + high) / 2:.2f} ({low:.2f}..{high:.2f})"
    mean = seed["data"]["until_sure"]["multiplications"] / 1e6 + 0.5
    assert "test error, %: mean of two seeds (range)" in budgets_table(record)
    (row,) = (row for row in rows_of(budgets_table(record)) if row[0].startswith("until sure"))
    assert row[1:] == [told, row[2], f"{mean:.1f}"]
    assert (
        until_sure_told(record)
        == f"{low / 2 + high / 2:.2f} % ({low:.2f}..{high:.2f}) with {mean:.1f} million on average, two seeds"
    )
    assert until_sure_told(record) in headline_caption(record)
    assert "mean of two seeds" in stops_table(record)
    error = 100 * seed["beyond"][0]["until_sure"]["error"] + 0.2
    assert rows_of(beyond_table(record))[0][-2] == f"{error:.1f}"
    with pytest.raises(ValueError, match="none is the network for every budget"):
        seeds_of({"models": {"dcn-k8-hints": seed}})
