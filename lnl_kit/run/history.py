"""What a run keeps of its training images as it goes: snapshots of predictions, margins of every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..files import make_folder, save_atomically
from ..toolbox import detectors, ranks
from .state import to_cpu, torch_bytes

if TYPE_CHECKING:
    from .loop import Run


def remember(run: Run, epoch: int, probs: np.ndarray, clean_score: np.ndarray | None, tested) -> None:
    """Add a snapshot to the history; with keep=("weights",) also write the tested networks' weights."""
    index = run.evaluator.history_index
    run.arrays["train_probs"] = torch.from_numpy(probs)
    run.history["epochs"].append(epoch + 1)
    run.history["train_probs"].append(torch.from_numpy(probs[index]).half())
    if clean_score is not None:
        run.history["clean_score"].append(torch.from_numpy(clean_score[index]).half())
    if "weights" in run.keep and ranks.first():
        make_folder(run.folder / "weights")
        save_atomically(
            run.folder / "weights" / f"epoch-{epoch + 1:04d}.pt",
            torch_bytes([to_cpu(net.state_dict()) for net in tested]),
        )


def remember_margins(run: Run, row: dict, probs: np.ndarray, measure: bool) -> dict:
    """Keep the margin and the probability of every given label, float16 (N,); probs (N, K) of this epoch.

    Returns, where it is time to measure, columns `<detector>_auc`: how well what was kept so far tells right
    labels from wrong ones (`toolbox.detectors`).
    """
    given = run.evaluator.given
    run.history["margins"].append(torch.from_numpy(detectors.margins(probs, given)).half())
    run.history["given_probs"].append(torch.from_numpy(probs[np.arange(len(given)), given]).half())
    if not measure:
        return {}
    rates = [r["learning_rate"] for r in (*run.rows, row)]
    margin, prob = (torch.stack(run.history[key]).numpy() for key in ("margins", "given_probs"))
    scores = {name: score(margin, prob, rates) for name, score in detectors.DYNAMICS.items()}
    return run.evaluator.of_detectors(scores)
