"""What was measured on a GPU: what is kept of a ledger, its tables, and the README that shows them."""

import json
from pathlib import Path

import pytest

from lnl_kit import figures
from lnl_kit.bench import gpu_keep
from lnl_kit.results import gpu, measured

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DEVICE = {"device": "a GPU"}


def call(day):
    return {"job": "call", "started": day, "device": "a GPU", "failed": []}


def epochs(*accuracies):
    more = {"test_ece": 0.1, "train_accuracy_clean": 0.9, "train_accuracy_wrong": 0.5, "epoch_seconds": 1.0}
    return [{"epoch": i, "test_accuracy": a} | more for i, a in enumerate(accuracies, 1)]


def ended(label, *accuracies, rate=0.4):
    summary = {"noise": "labels-worst", "rate": 0.0, "actual_rate": rate, "seed": 0, "model": "airbench"}
    return DEVICE | {
        "job": f"f2/worst/{label}/seed0",
        "kind": "run",
        "ended": True,
        "seconds": 9.0,
        "label": label,
        "summary": summary | {"epochs": len(accuracies)},
        "epochs": epochs(*accuracies),
    }


def cut(label, *accuracies):
    return DEVICE | {
        "job": f"f2/worst/{label}/seed0",
        "kind": "run",
        "ended": False,
        "seconds": 5.0,
        "error": "ended after 5 s, its folder is /dev/shm/somewhere/runs",
        "label": label,
        "settings": {"epochs": 4},
        "noise": {"label_column": "worst"},
        "seed": 0,
        "model": "airbench",
        "epochs": epochs(*accuracies),
    }


def bench(method, ratio=0.5, **more):
    row = {"job": f"c/airbench/256/{method}", "kind": "bench", "ended": True, "seconds": 1.0}
    rates = {"loop_images_per_second": 1000.0, "bound_images_per_second": 1000.0 / ratio}
    ratios = {"ratio": ratio, "ratio_min": ratio - 0.1, "ratio_max": ratio + 0.1}
    return DEVICE | row | rates | ratios | more


def ledger(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def kept(tmp_path):
    """Two calls: in the first a run is cut short, in the second it ends and another is cut."""
    failed = {"job": "c/airbench/256/nrd", "kind": "bench", "ended": False, "error": "no", "seconds": 1.0}
    profile = {"gpu_idle": 0.75, "kernels": [["a", 1, 2]], "trace": "t.json.gz"}
    first = [call("Monday"), bench("ce", profile=profile), failed | DEVICE, cut("elr", 0.5, 0.7)]
    second = [
        call("Tuesday"),
        bench("nrd"),
        bench("ce"),
        ended("elr", 0.5, 0.7, 0.8, 0.75),
        cut("ce", 0.4, 0.3),
    ]
    both = ledger(tmp_path / "first", *first), ledger(tmp_path / "both", *first, *second)
    return gpu_keep.keep(both)


def test_a_later_try_takes_the_place_of_one_that_did_not_end_and_timings_of_all_calls_are_kept(kept):
    assert [(r["job"], r.get("call")) for r in kept] == [
        ("call", 1),
        ("c/airbench/256/ce", 1),
        ("call", 2),
        ("c/airbench/256/nrd", 2),
        ("c/airbench/256/ce", 2),
        ("f2/worst/elr/seed0", 2),
        ("f2/worst/ce/seed0", 2),
    ]
    assert kept[1]["profile"] == {"gpu_idle": 0.75}
    assert kept[5]["repeated"] == {"epochs": 2, "same": 2} and "epoch_seconds" not in kept[5]["epochs"][0]


def test_a_cut_run_does_not_replace_one_that_ended_and_says_where_it_stands(tmp_path):
    rows = [call("Monday"), ended("elr", 0.5, 0.8), cut("elr", 0.5), cut("ce", 0.4, 0.3), cut("ce", 0.4)]
    found = gpu.runs(gpu_keep.keep([ledger(tmp_path / "a", *rows)]))
    assert [(r["label"], r["ended"], r["epochs"], r["planned"]) for r in found] == [
        ("ce", False, 2, 4),
        ("elr", True, 2, 2),
    ]


def test_no_place_of_the_machine_is_kept(kept):
    assert kept[-1]["error"] == "ended after 5 s, its folder is ..."
    assert "/dev/" not in json.dumps(kept)


def test_runs_have_last_best_and_own_predictions_and_unfinished_ones_say_so(kept):
    ce, elr = gpu.runs(kept)
    assert (elr["last"], elr["best"], elr["epochs"]) == (0.75, 0.8, 4)
    assert (ce["last"], ce["best"], ce["epochs"], ce["planned"], ce["ended"]) == (0.3, 0.4, 2, 4, False)
    for run in (ce, elr):  # the cut run has no summary: the same labels are wrong as in the other
        assert run["own"] == pytest.approx(0.6 * 0.9 + 0.4 * 0.5) and run["given"] == pytest.approx(0.6)
    text = gpu.markdown(kept)
    assert "| worst | ce (cut short) | 30.0% | 40.0% | – | 0.100 | – | 74.0% | 2 of 4 | 5 |" in text
    assert "| worst | elr | 75.0% | 80.0% | – | 0.100 | – | 74.0% | 4 | 9 |" in text


def test_loops_say_in_which_call_they_were_timed_and_failed_ones_that_they_failed(kept, tmp_path):
    found = gpu.loops(kept)
    assert [(r["method"], r["call"], r["idle"]) for r in found] == [
        ("ce", 1, 0.75),
        ("ce", 2, None),
        ("nrd", 2, None),
    ]
    assert "| airbench | 256 | ce | 1,000 | 2,000 | 0.50 (0.40-0.60) | 75% | 1 |" in gpu.markdown(kept)
    failed = {"job": "c/airbench/256/nrd", "kind": "bench", "ended": False, "error": "no"} | DEVICE
    rows = gpu_keep.keep([ledger(tmp_path / "failed", call("Monday"), failed)])
    assert gpu.markdown(rows).splitlines()[-1] == "| airbench | 256 | nrd | failed | – | – | – | 1 |"


def test_other_timings_stand_beside_their_measure(tmp_path):
    graph = {"job": "c/graph", "kind": "graph", "case": "ce airbench 32x32", "batch": 8}
    graph |= {"graph_images_per_second": 600.0, "eager_images_per_second": 200.0}
    stacked = {"job": "e/stacked", "kind": "stacked", "case": "stacked mlp 32x32, 20 of them", "batch": 64}
    stacked |= {"stacked_seconds": 0.5, "sequential_seconds": 2.0}
    rate = {"job": "f/processes", "kind": "rate", "images_per_second": {"1": 10.0, "4": 30.0}, "chosen": 4}
    views = {"job": "d/augmentation", "kind": "augmentation", "images_per_second": {"crop": 5000.0}}
    rows = [DEVICE | {"ended": True} | row for row in (graph, stacked, rate, views)]
    kept = gpu_keep.keep([ledger(tmp_path / "a", call("Monday"), *rows, bench("ce"))])
    found = [(r["what"], r["rate"], r["beside_rate"], r["ratio"]) for r in gpu.timings(kept)]
    assert found == [
        ("a training step as one CUDA graph: ce airbench, batch 8", 600, 200, 3),
        ("20 networks stacked: mlp, batch 64", 2560, 640, 4),
        ("4 runs side by side: ce, airbench", 30, 10, 3),
        ("augmentation `crop`", 5000, 1000, 5),
    ]


def test_without_the_file_nothing_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "FOLDER", tmp_path)
    rows = gpu.read()
    assert rows == gpu.loops(rows) == gpu.timings(rows) == gpu.runs(rows) == []
    assert gpu.curves(rows, "worst") == {} and gpu.markdown() == gpu.NOTHING


def test_what_is_kept_is_small_and_says_nothing_of_the_machine():
    file = measured.FOLDER / gpu.NAME
    assert file.stat().st_size < 150_000
    assert not gpu_keep.PATHS.search(file.read_text())


def test_the_readme_shows_the_tables_of_the_kept_rows():
    blocks = gpu.markdown().split("\n\n")
    assert len(blocks) == 3 and all(f"\n\n{block}\n\n" in README for block in blocks)
    assert "no GPU run" not in README


def test_what_the_readme_says_of_the_kept_rows_is_so():
    """Each sentence of the section that is about a difference."""
    rows = gpu.read()
    loops, timed = gpu.loops(rows), {r["what"].split(":")[0]: r for r in gpu.timings(rows)}
    assert sum(r["ratio"] >= 0.9 for r in loops) == 1
    idle = [r["idle"] for r in loops if r["idle"]]
    assert (round(min(idle), 2), round(max(idle), 2)) == (0.85, 0.93)
    graphs = [r for r in gpu.timings(rows) if "CUDA graph" in r["what"]]
    assert [round(r["ratio"], 1) for r in graphs] == [4.6, 5.4]
    views = {what.split("`")[1]: r for what, r in timed.items() if "augmentation" in what}
    assert all(r["ratio"] > 1 for r in views.values())
    slower = {name for name, r in views.items() if r["rate"] < graphs[1]["rate"]}
    assert slower == {"autoaugment", "augmix", "strong"}
    tests = next(r for r in rows if r["job"] == "b/tests")
    assert (tests["passed"], len(tests["failures"]), tests["skipped"]) == (91, 1, 0)
    assert "[joint_optimization]" in tests["failures"][0]
    one, two = (r for r in loops if (r["network"], r["method"]) == ("airbench", "nrd"))
    assert round(two["loop"] / one["loop"], 1) == 1.8 and abs(one["ratio"] - two["ratio"]) < 0.02
    runs = {r["label"]: r for r in gpu.runs(rows) if r["noise"] == "worst"}
    last = {label: r["last"] for label, r in runs.items()}
    assert last["ce_step_matched"] < last["ce"] < last["nrd"] < last["nrd_scaled"] < last["nrd_crop"]
    assert runs["nrd_crop"]["ece"] < runs["nrd_scaled"]["ece"] and runs["ce"]["best"] - last["ce"] < 0.002
    assert abs(last["label_confidence"] - last["label_confidence_constant"]) < 0.005
    close = [last[label] for label in ("gce", "elr", "co_teaching")]
    assert max(close) - min(close) < 0.011
    symmetric = {r["label"]: r["last"] for r in gpu.runs(rows) if r["noise"] == "symmetric 0.5"}
    assert abs(symmetric["nrd"] - symmetric["ce"]) < 0.002
    assert round(symmetric["nrd_scaled"] - symmetric["ce"], 3) == 0.025
    wheels = [gpu.curves(rows, "worst")[f"flywheel_{x}"]["epochs"] for x in ("3", "0.6", "0")]
    assert wheels[0][:10] == wheels[1][:10] == wheels[2][:10]
    assert {max(w, key=lambda e: e["test_accuracy"])["epoch"] for w in wheels} == {10}
    assert [round(w[10]["selection_auc"], 3) for w in wheels] == [0.817, 0.854, 0.894]
    assert all(last[f"robust_features_{c}"] < last["ce"] for c in ("0.1", "0.01"))
    assert [r["label"] for r in runs.values() if not r["ended"]] == ["robust_features_0.01", "dividemix"]
    repeats = [r["repeated"] for r in runs.values() if r["repeated"]]
    assert len(repeats) == 7 and [r["same"] for r in repeats if r["same"] < r["epochs"]] == [11]


def test_each_group_has_a_panel_and_a_cut_run_an_open_end():
    runs = gpu.curves(gpu.read(), "worst")
    fig = figures.by_epoch(runs, gpu.GROUPS)
    names = [a.text for a in fig.layout.annotations]
    assert [f"<b>{group}</b>" for group in gpu.GROUPS] == names[: len(gpu.GROUPS)]
    assert {n.split()[0] for n in names[len(gpu.GROUPS) :]} == set(gpu.ORDER)
    open_ends = [t for t in fig.data if t.mode == "markers" and t.marker.symbol == "circle-open"]
    assert len(open_ends) == 2
    assert len(figures.by_epoch({"ce": runs["ce"]}, gpu.GROUPS).data) == 0  # nothing to stand beside it
