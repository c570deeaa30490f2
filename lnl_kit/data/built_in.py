"""digits, cifar10 and cifar100: images uint8 (N, C, H, W) and labels int64 (N,), read or downloaded."""

from __future__ import annotations

import gzip
import importlib.util
import pickle
import tarfile
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import PATIENCE, data_root, lock, patience
from . import folders, large_sets
from .plain_arrays import load_label_file

HUMAN_SOURCE = "https://github.com/UCSC-REAL/cifar-10-100n"
HUMAN_FILES = {"cifar10": "CIFAR-10_human.pt", "cifar100": "CIFAR-100_human.pt"}
HUMAN_COLUMNS = {
    "cifar10": {
        "aggre": "aggre_label",
        "worst": "worse_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
    },
    "cifar100": {"noisy": "noisy_label", "noisy_fine": "noisy_label"},
}


def human_labels(dataset_name: str, column: str, root=None, true_labels=None) -> Tensor:
    """Labels people gave to CIFAR's training images, int64 (50000,): CIFAR-10N and CIFAR-100N.

    column: aggre, worst, random1, random2, random3 for cifar10; noisy_fine (or noisy) for cifar100.
    root: where `CIFAR-10_human.pt` or `CIFAR-100_human.pt` lies; None = `data_root()`.
    true_labels (N,): what the file's own clean labels must agree with; None = the data set is read for it.
    Source: Wei et al., Learning with Noisy Labels Revisited, ICLR 2022, http://www.noisylabels.com.
    Raises FileNotFoundError that says where to put the file; ValueError for another column or another file.
    """
    if dataset_name not in HUMAN_FILES:
        raise ValueError(
            f"there are human labels for {' and '.join(HUMAN_FILES)}, not for '{dataset_name}': "
            f"for a folder give them as a CSV file (--labels)"
        )
    columns = HUMAN_COLUMNS[dataset_name]
    if column not in columns:
        raise ValueError(f"no human labels '{column}' for {dataset_name}: choose one of {', '.join(columns)}")
    root = data_root() if root is None else Path(root).expanduser()
    path = root / HUMAN_FILES[dataset_name]
    if not path.is_file():
        raise FileNotFoundError(
            f"the human labels of {dataset_name} are not in {root}: put {path.name} "
            f"(from {HUMAN_SOURCE}, folder data) there as {path}"
        )
    try:
        labels, clean = load_label_file(path, [columns[column], "clean_label"])
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is not the label file of {dataset_name} ({reason}): fetch it again from {HUMAN_SOURCE}"
        ) from error
    truth = cifar_part(dataset_name, root, True)[1] if true_labels is None else np.asarray(true_labels)
    if clean.shape != truth.shape or labels.shape != truth.shape or (clean != truth).any():
        wrong = int((clean != truth).sum()) if clean.shape == truth.shape else len(clean)
        raise ValueError(
            f"the clean labels in {path} disagree with {dataset_name} on {wrong} of "
            f"{len(truth)} images: it is another file, or its images are in another order"
        )
    return torch.from_numpy(labels)


def clothing1m_double_labels(root=None) -> tuple[np.ndarray, np.ndarray]:
    """(given, true), int64 (n,) each: the images of Clothing1M that carry both a noisy and a clean label.

    They are the only ones of its training images whose truth is known, for the transition matrix.
    root: where `clothing1m` lies; None = `data_root()`. Raises FileNotFoundError that says what to put where.
    """
    return large_sets.clothing1m_double_labels(data_root() if root is None else Path(root).expanduser())


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1,797 handwritten digits (scikit-learn's copy of the UCI set), 8x8, shown at 16x16; 360 for test:
    (x, y, test_x, test_y)."""
    rows = _digits_table().astype(np.int64)  # (1797, 65)
    pixels, y = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]  # 0..16
    for axis in (1, 2):  # bilinear to twice the size: 3/4 of the nearest pixel and 1/4 of the next
        pixels = double(pixels, axis)
    x = ((pixels * 255 + 128) // 256).astype(np.uint8)[:, None]  # 0..256 to 0..255, rounded in integers
    train, test = folders.stratified_split(y, 360, seed=0)
    return x[train], y[train], x[test], y[test]


def _digits_table() -> np.ndarray:
    """(1797, 65): 64 pixels and the class of each digit, from scikit-learn's file. Importing scikit-learn
    takes as long as training for some epochs, so it is only asked where its file has moved.
    """
    package = importlib.util.find_spec("sklearn")
    for place in package.submodule_search_locations or () if package else ():
        file = Path(place, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            with gzip.open(file) as text:
                return np.loadtxt(text, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])


def double(pixels: np.ndarray, axis: int) -> np.ndarray:
    """4 x the bilinear interpolation of `pixels` to twice the size along `axis`; the edge is repeated."""
    pixels = np.moveaxis(pixels, axis, -1)
    before = np.concatenate([pixels[..., :1], pixels[..., :-1]], -1)
    after = np.concatenate([pixels[..., 1:], pixels[..., -1:]], -1)
    out = np.stack([3 * pixels + before, 3 * pixels + after], -1).reshape(*pixels.shape[:-1], -1)
    return np.moveaxis(out, -1, axis)


def cifar(name: str, root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
            with lock(root / f"{name}.lock"), patience(PATIENCE):
                part = kind(root, train=train, download=True)
        except (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError) as error:
            archive = root / kind.filename
            other_file = "what is there is not that file, and " if archive.is_file() else ""
            raise FileNotFoundError(
                f"{name} is not in {root}: put {kind.filename} (from {kind.url}, MD5 {kind.tgz_md5}) there "
                f"as {archive} ({other_file}the download failed: {error})"
            ) from error
    return part.data, np.asarray(part.targets, np.int64)
