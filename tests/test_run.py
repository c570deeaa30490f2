"""The run folder: defaults, loading, identity, logging, refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit import cli
from lnl_kit.files import RunError, lock, save_atomically
from lnl_kit.run.evaluate import COLUMNS, history_epochs
from lnl_kit.run.opened import finished_runs
from lnl_kit.run.state import State

TINY = {"epochs": 2, "train_size": 256, "progress": False}


def test_run_folder_holds_what_the_design_promises(tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert run.folder.parts[-4:-1] == ("ce", "digits", "symmetric-0.5")
    assert {p.name for p in run.folder.iterdir()} >= {
        "settings.json",
        "metrics.csv",
        "summary.json",
        "labels.csv",
        "arrays.npz",
        "history.npz",
        "state.pt",
    }
    assert (run.folder / "metrics.csv").read_text().splitlines()[0].split(",")[: len(COLUMNS)] == list(
        COLUMNS
    )
    s = run.summary
    for key in (
        "method",
        "dataset",
        "noise",
        "rate",
        "actual_rate",
        "seed",
        "preset",
        "epochs",
        "seconds",
        "seconds_per_epoch",
        "images_per_second",
        "inference_seconds",
        "device",
        "versions",
        "uses",
        "test_accuracy_last",
        "test_accuracy_best",
        "test_accuracy_mean_last10",
    ):
        assert s[key] is not None, key
    assert s["transition_error_last"] is None  # not logged by CE: missing, never zero
    assert run.arrays["train_probs"].shape == (256, 10) and run.arrays["test_probs"].shape == (360, 10)
    assert run.history["train_probs"].shape == (2, 256, 10) and run.history["train_probs"].dtype == np.float16
    labels = run.labels
    assert s["actual_rate"] == pytest.approx((labels["given"] != labels["true"]).mean())
    assert s["test_accuracy_last"] == run.metrics[-1]["test_accuracy"]


def test_a_finished_run_is_loaded_and_fresh_starts_over(tmp_path):
    first = lnl_kit.train("ce", out=tmp_path, **TINY)
    stamp = (first.folder / "state.pt").stat().st_mtime_ns
    again = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert again.folder == first.folder and (again.folder / "state.pt").stat().st_mtime_ns == stamp
    (first.folder / "leftover").write_text("x")
    fresh = lnl_kit.train("ce", out=tmp_path, fresh=True, **TINY)
    assert (fresh.folder / "state.pt").stat().st_mtime_ns != stamp and not (
        fresh.folder / "leftover"
    ).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"rate": 0.2},
        {"noise": "pair_flip"},
        {"epochs": 3},
        {"learning_rate": 0.2},
        {"precision": "bf16"},
        {"noisy_val": 0.1},
        {"train_size": 250},
    ],
)
def test_what_decides_the_result_decides_the_folder(tmp_path, change):
    asked = []
    ask = TINY | {"precision": "fp32"}
    for extra in ({}, change, change):
        with pytest.raises(StopHere):
            lnl_kit.train("ce", out=tmp_path, on_folder=lambda f: (asked.append(f), stop()), **(ask | extra))
    assert asked[0] != asked[1] == asked[2]


class StopHere(Exception):
    pass


def stop():
    raise StopHere


def test_an_own_method_runs_is_loaded_and_retrained_when_edited(tmp_path):
    def short(data, settings, run):
        net = run.network()
        optimizer, schedule = run.sgd(net, settings)
        state = run.state(net=net, optimizer=optimizer, schedule=schedule, tested="net")
        for epoch in run.epochs(state, settings.epochs):
            for x, y, _idx in data.batches(epoch, views="crop"):
                optimizer.zero_grad()
                run.total(ce=torch.nn.functional.cross_entropy(net(x), y)).backward()
                optimizer.step()
            run.log(answer=torch.tensor(42.0))

    run = lnl_kit.train(short, out=tmp_path, **TINY)
    assert run.settings["method"] == "short" and run.metrics[-1]["answer"] == 42
    assert run.summary["answer_last"] == 42
    assert lnl_kit.train(short, out=tmp_path, **TINY).folder == run.folder

    def edited(data, settings, run):
        return short(data, settings, run)

    edited.__name__ = "short"
    assert lnl_kit.train(edited, out=tmp_path, **TINY).folder != run.folder


def test_a_method_that_ends_early_is_told(tmp_path):
    def lazy(data, settings, run):
        net = run.network()
        for _ in run.epochs(run.state(net=net, tested="net"), 1):
            pass

    with pytest.raises(RunError, match="ended after 1 of 2 epochs"):
        lnl_kit.train(lazy, out=tmp_path, **TINY)


def test_predict_needs_no_method(tmp_path):
    run = lnl_kit.train("nrd", out=tmp_path, keep=("weights", "features"), **TINY)
    opened = lnl_kit.open_run(run.folder)
    images = opened.train_images()
    assert np.abs(opened.predict(images) - opened.arrays["train_probs"]).max() < 1e-4
    assert np.abs(opened.predict(images, epoch=2) - opened.predict(images)).max() == 0
    assert np.abs(opened.predict(images, epoch=1) - opened.predict(images)).max() > 1e-3
    assert opened.predict_views(images[:5], "augmix", 3).shape == (3, 5, 10)
    assert opened.arrays["features"].shape[0] == 256
    with pytest.raises(FileNotFoundError, match="no weights of epoch 7"):
        opened.predict(images, epoch=7)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_epoch(tmp_path):
    def burning(data, settings, run):
        net = run.network()
        optimizer, _ = run.sgd(net, settings)
        state = run.state(net=net, optimizer=optimizer, tested="net")
        for epoch in run.epochs(state, settings.epochs):
            for i, (x, y, _idx) in enumerate(data.batches(epoch, views="crop")):
                loss = torch.nn.functional.cross_entropy(net(x), y)
                optimizer.zero_grad()
                run.total(fine=loss, fire=loss * (float("nan") if epoch == 1 and i == 1 else 0)).backward()
                optimizer.step()

    with pytest.raises(
        RunError,
        match=r"epoch 2: the loss term 'fire' is nan first in batch 2 of 2; this epoch was "
        r"not saved, the last good checkpoint is epoch 1",
    ):
        lnl_kit.train(burning, out=tmp_path, **TINY)
    folder = next(tmp_path.glob("burning/*/*/*"))
    assert torch.load(folder / "state.pt", weights_only=True)["done"] == 1
    assert not (folder / "summary.json").exists()
    assert lnl_kit.open_run(folder).summary is None


def test_ctrl_c_returns_the_last_finished_epoch(tmp_path):
    def stopped(data, settings, run):
        net = run.network()
        for epoch in run.epochs(run.state(net=net, tested="net"), settings.epochs):
            if epoch == 1:
                raise KeyboardInterrupt

    run = lnl_kit.train(stopped, out=tmp_path, **TINY)
    assert run.summary is None and len(run.metrics) == 1
    with pytest.raises(KeyboardInterrupt):
        lnl_kit.train(stopped, out=tmp_path, on_interrupt="raise", **TINY)


def test_a_finished_stage_is_skipped_shared_and_a_private_one_is_not(tmp_path):
    calls = []

    def staged(data, settings, run):
        def stage(stage_run):
            calls.append(stage_run.seed)
            net = stage_run.network()
            for _ in stage_run.epochs(stage_run.state(net=net, tested="net"), 1):
                pass
            return {"weight": next(net.parameters())}

        shared = run.stage("shared", stage, depends={"classes": data.classes})
        own = run.stage("own", stage)
        assert shared["weight"].shape == own["weight"].shape
        for _ in run.epochs(run.state(net=run.network(), tested="net"), settings.epochs):
            pass

    ask = {"out": tmp_path, "epochs": 1, "progress": False}
    first = lnl_kit.train(staged, **ask)
    assert len(calls) == 2
    second = lnl_kit.train(staged, seed=1, **ask)
    assert (
        len(calls) == 3 and calls[2] not in calls[:2]
    )  # the shared one was loaded, the private one made anew
    cost = [
        json.loads(next(folder.glob("shared-*/seconds.json")).read_text()) for folder in [tmp_path / "stages"]
    ]
    cost += [
        json.loads((run.folder / "stages" / "own" / "seconds.json").read_text()) for run in (first, second)
    ]
    assert first.summary["stage_seconds"] == pytest.approx(
        cost[0] + cost[1]
    )  # a loaded stage counts what it once cost
    assert second.summary["stage_seconds"] == pytest.approx(cost[0] + cost[2]) and min(cost) > 0
    lnl_kit.train(staged, **ask, train_size=256)
    assert len(calls) == 5  # other images


@pytest.mark.parametrize("noise", ["symmetric", "symmetric_exclusive", "pair_flip", "asymmetric", "instance"])
def test_a_subset_has_the_noise_of_the_whole_set(noise):
    """The draw of a subset, and of a validation share, must not share the noise's random stream."""
    from lnl_kit import data
    from lnl_kit.data.labelling import choose, draw_labels, hold_out

    source = data.load("digits")
    given, true = draw_labels(source, noise, 0.4, 0, None)
    wrong = given != true
    subset = choose(given, 300, 0)
    spread = (wrong.mean() * (1 - wrong.mean()) / 300) ** 0.5
    assert abs(wrong[subset].mean() - wrong.mean()) < 3 * spread
    held = hold_out(len(given), 0.2, 0)
    assert abs(wrong[held].mean() - wrong.mean()) < 3 * spread
    counts = [(given[subset] == k).sum() for k in range(10)]
    assert max(counts) - min(counts) <= 1


def test_an_own_method_is_retrained_when_what_it_refers_to_changes():
    from lnl_kit.run.identity import method_digest

    def make(factor):
        def method(data, settings, run):
            return factor

        return method

    plain = lnl_kit.Settings
    assert method_digest(make(1), plain) == method_digest(make(1), plain) != method_digest(make(2), plain)
    typed = [{}, {}, {}]
    for space, body in zip(typed, ("1", "1", "2")):  # as typed into an interpreter: no source
        exec(f"def helper(): return {body}\ndef method(data, settings, run): return helper()", space)
    first, same, other = (method_digest(space["method"], plain) for space in typed)
    assert first == same != other


def test_a_run_opens_from_anywhere_and_notices_changed_data(tmp_path, monkeypatch):
    from PIL import Image

    rng = np.random.RandomState(0)
    for part, n in (("train", 12), ("test", 4)):
        for k in ("cat", "dog"):
            (tmp_path / "photos" / part / k).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.randint(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                    tmp_path / "photos" / part / k / f"{i}.png"
                )
    monkeypatch.chdir(tmp_path)
    run = lnl_kit.train(
        "ce", "folder:photos", noise="none", out=tmp_path / "runs", epochs=1, batch_size=8, progress=False
    )
    assert run.summary["actual_rate"] is None and run.metrics[-1]["memorized"] is None  # the truth is unknown
    monkeypatch.chdir(tmp_path / "photos")
    opened = lnl_kit.open_run(run.folder)
    assert opened.classes == ("cat", "dog") and opened.labels["true"] is None
    assert np.abs(opened.predict(opened.train_images()) - run.arrays["train_probs"]).max() < 1e-4
    (tmp_path / "photos" / "train" / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match="changed"):
        lnl_kit.open_run(run.folder).train_images()


def test_noisy_val_is_an_honest_stopping_rule(tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, noisy_val=0.25, **TINY)
    assert run.summary["train_images"] == 192 and len(run.labels["given"]) == 192
    best = max(run.metrics, key=lambda r: r["noisy_val_accuracy"])
    assert run.summary["test_accuracy_at_best_noisy_val"] == best["test_accuracy"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"rate": 1.2}, "1.2"),
        ({"noise": "snow"}, "snow"),
        ({"preset": "fast"}, "fast"),
        ({"epochs": 0}, "epochs 0"),
        ({"method": "magic"}, "magic"),
        ({"no_such": 1}, "no_such"),
        ({"labels": "x.csv", "noise": "symmetric"}, "labels"),
        ({"noise": "none", "rate": 0.3}, "none"),
        ({"noise": "human"}, "label-column"),
        ({"view": "sepia"}, "sepia"),
        ({"model": "alexnet"}, "alexnet"),
        ({"preset": "paper", "method": "mae"}, "mae"),
        ({"method": "nrd", "pi": (0.5, 0.5, 0.5)}, "pi"),
        ({"noisy_val": 1.5}, "noisy_val"),
        ({"device": "tpu"}, "tpu"),
        ({"train_size": -5}, "train_size -5"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, arguments, sentence):
    values = {"method": "ce", "out": tmp_path} | TINY | arguments
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as error:
        lnl_kit.train(**values)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir()), "refused before a folder is made"


def test_an_unwritable_root_is_reported_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write in .*choose another root with --out"):
        lnl_kit.train("ce", out=tmp_path / "file", **TINY)


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_atomically(path, b"old")
    import os

    monkeypatch.setattr(
        os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(RunError, match="the disk is full"):
        save_atomically(path, b"new")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_reported_before_training(tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda p: type("Usage", (), {"free": 1000})())
    with pytest.raises(RunError, match="free and this run needs about"):
        lnl_kit.train("ce", out=tmp_path, **TINY)


def test_history_epochs_are_even_and_end_with_the_last():
    assert history_epochs(5) == [0, 1, 2, 3, 4]
    many = history_epochs(400)
    assert len(many) == 20 and many[-1] == 399 and max(np.diff(many)) - min(np.diff(many)) <= 1


def test_state_names_what_is_tested():
    from lnl_kit.run.loop import Run

    with pytest.raises(ValueError, match="tested='net' is not a network"):
        Run.state(None, tested="net", other=torch.zeros(1))
    assert isinstance(State(a=1), dict)


def test_runs_root_order(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "env"))
    assert lnl_kit.runs_root("x").name == "x" and lnl_kit.runs_root() == tmp_path / "env"
    monkeypatch.delenv("LNL_RUNS")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert lnl_kit.runs_root() == tmp_path / "runs"
    (tmp_path / "pyproject.toml").unlink()
    assert lnl_kit.runs_root() == tmp_path / "notebooks" / "runs"


def test_finished_runs_finds_them(tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert [r.folder for r in finished_runs(tmp_path)] == [run.folder]


def test_another_process_waits(tmp_path):
    import subprocess
    import sys

    with lock(tmp_path):
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from lnl_kit.files import lock\n"
                "with lock(Path(sys.argv[1])): print('in')",
                str(tmp_path),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while "another process" not in (line := child.stderr.readline()):
            assert line or child.poll() is None
        assert child.poll() is None
    assert child.communicate(timeout=600)[0] == "in\n"


def test_command_line_prints_the_folder_last(tmp_path, capfd):
    assert cli.main(["train", "ce", "--epochs", "1", "--train-size", "256", "--out", str(tmp_path)]) == 0
    out = capfd.readouterr().out.splitlines()
    assert (next(tmp_path.glob("ce/*/*/*")) / "summary.json").exists() and out[-1].startswith(str(tmp_path))
    assert (
        json.loads((next(tmp_path.glob("ce/*/*/*")) / "settings.json").read_text())["settings"]["epochs"] == 1
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_is_kept():
    """A tensor allocated again and again brings few page faults once the process keeps what it frees."""
    script = """
import resource, sys, torch
from lnl_kit.run.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
before = None
for i in range(40):
    torch.ones(16_000_000)
    if i == 19:  # by then the heap has all that it needs
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", script, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    kept, given_back = faults("keep"), faults("default")
    assert kept < 0.5 * given_back or given_back < 1000, (kept, given_back)


def test_a_network_is_compiled_once_however_often_it_is_asked_for(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(torch, "compile", lambda net, mode: made.append(mode) or net)
    lnl_kit.train("forward", out=tmp_path, compile="default", transition="known", **TINY)
    assert made == ["default"]  # one network, two epochs


def test_bfloat16_by_rounding_is_what_bfloat16_computes():
    from lnl_kit.run.autocast import Rounded

    torch.manual_seed(0)
    x, weight = torch.randn(4, 8, 6, 6), torch.randn(5, 8, 3, 3)
    bias = torch.randn(5, requires_grad=True)
    exact = torch.nn.functional.conv2d(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        own = torch.nn.functional.conv2d(x, weight, bias)
        with Rounded():
            rounded = torch.nn.functional.conv2d(x, weight, bias=bias)
            linear = torch.nn.functional.linear(x.flatten(1), torch.ones(3, 288))
    assert own.dtype == rounded.dtype == linear.dtype == torch.bfloat16
    assert (own.float() - rounded.float()).abs().max() <= 2**-7 * own.float().abs().max()  # the last bit
    assert (rounded.float() - exact).abs().max() > 1e-3  # and not float32
    rounded.float().sum().backward()
    assert torch.allclose(bias.grad, torch.full((5,), 64.0))


def test_findings_in_the_same_root_are_no_runs(tmp_path):
    run = lnl_kit.train("ce", epochs=1, train_size=128, out=tmp_path, progress=False)
    probs = np.full((1437, 10), 0.1)
    lnl_kit.find_errors("digits", probs=probs, out=tmp_path, report=False)
    assert list(tmp_path.glob("errors/*/*/*/summary.json"))
    assert [found.folder for found in lnl_kit.finished_runs(tmp_path)] == [run.folder]
