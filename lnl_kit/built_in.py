"""digits, cifar10 and cifar100: images uint8 (N, C, H, W) and labels int64 (N,), read or downloaded."""

from __future__ import annotations

import contextlib
import socket
import tarfile
from http.client import HTTPException
from pathlib import Path

import numpy as np

from . import folders

PATIENCE = 10  # seconds of silence after which a download has failed


def digits() -> tuple[np.ndarray, ...]:
    """1,797 handwritten digits (scikit-learn's copy of the UCI set), 8x8, shown at 16x16; 360 for test:
    (x, y, test_x, test_y)."""
    from sklearn.datasets import load_digits  # slow to import, so only when needed

    bunch = load_digits()
    pixels, y = bunch.images.astype(np.int64), bunch.target.astype(np.int64)  # (1797, 8, 8) in 0..16
    for axis in (1, 2):  # bilinear to twice the size: 3/4 of the nearest pixel and 1/4 of the next
        pixels = _double(pixels, axis)
    x = ((pixels * 255 + 128) // 256).astype(np.uint8)[:, None]  # 0..256 to 0..255, rounded in integers
    train, test = folders.stratified_split(y, 360, seed=0)
    return x[train], y[train], x[test], y[test]


def _double(pixels: np.ndarray, axis: int) -> np.ndarray:
    """4 x the bilinear interpolation of `pixels` to twice the size along `axis`; the edge is repeated."""
    pixels = np.moveaxis(pixels, axis, -1)
    before = np.concatenate([pixels[..., :1], pixels[..., :-1]], -1)
    after = np.concatenate([pixels[..., 1:], pixels[..., -1:]], -1)
    out = np.stack([3 * pixels + before, 3 * pixels + after], -1).reshape(*pixels.shape[:-1], -1)
    return np.moveaxis(out, -1, axis)


def cifar(name: str, root: Path) -> tuple[np.ndarray, ...]:
    """cifar10 or cifar100: (x, y, test_x, test_y)."""
    (x, y), (test_x, test_y) = cifar_part(name, root, True), cifar_part(name, root, False)
    return _planes(x), y, _planes(test_x), test_y


def _planes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # (N, H, W, C) to (N, C, H, W)


def cifar_part(name: str, root: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) as torchvision downloads (to `root`), checks and reads them.

    Raises FileNotFoundError with one sentence that says which file to put where.
    """
    from torchvision import datasets  # slow to import, so only when needed

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        part = kind(root, train=train)
    except RuntimeError:  # torchvision's word for "not there, or not with the right checksum"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with folders.locked(root / f"{name}.lock"), patience(PATIENCE):
                part = kind(root, train=train, download=True)
        except (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError) as error:
            archive = root / kind.filename
            there = "what is there is not that file, and " if archive.is_file() else ""
            raise FileNotFoundError(
                f"{name} is not in {root}: put {kind.filename} (from {kind.url}, MD5 {kind.tgz_md5}) there "
                f"as {archive} ({there}the download failed: {error})") from error
    return part.data, np.asarray(part.targets, np.int64)


@contextlib.contextmanager
def patience(seconds: float):
    """Network calls that are silent for so long fail (torchvision sets no limit)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
