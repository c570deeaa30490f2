"""The leaderboard: means over seeds, families, the Pareto front, and what is missing."""

import json
import statistics

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from lnl_kit import figures, measured, methods
from lnl_kit.figures.boards import apart
from lnl_kit.methods import METHODS
from lnl_kit.results import leaderboard


def row(method, seed, last, best, seconds, noise="symmetric", rate=0.5, **more):
    return {
        "method": method,
        "dataset": "digits",
        "noise": noise,
        "rate": rate,
        "seed": seed,
        "preset": "quick",
        "test_accuracy_last": last,
        "test_accuracy_best": best,
        "memorized_last": 0.1,
        "test_ece_last": 0.05,
        "selection_auc_last": 0.9,
        "seconds": seconds,
        "seconds_per_epoch": seconds / 10,
        "device": "a, 1 threads",
        "stage_seconds": None,
        "uses": [],
        "asked": f"{method}{seed}{noise}{rate}",
    } | more


@pytest.fixture
def found(tmp_path):
    file = str(tmp_path / "some.csv")
    for r in (
        row("ce", 0, 0.8, 0.9, 10),
        row("ce", 1, 0.9, 0.92, 14),
        row("elr", 0, 0.95, 0.96, 12),
        row("dividemix", 0, 0.94, 0.97, 60),
        row("forward", 0, 0.97, 0.97, 20, stage_seconds=20.0, uses=["true T"]),
        row("ce", 0, 0.5, 0.7, 10, rate=0.8),
        row("ce", 0, 0.6, 0.6, 10, noise="labels-worst", rate=0.0),
    ):
        measured.add(file, r)
    return leaderboard.rows(file)


def test_the_board_averages_seeds_and_counts_stages(found):
    board = leaderboard.board(found, "symmetric 0.5")
    assert list(board.index) == ["forward", "elr", "dividemix", "ce"]
    assert (
        board["last"]["ce"] == pytest.approx(0.85)
        and board.spread["ce"] == pytest.approx(0.0707, abs=1e-4)
        and board.seeds["ce"] == 2
    )
    assert (
        board.cost["forward"] == 40
        and board.cost["ce"] == 12
        and board.uses["forward"] == "true T"
        and board.uses["ce"] == ""
    )
    assert leaderboard.front(board) == [
        "elr",
        "forward",
    ]  # as cheap as ce and better; dividemix costs more than forward
    assert set(leaderboard.unmeasured(found, "symmetric 0.5")) == {
        m for m, (_, settings) in METHODS.items() if not settings.needs_features
    } - set(board.index)


def test_settings_by_how_many_methods_and_human_labels_by_name(found):
    assert leaderboard.settings_of(found) == ["symmetric 0.5", "human, worst", "symmetric 0.8"]
    with pytest.raises(
        ValueError,
        match=r"nothing was measured on digits under demo at symmetric 0.5: there is .*quick symmetric 0.8",
    ):
        leaderboard.board(found, "symmetric 0.5", preset="demo")


def test_every_method_belongs_to_one_family():
    members = [m for family in methods.FAMILIES.values() for m in family]
    assert sorted(members) == sorted(METHODS) and methods.family("mine") == "your own"


def test_the_figures_show_every_method(found):
    board = leaderboard.board(found, "symmetric 0.5")
    ranking = figures.ranking(board)
    assert sorted(y for trace in ranking.data if trace.type == "bar" for y in trace.y) == sorted(board.index)
    assert list(ranking.layout.yaxis.categoryarray)[-1] == "forward"
    for fig in (figures.last_against_best(board), figures.cost(board)):
        assert sorted(
            t for trace in fig.data for t in (trace.text if trace.text is not None else ())
        ) == sorted(board.index)
    fig = figures.by_rate(found)
    assert {a.text for a in fig.layout.annotations} >= {"ce", "elr", "dividemix", "forward"}


def test_names_at_the_ends_of_curves_keep_apart():
    moved = apart({"a": 0.9, "b": 0.91, "c": 0.5}, gap=0.05)
    assert moved == {"b": 0.91, "a": pytest.approx(0.86), "c": 0.5}


def test_an_epochs_cost_is_that_of_the_fastest_run_on_the_usual_device(found):
    found.loc[found.method == "dividemix", "device"] = "another"
    cost = leaderboard.epoch_cost(found)
    assert cost.to_dict() == {"ce": 1.0, "elr": pytest.approx(1.2), "forward": pytest.approx(2.0)}


def test_the_readme_shows_what_was_measured_on_photographs():
    board = leaderboard.board(leaderboard.rows(controls=True), *leaderboard.MEMORISING)
    assert f"\n\n{leaderboard.markdown(board)}\n\n" in (ROOT / "README.md").read_text("utf-8")


def test_a_method_without_its_idea_is_not_averaged_with_the_method(tmp_path):
    file = str(tmp_path / "some.csv")
    measured.add(file, row("nrd", 0, 0.9, 0.9, 10, asked="{}"))
    measured.add(file, row("nrd", 0, 0.7, 0.8, 10, asked=json.dumps({"teacher_view": "crop"})))
    board = leaderboard.board(leaderboard.rows(file), "symmetric 0.5")
    assert board["last"].to_dict() == {"nrd": 0.9} and board["seeds"].tolist() == [1]
    beside = leaderboard.board(leaderboard.rows(file, controls=True), "symmetric 0.5")
    assert beside["last"].to_dict() == {"nrd": 0.9, "nrd:seen_view": 0.7}
    assert set(beside["family"]) == {"the five papers"}


def test_how_far_one_ends_above_another_and_how_sure_that_is(tmp_path):
    file = str(tmp_path / "some.csv")
    for seed, a, b in ((0, 0.9, 0.8), (1, 0.8, 0.76), (2, 0.85, 0.75)):
        measured.add(file, row("elr", seed, a, a, 10))
        measured.add(file, row("ce", seed, b, b, 10))
    measured.add(file, row("gce", 0, 0.7, 0.7, 10, curves={"test_accuracy": [0.5, 0.7]}))
    rows = leaderboard.rows(file)
    mean, error, seeds = leaderboard.ahead(rows, "elr", "ce")
    assert mean == pytest.approx(0.08) and error == pytest.approx(0.02) and seeds == 3
    assert leaderboard.ahead(rows, "elr", "gce") == (pytest.approx(0.2), np.inf, 1)
    with pytest.raises(ValueError, match="mae and ce were not measured with the same seed"):
        leaderboard.ahead(rows, "mae", "ce")
    assert leaderboard.curves(rows, "test_accuracy", "ce", "gce", "mae") == {
        "gce": [[{"epoch": 1, "test_accuracy": 0.5}, {"epoch": 2, "test_accuracy": 0.7}]]
    }


def test_own_labels_are_weighted_by_how_many_are_wrong(tmp_path):
    file = str(tmp_path / "some.csv")
    share = {"actual_rate": 0.4, "train_accuracy_clean_last": 0.9, "train_accuracy_wrong_last": 0.5}
    measured.add(file, row("elr", 0, 0.9, 0.9, 10, **share))
    board = leaderboard.board(leaderboard.rows(file), "symmetric 0.5")
    assert board["own"].tolist() == [pytest.approx(0.6 * 0.9 + 0.4 * 0.5)]


SHOWN = {
    "cross-entropy": "ce",
    "GCE": "gce",
    "ELR": "elr",
    "DivideMix": "dividemix",
    "NRD": "nrd",
    "PUDistill": "pu_distill",
    "LCI": "label_confidence",
    "LNL-flywheel": "flywheel",
    "RFL": "robust_features",
}


def test_the_readmes_table_of_digits_is_the_kept_rows():
    """Every row: last, spread and best of three seeds, at three noises."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| digits (`quick`) | symmetric 0.5"))
    table = [line.split("|") for line in lines[start + 2 : start + 11]]
    printed = {cells[1].split(",")[0].strip(): cells for cells in table}
    assert set(printed) == set(SHOWN)
    rows = leaderboard.rows("digits")
    noises = (("symmetric", 0.5), ("symmetric", 0.8), ("asymmetric", 0.4))
    for name, cells in printed.items():
        for cell, (noise, rate) in zip(cells[2:5], noises):
            some = rows[(rows.method == SHOWN[name]) & (rows.noise == noise) & (rows.rate == rate)]
            last, best = 100 * some.test_accuracy_last, 100 * some.test_accuracy_best
            expected = f"{last.mean():.1f} ± {last.std():.1f} ({best.mean():.1f})"
            assert cell.strip() == expected and set(some.seed) == {0, 1, 2}, (name, noise, rate)


def test_the_readmes_controls_are_kept_rows():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    nrd = measured.read("20_noise_robust_distillation")
    nrd = [r for r in nrd if r["cell"] == "controls" and r["rate"] == 0.8]
    alone = measured.read("21_universal_pu_distillation")
    alone = [r for r in alone if r["cell"] == "clean labels alone"]

    def mean(rows):
        assert sorted(r["seed"] for r in rows) == [0, 1, 2]
        return f"{100 * statistics.mean(r['test_accuracy_last'] for r in rows):.1f}"

    step = mean([r for r in nrd if r["method"] == "ce"])
    crops = mean([r for r in nrd if "teacher_view" in r["asked"]])
    clean = mean([r for r in alone if r["rate"] == 0.9])
    lci = [r for r in measured.read("22_label_confidence") if (r["noise"], r["rate"]) == ("symmetric", 0.8)]
    constant = mean([r for r in lci if r["cell"] == "C constant"])
    own = mean([r for r in lci if r["cell"] == "Ours"])
    assert f"LCI with a constant confidence has {constant}, with its own {own} (notebook 22);" in text
    assert f"has {step} of NRD's 86.7, and NRD whose teacher sees no unseen view {crops}." in text
    assert f"The clean tenth of the labels alone has {clean}, as much as PUDistill." in text


def test_the_readmes_shares_of_right_predictions_are_kept_rows():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for row in measured.read("cifar10n"):
        if row["method"] == "pu_distill" or '"alpha"' in row["asked"]:
            continue
        wrong = row["actual_rate"]
        own = (1 - wrong) * row["train_accuracy_clean_last"] + wrong * row["train_accuracy_wrong_last"]
        shown = {v: k for k, v in SHOWN.items()} | {"co_teaching": "Co-teaching"}
        assert f"{100 * own:.1f} % ({shown[row['method']]})" in text, row["method"]
        assert f"{100 * (1 - wrong):.1f} % are right" in text


def test_texts_say_how_many_methods_there_are():
    """Those that train on images; the probe and the neighbours need features."""
    assert sum(not settings.needs_features for _, settings in METHODS.values()) == 46
    for file in ("README.md", "notebooks/30_leaderboard.ipynb"):
        text = (ROOT / file).read_text("utf-8")
        assert "forty-six methods on equal terms" in text and "thirty methods" not in text


NEWER = {
    "cross-entropy": "ce",
    "ELR": "elr",
    "SOP": "sop",
    "SOP+": "sop_plus",
    "peer loss": "peer_loss",
    "f-divergence": "f_divergence",
    "RRM": "rrm",
    "VolMinNet": "volminnet",
    "T-Revision": "t_revision",
    "Dual T": "dual_t",
    "PES": "pes",
    "PES (semi)": "pes_semi",
    "DISC": "disc",
    "CORES²*": "cores_star",
    "Early Cutting": "early_cutting",
    "ProMix": "promix",
}


def test_the_readmes_table_of_newer_methods_is_the_kept_rows_of_seed_0():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| digits (`quick`), seed 0 |"))
    rows = leaderboard.rows("digits")
    rows = rows[(rows.seed == 0) & (rows.preset == "quick")]
    for line, (name, method) in zip(lines[start + 2 :], NEWER.items()):
        cells = [name]
        for noise, rate in (("symmetric", 0.5), ("symmetric", 0.8), ("asymmetric", 0.4)):
            some = rows[(rows.method == method) & (rows.noise == noise) & (rows.rate == rate)]
            measured_here = [
                f"{100 * last:.1f} ({100 * best:.1f})"
                for last, best in zip(some.test_accuracy_last, some.test_accuracy_best)
            ]
            cells += measured_here or ["–"]
        assert line == f"| {' | '.join(cells)} |"
    ce = float(lines[start + 2].split("|")[2].split()[0])
    at_half = [float(line.split("|")[2].split()[0]) for line in lines[start + 3 : start + 2 + len(NEWER)]]
    assert min(at_half) > ce  # as the text says


def test_equal_compute_reads_curves_at_the_epoch_that_is_paid_for(monkeypatch):
    kept = [
        {"method": "ce", "with_gradient": 1.0, "without": 0.0},
        {"method": "nrd", "with_gradient": 1.0, "without": 1.5},
        {"method": "dividemix", "with_gradient": 5.0, "without": 0.0},
    ]
    monkeypatch.setattr(leaderboard.measured, "read", lambda name: kept)
    assert leaderboard.passes().to_dict() == {"ce": 1.0, "nrd": 1.5, "dividemix": 5.0}
    curves = {
        "ce": [0.1, 0.2, 0.3, 0.4],
        "nrd": [0.5, 0.6, 0.7, 0.8],
        "dividemix": [0.9] * 4,
        "elr": [1.0] * 4,
    }
    rows = pd.DataFrame(
        {
            "method": method,
            "dataset": "digits",
            "preset": "quick",
            "setting": "symmetric 0.5",
            "seed": seed,
            "test_accuracy_last": values[-1] + seed / 10,
            "curves": {"test_accuracy": [v + seed / 10 for v in values]},
        }
        for method, values in curves.items()
        for seed in (0, 1)
    )
    found = leaderboard.at_budget(rows, "symmetric 0.5", 4)
    assert list(found.index) == ["nrd", "ce"]  # an epoch of dividemix costs more; elr was not counted
    assert found["epoch"].to_dict() == {"nrd": 2, "ce": 4}
    assert found["at budget"].to_dict() == pytest.approx({"nrd": 0.65, "ce": 0.45})
    assert found["last"]["nrd"] == pytest.approx(0.85) and found["seeds"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="nothing with curves and passes"):
        leaderboard.at_budget(rows, "symmetric 0.5", 0.5)


def test_passes_are_counted_with_and_without_gradient():
    from lnl_kit.bench.passes import counted
    from lnl_kit.toolbox import models

    with counted() as found:
        net = models.make("small_cnn", 10, 1)
        net(torch.zeros(4, 1, 16, 16))
        with torch.no_grad():
            net.features(torch.zeros(3, 1, 16, 16))
    net(torch.zeros(5, 1, 16, 16))  # outside it nothing counts
    assert dict(found) == {"with": 4, "without": 3}
