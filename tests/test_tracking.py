"""Runs watched by trackers, in their own files: what is sent, and that numbers and folders stay the same."""

import json
import sqlite3
from pathlib import Path
from urllib.parse import unquote

import pytest

import lnl_kit
from lnl_kit import cli, tracking
from lnl_kit.tracking import common as watching

TINY = {"epochs": 3, "train_size": 200, "progress": False}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Nothing of the user's own trackers, and one figure."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE", "LNL_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(watching, "FIGURES", ("test_accuracy",))


class Recorder:
    """A tracker that keeps what it is sent."""

    made: list = []  # noqa: RUF012
    fails = ""

    def __init__(self):
        self.metrics, self.ended, self.closed, self.known = {}, None, 0, None
        Recorder.made.append(self)

    def _fail(self, what):
        if Recorder.fails == what:
            raise RuntimeError(f"no {what}\nand a second line")

    def open(self, told, known):
        self._fail("open")
        self.told, self.known = told, known
        return known or f"id-{len(Recorder.made)}"

    def log(self, metrics, epoch):
        self._fail("log")
        assert epoch not in self.metrics
        self.metrics[epoch] = metrics

    def end(self, summary, figures, files):
        self._fail("end")
        self.ended = (summary, figures, files)

    def close(self):
        self.closed += 1


@pytest.fixture
def recorder(monkeypatch):
    """Every tracker is a Recorder."""
    monkeypatch.setattr(watching, "tracker_of", lambda name: Recorder())
    monkeypatch.setattr(watching, "installed", lambda name: True)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "fails", "")
    return Recorder


def stop_after(epoch):
    def on_epoch(rows):
        if len(rows) == epoch:
            raise KeyboardInterrupt

    return on_epoch


# ---------------------------------------------------------------- what holds for all of them


def test_a_tracker_gets_every_epoch_once_across_interruptions(recorder, tmp_path):
    lnl_kit.train("ce", out=tmp_path, track="mlflow:p", on_epoch=stop_after(2), **TINY)
    run = lnl_kit.train("ce", out=tmp_path, track="mlflow:p", **TINY)
    first, second = recorder.made
    assert (list(first.metrics), list(second.metrics)) == ([1, 2], [3])
    assert (first.known, second.known) == (None, "id-1") and (first.closed, second.closed) == (1, 1)
    assert first.ended is None and second.ended[0]["test_accuracy_last"] == run.summary["test_accuracy_last"]
    assert [m["test_accuracy"] for r in (first, second) for m in r.metrics.values()] == [
        row["test_accuracy"] for row in run.metrics
    ]
    assert {p.name for p in second.ended[2]} >= {"settings.json", "state.pt", "metrics.csv", "summary.json"}
    assert list(second.ended[1]) == ["test_accuracy"]
    told = second.told.parameters
    assert told["method"] == "ce" and told["settings.epochs"] == "3" and told["seed"] == "0"
    lnl_kit.train("ce", out=tmp_path, track="mlflow:p", **TINY)  # finished, and sent
    assert len(recorder.made) == 2
    other = lnl_kit.train("ce", out=tmp_path, track="mlflow:other", **TINY)  # another project has nothing yet
    assert other.folder == run.folder and len(recorder.made) == 2


def test_a_finished_run_is_sent_whole_when_it_is_asked_for(recorder, tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert not recorder.made and not (run.folder / "tracking.json").exists()
    lnl_kit.train("ce", out=tmp_path, track="wandb", **TINY)
    (one,) = recorder.made
    assert list(one.metrics) == [1, 2, 3] and one.ended and one.told.project == "lnl-kit"
    lnl_kit.train("ce", out=tmp_path, track="wandb", fresh=True, **TINY)  # another run of the tracker's
    assert recorder.made[1].known is None and list(recorder.made[1].metrics) == [1, 2, 3]


def test_neither_folder_nor_numbers_change(recorder, tmp_path):
    plain = lnl_kit.train("ce", out=tmp_path / "a", **TINY)
    tracked = lnl_kit.train("ce", out=tmp_path / "b", track="mlflow,trackio:x", **TINY)
    assert plain.folder.relative_to(tmp_path / "a") == tracked.folder.relative_to(tmp_path / "b")
    assert (plain.arrays["test_probs"] == tracked.arrays["test_probs"]).all()
    same = ("epoch", "loss", "test_accuracy", "memorized")
    assert [[r[k] for k in same] for r in plain.metrics] == [[r[k] for k in same] for r in tracked.metrics]
    assert len(recorder.made) == 2


@pytest.mark.parametrize("what", ["open", "log", "end"])
def test_a_tracker_that_fails_never_stops_training(recorder, tmp_path, capsys, what):
    recorder.fails = what
    run = lnl_kit.train("ce", out=tmp_path, track="mlflow", **TINY)
    assert run.summary is not None
    said = [line for line in capsys.readouterr().err.splitlines() if "mlflow" in line]
    assert said == [
        f"mlflow does not track this run any more (no {what}): training goes on, and the same command "
        "sends what is lacking"
    ]
    recorder.fails = ""
    lnl_kit.train("ce", out=tmp_path, track="mlflow", **TINY)
    assert recorder.made[-1].ended
    sent = [epoch for one in recorder.made for epoch in one.metrics]
    assert sorted(sent) == [1, 2, 3]


def test_a_damaged_state_counts_as_nothing(recorder, tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, track="mlflow", **TINY)
    for content in ("{", "[]", '{"mlflow": 3}', '{"mlflow": {"sent": "x"}}'):
        (run.folder / "tracking.json").write_text(content)
        lnl_kit.train("ce", out=tmp_path, track="mlflow", **TINY)
        assert list(recorder.made[-1].metrics) == [1, 2, 3]


def test_refusals_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    for command in (["train", "ce"], ["compare", "ce"], ["reproduce", "00"]):
        assert cli.main([*command, "--out", str(tmp_path), "--track", "tensorbored"]) == 2
        assert "tracker 'tensorbored' does not exist: tensorboard, mlflow" in capsys.readouterr().err
    monkeypatch.setattr(watching, "installed", lambda name: False)
    assert cli.main(["train", "ce", "--out", str(tmp_path), "--track", "wandb:x"]) == 2
    assert "--track wandb needs the package wandb: pip install wandb" in capsys.readouterr().err
    assert not list(tmp_path.rglob("settings.json"))


def test_compare_tracks_every_cell_and_its_rows_stay_the_same(recorder, tmp_path):
    table = tmp_path / "t.csv"
    asked = ["compare", "ce", "--noise", "symmetric:0.5", "--epochs", "1", "--train-size", "200"]
    asked += ["--seeds", "0,1", "--out", str(tmp_path), "--csv", str(table)]
    assert cli.main([*asked, "--track", "mlflow:grid"]) == 0
    assert [one.told.project for one in recorder.made] == ["grid", "grid"]
    assert len({one.told.name for one in recorder.made}) == 2
    before = table.read_bytes()
    assert cli.main(asked) == 0 and table.read_bytes() == before  # the same cells


def test_notebooks_are_told_by_their_environment(recorder, tmp_path, monkeypatch):
    from lnl_kit.reproduce.batch import tracked

    with tracked("mlflow:nb"):
        lnl_kit.train("ce", out=tmp_path, **TINY)
    assert recorder.made[0].told.project == "nb"
    assert tracking.asked_for(None) is None
    with tracked(None):
        assert tracking.asked_for(None) is None


def test_only_finite_numbers_are_sent():
    row = {"epoch": 3, "loss": float("nan"), "a": 1, "b": None, "c": True, "d": "x", "e": 0.5}
    assert watching.numbers(row) == {"a": 1.0, "e": 0.5}


# ---------------------------------------------------------------- each with its own files


def interrupted_and_resumed(tmp_path, track, capsys):
    """A run tracked in two calls; the last line of the command is its folder, whatever a tracker prints."""
    lnl_kit.train("ce", out=tmp_path, track=track, on_epoch=stop_after(2), **TINY)
    capsys.readouterr()
    settings = ["--epochs", "3", "--train-size", "200", "--out", str(tmp_path)]
    assert cli.main(["train", "ce", *settings, "--track", track]) == 0
    said = capsys.readouterr()
    assert "does not track" not in said.err
    run = lnl_kit.open_run(said.out.strip())
    assert len(run.metrics) == 3
    return run


@pytest.mark.extras
def test_tensorboard_writes_events_of_all_epochs_once(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = interrupted_and_resumed(tmp_path, "tensorboard", capsys)
    events = EventAccumulator(str(run.folder / "tensorboard"), {"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    found = events.Scalars("test_accuracy")
    assert [e.step for e in found] == [1, 2, 3]
    assert [e.value for e in found] == pytest.approx([r["test_accuracy"] for r in run.metrics])
    (final,) = events.Scalars("summary/test_accuracy_last")
    assert final.value == pytest.approx(run.summary["test_accuracy_last"])
    (text,) = events.Tensors("settings/text_summary")
    told = json.loads(text.tensor_proto.string_val[0].decode())
    assert told["method"] == "ce" and told["settings.learning_rate"] == "0.1"


@pytest.mark.extras
def test_mlflow_keeps_one_run_with_parameters_figures_and_the_folder(tmp_path, capsys):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    run = interrupted_and_resumed(tmp_path, "mlflow:my project", capsys)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("my project")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED" and kept.data.params["settings.epochs"] == "3"
    found = client.get_metric_history(kept.info.run_id, "test_accuracy")
    assert {m.step: m.value for m in found} == {r["epoch"]: r["test_accuracy"] for r in run.metrics}
    assert len(found) == 3
    assert kept.data.metrics["summary.test_accuracy_last"] == run.summary["test_accuracy_last"]
    place = Path(unquote(kept.info.artifact_uri.removeprefix("file://")))
    assert (place / "run" / "metrics.csv").read_bytes() == (run.folder / "metrics.csv").read_bytes()
    assert (place / "run" / "state.pt").exists() and not (place / "run" / ".lock").exists()
    assert "plotly" in (place / "figures" / "test_accuracy.html").read_text()


@pytest.mark.extras
def test_trackio_keeps_one_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    trackio = pytest.importorskip("trackio")
    run = interrupted_and_resumed(tmp_path, "trackio:mine", capsys)
    assert Path(trackio.TRACKIO_DIR) == tmp_path / "trackio"
    (table,) = Path(trackio.TRACKIO_DIR).glob("mine*.db")
    with sqlite3.connect(table) as opened:
        rows = opened.execute("select run_name, step, metrics from metrics order by step").fetchall()
    kept = {step: json.loads(m) for _, step, m in rows if "test_accuracy" in json.loads(m)}
    assert len({name for name, *_ in rows}) == 1
    assert {step: m["test_accuracy"] for step, m in kept.items()} == {
        r["epoch"]: r["test_accuracy"] for r in run.metrics
    }


@pytest.mark.extras
def test_wandb_offline_keeps_both_calls_under_one_id(tmp_path, capsys):
    pytest.importorskip("wandb")
    run = interrupted_and_resumed(tmp_path, "wandb:mine", capsys)
    known = json.loads((run.folder / "tracking.json").read_text())["wandb"]
    assert known["ended"] and known["sent"] == 3
    files = list((tmp_path / "wandb").glob(f"offline-run-*/run-{known['id']}.wandb"))
    assert len(files) == 2 and all(file.stat().st_size > 1000 for file in files)
