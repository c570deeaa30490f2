"""Settings chosen by noisy validation: what is searched, what is kept, and that a search goes on."""

import json

import numpy as np
import pytest

import lnl_kit
from lnl_kit import cli
from lnl_kit.commands import tune as tuning
from lnl_kit.commands.tune import tune
from lnl_kit.methods import METHODS

pytest.importorskip("optuna")
SHORT = {"epochs": 2, "train_size": 300, "rate": 0.2, "progress": False}


def test_a_search_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole = tune("gce", 4, out=tmp_path / "whole", **SHORT)
    tune("gce", 2, out=tmp_path / "parts", **SHORT)
    calls, real = [], tuning.train

    def killed(**ask):  # in the third trial, after it was asked for
        calls.append(ask)
        raise KeyboardInterrupt

    monkeypatch.setattr("lnl_kit.commands.tune.train", killed)
    with pytest.raises(KeyboardInterrupt):
        tune("gce", 4, out=tmp_path / "parts", **SHORT)
    monkeypatch.setattr("lnl_kit.commands.tune.train", real)
    parts = tune("gce", 4, out=tmp_path / "parts", **SHORT)
    assert [t["settings"] for t in parts.trials] == [t["settings"] for t in whole.trials]
    assert [t["value"] for t in parts.trials] == [t["value"] for t in whole.trials]
    assert calls[0]["q"] == whole.trials[2]["settings"]["q"]  # asked for the same again
    assert whole.trials[0]["settings"] == {
        k: getattr(METHODS["gce"][1](), k) for k in METHODS["gce"][1].search
    }
    assert whole.value == max(t["value"] for t in whole.trials)


def test_no_true_label_decides(tmp_path):
    """Trials are judged by given labels: with all of them shuffled, by chance."""
    found = tune("ce", 1, out=tmp_path, **SHORT | {"noise": "symmetric", "rate": 1.0})
    assert found.value < 0.35
    (run,) = [p for p in tmp_path.rglob("metrics.csv")]
    assert "noisy_val_accuracy" in run.read_text()


@pytest.mark.slow
def test_it_finds_a_step_at_which_something_is_learned(tmp_path):
    """The control: the method as it stands, at a step so small that it learns nothing."""
    space = {"learning_rate": (1e-6, 0.3, "log")}
    asked = {"search": space, "out": tmp_path, "weight_decay": 0.001}
    found = tune("ce", 6, **SHORT | {"epochs": 5, "train_size": None}, **asked)
    assert set(found.best) == {"learning_rate"} and found.best["learning_rate"] > 0.003
    assert found.value > np.median([t["value"] for t in found.trials]) + 0.1


def test_every_default_lies_in_its_space_and_nothing_else_is_varied():
    for name, (_, settings) in METHODS.items():
        for setting, values in settings.search.items():
            default = getattr(settings(), setting)
            inside = default in values if isinstance(values, list) else values[0] <= default <= values[1]
            assert inside or settings.needs_features, (name, setting, default, values)


@pytest.mark.parametrize(
    "ask, sentence",
    [
        ({"trials": 0}, "trials 0 is not allowed"),
        ({"noisy_val": 0.0}, "noisy_val 0 is not allowed"),
        ({"search": {"depth": (1, 2)}}, "ce has no setting depth to search"),
        ({"learning_rate": 0.1, "weight_decay": 0.0}, "nothing is left to search"),
        ({"dataset": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_searched_is_refused(ask, sentence, tmp_path):
    with pytest.raises((ValueError, OSError), match=sentence):
        tune("ce", out=tmp_path, **SHORT | ask)


def test_failed_trials_are_counted_and_a_broken_file_is_said(tmp_path, monkeypatch):
    def fails(**ask):
        raise lnl_kit.RunError("diverged")

    monkeypatch.setattr("lnl_kit.commands.tune.train", fails)
    with pytest.raises(lnl_kit.RunError, match="all 3 trials of ce failed, the first: diverged"):
        tune("ce", 3, out=tmp_path, **SHORT)
    (kept,) = tmp_path.rglob("trials.json")
    assert len(json.loads(kept.read_text())) == 3
    kept.write_text("{")
    with pytest.raises(lnl_kit.RunError, match="holds no trials that can be read"):
        tune("ce", 3, out=tmp_path, **SHORT)


def test_the_command_prints_the_best_and_keeps_its_rows_as_tuned(tmp_path, capsys):
    csv = tmp_path / "rows.csv"
    flags = ["--epochs", "2", "--train-size", "300", "--rate", "0.2", "--out", str(tmp_path)]
    assert cli.main(["tune", "ce", "--trials", "2", *flags, "--csv", str(csv), "--seeds", "0,1"]) == 0
    printed = capsys.readouterr().out
    assert "2 trials, 0 failed" in printed and "--learning-rate" in printed
    from lnl_kit.measured import read
    from lnl_kit.results import leaderboard

    rows = read(csv)
    assert [r["seed"] for r in rows] == [0, 1] and rows[0]["tuned"]["trials"] == 2
    assert not any(r["noisy_val_accuracy_last"] for r in rows)  # trained on all images
    board = leaderboard.board(leaderboard.rows(csv), "symmetric 0.2")
    assert list(board.index) == ["ce (tuned)"] and board.seeds.iloc[0] == 2
    assert board.family.iloc[0] == METHODS["ce"][1].family
