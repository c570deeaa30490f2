"""A child process of `lnl_kit.bench.gpu`: one job a line of standard input, one answer a line of standard output.

A fault on a GPU spoils the process that it happens in, and a job that hangs must be ended: so no job runs in the process
that keeps the time and the ledger.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import torch

from ..data.classes import CIFAR10_CLASSES
from ..data.dataset import load
from ..methods import METHODS
from ..run.device import device_name
from ..run.identity import versions
from ..toolbox import augment
from ..train import train
from . import loop as bench
from .augment import throughput
from .gpu_profile import profile_loop
from .stacked import stacked_against_sequential

GOAL = 0.90  # of the net-only bound: a loop below it is profiled
WORST = "cifar10n.csv"  # in the archive: true labels and five sets of human ones


# ---- images ------------------------------------------------------------------------------------------------------


def prepare(images: str, work: str) -> dict:
    """Unpack the images if need be and decode them all, once for every process: {folder, labels, seconds}."""
    started = time.perf_counter()
    folder = find_images(Path(images), Path(work) / "images")
    unpacked = time.perf_counter()
    found = load(f"folder:{folder}", like="cifar10")  # keeps the decoded images under LNL_DATA
    table = next((p for p in (folder / WORST, folder.parent / WORST) if p.exists()), None)
    return {
        "folder": str(folder),
        "labels": table and str(table),
        "images": len(found.x),
        "test_images": len(found.test_x),
        "fingerprint": found.fingerprint,
        "unpack_seconds": unpacked - started,
        "decode_seconds": time.perf_counter() - unpacked,
    }


def find_images(given: Path, to: Path) -> Path:
    """The folder with `train/` and `test/`: given, inside what is given, or unpacked from an archive there to `to`."""
    for folder in (given, given / "cifar10-jpeg"):
        if (folder / "train").is_dir():
            return folder
    archive = given if given.is_file() else next(iter(sorted(given.glob("*.tar*"))), None)
    if archive is None:
        raise FileNotFoundError(
            f"no images in {given}: a folder with train/ and test/, or an archive of one (.tar.xz)"
        )
    if not (to / "whole").exists():
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        unpack(archive, to)
        (to / "whole").touch()
    return next(p.parent for p in sorted(to.glob("**/train")) if p.is_dir())


def unpack(archive: Path, to: Path) -> None:
    """Unpack a tar archive; by the system's `tar`, six times as fast as Python's, where there is one."""
    with tempfile.TemporaryFile() as said:
        if (
            shutil.which("tar")
            and not subprocess.run(["tar", "-xf", archive, "-C", to], stdout=said, stderr=said).returncode
        ):
            return
    with tarfile.open(archive) as tar:
        tar.extractall(to, filter="data")


# ---- steps a to e ------------------------------------------------------------------------------------------------


def warm(device: str) -> dict:
    """Set up the device and load the kernels of a training step, so that no later job is timed with it."""
    return rate(device, 0.1, 32)


def device(device: str, matmul: int) -> dict:
    """What is there, and its peaks: products of bf16 matrices, memory copied, and the time to launch a kernel."""
    found = {
        "name": device_name(torch.device(device)),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": versions() | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()},
    }
    if device.startswith("cuda"):
        p = torch.cuda.get_device_properties(device)
        found |= {
            "memory_gigabytes": p.total_memory / 1e9,
            "processors": p.multi_processor_count,
            "capability": f"{p.major}.{p.minor}",
            "driver": driver(),
        }
    a = torch.randn(matmul, matmul, device=device, dtype=torch.bfloat16)
    x = torch.zeros(matmul * matmul, device=device)
    seconds = best_of(lambda: a @ a, device)
    copied = best_of(lambda: x.clone(), device)
    tiny = torch.zeros(1, device=device)

    def launches():
        for _ in range(1000):
            tiny.add_(1)

    return found | {
        "bf16_teraflops": 2 * matmul**3 / seconds / 1e12,
        "gigabytes_per_second": 2 * 4 * x.numel() / copied / 1e9,
        "launch_microseconds": best_of(launches, device) * 1000,
    }


def driver() -> str | None:
    """The driver's version, as nvidia-smi says it; None where it does not."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def best_of(call, device: str, times: int = 10) -> float:
    """Seconds of the fastest call, after a warm-up."""
    found = []
    for _ in range(times + 1):
        bench.synchronise(torch.device(device))
        started = time.perf_counter()
        call()
        bench.synchronise(torch.device(device))
        found.append(time.perf_counter() - started)
    return min(found[1:])


def loop(
    device: str, method: str, model: str, batch: int, trace: str | None = None, profiled: int = 20, **asked
) -> dict:
    """The loop against its net-only bound; where it is below the goal, `profiled` steps are profiled if a `trace` is asked for."""
    row = bench.loop_over_bound(method, model, 32, device=torch.device(device), batch=batch, **asked)
    row |= {"method": method, "model": model}
    if row["ratio"] < GOAL and trace:
        try:
            row["profile"] = profile_loop(method, model, 32, batch, torch.device(device), trace, profiled)
        except Exception as error:  # the ratio is worth more
            traceback.print_exc()
            row["profile"] = {"error": f"{type(error).__name__}: {error}"}
    return row


def graph(device: str, method: str, model: str, batch: int, steps: int = 20) -> dict:
    """The bound as one CUDA graph, beside the same without: what waiting for Python costs."""
    with tempfile.TemporaryDirectory() as folder:
        run = bench.make_run(model, 32, 2, torch.device(device), "auto", "off", Path(folder), batch)
        found = {"case": f"{method} {model} 32x32", "batch": batch}
        for name, captured in (("eager", False), ("graph", True)):
            if captured and not device.startswith("cuda"):
                continue
            do = bench.net_only(run, METHODS[method][1].bound, run.precision, "off", captured)
            do(steps)
            found[f"{name}_images_per_second"] = (
                steps * batch / statistics.median(do(steps) for _ in range(5))
            )
    return found


def augmentation(device: str, seconds: float) -> dict:
    """Images a second of the views that the methods use, drawn and applied on the device."""
    return {
        "images_per_second": {
            name: throughput(augment.view(name), seconds=seconds, device=device)
            for name in ("crop", "randaugment", "augmix", "strong", "autoaugment")
        }
    }


def stacked(device: str, model: str, members: int, batch: int) -> dict:
    """PUDistill's filters, stacked and one after the other."""
    return stacked_against_sequential(
        model, channels=3, size=32, members=members, batch=batch, device=device, rounds=3
    )


class TimedRun(bench.BenchRun):
    """A run that yields epochs until `until`, and counts them."""

    until, counted = 0.0, 0

    def epochs(self, state, total):
        """Yield epochs; the first is a warm-up and not counted."""
        self.begin(state, 0)
        yield 0
        bench.synchronise(self.device)
        self.began = time.perf_counter()
        self.until += self.began
        while not self.counted or time.perf_counter() < self.until:
            self.begin(state, 1)
            yield 1
            bench.synchronise(self.device)
            self.counted += 1
        self.took = time.perf_counter() - self.began


def rate(device: str, seconds: float, batch: int) -> dict:
    """Images a second of cross-entropy's loop on the small network, for about so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = bench.make_run(
            "airbench",
            32,
            max(2, 8192 // batch) if device.startswith("cuda") else 2,
            torch.device(device),
            "auto",
            "off",
            Path(folder),
            batch,
            TimedRun,
        )
        run.until = seconds
        METHODS["ce"][0](run.data, bench.settings_for("ce", 32, 2, batch), run)
    return {"images_per_second": run.counted * len(run.data) / run.took}


def tests(device: str, marker: str, seconds: float = 120.0, processes: int = 4) -> dict:
    """The suite's tests with this marker: how many passed, and what those say that did not."""
    root = Path(__file__).resolve().parents[2]
    files = [str(p) for p in sorted((root / "tests").glob("test_*.py")) if f"mark.{marker}" in p.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            marker,
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
            f"--junitxml={report}",
            *(["-n", str(processes)] if device.startswith("cuda") else []),
            *files,
        ]
        started = time.perf_counter()
        try:
            said = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=seconds)
            said = said.stdout + said.stderr
        except subprocess.TimeoutExpired as late:
            said = f"ended after {seconds:.0f} s: " + (late.stdout or b"").decode(errors="replace")
        print(said, file=sys.stderr)
        return {"files": len(files), "test_seconds": time.perf_counter() - started} | outcome(report, said)


def outcome(report: Path, said: str) -> dict:
    """passed, skipped, and failures (name, message) of a JUnit report; the end of what pytest said where there is none."""
    if not report.exists():
        return {"passed": 0, "skipped": 0, "failures": [["pytest", said[-2000:]]]}
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [(c, c.find("failure") if c.find("failure") is not None else c.find("error")) for c in cases]
    failures = [
        [
            f"{c.get('classname')}::{c.get('name')}",
            (e.get("message") or "")[:300] + "\n" + (e.text or "")[-1200:],
        ]
        for c, e in bad
        if e is not None
    ]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return {"passed": len(cases) - len(failures) - skipped, "skipped": skipped, "failures": failures[:40]}


# ---- steps f and g -----------------------------------------------------------------------------------------------


def training(
    device: str,
    folder: str,
    labels: str | None,
    out: str,
    method: str,
    noise: dict,
    seed: int,
    preset: str,
    model: str | None,
    settings: dict,
    label: str = "",
) -> dict:
    """One training run on the images of `folder`: its summary, and a row of metrics for each epoch."""
    if "label_column" in noise:
        if labels is None:
            raise FileNotFoundError(f"no human labels beside the images of {folder}: {WORST} is missing")
        noise = noise | {"labels": labels, "true_column": "clean"}
    run = train(
        method,
        f"folder:{folder}",
        like="cifar10",
        preset=preset,
        model=model,
        seed=seed,
        out=out,
        device=device,
        progress=False,
        on_interrupt="raise",
        **noise,
        **settings,
    )
    return {"label": label, "summary": run.summary, "epochs": [short(row) for row in run.metrics]}


def short(row: dict) -> dict:
    """A row of metrics without what is missing, numbers to five digits."""
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items() if v is not None}


def toy_images(folder: str) -> dict:
    """A small folder of images with labels in the layout of the real one, for a rehearsal."""
    import csv

    from PIL import Image

    rng, rows, root = np.random.RandomState(0), [], Path(folder)
    for part, each in (("train", 13), ("test", 3)):
        for k, name in enumerate(CIFAR10_CLASSES):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for i in range(each):
                Image.fromarray(rng.randint(20 * k, 20 * k + 60, (32, 32, 3)).astype(np.uint8)).save(
                    root / part / name / f"{i:04d}.jpg"
                )
                if part == "train":
                    rows.append(
                        [len(rows), f"train/{name}/{i:04d}.jpg", name, CIFAR10_CLASSES[(k + i % 3) % 10]]
                    )
    with open(root / WORST, "w", newline="") as file:
        csv.writer(file).writerows([["index", "path", "clean", "worst"], *rows])
    return {"folder": folder}


JOBS = {
    "prepare": prepare,
    "toy_images": toy_images,
    "warm": warm,
    "device": device,
    "bench": loop,
    "graph": graph,
    "augmentation": augmentation,
    "stacked": stacked,
    "rate": rate,
    "tests": tests,
    "run": training,
}


def main() -> None:
    """Answer jobs until standard input ends; end with all children when the parent does."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = JOBS[asked["kind"]](**asked["args"])
        except Exception as error:
            traceback.print_exc()
            where = traceback.format_exc().strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {str(error)[:1000]}", "where": where[-8:]}
        finally:
            if torch.cuda.is_initialized() and asked["kind"] != "tests":
                empty()
        answers.write(json.dumps(answer, default=float) + "\n")
        answers.flush()


def empty() -> None:
    """Give back the GPU memory that this process keeps for itself; after a fault on the GPU not even that works."""
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
