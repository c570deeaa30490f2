"""`lnl bench`: how close the full loop comes to what the networks alone would cost on this machine.

The net-only bound does the same passes as the method (with and without gradient, optimiser and moving-average
steps) on one resident random batch, at the fastest of the precision and compile settings tried here. Loop and
bound alternate in one process; each figure is the median of the rounds. Evaluation and saving stand beside
the ratio.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image

from ..data.batches import NoisyData
from ..files import json_bytes, save_atomically
from ..methods import METHODS
from ..run.device import device_name, find_device
from ..run.evaluate import Evaluator
from ..run.loop import Run
from ..run.settings import make
from ..toolbox import losses, models
from .augment import compare_with_pil
from .bound import fastest, synchronise
from .stacked import stacked_against_sequential

CASES = tuple((method, model, size) for method, (_, s) in METHODS.items() for model, size in s.bound.cases)
BATCH = 128


class BenchRun(Run):
    """A run whose epochs are timed and alternate with `between()`, and are neither evaluated nor saved."""

    between = staticmethod(lambda: None)

    def epochs(self, state, total):
        """Yield `total` epochs; the first is a warm-up."""
        self.state_of_method, self.seconds = state, []
        for epoch in range(total):
            self.begin(state, epoch)
            synchronise(self.device)
            started = time.perf_counter()
            yield epoch
            synchronise(self.device)
            if epoch:
                self.seconds.append(time.perf_counter() - started)
            self.between()


def random_images(n: int, size: int):
    """(images, labels, channels, like): n random images, CIFAR-like at 32 pixels, digits-like at 16."""
    channels, like = (1, "digits") if size == 16 else (3, "cifar10")
    g = torch.Generator().manual_seed(0)
    return (
        torch.randint(0, 256, (n, channels, size, size), generator=g, dtype=torch.uint8),
        torch.randint(0, 10, (n,), generator=g),
        channels,
        like,
    )


def make_run(model, size, batches, device, precision, compile, folder, batch: int = BATCH, kind=BenchRun):
    """A run (of class `kind`) over `batches` batches of `batch` random images."""
    x, y, channels, like = random_images(batches * batch, size)
    noisy = NoisyData(
        x,
        y,
        tuple("0123456789"),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        like=like,
        batch_size=batch,
        device=device,
    )
    evaluator = Evaluator(noisy, y, y, x[:1000], y[:1000])
    return kind(
        folder,
        data=noisy,
        evaluator=evaluator,
        model=model,
        seed=0,
        precision=precision,
        compile=compile,
        progress=False,
    )


def settings_for(method: str, size: int, epochs: int, batch: int):
    """The settings of a method whose loop is timed; its first epoch is a warm-up."""
    settings_class = METHODS[method][1]
    own = settings_class.bound.settings
    view = {"view": "crop"} | (dict(own) if size == 32 else {})
    # small steps: random images have nothing to learn, and a network that diverges ends the timing
    return make(settings_class, epochs=epochs, batch_size=batch, **{"learning_rate": 1e-3, **own, **view})


def loop_over_bound(
    method: str,
    model: str,
    size: int,
    *,
    device,
    compile: str = "off",
    rounds: int = 5,
    seconds: float = 4.0,
    compiles=("off", "default"),
    precisions=None,
    batch: int = BATCH,
) -> dict:
    """One row: images per second of the method's loop and of its net-only bound, and their ratio."""
    train_function, settings_class = METHODS[method]
    cost = settings_class.bound
    with tempfile.TemporaryDirectory() as folder:
        probe = make_run(model, size, 2, device, "auto", "off", Path(folder), batch)
        precision, bound_compile, steps = fastest(probe, cost, compiles, precisions)
        batches = max(2, round(seconds / (steps(3) / 3)))
        whole = -(-batches * batch // 2048) * 2048 // batch  # batches share the cost of a draw
        batches = whole if size == 16 or device.type == "cuda" else batches
        run = make_run(model, size, batches, device, "auto", compile, Path(folder), batch)
        bound: list[float] = []
        run.between = lambda: bound.append(steps(batches))
        train_function(run.data, settings_for(method, size, rounds + 1, batch), run)
        loop, limit = statistics.median(run.seconds), statistics.median(bound[1:])
        ratios = [b / s for s, b in zip(run.seconds, bound[1:])]
        started = time.perf_counter()
        run.begin(run.state_of_method, 0)
        run.evaluate(run.state_of_method, {}, 0, 1)
        evaluated = time.perf_counter()
        run.commit(run.state_of_method)
        return {
            "case": f"{method} {model} {size}x{size}",
            "batch": batch,
            "compile": compile,
            "precision": run.precision,
            "bound": f"{precision}, compile {bound_compile}",
            "loop_images_per_second": batches * batch / loop,
            "bound_images_per_second": batches * batch / limit,
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "evaluation_seconds": evaluated - started,
            "saving_seconds": time.perf_counter() - evaluated,
        }


class PilViews(torch.utils.data.Dataset):
    """The usual data set: PIL transforms per image, two views, ending in a normalised tensor."""

    def __init__(self, n: int):
        self.images = random_images(n, 32)[0].permute(0, 2, 3, 1).numpy()
        self.view = T.Compose(
            [
                T.RandAugment(1, 3),
                T.RandomCrop(32, 4),
                T.RandomHorizontalFlip(),
                T.ToTensor(),
                T.Normalize((0.5,) * 3, (0.25,) * 3),
                cutout,
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = Image.fromarray(self.images[i])
        return self.view(image), self.view(image), i % 10


def cutout(x: torch.Tensor, length: int = 5) -> torch.Tensor:
    """Cutout of the usual loop: one square of zeros, in place."""
    cy, cx = np.random.randint(x.shape[1]), np.random.randint(x.shape[2])
    x[:, max(0, cy - length // 2) : cy + length // 2 + 1, max(0, cx - length // 2) : cx + length // 2 + 1] = 0
    return x


def two_views_against_usual(*, device, rounds: int = 3, batches: int = 8) -> dict:
    """A loss on two views on preact_resnet34_cifar: this kit's loop against torchvision PIL transforms, a
    DataLoader with two persistent workers and fp32, both warmed up, alternating in one process."""
    loader = torch.utils.data.DataLoader(
        PilViews(batches * BATCH), BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    with tempfile.TemporaryDirectory() as folder:
        run = make_run("preact_resnet34_cifar", 32, batches, device, "auto", "off", Path(folder))
        torch.manual_seed(0)
        network = models.make("preact_resnet34_cifar", 10, 3).to(device)
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
        usual = []

        def usual_epoch():
            synchronise(run.device)
            started = time.perf_counter()
            for a, b, y in loader:
                views = torch.cat((a, b)).to(device)
                loss = losses.gjs(network(views).chunk(2), y.to(device), 0.3).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            synchronise(run.device)
            usual.append(time.perf_counter() - started)

        run.between = usual_epoch
        train_function, settings_class = next(m for m in METHODS.values() if m[1].bound.against_usual)
        train_function(
            run.data, make(settings_class, epochs=rounds + 1, batch_size=BATCH, view="randaugment"), run
        )
    ours, theirs = statistics.median(run.seconds), statistics.median(usual[1:])
    return {
        "case": "gjs preact_resnet34_cifar 32x32, two views, against the usual loop",
        "precision": run.precision,
        "loop_images_per_second": batches * BATCH / ours,
        "usual_images_per_second": batches * BATCH / theirs,
        "ratio": theirs / ours,
    }


def bench(
    json_file: str | None = None,
    quick: bool = False,
    only: str = "",
    device: str = "auto",
    compile: bool = True,
) -> int:
    """Run every case whose name contains `only`, print a line each, and write them to `json_file`.

    compile=False leaves torch.compile (minutes per case on a CPU) out of what the bound tries.
    """
    on = find_device(device)
    rows: list[dict] = []
    print(f"{device_name(on)}, torch {torch.__version__}", flush=True)
    for row in rows_of(only, quick, on, compile):
        rows.append(row)
        print("  ".join(in_words(k, v) for k, v in row.items()), flush=True)
        if json_file:
            kept = {"device": device_name(on), "torch": torch.__version__, "rows": rows}
            save_atomically(Path(json_file), json_bytes(kept))
    return 0


def in_words(name: str, value) -> str:
    """A field of a row as it is printed."""
    if name == "case":
        return str(value)
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


def rows_of(only: str, quick: bool, device: torch.device, compile: bool) -> Iterator[dict]:
    """The rows of `bench`, each as it is measured."""
    cuda = device.type == "cuda"
    compiles = ("off", "default", *(["reduce-overhead"] if cuda else [])) if compile else ("off",)
    ask: dict[str, Any] = {"rounds": 5, "seconds": 4.0, "compiles": compiles}
    if quick:
        ask = {"rounds": 2, "seconds": 0.3, "compiles": ("off",)}
    for method, model, size in CASES:
        if only in f"{method} {model} {size}x{size}" and not (quick and model != "small_cnn"):
            for mode in ("off", "reduce-overhead") if cuda else ("off",):
                yield loop_over_bound(method, model, size, device=device, compile=mode, **ask)
    if only in "gjs preact_resnet34_cifar usual" and not quick:
        yield two_views_against_usual(device=device)
    for model, channels, size, batch in (("small_cnn", 1, 16, 16), ("preact_resnet18", 3, 32, 64)):
        if only in f"stacked {model}" and (model == "small_cnn" or cuda):  # the large one needs a GPU
            shape = {"channels": channels, "size": size, "batch": batch}
            yield stacked_against_sequential(model, **shape, device=device, rounds=2 if quick else 7)
    if only in "augmentation":
        for name, (ours, pil, ratio) in compare_with_pil(seconds=0.3 if quick else 2.0).items():
            speeds = {"images_per_second": ours, "pil_images_per_second": pil, "ratio": ratio}
            yield {"case": f"augmentation {name}", **speeds}
