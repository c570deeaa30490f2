"""LCI: Sample-wise Label Confidence Incorporation for Learning with Noisy Labels (Ahn, Kim, Baek, Lim, Han;
ICCV 2023).

Losses that resist wrong labels underfit; cross-entropy fits, and memorises. So two networks: a noise-robust
one trained with a robust loss on everything, and a noise-free one trained with cross-entropy, each image
weighted by the confidence that the robust loss of the first has in its label. The noise-free network is
tested.

Where this differs from the paper, or chooses where it is silent:
- The confidence and the corrected label carry no gradient: a weight that could be lowered by raising the
  robust loss would undo the robust network (the paper prints one gradient for both).
- Its factor is that of (8), alpha / sum(1 - C) over the batch; (9) as printed is
  `normalize_confidence=False`, alpha 1.
- The robust loss, the confidence and the corrected label all see the first view x'; the running mean is
  updated first.
- Eq. (6) never reaches 0, as the theorem asks; `threshold` adds the hard cut.
- `variant="no_confidence"` is a control that the paper has not: one network, the robust loss on corrected
  labels and the consistency of two views, without any label's confidence.
- What is logged as new labels is the noise-robust network's prediction: the half of the corrected label that
  is not the given one. The corrected label's own largest entry is always the given class.
- On WebVision the paper warms up with SimCLR and reports an ensemble of two networks (E), on Clothing1M it
  starts from SwAV's weights: none of these is built.
- The penalty is the sum of squared differences of the trainable parameters; both networks start from the same
  weights.
- alpha, rho, lambda, m and q are in a supplement that we do not have. By `--noisy-val` (notebook 22) alpha is
  0.1 on digits; on photographs its first reading, 0.9, stays, as does that of rho, lambda, m and q
  everywhere: nothing tried was better by more than its error.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Bound, Settings, refuse
from ..toolbox import losses

VARIANTS = ("ours", "two_models", "single_model", "no_confidence")


@dataclass(frozen=True, kw_only=True)
class LabelConfidence(Settings):
    """LCI: cross-entropy weighted by the confidence that a robust loss has in each label, in two networks."""

    robust_loss: str = "gce"  # of the noise-robust network: gce, mae, js, sce or nce_rce; Sec. 4
    q: float = 0.7  # of GCE: near 0 = cross-entropy, 1 = MAE
    variant: str = "ours"  # ours; of Table 2 two_models and single_model (4); no_confidence, a control
    alpha: float = 0.1  # weight of cross-entropy in (8); below 1 for GCE by the theorem; 0.9 on photographs
    margin: float = 0.0  # m in (6): larger = more confidence in every label
    slope: float = 0.5  # of the sigmoid in (6); as printed
    threshold: float = 0.0  # tau: labels with a smaller probability have no confidence at all (0 = no cut)
    normalize_confidence: bool = True  # divide by the batch's sum of 1 - C (8); False = (9) as printed
    consistency: float = 5.0  # rho: weight of the divergence between the predictions for two views, Eq. (9)
    penalty: float = 1e-3  # lambda: weight of the squared distance between the networks' parameters, Eq. (9)
    correct_after: float = 0.25  # share of the iterations after which labels are corrected; Algorithm 1
    batches_per_epoch: int = 0  # class-balanced batches in an epoch, 0 = all images once; Clothing1M
    mean_decay: float = 0.7  # of the running mean of the robust loss; Algorithm 1

    search: ClassVar[dict] = {**Settings.search, "alpha": (0.0, 0.9), "consistency": (0.5, 10.0, "log")}
    family: ClassVar[str] = "the five papers"
    networks: ClassVar[int] = 2
    paper: ClassVar[str | None] = "label_confidence"
    photographs: ClassVar[dict] = {"alpha": 0.9}  # chosen by --noisy-val
    # by --noisy-val on 10,000 images: .530; alpha .1 alone .527, penalty 0 alone .507, none of these .464
    memorise: ClassVar[dict] = {"alpha": 0.1, "penalty": 0.0, "correct_after": 0.05}
    controls: ClassVar[dict] = {
        "constant_confidence": {"slope": 1e-6},  # every label is believed by half
        "no_confidence": {"variant": "no_confidence"},  # the robust loss, consistency and correction alone
    }
    bound: ClassVar[Bound] = Bound(  # noise-robust; noise-free on both views
        ((1, 0, False), (2, 0, False)), (("small_cnn", 16),)
    )

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """ "As in [4]": the GJS paper, whose values NRD's tables quote; ELR+'s recipe on Clothing1M."""
        if dataset == "clothing1m":
            return {
                "architecture": "resnet50",
                "initialization": "imagenet_pretrained",
                "epochs": 15,
                "batch_size": 64,
                "learning_rate": 0.002,
                "weight_decay": 1e-3,
                "milestones": (7 / 15,),
                "nesterov": False,
                "batches_per_epoch": 2000,
            }
        shared = (
            "momentum",
            "batch_size",
            "epochs",
            "gamma",
            "milestones",
            "learning_rate",
            "weight_decay",
            "q",
        )
        given = look("nrd" if dataset == "webvision" else "gce", "nrd")
        view = {} if dataset == "webvision" else {"view": "cutout16"}  # of that paper's release
        return {k: given[k] for k in shared if k in given} | {"nesterov": True} | view

    @classmethod
    def read_cell(cls, cell: dict, dataset: str) -> dict:
        """ "ResNet-34" is the three-stage network of the GJS paper; two ResNet-50 on Clothing1M."""
        if dataset == "clothing1m":
            return cell | {"architecture": "resnet50", "initialization": "imagenet_pretrained"}
        if cell.get("architecture") == "resnet34":
            return cell | {"architecture": "preactresnet34_cifar"}
        return cell

    def __post_init__(self):
        super().__post_init__()
        refuse(
            self.robust_loss not in losses.ROBUST,
            f"robust_loss {self.robust_loss!r} does not exist: {', '.join(losses.ROBUST)}",
        )
        refuse(
            self.variant not in VARIANTS, f"variant {self.variant!r} does not exist: {', '.join(VARIANTS)}"
        )
        refuse(not 0 < self.q <= 1, f"q {self.q} is outside (0, 1]")
        refuse(not self.alpha > 0, f"alpha {self.alpha} is not allowed: above 0")
        refuse(not self.slope > 0, f"slope {self.slope} is not allowed: above 0")
        refuse(
            min(self.consistency, self.penalty) < 0,
            f"consistency {self.consistency} and penalty {self.penalty} must be 0 or more",
        )
        refuse(
            self.batches_per_epoch < 0,
            f"batches_per_epoch {self.batches_per_epoch} is not allowed: 0 or more",
        )
        refuse(not 0 <= self.threshold < 1, f"threshold {self.threshold} is outside [0, 1)")
        refuse(not 0 <= self.mean_decay < 1, f"mean_decay {self.mean_decay} is outside [0, 1)")
        refuse(not 0 <= self.correct_after <= 1, f"correct_after {self.correct_after} is outside [0, 1]")


def train_label_confidence(data: NoisyData, settings: LabelConfidence, run: Run) -> None:
    """Algorithm 1: one joint step a batch for the noise-robust and the noise-free network."""
    ours = settings.variant in ("ours", "no_confidence")  # with consistency and correction
    weighs = settings.variant != "no_confidence"
    single = settings.variant in ("single_model", "no_confidence")
    robust = run.network()
    free = robust if single else copy.deepcopy(robust)
    optimizer, schedule = run.sgd(robust, settings, *(() if single else (free,)))
    mean = torch.zeros((), device=run.device)  # mu, the running mean of the robust loss
    confidence = torch.full((len(data),), float("nan"), device=run.device)  # NaN = not yet seen
    new_labels = torch.nn.functional.one_hot(data.y, data.num_classes).float()
    state = run.state(
        free=free,
        **({} if single else {"robust": robust}),
        optimizer=optimizer,
        schedule=schedule,
        mean=mean,
        confidence=confidence,
        new_labels=new_labels,
        tested="free",
        also_tested=() if single else "robust",
    )
    robust_forward, free_forward = run.compiled(robust), run.compiled(free)
    steps, views = settings.batches_per_epoch or data.steps(), 2 if ours and settings.consistency else 1
    for epoch in run.epochs(state, settings.epochs):
        order = data.balanced_order(epoch, steps) if settings.batches_per_epoch else None
        for step, (x, y, idx) in enumerate(data.batches(epoch, views=(settings.view,) * views, order=order)):
            with run.autocast():
                free_logits = free_forward(torch.cat(x))  # (views * B, K)
                logits = free_logits[: len(y)] if single else robust_forward(x[0])
            loss = robust_loss(settings, logits, y)  # (B,)
            mean.lerp_(loss.detach().mean(), 1 - settings.mean_decay)
            c = label_confidence(loss.detach(), mean, settings)
            target = torch.nn.functional.one_hot(y, data.num_classes).float()
            predicted = logits.detach().float().softmax(1)
            if ours and epoch * steps + step >= math.ceil(settings.correct_after * settings.epochs * steps):
                target = corrected(target, predicted)
            if weighs:
                terms = {
                    "robust": loss.mean(),
                    "confident": confident_loss(free_logits[: len(y)], target, c, settings),
                }
            else:
                terms = {"robust": robust_loss(settings, logits, target).mean()}
            if views == 2:
                terms["consistency"] = settings.consistency * consistency(*free_logits.chunk(2)).mean()
            if not single and settings.penalty:
                terms["penalty"] = settings.penalty * distance(robust, free)
            optimizer.zero_grad()
            run.total(**terms).backward()
            optimizer.step()
            confidence[idx], new_labels[idx] = c, predicted
        schedule.step()
        run.log(clean_score=confidence, new_labels=new_labels, mean_robust_loss=mean)


def robust_loss(settings: LabelConfidence, logits: Tensor, y: Tensor) -> Tensor:
    """The noise-robust loss (B,) of logits (B, K) on given labels (B,) or corrected ones (B, K)."""
    more = {"q": settings.q} if settings.robust_loss == "gce" else {}
    return losses.ROBUST[settings.robust_loss](logits, y, **more)


def label_confidence(loss: Tensor, mean: Tensor, settings: LabelConfidence) -> Tensor:
    """Eq. (6): sigmoid(slope (mean + m - loss)), (B,), from the robust loss (B,) and its running mean; 0
    where the loss is above that of the probability `threshold`.
    """
    c = torch.sigmoid(settings.slope * (mean + settings.margin - loss))
    if settings.threshold:
        at = torch.tensor([[settings.threshold, 1 - settings.threshold]], device=loss.device).log()
        c = c * (loss <= robust_loss(settings, at, torch.zeros(1, dtype=torch.int64, device=loss.device)))
    return c


def confident_loss(logits: Tensor, target: Tensor, c: Tensor, settings: LabelConfidence) -> Tensor:
    """(8) over a batch, 0-d: alpha sum(C CE) / sum(1 - C); as (9) prints it, mean(C CE). target (B, K)."""
    weighted = c * losses.cross_entropy(logits, target)
    if not settings.normalize_confidence:
        return weighted.mean()
    return settings.alpha * weighted.sum() / (1 - c).sum().clamp(min=1e-6)


def corrected(given: Tensor, predicted: Tensor) -> Tensor:
    """Algorithm 1, line 7: half the given label, half the noise-robust network's prediction, both (B, K)."""
    return 0.5 * given + 0.5 * predicted


def consistency(logits_1: Tensor, logits_2: Tensor) -> Tensor:
    """Jensen-Shannon divergence (B,) of the predictions for two views; both carry gradient."""
    return losses.jsd((0.5, 0.5), logits_1.float().softmax(1), logits_2.float().softmax(1))


def distance(a, b) -> Tensor:
    """Squared Euclidean distance of two networks' trainable parameters, 0-d."""
    differences = torch._foreach_sub(list(a.parameters()), list(b.parameters()))
    return torch.cat([d.flatten() for d in differences]).square().sum()  # a few launches, not six a parameter


METHODS = {"label_confidence": (train_label_confidence, LabelConfidence)}
