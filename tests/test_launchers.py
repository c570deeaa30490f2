"""Launchers, leases and stores: who trains what, where, and that two never write one folder."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import measure_launchers as measure
import pytest

import lnl_kit
from lnl_kit import launchers
from lnl_kit.cli import main
from lnl_kit.compare import run_cell, sweep
from lnl_kit.files import RunError, Store, hold, lease, read_json
from lnl_kit.launchers import common, local_
from lnl_kit.launchers.common import Asked, Tasks

TINY = {"epochs": 3, "train_size": 128, "noise": "symmetric", "rate": 0.2, "progress": False}
LINE = {"epochs": 3, "train_size": 256}


@pytest.fixture
def impatient(monkeypatch):
    """Leases whose holders die within a second."""
    monkeypatch.setattr(lease, "SILENCE", 0.6)
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "POLL", 0.02)
    monkeypatch.setattr(lease, "POLL_MOST", 0.05)


def terms_in(folder: Path) -> list[dict]:
    return [read_json(path) for path in sorted((folder / "leases").glob("*.json"))]


def test_the_next_holder_waits_for_the_last_and_says_after_whom(tmp_path, impatient):
    taken = pytest.raises(RunError, match="was taken over by process 1 on elsewhere")
    with hold(tmp_path), held_by_another(tmp_path) as other, taken, other.commit():
        pass
    with hold(tmp_path) as held, held.commit():
        (tmp_path / "state.pt").write_bytes(b"whole")
    told = terms_in(tmp_path)
    assert [t["after"].partition(":")[0] for t in told] == ["no one before", "dead", "dead"]
    assert told[0]["ended"] and told[2]["ended"] and "no sign of life" in told[2]["after"]


@contextlib.contextmanager
def held_by_another(folder):
    """A holder, whose folder another machine has taken, which gives no sign of life any more either."""
    last = len(terms_in(folder))
    first = lease.Lease(lease.OnDisk(folder), last, "")
    told = first.told | {"machine": "another", "host": "elsewhere", "pid": 1, "after": "dead: silent"}
    (folder / "leases" / f"{last + 1:06d}.json").write_text(json.dumps(told))
    held = lnl_kit.files.Hold(folder)
    held.leases.append(first)
    yield held


def test_a_process_that_is_gone_is_not_waited_for(tmp_path):
    code = "import sys, time; from lnl_kit.files import hold; from pathlib import Path\n"
    code += "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    (term,) = terms_in(tmp_path)
    assert term["pid"] == child.pid and not lease.gone(term)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert lease.gone(term) and not lease.gone(term | {"machine": "another"})
    started = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - started < 5
    assert terms_in(tmp_path)[1]["after"] == f"dead: its process {child.pid} on {term['host']} is gone"


def test_a_live_holder_is_waited_for_and_one_number_is_made_once(tmp_path, impatient, capsys):
    terms = lease.OnDisk(tmp_path)
    with lease.lease(terms) as first:
        time.sleep(3 * lease.BEAT)
        assert read_json(tmp_path / "leases" / "000001.json")["sign_of_life"] > first.told["taken"]
        assert not terms.make(1, b"{}") and terms.last() == 1
        first.require()
    with lease.lease(terms) as second:
        assert second.number == 2 and second.told["after"] == "ended"
    assert not capsys.readouterr().err


def test_a_run_goes_on_in_another_place_from_a_store(tmp_path):
    whole = lnl_kit.train("ce", out=tmp_path / "whole", **TINY)
    url = f"file://{tmp_path / 'store'}"

    def stop(rows):
        if len(rows) == 2:
            raise KeyboardInterrupt

    first = lnl_kit.train("ce", out=tmp_path / "one", store=url, on_epoch=stop, **TINY)
    there = tmp_path / "store" / first.folder.relative_to(tmp_path / "one")
    assert (there / "state.pt").read_bytes() == (first.folder / "state.pt").read_bytes()
    done = []
    other = lnl_kit.train(
        "ce", out=tmp_path / "two", store=url, on_epoch=lambda r: done.append(len(r)), **TINY
    )
    assert done == [3] and other.arrays["test_probs"].tobytes() == whole.arrays["test_probs"].tobytes()
    names = {p.name for p in there.iterdir()}
    assert {"summary.json", "metrics.csv", "labels.csv", "leases"} <= names
    assert not any(name.startswith(".") for name in names)
    log = terms_in(there)
    assert [t["after"] for t in log] == ["no one before", "ended"]
    third = lnl_kit.train("ce", out=tmp_path / "three", store=url, on_epoch=done.append, **TINY)
    assert third.summary == other.summary and done == [3] and len(terms_in(there)) == 2  # it was finished
    lnl_kit.train("ce", out=tmp_path / "three", store=url, on_epoch=stop, fresh=True, **TINY)
    assert not (there / "summary.json").exists() and (there / "state.pt").exists()


@pytest.mark.extras
def test_a_run_goes_on_in_another_place_from_s3(tmp_path, monkeypatch):
    """Object storage: its server is moto's, on loopback."""
    moto, s3fs = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        account = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y"}
        for name, value in (account | {"DEFAULT_REGION": "us-east-1"}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("runs")
        whole = lnl_kit.train("ce", out=tmp_path / "whole", **TINY)

        def stop(rows):
            if len(rows) == 2:
                raise KeyboardInterrupt

        first = lnl_kit.train("ce", out=tmp_path / "one", store="s3://runs/all", on_epoch=stop, **TINY)
        there = f"runs/all/{first.folder.relative_to(tmp_path / 'one').as_posix()}"
        assert bucket.cat_file(f"{there}/state.pt") == (first.folder / "state.pt").read_bytes()
        done = []
        ask = TINY | {"on_epoch": lambda rows: done.append(len(rows))}
        other = lnl_kit.train("ce", out=tmp_path / "two", store="s3://runs/all", **ask)
        assert done == [3] and other.arrays["test_probs"].tobytes() == whole.arrays["test_probs"].tobytes()
        assert bucket.cat_file(f"{there}/summary.json") == (other.folder / "summary.json").read_bytes()
        assert len(bucket.find(f"{there}/leases")) == 2
    finally:
        server.stop()


def test_what_is_no_store_is_refused(tmp_path):
    for url, message in {"folder": "a URL such as", "nonsense://x": "cannot be used"}.items():
        with pytest.raises(ValueError, match=message):
            Store(url, tmp_path)


@pytest.mark.parametrize(
    "launcher, message",
    [("cloud", "does not exist: local, dask"), ("local:3", "--jobs says how many")],
)
def test_what_is_no_launcher_is_refused(launcher, message, capsys):
    assert main(["compare", "ce", "--launcher", launcher]) == 2
    assert message in capsys.readouterr().err


def test_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package submitit.*\.\[slurm\]"):
        launchers.asked_for("slurm:partition=gpu")


def test_resources_are_of_the_preset(monkeypatch):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: name)  # as if all were installed
    assert launchers.resources_of("quick").gpus == 0 and launchers.resources_of("paper:cifar10").gpus == 1
    assert launchers.resources_of("paper", "cpu").gpus == 0
    assert launchers.asked_for("dask:tcp://host:8786") == Asked("dask", "tcp://host:8786")
    assert Asked("slurm", "partition=gpu,time=60").options == {"partition": "gpu", "time": "60"}


def dies_or_fails(place: Path, number: int) -> int:
    """A task: 1 raises, 2 kills its process the first time."""
    if number == 1:
        raise ValueError("one is wrong")
    if number == 2 and not (place / "died").exists():
        (place / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


@pytest.mark.slow
def test_a_task_that_raises_and_a_worker_that_dies(tmp_path):
    tasks = Tasks(dies_or_fails, [(tmp_path, n) for n in range(4)], launchers.Resources(), 2, tmp_path)
    ended = {end.number: end for end in local_.carry_out(Asked(), tasks)}
    assert {n: end.result for n, end in ended.items()} == {0: 0, 1: None, 2: 20, 3: 30}
    assert "one is wrong" in str(ended[1].error) and tasks.died[2] == 1


def test_a_task_that_kills_every_worker_is_given_up(tmp_path):
    tasks = Tasks(print, [()], launchers.Resources(), 1, tmp_path)
    assert all(tasks.again(0, "killed") is None for _ in range(common.TRIES - 1))
    assert "workers died of it" in str(tasks.again(0, "killed").error)


def test_a_task_that_is_not_wanted_any_more_ends_with_its_epoch(tmp_path):
    cell = {"method": "ce", "dataset": "digits", "out": str(tmp_path), **TINY}
    with launchers.common.stoppable(lambda: True), pytest.raises(KeyboardInterrupt):
        run_cell(cell, 0, 0)
    (folder,) = [path.parent for path in tmp_path.rglob("metrics.csv")]
    assert len((folder / "metrics.csv").read_text().splitlines()) == 2  # the head, and one epoch
    assert terms_in(folder)[0]["ended"]
    assert run_cell(cell, 0, 0)[0]["epochs"] == 3


def test_a_sweep_by_a_launcher_has_the_rows_of_one_without(tmp_path, monkeypatch):
    from lnl_kit.results import measured

    monkeypatch.setattr(measured, "kept", lambda: tmp_path)
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    cells = [{"cell": m, "method": m, "dataset": "digits", **TINY} for m in ("ce", "gce")]
    rows = sweep("t", cells, full=True, launcher="local")
    assert [row["cell"] for row in rows] == ["ce", "gce"]


# ---- real schedulers ---------------------------------------------------------------------------------------

PACKAGES = {"dask": "distributed", "ray": "ray", "slurm": "submitit"}


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize("launcher", measure.LAUNCHERS[1:])
def test_a_grid_is_the_same_wherever_it_runs(launcher, tmp_path):
    pytest.importorskip(PACKAGES[launcher.partition(":")[0]])
    rows, metrics, _ = measure.grid("local", tmp_path / "local")
    assert len(rows) == len(metrics) == 12
    assert measure.grid(launcher, tmp_path / "there")[:2] == (rows, metrics)
    assert measure.overlaps(tmp_path / "there") == 0


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize("launcher", measure.LAUNCHERS)
def test_a_grid_survives_workers_that_are_killed(launcher, tmp_path):
    pytest.importorskip(PACKAGES.get(launcher.partition(":")[0], "joblib"))
    longer = {"epochs": 8, "train_size": 1000}
    rows, metrics, _ = measure.grid("local", tmp_path / "undisturbed", **longer)
    found = measure.killed_grid(launcher, tmp_path / "killed", **longer)
    assert found["rows"] == rows and found["metrics"] == metrics
    assert found["kills"] == measure.KILLS and found["taken_over"] >= 1 and found["overlaps"] == 0


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize("launcher", ["dask", "ray"])
def test_a_launcher_costs_at_most_a_second_a_cell(launcher, tmp_path):
    pytest.importorskip(PACKAGES[launcher])
    assert measure.overhead(launcher, tmp_path)["overhead_a_cell_with_start"] <= 1
