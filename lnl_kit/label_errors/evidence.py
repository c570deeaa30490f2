"""What speaks for and against labels: networks trained on the images, heads on frozen features, or
probabilities of one's own.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .. import data
from ..data.label_formats import parquet_table
from ..data.labelling import choose, draw_labels
from ..data.streams import Stream
from ..features import heads
from ..features.of_dataset import features_of
from ..files import read_file, read_npz
from ..files.contents import NO_ARRAYS
from ..files.machine import free_memory
from ..run.device import device_name, find_device
from ..toolbox import detectors
from . import heads as judges
from .estimates import Estimate, with_odds
from .ranking import NEIGHBOURS, in_order_of

MOST_COLUMNS = 100_000  # of a table of probabilities


@dataclass
class Evidence:
    """What is known about the labels of n images."""

    index: np.ndarray  # (n,) positions in the data set
    given: np.ndarray  # (n,) class numbers
    true: np.ndarray | None  # (n,) where they are known
    classes: list[str]
    probs: dict[str, np.ndarray]  # who says it: (n, K)
    estimates: Estimate
    folder: tuple[str, str]  # of the findings: noise, name
    device: str
    seconds: float
    runs: list[str] = field(default_factory=list)
    few: dict[int, tuple[float, int]] = field(
        default_factory=dict
    )  # position: suspicion and class by neighbours alone
    features: np.ndarray | None = None  # (n, d) float32, on principal axes
    about: dict = field(default_factory=dict)  # for summary.json


def of_features(
    source: data.Dataset,
    names: str,
    noise: str,
    rate: float,
    seed: int,
    *,
    label_column: str | None,
    train_size: int | None,
    device: str = "auto",
    progress: bool = True,
    size: int | None = None,
    score: str = "recipe",
) -> Evidence:
    """Heads on the features of one backbone or several, and on the pixels where these say more (see
    `label_errors.heads`); with score simifeat in the order of the neighbours' votes on these features.
    """
    started = time.perf_counter()
    index, given, true = labels_of(source, noise, rate, seed, label_column, train_size)
    where = find_device(device)
    seen = features_of(source, names, index, size=size, device=str(where), progress=progress)
    z = heads.principal(seen).to(where)
    classes = len(source.classes)
    eye, tried = names, {}
    if not names.startswith("npz:") and not isinstance(source.x, Stream):
        eye, z, tried = better_eye(source, names, z, index, given, seed)
    judged = judges.judge(z, given, classes, seed)
    few = judges.few_images(z.cpu(), given, np.bincount(given, minlength=classes))
    estimates = with_odds(judged.counted, judged.posterior, judged.odds, given)
    if score == NEIGHBOURS:
        votes = detectors.simifeat(z.cpu().numpy(), given, classes)
        estimates = in_order_of(estimates, -votes)
    return Evidence(
        index,
        given,
        true,
        list(source.classes),
        {"held-out heads": judged.refined},
        estimates,
        (folder_of(noise, rate), f"seed{seed}" + (f"-{score}" if score != "recipe" else "")),
        device_name(where),
        time.perf_counter() - started,
        few=few,
        features=z.cpu().numpy(),
        about={"features": names, "eye": eye, "likelihood_of_labels": tried, "strength": judged.strength},
    )


def better_eye(source, names: str, z: torch.Tensor, index: np.ndarray, given: np.ndarray, seed: int):
    """(name, features, {name: mean log likelihood of given labels}): the backbone's, or those of the pixels
    where heads on these find the labels of at most `judges.TRIED` images more probable.
    """
    some = choose(given, judges.TRIED, seed)
    counts, classes = np.bincount(given[some]), len(source.classes)
    if (counts[counts > 0] < judges.FEW).any() or (counts > 0).sum() < 2:
        return names, z, {}
    seen = heads.principal(judges.pixel_features(np.asarray(source.x[index[some]]), seed)).to(z)
    tried = {
        names: judges.likelihood_of(z[some], given[some], classes, seed),
        "pixels": judges.likelihood_of(seen, given[some], classes, seed),
    }
    if tried["pixels"] <= tried[names]:
        return names, z, tried
    whole = (
        seen
        if len(some) == len(index)
        else heads.principal(judges.pixel_features(np.asarray(source.x[index]), seed)).to(z)
    )
    return "pixels", whole, tried


def labels_of(
    source: data.Dataset, noise: str, rate: float, seed: int, label_column: str | None, train_size: int | None
):
    """(index, given, true) as `train` would choose them."""
    given, true = draw_labels(source, noise, rate, seed, label_column)
    index = choose(given, train_size, seed)
    return index, given[index], None if true is None else true[index]


def folder_of(noise: str, rate: float) -> str:
    """The noise as part of a path, as for runs."""
    return f"{noise.partition(':')[0]}-{rate:g}"


def of_probs(
    source: data.Dataset,
    probs,
    noise: str,
    rate: float,
    seed: int,
    *,
    label_column: str | None,
    train_size: int | None,
) -> Evidence:
    """Out-of-sample probabilities of one's own, an array (N, K) or a file: nothing is trained."""
    started = time.perf_counter()
    index, given, true = labels_of(source, noise, rate, seed, label_column, train_size)
    p = read_probs(probs, len(source.names), source.classes)[index]
    posterior = judges.posterior_of(p, given)
    estimates = with_odds(p, posterior, judges.log_odds(p, posterior, given), given)
    return Evidence(
        index,
        given,
        true,
        list(source.classes),
        {"the given probabilities": p},
        estimates,
        (folder_of(noise, rate), f"probs-seed{seed}"),
        "no network",
        time.perf_counter() - started,
        about={"probs": str(probs) if isinstance(probs, str | Path) else "an array"},
    )


def read_probs(probs, n: int, classes) -> np.ndarray:
    """float64 (n, K), rows summing to 1, of an array or a file .npz (`probs`), .npy, .csv or .parquet
    (columns: class names).

    Raises ValueError or FileNotFoundError with one sentence.
    """
    told, k = "the probabilities", len(classes)
    if isinstance(probs, str | Path):
        told, path = str(probs), Path(probs).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}: probabilities are an .npz, .npy, .csv or .parquet file, a "
                "row an image"
            )
        probs = table_of(path, classes)
    p = np.asarray(probs, dtype=np.float64)
    if p.shape != (n, k):
        raise ValueError(
            f"{told} have the shape {p.shape}; there are {n} images and {k} classes: give one row an "
            "image and one column a class, in the order of the class names"
        )
    if not np.isfinite(p).all() or (p < -1e-6).any():
        raise ValueError(
            f"{told} hold {int((~np.isfinite(p) | (p < -1e-6)).any(1).sum())} rows that are negative or "
            "not finite"
        )
    total = p.sum(1, keepdims=True)
    if (np.abs(total - 1) > 0.02).any():
        raise ValueError(
            f"{told}: {int((np.abs(total - 1) > 0.02).sum())} rows do not sum to 1; give "
            "probabilities, not logits"
        )
    return np.maximum(p, 0) / total


def table_of(path: Path, classes) -> np.ndarray:
    """The array in a file of probabilities."""
    kind, most = path.suffix.lower(), free_memory()
    try:
        if kind == ".npy":  # through a map: no more is read than the file has
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if kind == ".npz":
            held = read_npz(path, most)
            if "probs" not in held:
                raise ValueError(f"it holds {', '.join(held)} and no array `probs`")
            return held["probs"]
        if kind in (".csv", ".parquet"):
            import pandas as pd

            content = read_file(path, most)
            if kind == ".csv":
                if (columns := content.partition(b"\n")[0].count(b",") + 1) > MOST_COLUMNS:
                    raise ValueError(f"it has {columns:,} columns; its columns must be the class names")
                table = pd.read_csv(io.BytesIO(content))
            else:
                table = parquet_table(path, content, most).to_pandas()
            lacking = [c for c in classes if c not in table.columns]
            if lacking:
                raise ValueError(
                    f"it has no column {lacking[0]!r}; its columns must be the {len(classes)} class names"
                )
            return table[list(classes)].to_numpy(np.float64)
    except (ValueError, OSError, KeyError, ImportError, *NO_ARRAYS) as error:
        raise ValueError(f"{path} cannot be read as probabilities: {error}") from None
    raise ValueError(f"{path} is no file of probabilities: .npz with `probs`, .npy, .csv or .parquet")
