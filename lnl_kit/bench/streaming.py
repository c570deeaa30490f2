"""A made set in Clothing1M's or WebVision's layout, and how one epoch streams through it on one rank or more.

    python -m lnl_kit.bench.streaming make clothing1m FOLDER 1000000 64
    python -m lnl_kit.bench.streaming measure clothing1m FOLDER METHOD [train_size=20000 model=small_cnn ...]
    torchrun --nproc-per-node 2 -m lnl_kit.bench.streaming measure ...      # the same on two ranks

`make` writes so many training JPEGs of so many pixels a side, each a file of its own with bytes of its own,
in as many folders as the real set has of them, and 1 % as many test images; the pictures are noise of a
colour that tells the class. `measure` trains one epoch without keeping images in memory and prints a row for
`data/measured/streaming.jsonl`: `first_batch_seconds` from the start of the process, `images_per_second` of
the epoch, `evaluation_seconds` of the test set and one pass over the training images, `peak_megabytes` of
each rank, `load` of the machine at the end.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.batches import NoisyData
from ..data.large_sets import WEBVISION_CLASSES
from ..run import launch
from ..toolbox import ranks
from ..train import train

PICTURES = 64  # of a class: more would not be decoded faster or slower
CLASSES = {"clothing1m": 14, "webvision": WEBVISION_CLASSES}


def picture(label: int, classes: int, number: int, size: int) -> bytes:
    """A JPEG of noise in a class's colour, the same for the same arguments."""
    rng = np.random.RandomState(classes * number + label)
    colour = 64 + 128 * np.array([label % 3, label // 3 % 3, label // 9]) / max(2, classes // 9)
    coarse = np.clip(colour + 40 * rng.randn(max(2, size // 8), max(2, size // 8), 3), 0, 255).astype(
        np.uint8
    )
    file = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def with_comment(jpeg: bytes, text: str) -> bytes:
    """The same picture with a comment, which makes its file one of a kind."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def places(layout: str, part: str, images: int) -> Iterator[tuple[str, int]]:
    """(path, class) of each image of a part, train or test, as the real set would place it."""
    classes = CLASSES[layout]
    for i in range(images):
        label = i % classes
        if layout == "clothing1m":
            yield f"images/{i % 10}/{i // 10 % 100:02}/{part}{i:07}.jpg", label
        elif part == "train":
            yield f"google/q{label + 1:04}/{i:07}.jpg", label
        else:
            yield f"val{i:06}.jpg", label


def make(layout: str, folder: Path, images: int, size: int) -> int:
    """Write the set under folder/<layout>; the number of bytes."""
    root, classes, written = folder / layout, CLASSES[layout], 0
    pictures = [[picture(k, classes, n, size) for n in range(PICTURES)] for k in range(classes)]
    listed: dict[str, list[tuple[str, int]]] = {}
    for part, number in (("train", images), ("test", max(classes, images // 100))):
        listed[part] = list(places(layout, part, number))
        inside = root / "val_images_256" if (layout, part) == ("webvision", "test") else root
        for parent in sorted({(inside / path).parent for path, _ in listed[part]}):
            parent.mkdir(parents=True, exist_ok=True)
        for i, (path, label) in enumerate(listed[part]):
            content = with_comment(pictures[label][i // classes % PICTURES], f"{part} {i}")
            written += len(content)
            with open(inside / path, "wb") as file:
                file.write(content)
    write_lists(layout, root, classes, listed)
    return written


def write_lists(layout: str, root: Path, classes: int, listed: dict[str, list[tuple[str, int]]]) -> None:
    """The files that say which images and classes there are."""
    pairs = {part: "".join(f"{path} {label}\n" for path, label in rows) for part, rows in listed.items()}
    if layout == "clothing1m":
        texts = {"category_names_eng.txt": "".join(f"kind {k}\n" for k in range(classes))}
        for part, kind in (("train", "noisy"), ("test", "clean")):
            texts[f"{kind}_{part}_key_list.txt"] = "".join(f"{path}\n" for path, _ in listed[part])
            texts[f"{kind}_label_kv.txt"] = pairs[part]
    else:
        texts = {
            "info/synsets.txt": "".join(f"n{k:08} kind {k}\n" for k in range(classes)),
            "info/train_filelist_google.txt": pairs["train"],
            "info/val_filelist.txt": pairs["test"],
        }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)


def first_batch(seconds: list[float]) -> None:
    """Note when the first batch is there, in seconds since this process began."""
    batches = NoisyData.batches

    def timed(self, *args, **more):
        for batch in batches(self, *args, **more):
            if not seconds:
                seconds.append(since_start())
            yield batch

    NoisyData.batches = timed  # type: ignore[method-assign]


def since_start() -> float:
    """Seconds that this process has been running."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def measure(layout: str, folder: Path, method: str, **ask) -> dict | None:
    """Train one epoch; the row, None on ranks but the first."""
    os.environ |= {"LNL_DATA": str(folder), "LNL_STREAM": "1"}
    seconds: list[float] = []
    first_batch(seconds)
    with launch.joined("auto") as device:
        with tempfile.TemporaryDirectory() as out:
            place = ranks.told(lambda: out)
            run = train(method, layout, epochs=1, out=place, device=device, progress=False, **ask)
            row = {k: run.metrics[0][k] for k in ("images_per_second", "epoch_seconds", "evaluation_seconds")}
            row["loss"], summary = run.metrics[0]["loss"], run.summary or {}
            ranks.wait()
        import resource  # only Unix has it

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = {"layout": layout, "method": method, "ranks": ranks.count(), **ask}
        row |= {"images": summary["train_images"], "model": summary["model"], "device": summary["device"]}
        row |= {"first_batch_seconds": seconds[0], "load": os.getloadavg()[0]}
        row["peak_megabytes"] = ranks.of_all(round(peak))
        return told | row if ranks.first() else None


def main(command: str, layout: str, folder: str, *more: str) -> None:
    """The command line."""
    if command == "make":
        images, size = map(int, more)
        started = time.perf_counter()
        written = make(layout, Path(folder), images, size)
        print(f"{images} images, {written / 1e9:.2f} GB in {time.perf_counter() - started:.0f} s")
    else:
        method, *asked = more
        pairs = (one.partition("=") for one in asked)
        ask = {k: int(v) if v.isdecimal() else v for k, _, v in pairs}
        if row := measure(layout, Path(folder), method, **ask):
            print(json.dumps(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
