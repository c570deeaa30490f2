"""Turning what a run predicts and logs into metrics. The evaluator alone holds the true labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..data.batches import NoisyData, at_once
from ..data.streams import Stream, in_chunks
from ..toolbox import metrics, ranks

LOGGED = (
    "clean_score",
    "outside_score",
    "selected",
    "new_labels",
    "train_probs",
    "transition",
    "transition_of",
    "transition_all",
    "accepted",
    "test_accepted",
    "votes",
    "test_votes",
    "teacher_probs",
    "test_teacher_probs",
    "fitted_probs",
)
COLUMNS = (
    "epoch",
    "loss",
    "learning_rate",
    "test_accuracy",
    "test_top5",
    "test_ece",
    "noisy_val_accuracy",
    "train_accuracy_clean",
    "train_accuracy_wrong",
    "memorized",
    "selection_auc",
    "selection_precision",
    "selection_recall",
    "refurbished_accuracy",
    "transition_error",
    "accepted_precision",
    "accepted_share",
    "test_accepted_precision",
    "test_accepted_share",
    "epoch_seconds",
    "evaluation_seconds",
    "images_per_second",
)
HISTORY_EPOCHS = 20  # snapshots of the training predictions in a run
HISTORY_NUMBERS = 1_000_000  # N x K up to which a snapshot holds every image
HISTORY_SAMPLE = 1000  # images in a snapshot of a larger set


def history_epochs(total: int) -> list[int]:
    """Up to 20 evenly spaced epochs (counted from 0), the last among them."""
    return sorted({round(e) for e in np.linspace(0, total - 1, min(total, HISTORY_EPOCHS))})


@torch.no_grad()
def predict(
    networks, images: Tensor | Stream, data: NoisyData, autocast: Callable = contextlib.nullcontext
) -> Tensor:
    """(n, K) float32 probabilities on the CPU: the mean of the networks' softmaxes, in evaluation mode.

    images: uint8 (n, C, H, W), a tensor or a Stream. The networks' training mode is restored. Of several
    ranks each predicts its part.
    """
    batch_size = min(
        256 if data.device.type == "cpu" else 2000, at_once(images)
    )  # small ones stay in a CPU's cache
    modes = [net.training for net in networks]
    for net in networks:
        net.eval()

    def part(start: int, stop: int) -> Tensor:
        rows = []
        places = [slice(i, min(stop, i + batch_size)) for i in range(start, stop, batch_size)]
        for x in in_chunks(images, places):
            x = data.normalise(x)
            with autocast():
                logits = [net(x) for net in networks]
            rows.append(sum(z.float().softmax(1) for z in logits) / len(networks))
        return torch.cat(rows)

    probs = ranks.by_parts(part, len(images))
    for net, mode in zip(networks, modes):
        net.train(mode)
    return probs.cpu()


class Evaluator:
    """Knows the truth: test set, true training labels (None = unknown), a held-out noisy set (or None).

    second: (name, images, labels) of a second test set, or None. outside: bool (N,), training images of no
    class, or None; metrics of labels are of the others then.
    """

    def __init__(
        self, data: NoisyData, given, true, test_x, test_y, noisy_val=None, second=None, outside=None
    ):
        self.data, self.test_x = data, test_x
        self.given = np.asarray(given)
        self.true = None if true is None else np.asarray(true)
        self.test_y = np.asarray(test_y)
        self.noisy_val = noisy_val  # (images, given labels)
        self.second = second
        self.outside = None if outside is None else np.asarray(outside)
        # the images whose labels can be right
        self._inside = slice(None) if self.outside is None else np.flatnonzero(~self.outside)
        rng = np.random.RandomState(0)
        n, k = len(self.given), data.num_classes
        whole = n * k <= HISTORY_NUMBERS
        self.history_index = np.arange(n) if whole else np.sort(rng.choice(n, HISTORY_SAMPLE, replace=False))

    def test(self, networks, autocast) -> tuple[dict, np.ndarray]:
        """The row's test columns and the (M, K) test probabilities."""
        probs = predict(networks, self.test_x, self.data, autocast).numpy()
        row = {
            "test_accuracy": metrics.accuracy(probs, self.test_y),
            "test_ece": metrics.ece(probs, self.test_y),
        }
        if self.data.num_classes > 20:
            row["test_top5"] = metrics.top_k(probs, self.test_y, 5)
        if self.noisy_val is not None:
            images, labels = self.noisy_val
            row["noisy_val_accuracy"] = metrics.accuracy(
                predict(networks, images, self.data, autocast).numpy(), np.asarray(labels)
            )
        if self.second is not None:
            name, images, labels = self.second
            second_probs = predict(networks, images, self.data, autocast).numpy()
            row[f"{name}_accuracy"] = metrics.accuracy(second_probs, np.asarray(labels))
            if self.data.num_classes > 20:
                row[f"{name}_top5"] = metrics.top_k(second_probs, np.asarray(labels), 5)
        return row, probs

    def train_probs(self, networks, autocast) -> np.ndarray:
        """(N, K) probabilities for the training images, without augmentation."""
        return predict(networks, self.data.x, self.data, autocast).numpy()

    def of_training(self, train_probs: np.ndarray) -> dict:
        """Columns about the training images; those that need an unknown truth are missing."""
        row: dict = {}
        if self.outside is not None:
            row["outside_auroc_confidence"] = metrics.outside_auroc(-train_probs.max(1), self.outside)
        if self.true is None:
            return row
        return row | metrics.train_metrics(*(a[self._inside] for a in (train_probs, self.given, self.true)))

    def of_detectors(self, scores: dict[str, np.ndarray]) -> dict:
        """Columns `<name>_auc` of scores (N,), larger = cleaner; missing where the truth is unknown."""
        if self.true is None:
            return {}
        some = self._inside
        right = (self.given == self.true)[some]
        return {f"{name}_auc": metrics.selection_auc(score[some], right) for name, score in scores.items()}

    def of_log(self, log: dict) -> dict:
        """Columns from what a method logged (see `Run.log`); missing where the truth is unknown."""
        row, some = self._of_outsiders(log), self._inside
        given, true = self.given[some], None if self.true is None else self.true[some]
        for name, truth in (("accepted", true), ("test_accepted", self.test_y)):
            if name in log and truth is not None:
                accepted = log[name][some] if name == "accepted" else log[name]
                precision_and_share = metrics.accepted_precision_share(accepted, truth)
                row[f"{name}_precision"], row[f"{name}_share"] = precision_and_share
        if true is None:
            return row
        right = given == true
        if "clean_score" in log:
            row["selection_auc"] = metrics.selection_auc(log["clean_score"][some], right)
        if "selected" in log:
            row["selection_precision"], row["selection_recall"] = metrics.selection_precision_recall(
                log["selected"][some], right
            )
        if "new_labels" in log:
            row["refurbished_accuracy"] = metrics.refurbished_accuracy(log["new_labels"][some], true)
        if "transition" in log:
            row["transition_error"] = metrics.transition_error(
                log["transition"], true, given, log.get("transition_of", "all")
            )
        return row

    def _of_outsiders(self, log: dict) -> dict:
        """How well outsiders are told from the others, and which share of both was selected."""
        row: dict = {}
        if self.outside is None:
            return row
        if "outside_score" in log:
            row["outside_auroc"] = metrics.outside_auroc(log["outside_score"], self.outside)
        if "clean_score" in log:
            row["outside_auroc_clean_score"] = metrics.outside_auroc(-log["clean_score"], self.outside)
        if "selected" in log:
            selected = np.asarray(log["selected"], bool)
            row["outside_kept"] = float(selected[self.outside].mean())
            row["inside_kept"] = float(selected[~self.outside].mean())
        return row
