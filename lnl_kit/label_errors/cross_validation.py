"""Out-of-sample predictions for every training image: networks that each leave one fold out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses
from ..toolbox.folds import folds_of
from ..toolbox.rng import generator

STEPS = 8  # at least so many an epoch: small sets get small batches


@dataclass(frozen=True, kw_only=True)
class CrossValidation(Settings):
    """Cross-validation: every image is judged by a network that was never shown its label."""

    folds: int = 3  # networks; each is trained on all folds but its own
    q: float = 0.7  # of generalised cross-entropy; 0 = cross-entropy
    views: int = 8  # draws of the view that the last predictions are averaged over; 0 = the image itself

    def __post_init__(self):
        super().__post_init__()
        refuse(self.folds < 2, f"folds {self.folds} is not allowed: at least 2")
        refuse(not 0 <= self.q <= 1, f"q {self.q} is outside [0, 1]")
        refuse(self.views < 0, f"views {self.views} is not allowed: 0 or more")


def cross_validation(data: NoisyData, settings: CrossValidation, run: Run) -> None:
    """Train a network on all folds but one, for each fold, on plain or generalised cross-entropy.

    What the run keeps as `train_probs` (N, K) and `clean_score` (N,), the probability of the given label, is
    out of sample: of the network that did not see the label, averaged over views. `fitted_probs` (N, K) is
    the mean of those that did see it. The first network is the one whose test accuracy is logged.
    """
    fold = folds_of(data.y.cpu(), settings.folds, data.seed).to(data.device)
    networks = [run.network() for _ in range(settings.folds)]
    trained = len(data) - len(data) // settings.folds
    batch = max(2, min(settings.batch_size, trained // STEPS))
    parts: dict[str, Any] = {}
    for k, network in enumerate(networks):
        parts |= {
            f"network{k}": network,
            **dict(zip((f"optimizer{k}", f"schedule{k}"), run.sgd(network, settings))),
        }
    state = run.state(**parts, tested="network0")

    def loss(logits, y, idx):
        return losses.gce(logits, y, settings.q) if settings.q else losses.cross_entropy(logits, y)

    for epoch in run.epochs(state, settings.epochs):
        for k, network in enumerate(networks):
            seen = (fold != k).nonzero()[:, 0]
            order = seen[
                torch.randperm(len(seen), generator=generator(data.seed, "fold", k, epoch)).to(seen.device)
            ]
            fit_epoch(
                run,
                network,
                state[f"optimizer{k}"],
                data.batches(epoch, settings.view, batch, order),
                loss,
                f"fold {k}",
            )
            state[f"schedule{k}"].step()
        if epoch == settings.epochs - 1:
            held_out, fitted = all_probs(networks, fold.cpu(), data, settings, run)
            run.log(
                train_probs=held_out,
                clean_score=held_out.gather(1, data.y.cpu()[:, None]).squeeze(1),
                fitted_probs=fitted,
            )


@torch.no_grad()
def all_probs(
    networks, fold: Tensor, data: NoisyData, settings: CrossValidation, run: Run
) -> tuple[Tensor, Tensor]:
    """(N, K) each, on the CPU, the mean over views: by the network of an image's fold, and by the others."""
    views = max(1, settings.views)
    held_out = torch.zeros(len(data), data.num_classes)
    fitted = torch.zeros_like(held_out)
    for network in networks:
        network.eval()
    for draw in range(views):
        for x, idx in data.in_order(settings.view if settings.views else None, epoch=draw):
            idx = idx.cpu()
            for k, network in enumerate(networks):
                with run.autocast():
                    probs = network(x).float().softmax(1).cpu() / views
                in_fold = (fold[idx] == k)[:, None]
                held_out[idx] += probs * in_fold
                fitted[idx] += probs * ~in_fold / (len(networks) - 1)
    for network in networks:
        network.train()
    return held_out, fitted
