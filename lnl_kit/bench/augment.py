"""How fast the batched augmentations are, beside torchvision's on PIL images."""

from __future__ import annotations

import multiprocessing
import time

import torch

from ..toolbox import augment

CHAINS = ("randaugment+crop+flip", "autoaugment", "augmix")


def _ours(name: str) -> augment.Augmentation:
    crop = augment.CropFlip(4, 0.5)
    chains = (augment.Compose((augment.RandAugment(), crop)), augment.AutoAugment(), augment.AugMix())
    return dict(zip(CHAINS, chains, strict=True))[name]


def _torchvision(name: str):
    """The same chain of torchvision transforms, on PIL images."""
    from torchvision.transforms import v2

    crop_flip = [v2.RandomCrop(32, 4), v2.RandomHorizontalFlip()]
    chains = (
        v2.Compose([v2.RandAugment(), *crop_flip]),
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        v2.AugMix(),
    )
    return dict(zip(CHAINS, chains, strict=True))[name]


def _images(n: int, channels: int, size: int) -> torch.Tensor:
    """Blurred noise, uint8 (n, channels, size, size): smooth as pictures are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return fine.mul_(255).clamp_(0, 255).to(torch.uint8)


def throughput(
    view: augment.Augmentation,
    size: int = 32,
    channels: int = 3,
    n: int = 2048,
    seconds: float = 1.0,
    device="cpu",
) -> float:
    """Images per second of drawing and applying `view` to n images at a time, after a warm-up."""
    x = _images(n, channels, size).to(device)
    generator = torch.Generator().manual_seed(0)

    def finish() -> None:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)

    for _ in range(2):
        view(x, generator)
    finish()

    def call() -> None:
        view(x, generator)
        finish()

    return n / _fastest(call, seconds)


def _fastest(call, seconds: float) -> float:
    """Seconds of the fastest of the calls that fit in `seconds`: other programs can only slow a call down."""
    end, best = time.perf_counter() + seconds, float("inf")
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _pil_worker(name: str, size: int, seconds: float, barrier, results) -> None:
    from torchvision.transforms.v2.functional import to_pil_image

    torch.set_num_threads(1)
    images = [to_pil_image(image) for image in _images(128, 3, size)]
    transform = _torchvision(name)
    for image in images:
        transform(image)
    barrier.wait()
    results.put(len(images) / _fastest(lambda: [transform(image) for image in images], seconds))


def pil_throughput(name: str, size: int = 32, seconds: float = 1.0, workers: int = 2) -> float:
    """Images per second of torchvision's transforms on PIL RGB images in `workers` processes at once.

    name: one of CHAINS. The images are in memory and decoded; nothing is sent between processes.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(workers), context.Queue()
    arguments = (name, size, seconds, barrier, results)
    processes = [context.Process(target=_pil_worker, args=arguments, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    rates = [results.get(timeout=300 + 10 * seconds) for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def compare_with_pil(seconds: float = 2.0, workers: int = 2) -> dict[str, tuple[float, float, float]]:
    """{chain: (our images per second, torchvision's on PIL images, their ratio)} on 32x32 RGB images.

    Ours runs with `workers` threads, torchvision's in `workers` processes. The fastest pass of each counts;
    ours is timed before and after torchvision's and the mean taken, so that a machine that slows down on the
    way favours neither.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(workers)
    try:
        table = {}
        for name in CHAINS:
            before = throughput(_ours(name), seconds=seconds / 2)
            pil = pil_throughput(name, seconds=seconds, workers=workers)
            ours = (before + throughput(_ours(name), seconds=seconds / 2)) / 2
            table[name] = (ours, pil, ours / pil)
        return table
    finally:
        torch.set_num_threads(threads)
