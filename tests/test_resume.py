"""Exact resume: a killed run, gone on with, ends with the numbers of one that was left alone."""

import contextlib
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import LOSSES, SHORT_STAGES, feature_file, in_turn

import lnl_kit
from lnl_kit.cli import main
from lnl_kit.methods import METHODS
from lnl_kit.run import prepared
from lnl_kit.run.loop import Run

ASK = ["--train-size", "512", "--keep", "weights"]
CLOCK = ("seconds", "images_per_second")


def metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if not k.endswith(CLOCK)} for row in csv.DictReader(file)]


def assert_same_run(a, b):
    assert metrics(a) == metrics(b)
    first, second = (torch.load(f / "state.pt", weights_only=True) for f in (a, b))
    assert_equal(first["state"], second["state"])
    assert_equal(first["history"], second["history"])
    assert_equal(first["arrays"], second["arrays"])


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.shape == b.shape and (
            torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
            if a.is_floating_point()
            else torch.equal(a, b)
        )
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            assert_equal(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_equal(x, y)
    else:
        assert a == b


def start(method, out, *extra):
    return subprocess.Popen(
        [sys.executable, "-m", "lnl_kit.cli", "train", method, *ASK, *extra, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # a background shell ignores it


def whole(method, out, *extra):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["train", method, *ASK, *extra, "--out", str(out)]) == 0
    return type(out)(printed.getvalue().splitlines()[-1])


def last_checkpoint(out):
    return max((p.stat().st_mtime_ns for p in out.glob("*/*/*/*/state.pt")), default=0)


def kill_at_random_moments(method, tmp_path, kills, seed):
    """Let the run finish an epoch, kill it at a random moment after that, start it again; `kills` times."""
    rng = random.Random(seed)
    epochs = ("--epochs", str(6 * kills + 6))
    alone = whole(method, tmp_path / "alone", *epochs)
    out = tmp_path / "killed"
    for _ in range(kills):
        before, child = last_checkpoint(out), start(method, out, *epochs)
        while last_checkpoint(out) == before:
            assert child.poll() is None, "the run ended before it was killed"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.5))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert not list(out.glob("*/*/*/*/summary.json"))
    return alone, whole(method, out, *epochs)


@pytest.mark.slow  # what the suite keeps of it are kills between two writes; torture/ has the others
def test_kill_9_between_epochs_and_resume(tmp_path):
    assert_same_run(*kill_at_random_moments("ce", tmp_path, kills=1, seed=0))


@pytest.mark.slow
def test_kill_9_at_ten_random_moments(tmp_path):
    assert_same_run(*kill_at_random_moments("nrd", tmp_path, kills=10, seed=1))


# where a blow between two writes is most likely to leave the files at odds with each other
BLOWS = {
    "after the row, before the checkpoint": "lnl_kit.run.loop.Run.commit",
    "after the checkpoint, before the tables": "lnl_kit.run.loop.Run.write_tables",
    "between temporary file and rename": "os.replace",
    "before the summary": "lnl_kit.train.summarise",
}


@pytest.fixture
def one_thread():
    """A pool of threads does not outlive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def strike(target):
    """From now on a call of `target` kills this process: the third one, where it comes every epoch."""
    *path, name = target.split(".")
    owner = os if path == ["os"] else sys.modules[".".join(path[:2])]
    for part in path[2:]:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []
    strikes_at = 1 if target in ("os.replace", "lnl_kit.train.summarise") else 3

    def struck(*a, **k):
        if name != "replace" or str(a[1]).endswith("state.pt"):
            calls.append(1)
            if len(calls) >= strikes_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*a, **k)

    setattr(owner, name, struck)


STRUCK = dict(epochs=4, train_size=512, keep=["weights"], progress=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of the run that nothing kills, trained once for all blows."""
    torch.set_num_threads(1)  # as the killed ones
    return lnl_kit.train("nrd", out=tmp_path_factory.mktemp("alone"), **STRUCK).folder


@pytest.mark.parametrize("where", BLOWS)
def test_kill_9_between_two_writes(tmp_path, where, one_thread, undisturbed):
    ask = STRUCK
    child = os.fork()
    if child == 0:
        try:
            strike(BLOWS[where])
            lnl_kit.train("nrd", out=tmp_path / "killed", **ask)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    folder = next((tmp_path / "killed").glob("*/*/*/*"))
    assert not (folder / "summary.json").exists()
    resumed = lnl_kit.train("nrd", out=tmp_path / "killed", **ask)
    assert_same_run(undisturbed, resumed.folder)


@pytest.mark.parametrize("method", in_turn(METHODS, LOSSES))
def test_every_method_resumes_exactly_and_learns_nothing_from_true_labels(tmp_path, method, monkeypatch):
    """A run beside one that is stopped after its first epoch (by the exception that Ctrl-C raises) and gone
    on with, its true labels shuffled. All that decides their future is the same to the last bit: two runs are
    equal, a stopped one loses nothing, and true labels are only measured with.
    """
    ask = {"epochs": 3, "train_size": 144, "progress": False} | SHORT_STAGES.get(method, {})
    if METHODS[method][1].needs_features:
        ask["features"] = feature_file(tmp_path)
    alone = lnl_kit.train(method, out=tmp_path / "alone", **ask)
    draw, commit = prepared.draw_labels, Run.commit

    def shuffled(*args):
        given, true = draw(*args)
        return given, np.random.RandomState(0).permutation(true)

    def stop_after_first(self, state):
        commit(self, state)
        if "stages" not in self.folder.parts:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "draw_labels", shuffled)
    with monkeypatch.context() as m:
        m.setattr(Run, "commit", stop_after_first)
        stopped = lnl_kit.train(method, out=tmp_path / "stopped", **ask)
    assert stopped.summary is None and len(stopped.metrics) == 1
    resumed = lnl_kit.train(method, out=tmp_path / "stopped", **ask)
    assert_equal(*(torch.load(r.folder / "state.pt", weights_only=True)["state"] for r in (alone, resumed)))
    assert alone.metrics[-1]["loss"] == resumed.metrics[-1]["loss"]
    assert alone.metrics[-1]["test_accuracy"] == resumed.metrics[-1]["test_accuracy"]
    assert alone.summary["actual_rate"] != resumed.summary["actual_rate"], "the true labels were shuffled"


@pytest.mark.parametrize("method", ["nrd", "flywheel"])
def test_what_is_measured_resumes_too(tmp_path, method, monkeypatch):
    """Every column, curve and array of a stopped run is that of one left alone."""
    ask = {"epochs": 3, "train_size": 128, "progress": False}
    alone = lnl_kit.train(method, out=tmp_path / "alone", **ask)
    commit = Run.commit

    def stop_after_first(self, state):
        commit(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(Run, "commit", stop_after_first)
        lnl_kit.train(method, out=tmp_path / "stopped", **ask)
    assert_same_run(alone.folder, lnl_kit.train(method, out=tmp_path / "stopped", **ask).folder)


def test_command_line_ctrl_c_exits_130_and_prints_the_folder(tmp_path):
    child = start("ce", tmp_path, "--epochs", "400")
    while not list(tmp_path.glob("*/*/*/*/state.pt")):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    try:
        out, _ = child.communicate(timeout=600)
    finally:
        child.kill()
    folder = next(tmp_path.glob("*/*/*/*"))
    assert child.returncode == 130 and out.splitlines()[-1] == str(folder)
    assert not (folder / "summary.json").exists()
    assert json.loads((folder / "settings.json").read_text())["settings"]["epochs"] == 400
