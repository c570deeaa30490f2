"""Sizes at which luck ends: each once, with its seconds and the memory it takes."""

import contextlib
import csv
import io
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from PIL import Image
from processes import Ended, forked
from runs_by_hand import made_run
from tasks import settle

import lnl_kit
from lnl_kit import cli, data, figures
from lnl_kit.data import images
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.label_errors.decisions import apply
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.reproduce.batch import reproduce

AT_MOST = 3600  # seconds a size


@dataclass
class Size:
    """prepare(root, n) makes what the user has; act(root, n) is measured and checks what comes out."""

    prepare: Callable[[Path, int], Any]
    act: Callable[[Path, int], Any]
    n: int
    quick: int  # n of the sample; 0: not in it


def photographs(root: Path, n: int, classes: int = 10) -> None:
    """n images of one pixel, a thousand a folder, with a table of their labels and probabilities."""
    folder, contents = root / "given" / "photos", []
    for value in range(256):
        file = io.BytesIO()
        Image.new("L", (1, 1), value).save(file, "PNG")
        contents.append(file.getvalue())
    names = [f"{i // 1000:04d}/{i % 1000:03d}.png" for i in range(n)]
    for start in range(0, n, 1000):
        (folder / f"{start // 1000:04d}").mkdir(parents=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(contents[i % 256])
    lines = (f"{name},class {i % classes}\n" for i, name in enumerate(names))
    (root / "given" / "labels.csv").write_text("path,label\n" + "".join(lines))
    draw = np.random.default_rng(0)
    right = np.eye(classes, dtype=np.float32)[np.arange(n) % classes]
    probs = 0.5 * right + 0.5 * draw.dirichlet(np.ones(classes), n).astype(np.float32)
    np.savez(root / "given" / "probs.npz", probs=probs)


def searched(root: Path, **more) -> str:
    """The folder of findings on those."""
    found = root / "kit" / "found"
    given, labels = str(root / "given" / "photos"), str(root / "given" / "labels.csv")
    lnl_kit.find_errors(
        given, labels=labels, probs=str(root / "given" / "probs.npz"), to=found, progress=False, **more
    )
    return str(found)


def labels(root: Path, n: int) -> str:
    """A table of n labels, and the images that it labels."""
    read = data.load(
        f"folder:{root / 'given' / 'photos'}",
        root=root / "kit" / "data",
        labels=str(root / "given" / "labels.csv"),
        split=False,
    )
    assert len(read.x) == n and read.x.shape[1:].numel() <= 3
    return f"{len(read.classes)} classes"


def findings(root: Path, n: int) -> str:
    """Found, opened, decided and applied."""
    found = open_findings(searched(root))
    assert len(found.table) == n and not found.changed()["changed"]
    made = Decisions(found.folder / "decisions.csv")
    for image in found.table["image"][:100]:
        made.add(image, "drop")
    apply(found.folder / "decisions.csv", root / "kit" / "labels.csv")
    with open(root / "kit" / "labels.csv", newline="") as file:
        dropped = [row["dropped"] for row in csv.DictReader(file)]
    assert len(dropped) == n and sum(map(bool, map(int, dropped))) == 100
    return f"{(found.folder / 'errors.csv').stat().st_size / 1e6:.0f} MB of findings"


def runs(root: Path, n: int) -> None:
    for seed in range(n):
        made_run(root / "kit" / "runs", seed, beside=False)


def collected(root: Path, n: int) -> str:
    """One table of all runs, then once more with nothing new."""
    table = root / "kit" / "t.csv"
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["collect", str(root / "kit" / "runs"), "--csv", str(table)]) == 0
        started = time.monotonic()
        assert cli.main(["collect", str(root / "kit" / "runs"), "--csv", str(table)]) == 0
    with open(table) as file:
        assert sum(1 for _ in file) == n + 1
    return f"once more, with nothing new: {time.monotonic() - started:.1f} s"


def board(root: Path, n: int) -> str:
    """The page of all these runs."""
    page = root / "kit" / "board.html"
    with contextlib.redirect_stdout(io.StringIO()):
        assert (
            cli.main(["board", str(root / "kit" / "runs"), "--to", str(page), "--once", "--no-browser"]) == 0
        )
    return f"a page of {page.stat().st_size / 1e6:.1f} MB"


def of_many_classes(root: Path, n: int) -> None:
    photographs(root, 4 * n, classes=n)


def many_classes(root: Path, n: int) -> str:
    """Findings with their report and review, and an epoch of training."""
    from lnl_kit.label_errors.review import Review

    found = open_findings(searched(root))
    assert len(found.classes) == n and len(found.table) == 4 * n
    Review(found)
    run = lnl_kit.train(
        "ce",
        f"folder:{root / 'given' / 'photos'}",
        labels=str(root / "given" / "labels.csv"),
        noise="none",
        epochs=1,
        image_size=8,
        out=root / "kit" / "runs",
        progress=False,
    )
    assert run.summary is not None and len(run.classes) == n
    return f"a report of {(found.folder / 'report.html').stat().st_size / 1e6:.1f} MB"


def large_image(root: Path, n: int) -> None:
    for k, size in enumerate(((n, n), (n, 1), (1, n), (1, 1))):
        folder = root / "given" / "photos" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, 60 * k).save(folder / f"{k}.jpg")


def large_images(root: Path, n: int) -> str:
    """Refused in one sentence, as it may be a bomb, and read where that many pixels are allowed."""
    ask = {"root": root / "kit" / "data", "split": False, "image_size": 32}
    folder = f"folder:{root / 'given' / 'photos'}"
    if n * n > images.MAX_PIXELS:
        with contextlib.suppress(ValueError):
            data.load(folder, **ask)
            raise AssertionError("an image of so many pixels was read unasked")
    found = data.load(folder, max_pixels=n * n, **ask)
    grey = sorted(found.x.float().mean((1, 2, 3)).round().int().tolist())
    assert grey == [0, 60, 120, 180], grey
    return f"{n}x{n}, {n}x1, 1x{n} and 1x1 pixels"


def deep(root: Path, n: int) -> None:
    """Images whose paths have n bytes in all: made from within, as the system takes less at once."""
    here = os.open(root / "given", os.O_RDONLY)
    try:
        for name in ("cat", "dog"):
            os.fchdir(here)
            (Path("photos") / name).mkdir(parents=True)
            os.chdir(Path("photos") / name)
            left = n - len(os.fsencode(root / "given" / "photos" / name / "12.png"))
            while left > 1:
                step = "é" * min(125, (left - 1) // 2) or "e"
                os.mkdir(step)
                os.chdir(step)
                left -= len(os.fsencode(step)) + 1
            for k in range(3):
                Image.new("L", (4, 4), 40 * k + 100 * (name == "dog")).save(f"1{k}.png")
    finally:
        os.fchdir(here)
        os.close(here)
    np.savez(root / "given" / "probs.npz", probs=np.random.default_rng(0).dirichlet(np.ones(2), 6))


def long_paths(root: Path, n: int) -> str:
    """Found, decided and applied."""
    folder = root / "given" / "photos"
    table = lnl_kit.find_errors(folder, probs=str(root / "given" / "probs.npz"), to=root / "kit" / "found")
    assert len(table) == 6
    made = Decisions(root / "kit" / "found" / "decisions.csv")
    image = table["image"].iloc[0]
    made.add(image, "drop")
    assert image in Decisions(root / "kit" / "found" / "decisions.csv").made
    apply(root / "kit" / "found" / "decisions.csv", root / "kit" / "labels.csv")
    assert (root / "kit" / "labels.csv").read_text().count("\n") == 7
    longest = max(len(os.fsencode(folder / name)) for name in table["image"])
    return f"the longest has {longest:,} bytes"


def notebook(root: Path, n: int) -> None:
    """A project with a notebook that says what it was asked for."""
    folder = root / "given" / "project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_markdown_cell("# A question"),
        nbformat.v4.new_code_cell("seed = 0  # decides all", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print('seen', seed)", metadata={"tags": ["headline"]}),
    ]
    nbformat.write(made, folder / "notebooks" / "20_asks.ipynb")


def notebooks(root: Path, n: int) -> str:
    """A batch of one notebook with n values, and its index."""
    figures.save_pngs = lambda drawn: False  # there are none
    said = io.StringIO()
    with (
        contextlib.chdir(root / "given" / "project"),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        assert reproduce(["20"], {"seed": ",".join(map(str, range(n)))}, out=root / "kit") == 0
    folder = root / "kit" / "reproduce"
    kept = [json.loads(p.read_text())["status"] for p in folder.glob("20_asks-seed-*.json")]
    index = (folder / "index.html").read_text()
    assert kept == ["finished"] * n and all(f"seen {k}" in index for k in (0, n // 2, n - 1))
    return f"an index of {len(index) / 1e6:.1f} MB"


def found(root: Path, n: int) -> None:
    photographs(root, n)
    settle(root)
    searched(root, report=False)


def reviewed(root: Path, n: int) -> str:
    """Decisions of a review: what lies between a key and the next image on the side of Python."""
    from lnl_kit.label_errors.review import Review

    wall, took = Review(root / "kit" / "found"), []
    for _ in range(100):
        image = wall.cards[wall.cursor]["image"]
        started = time.perf_counter()
        wall._receive(wall, {"do": "decide", "image": image, "action": "accept"}, None)
        took.append(1000 * (time.perf_counter() - started))
    assert len(wall.made) == 100 and max(took) < 300, took
    return f"a decision takes {statistics.median(took):.0f} ms, at most {max(took):.0f}"


SIZES = {
    "rows of labels": Size(photographs, labels, 1_000_000, 1000),
    "findings": Size(photographs, findings, 1_000_000, 1000),
    "runs in a root": Size(runs, collected, 100_000, 200),
    "runs on a board": Size(runs, board, 100_000, 200),
    "classes": Size(of_many_classes, many_classes, 2000, 40),
    "pixels a side": Size(large_image, large_images, 20_000, 500),
    "bytes of a path": Size(deep, long_paths, 4000, 900),
    "notebooks in a batch": Size(notebook, notebooks, 500, 0),
    "images in a review": Size(found, reviewed, 50_000, 500),
}


def measured(act: Callable[[], Any]) -> tuple[Any, float]:
    """(what it returns, the most MB of memory that this process had meanwhile)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget what it had before
    value = act()
    status = Path("/proc/self/status").read_text()
    peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return value, (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def one(size: Size, n: int, root: Path) -> tuple[Ended, dict]:
    """How it ended, and what was measured."""
    (root / "given").mkdir(parents=True)
    made = forked(lambda: size.prepare(root, n) and 0, at_most=AT_MOST)
    if made.status:
        return made, {}

    def act():
        os.environ.pop("LD_PRELOAD", None)  # what it starts is not watched
        settle(root)
        return measured(lambda: size.act(root, n))

    ended = forked(act, at_most=AT_MOST)
    said, memory = ended.result or ("", 0)
    return ended, {"n": n, "seconds": round(ended.seconds, 1), "memory_mb": round(memory), "what": said}


def cases(done: dict, sample: bool, folder: Path) -> Iterator[tuple[str, dict | None, dict]]:
    """Each size that is not done yet; sample: small ones, for a sign that they work."""
    for name, size in SIZES.items():
        n = size.quick if sample else size.n
        if n and name not in done:
            ended, told = one(size, n, folder / name.replace(" ", "-"))
            wrong = "" if ended.status == 0 else f"ended with {ended.status}: {ended.said[-1500:]}"
            yield name, {"case": name, "wrong": wrong} if wrong else None, {} if wrong else {name: told}
