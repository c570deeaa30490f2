"""PUDistill's filters: which unlabelled images surely belong to a class, told by clean labels alone.

The first stage of `pu_distill`, which stands in a file of its own for its length.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.batches import NoisyData
from ..data.streams import Stream, pick
from ..files import RunError
from ..run.evaluate import predict
from ..run.loop import Run
from ..toolbox import losses
from ..toolbox.rng import generator, seed_of
from ..toolbox.stacked import Stacked

if TYPE_CHECKING:
    from .pu_distill import PUDistill


def train_filters(data: NoisyData, settings: PUDistill, run: Run) -> dict[str, Tensor]:
    """All bags: votes (iterations, K, N), of the test images too, and the last bags' mean probabilities
    (K, N). Without iterations: one bag whose filters vote for nothing.
    """
    if not settings.iterations:
        n, m = ((1, data.num_classes, len(images)) for images in (data.x, run.test_images))
        none = {"votes": torch.zeros(n).short(), "test_votes": torch.zeros(m).short()}
        none |= {"mean": torch.zeros(n[1:]), "test_mean": torch.zeros(m[1:])}
        return {name: v.to(data.device) for name, v in none.items()}
    bags = []
    with tqdm(
        total=data.num_classes * settings.iterations,
        desc="filters",
        unit="bag",
        file=sys.stderr,
        leave=False,
        disable=not run.progress,
    ) as bar:
        for k in range(data.num_classes):
            bag: dict[str, Any] = {}
            for i in range(settings.iterations):
                positives = bag["votes"] >= settings.votes if bag else torch.zeros_like(data.clean)
                bag = run.stage(
                    f"bag-{k}-{i}",
                    bag_trainer(k, positives, bag.get("weights"), settings),
                    # "watched" had a use once; the seeds of bags are drawn from all of these, so it stays
                    bag_depends(k, i, data, settings, run) | {"watched": False},
                )
                bags.append(bag)
                bar.update()
    shape = (data.num_classes, settings.iterations, -1)
    votes_by_bag = {
        name: torch.stack([b[name] for b in bags]).view(shape).transpose(0, 1)
        for name in ("votes", "test_votes")
    }
    last = bags[settings.iterations - 1 :: settings.iterations]
    return votes_by_bag | {name: torch.stack([b[name] for b in last]) for name in ("mean", "test_mean")}


def bag_trainer(k: int, positives: Tensor, before: dict | None, settings: PUDistill) -> Callable[[Run], dict]:
    """`train_bag` as a stage calls it: a function of this file, on whose text the stage's result depends."""
    return lambda stage: train_bag(stage, k, positives, before, settings)


def train_bag(
    stage: Run, k: int, positives: Tensor, before: dict | None, settings: PUDistill
) -> dict[str, Any]:
    """One bag of filters for class k: votes for every training and test image, and mean probabilities.

    positives: bool (N,), the images that the bag before has accepted. before: that bag's weights, for a warm
    start.
    """
    asked = (stage.data.x, stage.test_images)
    (probs, test_probs), stacked = ask_bag(stage, k, positives, before, settings, asked)
    bag = {
        "votes": (probs >= settings.sure).sum(0).short(),
        "mean": probs.mean(0),  # (3)
        "test_votes": (test_probs >= settings.sure).sum(0).short(),
        "test_mean": test_probs.mean(0),
    }
    return bag | ({"weights": stacked.state_dict()} if settings.warm_start else {})


def ask_bag(
    stage: Run,
    k: int,
    positives: Tensor,
    before: dict | None,
    settings: PUDistill,
    asked: Sequence[Tensor | Stream],
) -> tuple[list[Tensor], Stacked]:
    """Train one bag and ask it: its filters' probabilities of class k for each set of images asked about
    (filters, n), and the filters.
    """
    data = stage.data
    data.classes = ("other", data.classes[k])
    idx, target = draw_members(data, k, positives, settings, generator(stage.seed, "draw"))
    networks = [stage.network() for _ in range(settings.filters)]
    stacked = Stacked(networks)
    if before is not None:
        stacked.load_state_dict(before)
    fit_filters(stage, stacked, idx, target, settings)
    # one after the other they predict faster
    alone = [stacked.member(n, networks[0]) for n in range(settings.filters)]
    answers = [
        torch.stack([predict([net], images, data, stage.autocast)[:, 1] for net in alone]).to(data.device)
        for images in asked
    ]
    if not all(probs.isfinite().all() for probs in answers):
        raise RunError(
            f"the filters of class {data.classes[1]} diverged: try a lower filter_learning_rate "
            f"({settings.filter_learning_rate:g} now)"
        )
    return answers, stacked


def fit_filters(stage: Run, stacked: Stacked, idx: Tensor, target: Tensor, settings: PUDistill) -> None:
    """Train the filters together, each on its own images idx and targets, both (filters, n)."""
    recipe = dataclasses.replace(
        settings,
        epochs=settings.filter_epochs,
        learning_rate=settings.filter_learning_rate,
        milestones=settings.filter_milestones,
        schedule="steps",
    )
    optimizer, schedule = stage.sgd(stacked, recipe)
    forward, n = stage.compiled(stacked), idx.shape[1]
    steps = max(1, round(n / settings.filter_batch_size))
    size = n // steps
    for epoch in range(settings.filter_epochs):
        ranks = torch.rand(idx.shape, generator=generator(stage.seed, "order", epoch))
        shuffled = ranks.argsort(1)[:, : steps * size].to(idx.device)
        order, y = (
            v.gather(1, shuffled).view(-1, steps, size).transpose(0, 1) for v in (idx, target)
        )  # (steps, filters, size)
        images = stage.data.batches(
            epoch, views=settings.view, batch_size=settings.filters * size, order=order.flatten()
        )
        for (x, _, _), wanted in zip(images, y):
            with stage.autocast():
                logits = forward(x.unflatten(0, (settings.filters, size)))
            each = losses.cross_entropy(logits.flatten(0, 1), wanted.flatten())
            loss = each.view(settings.filters, size).mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def draw_members(
    data: NoisyData, k: int, positives: Tensor, settings: PUDistill, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(indices, 1 for positive) of each filter's images, both (filters, n), by Algorithm 1.

    Positives: the clean images of class k and m accepted ones; negatives: m' images that are not accepted and
    m' clean ones of other classes (fewer where there are not so many).
    """
    clean = data.clean
    of_class, others = ((clean & same).nonzero()[:, 0] for same in (data.y == k, data.y != k))
    accepted, rest = ((~clean & chosen).nonzero()[:, 0] for chosen in (positives, ~positives))
    m = min(len(of_class), len(accepted))
    half = (m + len(of_class)) // 2 or 1
    drawn = [
        torch.cat(
            [
                of_class,
                *(
                    pool[torch.randperm(len(pool), generator=draw)[:size].to(pool.device)]
                    for pool, size in ((accepted, m), (rest, half), (others, half))
                ),
            ]
        )
        for _ in range(settings.filters)
    ]
    idx = torch.stack(drawn)
    target = torch.zeros_like(idx)
    target[:, : len(of_class) + m] = 1
    return idx, target


def accept(votes: Tensor, mean: Tensor, settings: PUDistill) -> Tensor:
    """The class (N,) that each image surely belongs to, or -1: (3), and most votes among several classes.

    votes, mean: (K, N). A tie in votes goes to the higher mean probability.
    """
    rank = torch.where(votes >= settings.votes, votes + mean.clamp(max=1 - 1e-6), -1.0)  # (K, N)
    best, k = rank.max(0)
    return torch.where(best >= 0, k, -1)


def cross_validate(
    data: NoisyData,
    settings: PUDistill,
    run: Run,
    folds: int = 3,
    sures: Sequence[float] = (0.7, 0.8, 0.9, 0.95, 0.99),
) -> list[dict[str, float | None]]:
    """How right the first bags are about clean images that they have not seen, for each probability `sures`
    and number of votes; nothing else is looked at, so it may choose `sure` and `votes`.

    The clean subset is cut into folds; the filters of a fold train on the others, and its own images are
    among the unlabelled ones. Returns rows: sure, votes, precision (the share of the accepted images whose
    class is right, None where none is accepted), kept (the share accepted), empty (how many classes accept
    none). Can be called as a method: `train(lambda *all: rows.extend(cross_validate(*all)), ...)`.
    """
    depends = bag_depends(-1, 0, data, settings, run) | {"folds": folds}
    at = data.clean.nonzero()[:, 0]
    fold = torch.randperm(len(at), generator=generator(run.seed, "folds of clean")).to(at.device) % folds
    asked, labels = [], []
    for f in range(folds):
        held = at[fold == f]
        bags = [
            run.stage(f"fold-{f}-{k}", fold_trainer(k, held, settings), depends | {"class": k, "fold": f})
            for k in range(data.num_classes)
        ]
        asked.append(torch.stack([bag["probs"] for bag in bags]))
        labels.append(data.y[held])
    probs, truth, rows = torch.cat(asked, 2), torch.cat(labels), []
    for sure, votes in itertools.product(sures, range(1, settings.filters + 1)):
        counted = (probs >= sure).sum(1)
        chosen = accept(counted, probs.mean(1), dataclasses.replace(settings, votes=votes))
        taken = chosen >= 0
        right = (chosen == truth)[taken].float()
        rows.append(
            {
                "sure": sure,
                "votes": votes,
                "precision": right.mean().item() if len(right) else None,
                "kept": taken.float().mean().item(),
                "empty": data.num_classes - len(chosen[taken].unique()),
            }
        )
    return rows


def fold_trainer(k: int, held: Tensor, settings: PUDistill) -> Callable[[Run], dict]:
    """A bag for class k that does not know the clean images held (n,), asked for their probs (filters, n)."""

    def train(stage: Run) -> dict[str, Tensor]:
        data = stage.data
        data.clean = data.clean.index_fill(0, held, False)
        asked = [pick(data.x, held)]
        (probs,), _ = ask_bag(stage, k, torch.zeros_like(data.clean), None, settings, asked)
        return {"probs": probs}

    return train


def bag_depends(k: int, iteration: int, data: NoisyData, settings: PUDistill, run: Run) -> dict:
    """Of the bag for class k: the clean subset and the filters' settings."""
    names = (
        "filters",
        "sure",
        "votes",
        "filter_epochs",
        "filter_batch_size",
        "filter_learning_rate",
        "filter_milestones",
        "warm_start",
        "momentum",
        "nesterov",
        "weight_decay",
        "gamma",
        "view",
    )
    return {n: getattr(settings, n) for n in names} | {
        "class": k,
        "iteration": iteration,
        "seed": run.seed,
        "clean": clean_key(data),
    }


def teacher_depends(t: int, data: NoisyData, settings: PUDistill, run: Run) -> dict:
    """Of teacher t: all bags', and the teachers' settings."""
    names = (
        "teacher_epochs",
        "teacher_learning_rate",
        "teacher_milestones",
        "teacher_sampling",
        "teacher_mixup",
        "teacher_entropy",
        "batch_size",
        "iterations",
    )
    return (
        bag_depends(-1, settings.iterations, data, settings, run)
        | {n: getattr(settings, n) for n in names}
        | {"teacher": t}
    )


def clean_key(data: NoisyData) -> int:
    """A number that stands for the clean subset and its labels."""
    at = data.clean.nonzero()[:, 0]
    return seed_of(at.tolist(), data.y[at].tolist())
