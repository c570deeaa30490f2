"""What is killed: tiny commands over all that the kit writes, and what may not depend on a kill."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import SHORT_STAGES, feature_file
from findings_by_hand import photos

from lnl_kit import cli, data
from lnl_kit.features.of_dataset import features_of
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.methods import METHODS

CLOCK = ("seconds", "per_second", "commit", "versions", "device", "threads", "stage_seconds")
IMAGES = {"epochs": 2, "train_size": 64, "batch_size": 32, "keep": "weights"}

TEMPLATE: list[tempfile.TemporaryDirectory] = []  # what a user has, made once


@dataclass
class Task:
    """A command in a folder, and what it leaves there that may not depend on an interruption."""

    name: str
    act: Callable[[Path], int]  # the exit status
    outcome: Callable[[Path], str]
    group: str
    alone: bool = True  # one process, so that all its writes are seen

    def prepare(self, root: Path) -> None:
        """What the user has: images, features, probabilities; nothing of it is the kit's."""
        if not TEMPLATE:
            TEMPLATE.append(tempfile.TemporaryDirectory(prefix="torture-"))
            first = Path(TEMPLATE[0].name)
            (first / "given").mkdir()
            given(first)
            uniform(first)
            tiny_eye(first)
            feature_file(first / "given")
        shutil.copytree(Path(TEMPLATE[0].name) / "given", root / "given")


def run(*arguments) -> int:
    return cli.main([str(a) for a in arguments])


def settle(root: Path) -> None:
    """Where the kit of this process keeps things, from now on."""
    os.environ["LNL_RUNS"], os.environ["LNL_DATA"] = str(root / "kit" / "runs"), str(root / "kit" / "data")
    os.environ["LNL_PRECISION"] = "fp32"


def digest(thing) -> str:
    """Of tensors, arrays and plain values, to the last bit."""
    found = hashlib.sha256()

    def add(x) -> None:
        if isinstance(x, torch.Tensor):
            x = x.detach().cpu().contiguous().numpy() if x.dtype != torch.bfloat16 else x.float().numpy()
        if isinstance(x, np.ndarray):
            found.update(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())
        elif isinstance(x, dict):
            for key in sorted(x, key=str):
                found.update(str(key).encode())
                add(x[key])
        elif isinstance(x, list | tuple):
            found.update(str(len(x)).encode())
            for y in x:
                add(y)
        else:
            found.update(repr(x).encode())

    add(thing)
    return found.hexdigest()


def rows_of(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return [
            {k: v for k, v in row.items() if not any(c in k for c in CLOCK)} for row in csv.DictReader(file)
        ]


def run_folders(root: Path) -> str:
    """Weights, tables, labels and arrays of all runs below a folder; nothing else lies there."""
    found = []
    for summary in sorted(root.rglob("summary.json")):
        folder = summary.parent
        state = torch.load(folder / "state.pt", weights_only=True)
        with np.load(folder / "arrays.npz") as arrays:
            parts = [state["state"], {k: arrays[k] for k in arrays}]
        tables = [rows_of(folder / name) for name in ("metrics.csv", "labels.csv")]
        found.append(digest([str(folder.parent.relative_to(root)), parts, tables]))
    assert found, f"no finished run below {root}"
    left = [p.name for p in root.rglob(".lnl-*")]
    assert not left, f"left over: {left}"
    return digest(sorted(found))


def table(root: Path) -> str:
    return digest([rows_of(root / "table.csv"), run_folders(root / "kit" / "runs")])


def findings(root: Path) -> str:
    folder = next((root / "kit" / "runs").rglob("errors.csv")).parent
    summary = json.loads((folder / "summary.json").read_text())
    summary = {k: v for k, v in summary.items() if not any(c in k for c in (*CLOCK, "search"))}
    found = pd.read_csv(folder / "errors.csv")
    assert not [p.name for p in folder.rglob(".lnl-*")]
    text = json.dumps(summary, sort_keys=True).replace(str(root), "")
    return digest([found.to_csv(), text, rows_of(folder / "labels_before.csv")])


def tiny_eye(root: Path) -> str:
    """A TorchScript program as a backbone, the same at each call."""
    path = root / "given" / "eye.pt"
    if not path.exists():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, stride=2), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
        )
        torch.jit.script(net.eval()).save(str(path))
    return f"file:{path}"


def given(root: Path) -> Path:
    """The user's images."""
    folder = root / "given" / "photos"
    return folder if folder.exists() else photos(folder, each=6)


def training(method: str, on_features: bool) -> Task:
    ask = IMAGES | SHORT_STAGES.get(method, {})
    if on_features:
        ask = IMAGES | SHORT_STAGES.get(method, {}) | {"train_size": 128}

    def act(root: Path) -> int:
        more = ["--features", f"npz:{root / 'given' / 'digits.npz'}"] if on_features else []
        words = [w for k, v in ask.items() for w in (f"--{k.replace('_', '-')}", v)]
        return run("train", method, "--rate", 0.4, "--out", root / "kit" / "runs", *words, *more)

    kind = "features" if on_features else "images"
    return Task(
        f"train {method} on {kind}", act, lambda root: run_folders(root / "kit" / "runs"), f"train, {kind}"
    )


def searching(kind: str, *flags, eye: bool = False) -> Task:
    def act(root: Path) -> int:
        more = ("--features", tiny_eye(root)) if eye else ()
        return run("find-errors", given(root), "--out", root / "kit" / "runs" / "found", *flags, *more)

    return Task(f"find-errors, {kind}", act, findings, "find-errors")


def reviewing() -> Task:
    """Thirty decisions and corrected labels; a decision that was acknowledged stands."""

    def act(root: Path) -> int:
        found = root / "kit" / "runs" / "found"
        if not (found / "summary.json").exists():
            status = run("find-errors", given(root), "--probs", uniform(root), "--out", found)
            if status:
                return status
        made = Decisions(found / "decisions.csv")
        acknowledged = root / "given" / "acknowledged"
        said = int(acknowledged.read_text() or 0) if acknowledged.exists() else 0
        assert len(made.made) >= said, f"{said} decisions were acknowledged, {len(made.made)} stand"
        names = [f"{k}/{i}.png" for k in ("cat", "dog") for i in range(6)]
        for n in range(len(made.made), 12):
            made.add(names[n], ("keep", "drop", "unsure")[n % 3])
            acknowledged.write_text(str(n + 1))
        return run("apply", found / "decisions.csv", "--out", root / "kit" / "runs" / "labels.csv")

    def outcome(root: Path) -> str:
        made = Decisions(root / "kit" / "runs" / "found" / "decisions.csv").made
        return digest([made, rows_of(root / "kit" / "runs" / "labels.csv")])

    return Task("review and apply", act, outcome, "review and apply")


def uniform(root: Path) -> Path:
    path = root / "given" / "probs.npz"
    if not path.exists():
        probs = np.random.RandomState(0).dirichlet(np.ones(2), 12)
        np.savez(path, probs=probs)
    return path


def comparing(jobs: int) -> Task:
    def act(root: Path) -> int:
        ask = ("--noise", "symmetric:0.4", "--epochs", 1, "--train-size", 64, "--jobs", jobs)
        out = ("--out", root / "kit" / "runs", "--csv", root / "kit" / "runs" / "table.csv")
        return run("compare", "ce,elr", "--seeds", "0,1", *ask, *out)

    def outcome(root: Path) -> str:
        rows = sorted(rows_of(root / "kit" / "runs" / "table.csv"), key=lambda r: (r["method"], r["seed"]))
        return digest([rows, run_folders(root / "kit" / "runs")])

    return Task(f"compare, {jobs} jobs", act, outcome, "compare", alone=jobs == 1)


def extracting() -> Task:
    def act(root: Path) -> int:
        source = data.load(f"folder:{given(root)}", root=root / "kit" / "data", split=False)
        found = features_of(source, tiny_eye(root), size=16, progress=False).array()
        np.save(root / "given" / "features.npy", found)
        return 0

    return Task("features of a folder", act, lambda r: digest(np.load(r / "given/features.npy")), "features")


def decoding() -> Task:
    def act(root: Path) -> int:
        found = data.load(f"folder:{given(root)}", root=root / "kit" / "data", split=False)
        (root / "given" / "seen").write_text(digest([found.x, found.fingerprint]))
        return 0

    return Task("decoding a folder", act, lambda root: (root / "given" / "seen").read_text(), "decoding")


def reproducing() -> Task:
    """A notebook in a process of its own, as users start it."""

    def act(root: Path) -> int:
        command = [sys.executable, "-m", "lnl_kit.cli", "reproduce", "40", "-p", "epochs=2"]
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        return subprocess.run(
            [*command, "--out", str(root / "kit" / "runs")], env=environment, check=False
        ).returncode

    def outcome(root: Path) -> str:
        notebook = json.loads(next((root / "kit" / "runs").rglob("40_*.ipynb")).read_text())
        assert (root / "kit" / "runs" / "reproduce" / "index.html").exists()
        outputs = [o for c in notebook["cells"] for o in c.get("outputs", ())]
        assert not [o for o in outputs if o["output_type"] == "error"]
        return str(sum(bool(c.get("outputs")) for c in notebook["cells"]))

    return Task("reproduce 40", act, outcome, "reproduce", alone=False)


def all_tasks() -> dict[str, Task]:
    on_images = [training(m, False) for m, (_, s) in METHODS.items() if not s.needs_features]
    on_features = [training(m, True) for m, (_, s) in METHODS.items() if not s.needs_pixels]
    others = [
        searching("networks", "--features", "none", "--epochs", 1, "--model", "small_cnn", "--image-size", 8),
        searching("features", eye=True),
        reviewing(),
        comparing(1),
        comparing(2),
        extracting(),
        decoding(),
        reproducing(),
    ]
    return {task.name: task for task in (*on_images, *on_features, *others)}
