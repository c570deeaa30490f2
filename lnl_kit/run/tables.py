"""The tables of a run folder (metrics.csv, arrays.npz, history.npz, labels.csv), made from state.pt.

A power cut can empty a table that was renamed into its place a moment before. state.pt is synced at every
epoch and holds all that the tables say, so one that cannot be read is made again.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import RunError, csv_bytes, npz_bytes, read_file, save_atomically
from .evaluate import COLUMNS
from .state import Damaged, torch_read

HISTORY = ("train_probs", "clean_score", "margins", "given_probs")
LABELS_BYTES = 2**30  # labels.csv, unpacked


def metrics_bytes(rows: list[dict]) -> bytes:
    """metrics.csv: a row an epoch."""
    return csv_bytes(rows, COLUMNS)


def arrays_bytes(arrays: dict[str, Tensor]) -> bytes:
    """arrays.npz."""
    return npz_bytes({k: v.numpy() for k, v in arrays.items()})


def history_bytes(history: dict[str, list], index: np.ndarray) -> bytes:
    """history.npz: epochs (E,), index (n,) of the images kept, and for these train_probs and clean_score;
    with keep=("margins",) also margins and given_probs (all epochs, N), of every image.
    """
    found = {"epochs": np.array(history["epochs"]), "index": np.asarray(index)}
    found |= {name: torch.stack(history[name]).numpy() for name in HISTORY if history.get(name)}
    return npz_bytes(found)


def packed_labels(folder: Path) -> Tensor:
    """labels.csv as state.pt keeps it: uint8 (n,), compressed; empty where there is none."""
    path = folder / "labels.csv"
    content = zlib.compress(read_file(path, LABELS_BYTES), 6) if path.is_file() else b""
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def load_state(folder: Path) -> dict:
    """What state.pt of a run folder holds. Raises RunError where it cannot be read, of the kind Damaged where
    it can, but is not what was written.
    """
    try:
        return torch_read(folder / "state.pt")
    except Exception as error:  # what torch raises is of many kinds
        why = (getattr(error, "strerror", "") or str(error) or type(error).__name__).splitlines()[0]
        said = f"state.pt in {folder} is damaged or missing ({why}): train this run again with --fresh"
        raise (Damaged if isinstance(error, Damaged) else RunError)(said) from None


def last_commit(folder: Path) -> dict | None:
    """What state.pt holds; None where there is none, and, with a sentence, where it is not what was written:
    then all that is left is to train from the beginning, which comes to the same. Raises RunError where it
    cannot be read.
    """
    if not (folder / "state.pt").exists():
        return None
    try:
        return load_state(folder)
    except Damaged:
        print(f"state.pt in {folder} is damaged: this run starts anew", file=sys.stderr)
        return None


def rebuilt(folder: Path, name: str) -> bytes:
    """The bytes of a table that cannot be read, made again from state.pt, and put in its place if it can be
    written. Raises RunError where state.pt cannot tell.
    """
    saved = load_state(folder)
    try:
        if name == "metrics.csv":
            content = metrics_bytes(saved["rows"])
        elif name == "arrays.npz":
            content = arrays_bytes(saved["arrays"])
        elif name == "history.npz":
            content = history_bytes(saved["history"], saved["history_index"].numpy())
        else:
            unpack = zlib.decompressobj()
            content = unpack.decompress(saved["labels"].numpy().tobytes(), LABELS_BYTES)
            if not content:
                raise KeyError("labels")
    except (KeyError, TypeError, AttributeError, zlib.error):
        raise RunError(
            f"{name} in {folder} is damaged, and the run was made by a version whose state.pt cannot restore "
            "it: train it again with --fresh"
        ) from None
    with contextlib.suppress(RunError, OSError):  # read-only: it is made again at every opening
        save_atomically(folder / name, content, durable=True)
    return content
