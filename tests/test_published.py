import csv
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lnl_kit.papers import comparison, published
from lnl_kit.papers.cells import cells, paper_settings
from lnl_kit.papers.published import DATA, PERCENT, name, papers, read, results, tables
from lnl_kit.papers.tables import table


def raw(file):
    with open(DATA / file, newline="") as lines:
        return list(csv.DictReader(lines))


def run(seed=0, **changes):
    fields = dict(
        method="nrd",
        dataset="cifar10",
        noise="symmetric",
        rate=0.4,
        seed=seed,
        preset="paper",
        epochs=400,
        model="preact_resnet34",
        device="cpu",
        seconds=600.0,
        test_accuracy_last=0.94,
        test_accuracy_best=0.95,
    )
    return {**fields, **changes}


def test_table_has_our_names_and_fractions():
    t = table("nrd", "Table 2")
    cell = t[(t.dataset == "cifar10") & (t.method == "nrd") & (t.noise == "symmetric") & (t.rate == 0.4)]
    assert cell.published.tolist() == [0.9465]
    assert {"bootstrap_soft", "label_smoothing", "gjs"} <= set(t.method)
    assert not {"bs", "ls"} & set(t.method)
    assert len(t) == sum(r["paper"] == "nrd" and r["table"] == "Table 2" for r in raw("results.csv"))


def test_every_printed_number_is_there_once_and_in_its_unit():
    rows = results()
    assert len(rows) == len(raw("results.csv")) == 1006
    for ours, printed in zip(rows, raw("results.csv")):
        value = float(printed["value"])
        whole = printed["metric"] in (
            "size",
            "pool_size",
            "seconds_per_epoch",
            "inference_seconds",
            "precision",
        )
        assert ours["published"] == pytest.approx(value if whole else value / 100)
    assert all(
        0 <= r["published"] <= 1
        for r in rows
        if r["metric"] in {*PERCENT, "precision"} and r["metric"] != "accuracy_gain_points"
    )


def test_each_papers_noise_convention():
    noise = {p: {r["noise"] for r in results() if r["paper"] == p} for p in papers()}
    assert {"symmetric_exclusive", "pair_flip"} <= noise["robust_features"]
    assert not {"symmetric", "asymmetric"} & noise["robust_features"]
    for paper in ("nrd", "label_confidence", "flywheel", "pu_distill"):
        assert {"symmetric", "asymmetric"} <= noise[paper] and "pair_flip" not in noise[paper]


def test_unknown_paper_and_table_name_what_exists():
    with pytest.raises(ValueError, match="nrd, pu_distill"):
        table("nvr", "Table 2")
    with pytest.raises(ValueError, match="Table 1, Table 2"):
        table("nrd", "Table 9")


def test_beside_averages_seeds():
    b = comparison.beside([run(0), run(1, test_accuracy_last=0.96, seconds=1200.0)], "nrd", "Table 2")
    assert len(b) == 1
    row = b.iloc[0]
    assert (row.published, row.seeds, row.device, row.measured_on) == (0.9465, 2, "cpu", "cifar10")
    assert row["last"] == pytest.approx(0.95)
    assert row["best"] == pytest.approx(0.95)
    assert row.spread == pytest.approx(0.02 / 2**0.5)
    assert row.minutes == pytest.approx(15)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": "symmetric_exclusive"},
        {"noise": "pair_flip"},
        {"rate": 0.5},
        {"dataset": "digits"},
        {"method": "elr"},
    ],
)
def test_beside_joins_only_where_all_agree(change):
    assert len(comparison.beside([run(**change)], "nrd", "Table 2")) == 0


def test_beside_robust_features_takes_exclusive_noise_only():
    def rows(noise):
        return len(comparison.beside([run(method="ce", noise=noise)], "robust_features", "Table 1"))

    assert rows("symmetric") == rows("asymmetric") == 0
    assert rows("symmetric_exclusive") == rows("pair_flip") == 2  # best and last


def test_beside_names_the_data_set_that_was_measured():
    b = comparison.beside(
        [run(dataset="digits", preset="quick")], "nrd", "Table 2", dataset_map={"digits": "cifar10"}
    )
    assert b[["dataset", "measured_on", "preset"]].values.tolist() == [["cifar10", "digits", "quick"]]


def test_beside_keeps_presets_apart_and_refuses_the_same_seed_twice():
    assert len(comparison.beside([run(), run(preset="demo")], "nrd", "Table 2")) == 2
    with pytest.raises(ValueError, match="same seed"):
        comparison.beside([run(), run()], "nrd", "Table 2")


def test_beside_takes_run_objects_and_leaves_unfinished_ones_out():
    done = SimpleNamespace(
        summary={k: v for k, v in run().items() if k != "model"}, settings={"model": "small_cnn"}
    )
    running = SimpleNamespace(summary=None, settings={"model": "small_cnn"})
    b = comparison.beside([done, running], "nrd", "Table 2")
    assert b.model.tolist() == ["small_cnn"]


def test_beside_real_labels_and_missing_cells():
    b = comparison.beside(
        [run(dataset="webvision", noise="none", rate=0, test_top5_last=0.9)], "nrd", "Table 3", missing=True
    )
    measured = b[b["last"].notna()]
    assert measured.metric.tolist() == ["accuracy", "top5"] and measured["last"].tolist() == [0.94, 0.9]
    assert len(b) == len(table("nrd", "Table 3"))
    both = comparison.beside(
        [run(dataset="webvision", noise="none", rate=0, imagenet_accuracy_last=0.7)], "nrd", "Table 3"
    )
    both = both[both.metric == "accuracy"]
    assert dict(zip(both.dataset, both["last"])) == {"webvision": 0.94, "imagenet": 0.7}


def test_beside_wrong_given_labels_are_not_the_clean_cell():
    assert len(comparison.beside([run(noise="none", rate=0, actual_rate=0.0)], "nrd", "Table 4")) == 1
    assert len(comparison.beside([run(noise="none", rate=0, actual_rate=0.4)], "nrd", "Table 4")) == 0


def test_beside_another_split_is_named_by_the_row():
    b = comparison.beside(
        [run(method="ce_vicinal_ensemble", rate=0.2, split="train_mislabeled")], "nrd", "Table 1"
    )
    assert b[["split", "published"]].values.tolist() == [["train_mislabeled", 0.5472]]
    assert len(comparison.beside([run(method="ce_vicinal_ensemble", rate=0.2)], "nrd", "Table 1")) == 0


def test_paper_settings_of_nrd():
    values, not_given = paper_settings("nrd", "cifar10", "symmetric", 0.4)
    expected = dict(
        learning_rate=0.1,
        weight_decay=5e-4,
        pi1=0.2,
        pi2=0.6,
        pi3=0.2,
        epochs=400,
        batch_size=128,
        momentum=0.9,
        milestones=(0.5, 0.75),
        gamma=0.1,
        ema_beta=0.99,
        architecture="preactresnet34",
    )
    assert {k: values[k] for k in expected} == expected
    assert {"nesterov", "jsd_scaling"} <= set(not_given) and "learning_rate" not in not_given
    assert not set(not_given) & set(values)
    assert paper_settings("nrd", "cifar100", "asymmetric", 0.4)[0]["pi2"] == 0.2
    assert paper_settings("gce", "cifar10", "asymmetric", 0.2)[0]["weight_decay"] == 1e-3


def test_every_value_of_table_5_reaches_its_cell():
    rows = [
        r
        for r in raw("hyperparameters.csv")
        if r["source"].startswith("Table 5") and r["value"] != "not given"
    ]
    assert len(rows) > 300
    for r in rows:
        values, _ = paper_settings(name(r["method"]), r["dataset"], r["noise_type"], float(r["noise_rate"]))
        assert values[r["name"]] == float(r["value"]), r


def test_without_noise_the_symmetric_column_is_used_and_said():
    for method, rate in (("nrd", 0.1), ("ce", 0.05)):
        values, not_given = paper_settings(method, "cifar10", "none", 0)
        assert values["learning_rate"] == rate
        assert {"learning_rate", "weight_decay"} <= set(not_given)


def test_webvision_milestones_become_fractions():
    values, not_given = paper_settings("nrd", "webvision", "none", 0)
    assert values["milestones"] == pytest.approx((1 / 3, 2 / 3)) and values["pi2"] == 0.8
    assert "weight_decay" in not_given


def test_cells():
    assert ("cifar10", "symmetric", 0.4) in cells("nrd")
    assert len([c for c in cells("nrd") if c[0] == "cifar10"]) == 7
    assert ("cifar10", "symmetric_exclusive", 0.2) in cells("robust_features", "robust_features")
    assert ("clothing1m", "none", 0.0) in cells("flywheel", "flywheel")
    for method, paper in (
        ("nrd", "nrd"),
        ("label_confidence", "label_confidence"),
        ("pu_distill", "pu_distill"),
        ("flywheel", "flywheel"),
        ("robust_features", "robust_features"),
        ("ce", "nrd"),
    ):
        assert cells(method, paper)
        for cell in cells(method, paper):
            paper_settings(method, *cell, paper=paper)


def test_a_refused_cell_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"symmetric 0.2.*symmetric 0.8"):
        paper_settings("nrd", "cifar10", "symmetric", 0.5)
    with pytest.raises(ValueError, match="none for elr"):
        paper_settings("elr", "cifar10", "symmetric", 0.4)
    with pytest.raises(ValueError, match="no numbers of a paper"):
        paper_settings("nrd", "cifar10", "symmetric", 0.4, paper="nvr")


def test_missing_data_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DATA", tmp_path)
    read.cache_clear()
    with pytest.raises(FileNotFoundError, match="pip install -e"):
        read("results.csv")


def test_no_pandas_is_needed_for_settings():
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['torch'] = None\n"
        "from lnl_kit.papers.cells import paper_settings\n"
        "print(paper_settings('nrd', 'cifar10', 'symmetric', .4)[0]['epochs'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "400"


def test_every_number_of_a_method_of_the_kit_has_a_preset_or_is_marked_not_given():
    from lnl_kit.methods import METHODS
    from lnl_kit.papers.presets import resolve

    seen = {"not given": 0, "trained": 0}
    for paper in papers():
        for printed in tables(paper):
            for row in table(paper, printed).to_dict("records"):
                if row["method"] not in METHODS:
                    assert not isinstance(row["preset"], str)
                elif row["preset"] == "not given":
                    seen["not given"] += 1
                    with pytest.raises(ValueError, match="has no settings for"):
                        paper_settings(row["method"], row["dataset"], row["noise"], row["rate"], paper)
                else:
                    seen["trained"] += 1
                    rate = 0.0 if row["rate"] != row["rate"] else row["rate"]
                    plan = resolve(
                        row["preset"],
                        row["method"],
                        METHODS[row["method"]][1],
                        dataset=row["dataset"],
                        noise=row["noise"],
                        rate=rate,
                    )
                    assert plan.settings["epochs"] > 1
    assert min(seen.values()) > 100
