"""A child process of `lnl_kit.bench.gpu`: a job a line of standard input, an answer a line of standard
output.

A fault on a GPU spoils the process that it happens in, and a job that hangs must be ended: so no job runs in
the process that keeps the time and the ledger.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..data.classes import CIFAR10_CLASSES
from ..data.dataset import load
from ..train import train
from . import gpu_timings

WORST = "cifar10n.csv"  # in the archive: true labels and five sets of human ones


# ---- images ------------------------------------------------------------------------------------------------


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
    """The folder with `train/` and `test/`: given, inside what is given, or unpacked from an archive there to
    `to`.
    """
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


# ---- step b


def tests(device: str, marker: str, seconds: float = 120.0, processes: int = 4) -> dict:
    """The suite's tests with this marker: how many passed, and what those say that did not."""
    root = Path(__file__).resolve().parents[2]
    files = [str(p) for p in sorted((root / "tests").glob("test_*.py")) if f"mark.{marker}" in p.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        several = ["-n", str(processes)] if device.startswith("cuda") else []
        options = [
            "-q",
            "-m",
            f"{marker} and not slow",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *several, *files]
        started = time.perf_counter()
        pytest = subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            said = pytest.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            pytest.send_signal(signal.SIGINT)  # it still writes down what has ended
            try:
                said = pytest.communicate(timeout=15)[0]
            except subprocess.TimeoutExpired:
                pytest.kill()
                said = pytest.communicate()[0]
            said = f"ended after {seconds:.0f} s: {said}"
        print(said, file=sys.stderr)
        found = {"files": len(files), "test_seconds": time.perf_counter() - started, "said": said[-300:]}
        return found | outcome(report, said)


def outcome(report: Path, said: str) -> dict:
    """passed, skipped, and failures (name, message) of a JUnit report; without one what was said last."""
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


# ---- steps f and g -----------------------------------------------------------------------------------------


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

    rng, root = np.random.RandomState(0), Path(folder)
    rows: list[list] = []
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


JOBS: dict[str, Callable[..., dict]] = {
    "prepare": prepare,
    "toy_images": toy_images,
    "warm": gpu_timings.warm,
    "device": gpu_timings.device,
    "bench": gpu_timings.loop,
    "graph": gpu_timings.graph,
    "augmentation": gpu_timings.augmentation,
    "stacked": gpu_timings.stacked,
    "rate": gpu_timings.rate,
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
    """Give back the GPU memory that this process keeps for itself; after a fault on the GPU not even that
    works.
    """
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
