"""Which differences of a leaderboard are real: planted differences are found, chance is not."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lnl_kit import figures
from lnl_kit.results import significance


def grid(effects: dict[str, float], cells=3, seeds=3, spread=0.01, seed=0):
    """Rows of methods that differ by their effects, and by chance."""
    chance = np.random.default_rng(seed)
    places = [(c, k, chance.normal(0, 0.05)) for c, k in itertools.product(range(cells), range(seeds))]
    return pd.DataFrame(
        [
            {
                "method": m,
                "dataset": "digits",
                "preset": "quick",
                "setting": f"noise {c}",
                "seed": k,
                "test_accuracy_last": 0.8 + 0.02 * c + shared + e + chance.normal(0, spread),
            }
            for m, e in effects.items()
            for c, k, shared in places
        ]
    )


def test_wilcoxon_and_holm_by_hand():
    assert significance.wilcoxon(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 2**5)
    # signed ranks of 1 -2 3 4 5: the smaller sum is 2; 3 of 32 sums are at most 2 (none, 1, 2), both sides
    assert significance.wilcoxon(np.array([1.0, -2, 3, 4, 5])) == pytest.approx(2 * 3 / 2**5)
    assert significance.wilcoxon(np.zeros(9)) == significance.wilcoxon(np.zeros(0)) == 1
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_a_planted_difference_is_found_and_chance_is_not():
    table = significance.against_best(grid({"good": 0.05, "as good": 0.05, "worse": 0.0, "bad": -0.2}))
    assert set(table.index[:2]) == {"good", "as good"} and list(table.verdict) == [
        significance.BEST,
        significance.TIED,
        significance.BEHIND,
        significance.BEHIND,
    ]
    assert table.behind["bad"] == pytest.approx(0.25, abs=0.02) and (table.pairs[1:] == 9).all()
    told = 0
    for seed in range(20):  # six methods that are alike: one of them is called worse in at most 5 % of tables
        alike = significance.against_best(grid(dict.fromkeys("abcdef", 0.0), cells=4, seed=seed))
        told += (alike.verdict == significance.BEHIND).any()
    assert told <= 5, told  # the best is chosen by the same rows, which costs a little


def test_three_seeds_of_one_cell_can_show_nothing():
    table = significance.against_best(grid({"good": 0.5, "bad": 0.0}, cells=1))
    assert table.verdict["bad"] == significance.FEW and table.p["bad"] == pytest.approx(0.25)
    nine = significance.against_best(grid({"good": 0.5, "bad": 0.0}, cells=3))
    assert nine.verdict["bad"] == significance.BEHIND


def test_a_method_that_lacks_a_cell_is_compared_where_it_can_be_but_not_ranked():
    rows = grid({"a": 0.1, "b": 0.0, "c": 0.3})
    rows = rows[(rows.method != "c") | (rows.setting != "noise 2")]
    table = significance.against_best(rows)
    assert table.verdict["a"] == significance.BEST  # c is no candidate: it was not measured everywhere
    assert np.isnan(table["rank"]["c"]) and table.pairs["c"] == 6 and table.behind["c"] < -0.1
    with pytest.raises(ValueError, match="no method was measured in all"):
        significance.ranks(rows[(rows.method == "c") | (rows.setting == "noise 2")])


def test_the_critical_difference_is_demsars():
    """His Sec. 3.2.2 has 4 methods on 14 data sets: q is 2.569, the difference 1.25."""
    critical = significance.critical_difference(grid(dict.fromkeys("abcd", 0.0), cells=14, seeds=1))
    assert critical.difference == pytest.approx(1.25, abs=0.005) and critical.cells == 14
    assert critical.ranks.mean() == pytest.approx(2.5)
    apart = significance.critical_difference(grid({"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}, cells=14))
    assert list(apart.ranks) == [1, 2, 3, 4] and apart.p < 1e-6
    with pytest.raises(ValueError, match="2 methods in 14 cells"):
        significance.critical_difference(grid({"a": 0.0, "b": 0.0}, cells=14))


def test_the_figure_has_every_method_once_and_colours_those_told_apart():
    critical = significance.critical_difference(grid({"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}, cells=14))
    fig = figures.critical_difference(critical)
    drawn = {trace.name: list(trace.y) for trace in fig.data}
    assert drawn == {"not told apart from the best": ["b", "a"], "told apart from the best": ["d", "c"]}
    assert all(trace.error_x.value == pytest.approx(critical.difference / 2) for trace in fig.data)


def test_what_compare_prints_says_how_little_three_seeds_show():
    rows = grid({"ce": 0.0, "elr": 0.1}, cells=1).rename(columns={"setting": "noise"}).assign(rate=0.5)
    said = significance.in_words(rows.to_dict("records"))
    assert said[:2] == ["best average rank: elr", "too few pairs: ce"] and "3 to 3 pairs" in said[2]
    assert significance.in_words([]) == significance.in_words(rows[:1].to_dict("records")) == []
    more = grid({"ce": 0.0, "elr": 0.1}, cells=3).rename(columns={"setting": "noise"}).assign(rate=0.5)
    assert significance.in_words(more.to_dict("records"))[1] == "behind: ce"
