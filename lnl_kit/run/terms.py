"""The terms of the loss over an epoch: their mean, and a sentence where one is not finite."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..files import RunError


def mean_loss(terms: dict[str, list[Tensor]], epoch: int, folder: Path) -> float | None:
    """The mean over the batches of an epoch (from 0) of the sum of all terms; None without any.

    terms: name -> one 0-d tensor a batch, on the device until now. Raises RunError for one not finite.
    """
    total = 0.0
    for name, values in terms.items():
        by_batch = torch.stack(values).float().cpu()
        bad = (~by_batch.isfinite()).nonzero()
        if len(bad):
            good = f"the last good checkpoint is epoch {epoch}" if epoch else "no epoch was finished before"
            raise RunError(
                f"epoch {epoch + 1}: the loss term {name!r} is {by_batch[bad[0, 0]].item()} first in "
                f"batch {bad[0, 0].item() + 1} of {len(by_batch)}; this epoch was not saved, {good} "
                f"({folder}). Try a lower learning rate"
            )
        total += by_batch.double().mean().item()
    return total if terms else None
