"""`lnl compare`: a grid that goes on, skips what a table has, and survives a failing cell."""

import json
import signal
import subprocess
import sys
import time

import pytest

from lnl_kit import measured
from lnl_kit.cli import main
from lnl_kit.compare import compare
from lnl_kit.methods import METHODS

TINY = ["--epochs", "2", "--train-size", "256"]


def test_a_grid_is_trained_kept_and_not_repeated(tmp_path, capsys):
    table, out = str(tmp_path / "grid.csv"), str(tmp_path / "runs")
    ask = [
        "compare",
        "ce,gce",
        "--noise",
        "symmetric:0.2,none",
        "--seeds",
        "0,1",
        "--csv",
        table,
        "--out",
        out,
        *TINY,
    ]
    assert main(ask) == 0
    rows = measured.read(table)
    curves = rows[0]["curves"]
    assert len(curves["test_accuracy"]) == 2 and curves["test_accuracy"][-1] == pytest.approx(
        rows[0]["test_accuracy_last"], abs=1e-4
    )
    assert len(rows) == 8 and {(r["method"], r["noise"], r["seed"]) for r in rows} == {
        (m, n, s) for m in ("ce", "gce") for n in ("symmetric", "none") for s in (0, 1)
    }
    printed = capsys.readouterr()
    assert "±" in printed.out and "8 cells, 0 of them" in printed.err
    before = (tmp_path / "grid.csv").read_bytes()
    assert main(ask) == 0 and (tmp_path / "grid.csv").read_bytes() == before
    again = capsys.readouterr()
    assert "8 cells, 8 of them" in again.err and again.out == printed.out
    assert main(["collect", out, "--csv", str(tmp_path / "all.csv")]) == 0
    known = [json.dumps(r, sort_keys=True) for r in measured.read(tmp_path / "all.csv")]
    assert sorted(known) == sorted(json.dumps(r, sort_keys=True) for r in rows)
    assert main(["collect", out, "--csv", table]) == 0
    assert sorted(json.dumps(r, sort_keys=True) for r in measured.read(table)) == sorted(known)


def test_side_by_side_gives_the_same_numbers(tmp_path):
    grid = dict(methods=["ce", "mae"], noises=[("symmetric", 0.2)], epochs=2, train_size=256)
    assert compare(**grid, csv=str(tmp_path / "one.csv"), out=str(tmp_path / "a")) == 0
    assert compare(**grid, csv=str(tmp_path / "two.csv"), out=str(tmp_path / "b"), jobs=2) == 0
    one, two = (
        {r["method"]: (r["loss_last"], r["test_accuracy_last"]) for r in measured.read(tmp_path / f"{n}.csv")}
        for n in ("one", "two")
    )
    assert one.keys() == two.keys() and all(one[m] == pytest.approx(two[m], rel=1e-3) for m in one)


def test_a_failing_cell_is_named_at_the_end_and_the_rest_trained(tmp_path, capsys):
    found = main(
        [
            "compare",
            "pu_distill,ce",
            "--noise",
            "symmetric:0.95",
            "--csv",
            str(tmp_path / "grid.csv"),
            "--out",
            str(tmp_path),
            *TINY,
        ]
    )
    assert found == 1 and [r["method"] for r in measured.read(tmp_path / "grid.csv")] == ["ce"]
    assert "failed: pu_distill symmetric 0.95 seed 0: ValueError: noise rate 0.95" in capsys.readouterr().err


@pytest.mark.parametrize(
    "ask, message",
    [
        (["ce,nonsense"], "method 'nonsense' does not exist"),
        (["ce", "--noise", "symmetric:a"], "--noise takes NOISE:RATE"),
        (["ce", "--noise", "nonsense:0.5"], "unknown noise"),
        (["ce", "--jobs", "0"], "jobs 0"),
        (["ce", "--csv", "table.txt"], "ends in .csv"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(ask, message, capsys):
    assert main(["compare", *ask]) == 2
    assert message in capsys.readouterr().err


def test_a_killed_grid_goes_on_from_its_file(tmp_path, capsys):
    table = tmp_path / "grid.csv"
    ask = [
        "compare",
        "ce,mae,gce,js,sce",
        "--noise",
        "symmetric:0.2",
        "--csv",
        str(table),
        "--out",
        str(tmp_path),
        *TINY,
    ]
    command = [sys.executable, "-m", "lnl_kit.cli", *ask]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (table.exists() and len(measured.read(table)) >= 2):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {r["method"]: r["commit"] for r in measured.read(table)}
    assert 2 <= len(kept) < 5
    assert main(ask) == 0 and len(measured.read(table)) == 5
    assert f"5 cells, {len(kept)} of them" in capsys.readouterr().err


def test_a_method_stands_beside_itself_without_its_idea(tmp_path, capsys):
    table = tmp_path / "grid.csv"
    ask = ["compare", "nrd,nrd:seen_view", "--noise", "symmetric:0.5", "--out", str(tmp_path / "runs"), *TINY]
    assert main([*ask, "--csv", str(table)]) == 0
    said = capsys.readouterr()
    one, other = measured.read(table)
    assert [json.loads(r["asked"]).get("teacher_view") for r in (one, other)] == [None, "crop"]
    assert [line.split()[0] for line in said.out.splitlines()[1:3]] == ["nrd", "nrd:seen_view"]
    assert "nrd:seen_view symmetric 0.5 seed 0: last" in said.err
    assert one["test_accuracy_last"] != other["test_accuracy_last"] or one["loss_last"] != other["loss_last"]
    assert main(["compare", "nrd:unseen"]) == 2
    assert "control 'unseen' of nrd does not exist: nrd has seen_view" in capsys.readouterr().err


@pytest.mark.parametrize("method", [m for m, (_, s) in METHODS.items() if s.controls])
def test_every_control_changes_settings_that_the_method_has(method):
    _, settings = METHODS[method]
    for changes in settings.controls.values():
        assert settings(**changes) != settings()
