"""What `lnl_kit.bench.gpu` does in its minutes: the jobs in order, and what each costs by FLOPs, bytes and
launches.

One row of the ledger a job. The order is that of value a second, by the table that `--plan` prints. The
papers' network of the small images, preact_resnet18, costs about eight times as much GPU time as `airbench`,
so 13 methods and controls on three noises would take over an hour; on `airbench` (all 50,000 images, 20
epochs, where the mechanisms act) the whole list takes minutes, as several processes side by side, since its
small kernels leave both the GPU and a Python process waiting. So the whole list runs there first (f2: human
labels `worst`, then symmetric .5), then four methods on preact_resnet18 (f1), then more seeds of the list,
and a `paper` cell takes what is left (g).
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..toolbox import models

IMAGES, TEST_IMAGES = 50_000, 10_000
# Peak of dense bf16 products (FLOP/s) and bandwidth (bytes/s), by NVIDIA's data sheets, and the share of each
# that small convolutions, batch norms and pointwise kernels are taken to reach.
GPUS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
REACHED_FLOPS, REACHED_BYTES = 0.35, 0.6
LAUNCH = 7e-6  # seconds of Python and driver for each kernel
START = 3.0  # seconds of a run before its first step: listing the folder, reading labels, loading kernels
# What an epoch of a method sends through its networks, in passes over all images: with gradient, without, and
# calls of an augmentation beyond crops, by name. Halves: the first half of the epochs is a warm-up.
PASSES = {
    "ce": (1, 0, ()),
    "gce": (1, 0, ()),
    "elr": (1, 0, ()),
    "nrd": (1, 1, ("augmix",)),
    "label_confidence": (3, 0, ()),
    "flywheel": (3, 1.5, ("strong",)),
    "robust_features": (2.3, 0, ("strong",)),
    "co_teaching": (2, 0, ()),
    "dividemix": (3.2, 5.3, ()),
}
AUGMENTED = {"crop": 1e-6, "augmix": 5e-6, "strong": 2e-6}  # seconds an image, launches in draws of 2048
FLYWHEEL = {"warmup": 10, "cycle": 1, "renew_statistics": False}  # as under `paper`: an epoch has 195 batches
VARIANTS: dict[str, tuple[str, dict]] = {  # the list of step f: what the rows are called, method, settings
    "ce": ("ce", {}),
    "nrd": ("nrd", {"scale_jsd": False}),
    "nrd_scaled": ("nrd", {"scale_jsd": True}),
    "elr": ("elr", {}),
    "ce_step_matched": ("ce", {"learning_rate": round(0.1 / 13.3, 5)}),  # the step of NRD's loss as printed
    "label_confidence": ("label_confidence", {}),
    "label_confidence_constant": ("label_confidence", {"slope": 1e-6}),
    "nrd_crop": ("nrd", {"scale_jsd": True, "teacher_view": "crop"}),
    "flywheel_0.6": ("flywheel", FLYWHEEL | {"confidence_regularizer": 0.6}),
    "robust_features_0.01": ("robust_features", {"clustering": 0.01}),
    "gce": ("gce", {}),
    "flywheel_0": ("flywheel", FLYWHEEL | {"confidence_regularizer": 0.0}),
    "co_teaching": ("co_teaching", {}),
    "flywheel_3": ("flywheel", FLYWHEEL | {"confidence_regularizer": 3.0}),
    "robust_features_0.1": ("robust_features", {"clustering": 0.1}),
    "dividemix": ("dividemix", {}),
}
LARGE = ("ce", "nrd_scaled", "elr", "nrd")  # on preact_resnet18
NOISES: dict[str, dict] = {
    "worst": {"label_column": "worst"},
    "symmetric0.5": {"noise": "symmetric", "rate": 0.5},
}
BENCHED = ("ce", "nrd", "label_confidence", "robust_features", "flywheel")


@dataclass(frozen=True)
class Size:
    """How large the jobs are: as measured on a GPU, or as rehearsed on a CPU."""

    large: str = "preact_resnet18"
    batches: tuple[int, ...] = (128, 512)
    small_batch: int = 256
    bench: dict = dataclasses.field(
        default_factory=lambda: {"seconds": 0.4, "rounds": 3, "precisions": ("bf16",), "compiles": ("off",)}
    )
    members: int = 20
    matmul: int = 8192
    view_seconds: float = 0.5
    rate_seconds: float = 2.5
    processes: tuple[int, ...] = (1, 4, 8, 12)
    epochs: tuple[int, int] = (30, 20)  # on the large network, on the small one
    seeds: int = 3
    variants: tuple[str, ...] = tuple(VARIANTS)
    noises: tuple[str, ...] = tuple(NOISES)
    settings: dict = dataclasses.field(default_factory=dict)  # of every run
    modes: tuple[str, ...] = ("default", "reduce-overhead")  # of torch.compile
    paper_epochs: int = 400
    steps: int = 20  # of a bound, at a time


REHEARSAL = Size(
    large="airbench",
    batches=(16,),
    small_batch=16,
    bench={"seconds": 0.1, "rounds": 1, "compiles": ("off",), "profiled": 2},
    members=2,
    matmul=256,
    view_seconds=0.05,
    rate_seconds=0.2,
    processes=(1, 2),
    epochs=(2, 2),
    seeds=1,
    variants=("ce", "nrd", "flywheel_0.6", "dividemix"),
    noises=("worst",),
    settings={"batch_size": 32},
    modes=(),
    paper_epochs=2,
    steps=1,
)


@dataclass(frozen=True)
class Job:
    """One row of the ledger: a function of `gpu_jobs` and its arguments."""

    name: str
    kind: str
    args: dict
    seconds: float  # what it is expected to take, alone on the GPU
    alone: bool = True  # nothing else may run beside it
    fill: bool = False  # takes whatever time is left, and goes on in the next call
    share: float = 0.0  # of all processes whose places it takes; at least one place


def jobs(size: Size, gpu: str = "H100") -> list[Job]:
    """All jobs, the most valuable first."""
    return [*timings(size), *runs(size, gpu)]


def timings(size: Size) -> list[Job]:
    """Steps a, c, d, e: the GPU to themselves."""
    each = 2 + 2 * (size.bench["rounds"] + 2) * size.bench["seconds"]
    batch = size.small_batch
    cases = [
        *((size.large, size.batches[0], m) for m in BENCHED),
        *(("airbench", batch, m) for m in ("ce", "nrd", "label_confidence", "flywheel")),
        *((size.large, b, m) for b in size.batches[1:] for m in ("ce", "nrd")),
    ]
    found = [Job("a/device", "device", {"matmul": size.matmul}, 6)]
    found += [
        Job(
            f"c/{model}/{b}/{method}",
            "bench",
            size.bench | {"method": method, "model": model, "batch": b},
            each,
        )
        for model, b, method in dict.fromkeys(cases)
    ]
    found += [
        Job(
            f"c/graph/{model}/{b}/ce",
            "graph",
            {"method": "ce", "model": model, "batch": b, "steps": size.steps},
            4,
        )
        for model, b in dict.fromkeys(((size.large, size.batches[0]), ("airbench", batch)))
    ]
    found += [
        Job("d/augmentation", "augmentation", {"seconds": size.view_seconds}, 1 + 5 * size.view_seconds),
        Job(
            "e/stacked",
            "stacked",
            {"model": size.large, "members": size.members, "batch": size.batches[0] // 2},
            6,
        ),
        Job(
            "f/processes",
            "rate",
            {"seconds": size.rate_seconds, "batch": batch},
            (1 + size.rate_seconds) * len(size.processes),
        ),
    ]
    return found


def runs(size: Size, gpu: str) -> list[Job]:
    """Steps b, f, g, several at a time, and torch.compile where time is left."""
    found = [Job("b/tests", "tests", {"marker": "cuda"}, 60, alone=False)]
    small = [
        [
            run_job(
                f"f2/{noise}/{label}/seed{seed}", label, noise, seed, "airbench", size.epochs[1], size, gpu
            )
            for noise in size.noises
            for label in size.variants
        ]
        for seed in range(size.seeds)
    ]
    found += small[0]
    found += [
        run_job(f"f1/{noise}/{label}/seed0", label, noise, 0, size.large, size.epochs[0], size, gpu)
        for noise in reversed(size.noises)
        for label in LARGE
        if label in size.variants
    ]
    found += [job for more in small[1:] for job in more]
    case = size.bench | {"method": "ce", "model": size.large, "batch": size.batches[0]}
    found += [
        Job(
            f"c/compile-{mode}/{size.large}/{size.batches[0]}/ce",
            "bench",
            case | {"compile": mode, "compiles": ("off", mode)},
            60,
        )
        for mode in size.modes
    ]
    paper = {
        "label": "nrd",
        "method": "nrd",
        "noise": {"noise": "symmetric", "rate": 0.4},
        "seed": 0,
        "settings": {"epochs": size.paper_epochs},
        "preset": "paper" if size.paper_epochs > 100 else "photographs",
        "model": None,
    }
    return [*found, Job("g/paper/symmetric0.4/nrd", "run", paper, 30, alone=False, fill=True)]


def run_job(name, label, noise, seed, model, epochs, size, gpu) -> Job:
    """One training run of step f."""
    method, settings = VARIANTS[label]
    busy, host = cost(method, model, epochs, 256, gpu)
    args = {
        "label": label,
        "method": method,
        "noise": NOISES[noise],
        "seed": seed,
        "preset": "photographs",
        "model": model,
        "settings": {"epochs": epochs, **settings, **size.settings},
    }
    return Job(
        name, "run", args, START + max(busy, host), alone=False, share=0.0 if model == "airbench" else 0.5
    )


# ---- what it costs -----------------------------------------------------------------------------------------


def cost(method: str, model: str, epochs: int, batch: int, gpu: str) -> tuple[float, float]:
    """(seconds that the GPU is busy, seconds of Python and driver) for a run of all images."""
    flops, elements, leaves = of_network(model)
    peak, bandwidth = GPUS[gpu]
    with_gradient, without, views = PASSES[method]
    forward = flops / (REACHED_FLOPS * peak) + 2 * 2 * elements / (
        REACHED_BYTES * bandwidth
    )  # bf16, written and read
    tested = (IMAGES + TEST_IMAGES) * (2 if method in ("co_teaching", "dividemix") else 1)
    passed = IMAGES * (3 * with_gradient + without) + tested
    augmented = IMAGES * sum(AUGMENTED[v] for v in ("crop", *views))
    launches = IMAGES / batch * leaves * (9 * with_gradient + 3 * without) + 3 * leaves * tested / 2000
    host = LAUNCH * launches + augmented + 0.3  # 0.3: metrics, saving
    return epochs * (forward * passed + augmented / 3), epochs * host


@functools.cache
def of_network(model: str) -> tuple[float, float, int]:
    """(FLOPs, elements of all layers' outputs, layers) of a forward pass for one image of 32x32 pixels, on no
    device.
    """
    counted = []
    with torch.device("meta"):
        net = models.make(model, 10).eval()
        for layer in net.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda layer, x, out: counted.append(out.numel()))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(1, 3, 32, 32))
    functional = sum(
        isinstance(m, models.PreActBlock) for m in net.modules()
    )  # their ReLUs and sums are no layers
    return float(counter.get_total_flops()), float(sum(counted)), len(counted) + 3 * functional


def table(size: Size) -> str:
    """The jobs with their expected seconds on each GPU, as text; runs of step f side by side share it."""
    plans = {gpu: jobs(size, gpu) for gpu in GPUS}
    lines = [f"{'expected seconds, alone on the GPU':<52}" + "".join(f"{gpu:>8}" for gpu in plans)]
    lines += [
        f"{rows[0].name:<52}" + "".join(f"{job.seconds:8.0f}" for job in rows)
        for rows in zip(*plans.values())
    ]
    for gpu in GPUS:
        busy = {
            noise: sum(cost(VARIANTS[v][0], "airbench", size.epochs[1], 256, gpu)[0] for v in size.variants)
            for noise in size.noises
        }
        told = ", ".join(f"{s:.0f} s ({noise})" for noise, s in busy.items())
        lines.append(
            f"{gpu}: step f2 keeps the GPU busy for {told}, "
            f"at {REACHED_FLOPS:.0%} of its FLOPs and {REACHED_BYTES:.0%} of its bandwidth"
        )
    return "\n".join(lines)
