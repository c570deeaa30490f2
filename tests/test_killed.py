"""Killed at any write: what is there afterwards is the old or the new, and the same call again ends as if
nothing had happened.
"""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from findings_by_hand import photos, search
from killed import every_point
from torch.nn.functional import cross_entropy

import lnl_kit
from lnl_kit import data
from lnl_kit.features.store import Store
from lnl_kit.label_errors.decisions import Decisions, apply, read_labels
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.results import measured
from lnl_kit.run.fit import fit_epoch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process at every point")
TINY = {"epochs": 2, "batch_size": 8, "image_size": 8, "progress": False, "model": "small_cnn"}
TINY["keep"] = ("features", "weights")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    return tmp_path


def staged(data, settings, run):
    """Cross-entropy after a stage of its own epoch."""

    def warm(stage):
        net = stage.network()
        optimizer, schedule = stage.sgd(net, settings)
        state = stage.state(tested="net", net=net, optimizer=optimizer, schedule=schedule)
        for _ in stage.epochs(state, 1):
            pass
        return {k: v for k, v in net.state_dict().items()}

    net = run.network()
    net.load_state_dict(run.stage("warm", warm))
    optimizer, schedule = run.sgd(net, settings)
    state = run.state(tested="net", net=net, optimizer=optimizer, schedule=schedule)
    for epoch in run.epochs(state, settings.epochs):
        batches = data.batches(epoch, views=settings.view)
        fit_epoch(run, net, optimizer, batches, lambda z, y, _: cross_entropy(z.float(), y, reduction="none"))
        schedule.step()


def outcome(run):
    """All that may not depend on whether a run was interrupted."""
    rows = [
        {k: v for k, v in row.items() if "seconds" not in k and "per_second" not in k} for row in run.metrics
    ]
    return (
        json.dumps(rows, sort_keys=True),
        {k: v.tobytes() for k, v in run.arrays.items()},
        run.labels["given"].tolist(),
    )


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_and_its_stages(place, every):
    asked = TINY | {"dataset": photos(place / "photos", each=6), "noise": "symmetric"}
    whole = outcome(lnl_kit.train(staged, out=place / "whole", **asked))
    root, seen = place / "root", []

    def check(n):
        run = lnl_kit.train(staged, out=root, **asked)
        assert outcome(run) == whole and outcome(lnl_kit.open_run(run.folder)) == whole, n
        hidden = {p.name for p in root.rglob(".*")}
        assert hidden <= {".lock"}, (n, hidden)  # nothing is left over
        seen.append(n)

    points = every_point(
        root,
        lambda: shutil.rmtree(root, ignore_errors=True),
        lambda: lnl_kit.train(staged, out=root, **asked),
        check,
        step=1 if every else 4,
    )
    assert points > 60 and seen[-1] == points


def test_findings_are_the_old_ones_or_the_new(place):
    folder, found = photos(place / "photos", each=2), place / "found"
    old = search(folder, place / "old", report=b"old")
    given = dict(zip(old.table["image"], old.table["given"]))
    new = {"given": [*(given | {"dog/0.png": "cat"}).values()], "report": b"new"}
    ids = []

    def prepare():
        shutil.rmtree(found, ignore_errors=True)
        shutil.copytree(place / "old", found)
        Decisions(found / "decisions.csv").add("cat/1.png", "keep")

    def check(n):
        opened = open_findings(found)
        is_old = opened.summary["search"] == old.summary["search"]
        assert list(opened.table["given"]) == ([*given.values()] if is_old else new["given"]), n
        assert (found / "report.html").read_bytes() == (b"old" if is_old else b"new")
        assert [r["given"] for r in read_labels(found / "labels_before.csv")] == list(opened.table["given"])
        assert apply(found / "decisions.csv", place / "labels.csv")["kept"] == 1
        (place / "labels.csv").unlink()
        ids.append(is_old)
        search(folder, found, **new)
        assert not [p.name for p in found.iterdir() if p.name.startswith(".") and p.name != ".lock"], n

    assert every_point(found, prepare, lambda: search(folder, found, **new), check) > 15
    assert ids[0] and not ids[-1] and ids == sorted(ids, reverse=True)


def test_a_first_search_is_there_or_not(place):
    folder, found = photos(place / "photos", each=2), place / "found"

    def check(n):
        try:
            opened = open_findings(found)
        except FileNotFoundError:
            assert not (found / "summary.json").exists()
            return
        Decisions(found / "decisions.csv").add("cat/1.png", "keep")
        assert len(opened.table) == 4 and apply(found / "decisions.csv", place / "labels.csv")["kept"] == 1
        (place / "labels.csv").unlink()

    prepare = lambda: shutil.rmtree(found, ignore_errors=True)  # noqa: E731
    assert every_point(found, prepare, lambda: search(folder, found), check) > 15


def test_a_decision_is_made_or_not(place):
    found = place / "found"
    search(photos(place / "photos", each=2), place / "whole")
    made = []

    def prepare():
        shutil.rmtree(found, ignore_errors=True)
        shutil.copytree(place / "whole", found)
        Decisions(found / "decisions.csv").add("cat/0.png", "keep")

    def check(n):
        again = Decisions(found / "decisions.csv")
        assert again.made["cat/0.png"] == ("keep", "") and again.made.get("dog/0.png") in (None, ("drop", ""))
        made.append("dog/0.png" in again.made)
        again.add("dog/1.png", "unsure")
        assert Decisions(found / "decisions.csv").made == again.made

    act = lambda: Decisions(found / "decisions.csv").add("dog/0.png", "drop")  # noqa: E731
    assert every_point(found, prepare, act, check) >= 3 and made[-1]


def test_corrected_labels_are_the_old_ones_or_the_new(place):
    found, out = place / "found", place / "out" / "labels.csv"
    search(photos(place / "photos", each=2), found)
    Decisions(found / "decisions.csv").add("cat/0.png", "drop")

    def prepare():
        (found / "applied.json").unlink(missing_ok=True)
        shutil.rmtree(out.parent, ignore_errors=True)
        apply(found / "decisions.csv", out)
        Decisions(found / "decisions.csv").add("cat/1.png", "drop")

    def check(n):
        assert [r["dropped"] for r in read_labels(out)].count("1") in (1, 2), n
        apply(found / "decisions.csv", out)  # the same command again
        assert [r["dropped"] for r in read_labels(out)].count("1") == 2, n
        Decisions(found / "decisions.csv").undo()

    assert every_point(place, prepare, lambda: apply(found / "decisions.csv", out), check) > 5


def test_a_measured_row_is_added_or_not(place):
    path = place / "measured" / "t.csv"
    row = dict.fromkeys(measured.read.__globals__["IDENTITY"], 1) | {"asked": "{}", "method": "ce"}

    def prepare():
        shutil.rmtree(path.parent, ignore_errors=True)
        measured.add(path, row)

    def check(n):
        assert [r["seed"] for r in measured.read(path)] in ([1], [1, 2]), n
        measured.add(path, row | {"seed": 2})
        assert [r["seed"] for r in measured.read(path)] == [1, 2], n
        assert {p.name for p in path.parent.iterdir()} == {"t.csv", ".lock"}, n

    assert every_point(path.parent, prepare, lambda: measured.add(path, row | {"seed": 2}), check) >= 3


def test_the_cache_of_decoded_images(place):
    folder = photos(place / "photos", each=4)
    whole = data.load(f"folder:{folder}", root=place / "whole", split=False)
    cache = place / "root"

    def check(n):
        again = data.load(f"folder:{folder}", root=cache, split=False)
        assert again.fingerprint == whole.fingerprint and torch.equal(again.x, whole.x), n

    prepare = lambda: shutil.rmtree(cache, ignore_errors=True)  # noqa: E731
    act = lambda: data.load(f"folder:{folder}", root=cache, split=False)  # noqa: E731
    assert every_point(cache, prepare, act, check) > 8


def test_the_cache_of_features(place):
    keys = np.arange(64, dtype=np.uint8).reshape(4, 16)
    rows = np.random.RandomState(0).randn(4, 3).astype(np.float16)
    cache, kept = place / "features", []

    def fill(part):
        Store(cache, 3).append(keys[part], rows[part])

    def check(n):
        store = Store(cache, 3)
        at = store.rows(keys)
        assert (store.features()[at[at >= 0]] == rows[at >= 0]).all() and (at[:2] >= 0).all(), n
        kept.append(at[-1] >= 0)
        fill(slice(None))
        store.refresh()
        assert (store.features()[store.rows(keys)] == rows).all() and store.count == 4, n

    def prepare():
        shutil.rmtree(cache, ignore_errors=True)
        fill(slice(2))

    assert every_point(cache, prepare, lambda: fill(slice(2, 4)), check) > 6
    assert not kept[0] and kept[-1]


def test_reproduced_notebooks(place, monkeypatch):
    import nbformat
    import papermill
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    from lnl_kit.reproduce import batch, execute

    (place / "notebooks").mkdir()
    (place / "pyproject.toml").touch()
    cells = [new_code_cell("x = 1", outputs=[new_output("stream", text="hello")])]
    nbformat.write(new_notebook(cells=cells), place / "notebooks" / "10_a.ipynb")
    monkeypatch.chdir(place)
    monkeypatch.setattr(
        papermill, "execute_notebook", lambda source, target, *_, **__: shutil.copy(source, target)
    )
    monkeypatch.setattr(execute, "PACKAGE", place / "notebooks")  # quick to digest
    monkeypatch.setattr(batch, "_write_pngs", lambda *_: None)
    folder = place / "runs" / "reproduce"

    def check(n):
        for record in folder.glob("*.json"):
            assert json.loads(record.read_text())["status"] == "finished", n
            assert nbformat.read(folder / "10_a.ipynb", as_version=4).cells
        assert batch.reproduce() == 0
        names = {p.name for p in folder.iterdir()}
        assert names == {".lock", "10_a.html", "10_a.ipynb", "10_a.json", "index.html", "plotly.min.js"}, n

    prepare = lambda: shutil.rmtree(folder, ignore_errors=True)  # noqa: E731
    assert every_point(folder, prepare, lambda: batch.reproduce(), check) > 8
