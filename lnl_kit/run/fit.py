"""An epoch of plain supervised training, for methods whose idea is not in the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor


def fit_epoch(
    run,
    network,
    optimizer,
    batches: Iterable,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    term: str = "labels",
) -> None:
    """One step a batch on the mean of `loss(logits (B, K), given labels (B,), indices (B,)) -> (B,)`.

    run: a run or a stage. batches: of `NoisyData.batches`, one view. term: what the loss is called where it
        diverges.
    """
    forward = run.compiled(network)
    for x, y, idx in batches:
        with run.autocast():
            logits = forward(x)
        optimizer.zero_grad()
        run.total(**{term: loss(logits, y, idx).mean()}).backward()
        optimizer.step()
