"""True labels are only measured with, and a seed decides all, whatever else a process, its past or its
machine has that another one has not.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from conftest import SHORT_STAGES, feature_file
from processes import forked
from tasks import IMAGES, digest, rows_of, settle

import lnl_kit
from lnl_kit.files import RunError
from lnl_kit.methods import METHODS
from lnl_kit.run import prepared

NOISES = ("symmetric:0.2", "symmetric:0.5", "symmetric:0.8", "asymmetric:0.4", "instance:0.4")
ON = ("images", "features")


def asked(method: str, on: str, root: Path, draw: random.Random) -> dict:
    """A tiny run, its noise and seed drawn."""
    ask = IMAGES | SHORT_STAGES.get(method, {}) | {"seed": draw.randrange(1000), "progress": False}
    noise, rate = draw.choice(NOISES).split(":")
    if on == "features" and noise == "instance":  # is made from pixels
        noise = "symmetric"
    if method == "pu_distill":  # with enough images for its filters
        noise, rate = "symmetric", "0.4"
    ask |= {"noise": noise, "rate": float(rate)}
    return ask | ({"features": feature_file(root), "train_size": 128} if on == "features" else {})


def learned(method: str, ask: dict, to: Path) -> str:
    """A digest of all that decides a run's future, and of what it says about test images."""
    try:
        run = lnl_kit.train(method, out=to, **ask)
    except RunError as error:  # a noise that a method cannot learn from: the same each time
        return digest(str(error).replace(str(to), ""))
    state = torch.load(run.folder / "state.pt", weights_only=True)["state"]
    kept = [rows_of(run.folder / "metrics.csv")]
    said = [[row.get(c) for c in ("loss", "test_accuracy", "test_ece")] for rows in kept for row in rows]
    return digest([state, said])


def shuffled_true_labels(method: str, on: str, root: Path, draw: random.Random) -> str:
    """The given labels stay, the true ones are shuffled: nothing that is learned may change."""
    ask = asked(method, on, root, draw)
    alone = learned(method, ask, root / "alone")
    draws, order = prepared.draw_labels, draw.randrange(1000)

    def shuffled(*args):
        given, true = draws(*args)
        return given, np.random.RandomState(order).permutation(true)

    prepared.draw_labels = shuffled
    try:
        other = learned(method, ask, root / "shuffled")
    finally:
        prepared.draw_labels = draws
    return "" if alone == other else "its weights know the true labels"


def after_another_method(method: str, on: str, root: Path, draw: random.Random) -> str:
    """In a process that has trained something else before, and drawn random numbers of its own."""
    ask = asked(method, on, root, draw)
    alone = learned(method, ask, root / "alone")
    another = draw.choice([m for m, (_, s) in METHODS.items() if not s.needs_features])
    lnl_kit.train(another, out=root / "before", **IMAGES | SHORT_STAGES.get(another, {}), progress=False)
    torch.rand(draw.randrange(1, 100))
    np.random.rand(draw.randrange(1, 100))
    random.random()
    other = learned(method, ask, root / "after")
    return "" if alone == other else f"another run after {another}"


def another_process(method: str, on: str, root: Path, draw: random.Random) -> str:
    """Another order of hashes, time zone, language, folder, umask and level of Python's optimisation."""
    ask = asked(method, on, root, draw)
    alone = learned(method, ask, root / "alone")
    told = {"method": method, "ask": ask, "to": str(root / "other"), "umask": draw.choice((0o22, 0o77, 0))}
    environment = os.environ | {
        "PYTHONHASHSEED": str(draw.randrange(1, 10**6)),
        "TZ": draw.choice(("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati")),
        "LC_ALL": draw.choice(("C", "C.UTF-8", "POSIX")),
        "COLUMNS": draw.choice(("1", "80", "5000")),
    }
    environment.pop("LD_PRELOAD", None)
    (root / "elsewhere").mkdir()
    command = [sys.executable, *draw.choice(((), ("-B",), ("-X", "utf8=0"))), str(Path(__file__).resolve())]
    done = subprocess.run(
        [*command, json.dumps(told)],
        env=environment | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=root / "elsewhere",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"ended with {done.returncode}: {done.stderr[-1500:]}"
    return "" if done.stdout.split()[-1] == alone else "another run in another process"


def other_names_and_times(method: str, on: str, root: Path, draw: random.Random) -> str:
    """The clock years off, and the run in another folder, through a link."""
    import time

    ask = asked(method, on, root, draw)
    alone = learned(method, ask, root / "alone")
    (root / "far" / "away" / "é").mkdir(parents=True)
    (root / "link").symlink_to(root / "far" / "away" / "é")
    now, off = time.time, draw.choice((-(10**9), 10**9))
    time.time = lambda: now() + off
    try:
        other = learned(method, ask, root / "link")
    finally:
        time.time = now
    return "" if alone == other else "another run in another folder at another time"


Kind = Callable[[str, str, Path, random.Random], str]
KINDS: dict[str, Kind] = {
    f.__name__.replace("_", " "): f
    for f in (shuffled_true_labels, after_another_method, other_names_and_times, another_process)
}


def pairs() -> list[tuple[str, str]]:
    """All methods on images and on features, where they run there."""
    return [
        (m, on)
        for on in ON
        for m, (_, s) in METHODS.items()
        if not (s.needs_features if on == "images" else s.needs_pixels)
    ]


def one(kind: str, method: str, on: str, number: int, root: Path) -> None:
    settle(root)
    if wrong := KINDS[kind](method, on, root, random.Random(f"truth {number}")):
        raise AssertionError(wrong)


def cases(first: int) -> Iterator[tuple[str, dict | None, dict]]:
    """Case by case: each method on images and features in turn, kind after kind."""
    todo = [(kind, *pair) for kind in KINDS for pair in pairs()]
    while True:
        kind, method, on = todo[first % len(todo)]
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            ended = forked(partial(one, kind, method, on, first, Path(folder)))
        wrong = "" if ended.status == 0 else f"ended with {ended.status}: {ended.said[-1500:]}"
        fault = {"case": first, "method": method, "on": on, "kind": kind, "wrong": wrong}
        yield kind, fault if wrong else None, {}
        first += 1


if __name__ == "__main__":  # the other process
    wanted = json.loads(sys.argv[1])
    os.umask(wanted["umask"])
    torch.set_num_threads(1)
    print(learned(wanted["method"], wanted["ask"], Path(wanted["to"])))
