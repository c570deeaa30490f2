"""Explorers of run folders and of findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import figures
from ..files import runs_root
from ..label_errors.findings import Findings, open_findings
from ..label_errors.review import Review
from ..run.opened import finished_runs
from .explore import explore, live

# ---- explorers of any run folder
# ------------------------------------------------------------------------------


def pick_run(
    root=None,
    metrics: Sequence[str] = (
        "test_accuracy",
        "memorized",
        "train_accuracy_wrong",
        "test_ece",
        "selection_auc",
        "loss",
    ),
) -> object:
    """A menu of the finished runs under a root (None: where `lnl train` writes), a metric by epoch.

    Raises ValueError where no run is finished, with the command that makes one.
    """

    place = runs_root(root)
    runs = {str(r.folder.relative_to(place)): r for r in finished_runs(place)}
    if not runs:
        raise ValueError(f"no finished run in {place}: `lnl train ce` makes one")

    first = next(iter(runs))

    def curve(run=first, metric=metrics[0]):
        rows = runs[run].metrics
        if all(row.get(metric) is None for row in rows):
            return figures.nothing(f"this run has no {metric}")
        return figures.curves({runs[run].settings["method"]: [rows]}, metric, subtitle=run)

    return explore(curve, run=list(runs), metric=list(metrics))


def histogram_by_epoch(run) -> object:
    """Loss on the true class, right and wrong labels apart, with a slider over the kept epochs."""

    epochs, at = _kept_epochs(run)

    def histogram(epoch=epochs[-1]):
        probs, given, true = at(epoch)
        return figures.split_histogram(
            probs, given, true, subtitle=f"{run.settings['method']}, epoch {epoch}"
        )

    return explore(histogram, epoch=epochs)


def decagon_by_epoch(run) -> object:
    """Training predictions on the K-gon, with a slider over the kept epochs; wrong labels are rings."""

    epochs, at = _kept_epochs(run)

    def decagon(epoch=epochs[-1]):
        probs, given, true = at(epoch)
        return figures.gon(
            probs,
            given,
            true,
            run.classes,
            subtitle=f"{run.settings['method']}, epoch {epoch}; rings: wrong given labels",
        )

    return explore(decagon, epoch=epochs)


def _kept_epochs(run) -> tuple[list[int], Callable]:
    """The epochs of history.npz, from 1, and a function from an epoch to (probs, given, true)."""
    history = run.history
    if not len(history):
        raise ValueError(f"{run.folder} has kept no epoch yet: train it first")
    epochs, index, labels = [int(e) for e in history["epochs"]], history["index"], run.labels
    true = labels["given"] if labels["true"] is None else labels["true"]
    return epochs, lambda epoch: (
        history["train_probs"][epochs.index(epoch)].astype("float32"),
        labels["given"][index],
        true[index],
    )


def inspect_images(run, views: int = 5) -> object:
    """Training images, most suspicious label first: the image, views of it, and what the run thinks of it.

    Suspicious is a low clean score where the method gives one, else a low probability of the given label.
    """
    import numpy as np

    given, probs = run.labels["given"], run.arrays["train_probs"]
    of_label = probs[np.arange(len(given)), given]
    score = np.asarray(run.arrays.get("clean_score", of_label), float)
    order, images = np.argsort(np.nan_to_num(score, nan=np.inf), kind="stable"), run.train_images()

    def pictures(rank=1):
        i = int(order[rank - 1])
        image = images[i : i + 1][:1]
        seen = [image, *run.views(image, run.settings["settings"].get("view", "crop"), views, seed=i)]
        return figures.image_row(
            np.concatenate([v.numpy() for v in seen]),
            ["image", *[f"view {k + 1}" for k in range(views)]],
            size=96,
            title=f"Image {int(run.labels['index'][i])}",
            subtitle=f"rank {rank} of {len(order)} by suspicion",
        )

    def opinion(rank=1):
        i = int(order[rank - 1])
        votes = run.arrays["votes"][-1][:, i] if "votes" in run.arrays else None
        true = None if run.labels["true"] is None else run.labels["true"][i]
        return figures.opinion(probs[i], given[i], run.classes, true, score[i], votes)

    return explore([pictures, opinion], rank=(1, len(order), 1))


def review(findings, language: str | None = None) -> object:
    """The suspicious images of a folder of findings (or `Findings`), to go through by mouse or keyboard.

    language: of its texts, such as "de"; None = `LNL_LANGUAGE`, else English.

    Live, a `review.Review`: each decision is in `decisions.csv` there before the next image shows. Headless,
    its first page as a figure.
    """

    opened = findings if isinstance(findings, Findings) else open_findings(findings)
    if live():
        return Review(opened, language)
    rows = opened.table[opened.table["image"].isin(opened.dataset().names)].head(
        12
    )  # those that are still there
    heads = [
        f"{figures.plain(given)}, rather <b>{figures.plain(new)}</b>"
        for given, new in zip(rows["given"], rows["suggested"])
    ]
    images = [opened.pixels(i) for i in rows["image"]]
    return figures.image_row(
        images,
        heads,
        columns=6,
        title="The first page of the review",
        subtitle="open the notebook in JupyterLab to decide",
    )
