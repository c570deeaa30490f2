"""The prepared command for a GPU, rehearsed on the CPU: all steps, a budget that is too short, and a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lnl_kit.bench import gpu, gpu_jobs, gpu_plan, gpu_process, gpu_profile
from lnl_kit.methods import METHODS
from lnl_kit.run.settings import make

ROOT = Path(__file__).parent.parent
QUICK = "a/,f2/worst/ce"
QUICK_ENDED = {"a/device", "f2/worst/ce/seed0"}


def command(folder, *more):
    return [
        sys.executable,
        "-m",
        gpu.__name__,
        "--rehearse",
        "--out",
        str(folder / "out"),
        "--work",
        str(folder / "work"),
        *more,
    ]


def rows(folder):
    return gpu_process.read_lines((folder / "out" / "gpu.jsonl").read_bytes())


def ended(folder):
    return [r["job"] for r in rows(folder) if r.get("ended")]


@pytest.mark.slow
def test_some_steps_rehearsed_leave_their_rows_and_a_second_call_has_nothing_left_to_do(tmp_path):
    asked = command(tmp_path, "--minutes", "9", "--only", QUICK)
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [r["error"] for r in rows(tmp_path) if "error" in r] == []
    assert set(ended(tmp_path)) == QUICK_ENDED
    again = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and " 0 jobs" in again.stderr and len(ended(tmp_path)) == len(QUICK_ENDED)


@pytest.mark.slow
def test_rehearsed_every_step_leaves_its_row_and_a_second_call_has_nothing_left_to_do(tmp_path):
    done = subprocess.run(
        command(tmp_path, "--minutes", "4"), cwd=ROOT, capture_output=True, text=True, timeout=260
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {r["job"]: r for r in rows(tmp_path)}
    assert [r["error"] for r in found.values() if "error" in r] == []
    assert {j.name for j in gpu_plan.jobs(gpu_plan.REHEARSAL)} <= set(ended(tmp_path))
    assert found["b/tests"]["skipped"] > 50 and not found["b/tests"]["failures"]  # no GPU: all are skipped
    assert found["c/airbench/16/ce"]["ratio"] > 0 and found["f/processes"]["chosen"] in (1, 2)
    run = found["f2/worst/nrd/seed0"]
    assert (
        run["summary"]["noise"] == "labels-worst"
        and len(run["epochs"]) == 2
        and run["epochs"][-1]["test_accuracy"] >= 0
    )
    assert (
        len(list((tmp_path / "out").iterdir())) <= 8
        and sum(f.stat().st_size for f in (tmp_path / "out").iterdir()) < 16e6
    )
    again = subprocess.run(
        command(tmp_path, "--minutes", "1"), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0 and " 0 jobs, 18 ended before" in again.stderr
    assert len(rows(tmp_path)) == len(found)  # it adds nothing


@pytest.mark.slow
def test_a_short_budget_ends_in_time_with_what_it_has(tmp_path):
    started = time.monotonic()
    done = subprocess.run(
        command(tmp_path, "--minutes", "1"), cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0 and time.monotonic() - started < 70
    assert "a/device" in ended(tmp_path) and "g/paper/symmetric0.4/nrd" not in ended(tmp_path)
    assert children_of(tmp_path) == []


@pytest.mark.slow
def test_a_kill_keeps_what_ended_ends_the_children_and_the_same_command_goes_on(tmp_path):
    running = subprocess.Popen(
        command(tmp_path, "--minutes", "3", "--only", f"f/,{QUICK}"), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not ((tmp_path / "out" / "gpu.jsonl").exists() and "f/processes" in ended(tmp_path)):
        assert time.monotonic() < until and running.poll() is None
        time.sleep(0.2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = ended(tmp_path)
    with open(tmp_path / "out" / "gpu.jsonl", "ab") as file:
        file.write(b'{"job": "f2/worst/ce/seed0", "en')  # a line cut short
    for _ in range(40):
        if not children_of(tmp_path):
            break
        time.sleep(0.25)
    assert children_of(tmp_path) == []
    done = subprocess.run(
        command(tmp_path, "--minutes", "3", "--only", f"f/,{QUICK}"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "a/device: " not in done.stderr and ended(tmp_path)[: len(before)] == before
    assert set(ended(tmp_path)) == {*QUICK_ENDED, "f/processes"}


def children_of(folder) -> list[int]:
    """Processes that have this folder in their environment, other than the command itself."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                str(folder / "work").encode() in (process / "environ").read_bytes()
                and int(process.name) != os.getpid()
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_run_that_is_cut_keeps_its_epochs(tmp_path):
    """The deadline ends the process; the row has what the run folder holds."""
    gpu_jobs.toy_images(str(tmp_path / "toy"))
    session = gpu.Session(tmp_path, tmp_path / "work", 5, None, True, 1, "")
    session.place = {"folder": str(tmp_path / "toy"), "labels": str(tmp_path / "toy" / "cifar10n.csv")}
    args = {
        "label": "ce",
        "method": "ce",
        "noise": {"label_column": "worst"},
        "seed": 0,
        "preset": "photographs",
        "model": "small_cnn",
        "settings": {"epochs": 2000, "batch_size": 32},
    }
    worker = gpu_process.Worker(session.log, session.environment)
    try:
        worker.ask("warm", {"device": "cpu"}, 100)
        session.clock.end = time.monotonic() + 6
        session.do(gpu_plan.Job("f2/worst/ce/seed0", "run", args, 5, alone=False), worker)
    finally:
        worker.end()
    row = session.ledger.rows[-1]
    assert (
        not row["ended"] and row["late"] and 2 <= len(row["epochs"]) < 2000 and row["epochs"][0]["epoch"] == 1
    )


def test_the_ledger_survives_a_line_cut_short(tmp_path):
    path = tmp_path / "gpu.jsonl"
    gpu_process.Ledger(path).add({"job": "a", "ended": True})
    with open(path, "ab") as file:
        file.write(b'{"job": "b", "end')
    ledger = gpu_process.Ledger(path)
    ledger.add({"job": "c", "ended": True})
    assert (
        [r["job"] for r in gpu_process.Ledger(path).rows]
        == ["a", "c"]
        == [json.loads(line)["job"] for line in path.read_text().split("\n")[::2] if line]
    )


def test_the_gpus_idle_time():
    assert gpu_profile.idle([]) is None and gpu_profile.idle([(0, 1)]) == 0
    assert gpu_profile.idle([(5, 6), (0, 2), (1, 3)]) == pytest.approx(2 / 6)


def test_the_plan_is_made_of_what_exists_and_fits_a_session():
    size = gpu_plan.Size()
    jobs = gpu_plan.jobs(size)
    assert len({j.name for j in jobs}) == len(jobs) and all(
        j.seconds > 0 and j.kind in gpu_jobs.JOBS for j in jobs
    )
    assert sum(j.seconds for j in jobs if j.alone and not j.name.startswith("c/compile")) < 150
    for method, settings in gpu_plan.VARIANTS.values():
        make(METHODS[method][1], **settings)
        assert method in gpu_plan.PASSES
    flops = gpu_plan.of_network("preact_resnet18")[0]
    assert flops == pytest.approx(2 * 0.5554e9, rel=0.01)  # 0.56 G multiplications, as its papers say
    busy = [gpu_plan.cost(m, "preact_resnet18", 30, 256, "H100")[0] for m in ("ce", "nrd", "dividemix")]
    assert busy == sorted(busy) and gpu_plan.cost("ce", "preact_resnet18", 30, 256, "H200")[0] < busy[0]
    assert "f1/symmetric0.5/ce/seed0" in gpu_plan.table(size)


def test_wrong_requests_get_a_sentence(tmp_path, capsys):
    for argv, sentence in (
        (["--images", "x"], "--out is missing"),
        (["--out", str(tmp_path)], "--images is missing"),
        (["--out", str(tmp_path), "--images", str(tmp_path / "none")], "does not exist"),
        (["--out", str(tmp_path), "--rehearse", "--minutes", "0"], "--minutes 0 is not allowed"),
        (["--out", str(tmp_path), "--rehearse", "--processes", "0"], "--processes 0 is not allowed"),
    ):
        assert gpu.main(argv) == 2 and sentence in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"no images in .*: a folder with train/ and test/"):
        gpu_jobs.find_images(tmp_path, tmp_path / "to")


def test_an_archive_is_unpacked_once(tmp_path, monkeypatch):
    gpu_jobs.toy_images(str(tmp_path / "toy" / "cifar10-jpeg"))
    subprocess.run(
        ["tar", "-cJf", tmp_path / "images.tar.xz", "-C", tmp_path / "toy", "cifar10-jpeg"], check=True
    )
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    found = gpu_jobs.prepare(str(tmp_path / "images.tar.xz"), str(tmp_path / "work"))
    assert (
        found["images"] == 130
        and found["test_images"] == 30
        and found["labels"].endswith("cifar10-jpeg/cifar10n.csv")
    )
    monkeypatch.setattr(gpu_jobs, "unpack", lambda *_: pytest.fail("a second time"))
    assert (
        gpu_jobs.prepare(str(tmp_path / "images.tar.xz"), str(tmp_path / "work"))["folder"] == found["folder"]
    )
