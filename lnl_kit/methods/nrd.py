"""NRD, noise-robust distillation: Neural Vicinal Risk Minimization (Shon, Koh, Jeon, Kim; 2024).

A network that has memorised wrong labels still predicts the true class for views of its training images that
it was never trained on. NRD makes such views its second target: an exponential moving average of the student
(the teacher) labels AugMix views, the student learns from the ordinary view, and the gradient never reaches
the teacher's side.

Where this differs from the paper, or chooses where it is silent:
- The divergence is Eq. (19) as printed; the public GJS code, whose learning rates the paper takes over,
  divides its loss by -(1 - pi1) ln(1 - pi1): `scale_jsd=True`.
- Eq. (27) prints theta; the text and the pseudocode use the moving average, and so does this file.
- The student is evaluated; the teacher's accuracy is logged beside it. The teacher labels with the statistics
  of its batch (the pseudocode never switches it to evaluation); when it is evaluated it uses the student's
  statistics, because its own are fed by AugMix views alone. `teacher_batch_statistics=False` labels with
  averaged ones.
- AugMix has the library's defaults and is followed by the crop and flip of the data set.
- Under `quick` and `demo` the student's view is the crop that every method gets there, not RandAugment.
- At the start the divergence as printed has 1/13.3 of cross-entropy's gradient on 10 classes, on 100 classes
  1/48 to 1/119 by cell: with the same learning rate it takes smaller steps. Whether `paper` should scale it
  on 100 classes was never tried.
- "M = 3" of RandAugment is read as 3 of torchvision's 31 strengths, which is nearly the identity.
- Three things keep the teacher's side apart, and each can be taken back alone: the moving average (`decay=0`:
  the teacher is the student), then the stop-gradient (`stop_gradient=False`), then BatchNorm's statistics
  (`joint_batch=True`). The gradient of a moving average is nobody's, so the last two need `decay=0`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Bound, Settings, refuse
from ..toolbox import losses
from ..toolbox.averaging import update_teacher


@dataclass(frozen=True, kw_only=True)
class NRD(Settings):
    """Noise-robust distillation: an averaged teacher labels views the student never trains on."""

    pi: tuple[float, ...] = (0.2, 0.6, 0.2)  # weights of label, student, teacher; sum 1; Table 5
    decay: float = 0.99  # of the teacher's moving average, Eq. (24); 0 = the teacher is the student
    teacher_view: str = "augmix"  # augmentation of the images that the teacher labels
    scale_jsd: bool = False  # divide the divergence by -(1 - pi1) ln(1 - pi1), as GJS does
    teacher_batch_statistics: bool = True  # the teacher labels with its batch's BatchNorm statistics
    stop_gradient: bool = True  # no gradient through the teacher's side; False needs decay 0
    joint_batch: bool = False  # both views are one batch, which BatchNorm sees together; needs decay 0

    search: ClassVar[dict] = {**Settings.search, "decay": (0.9, 0.999)}
    family: ClassVar[str] = "the five papers"
    color: ClassVar[str | None] = "blue"
    paper: ClassVar[str | None] = "nrd"
    # The divergence as printed has a gradient 13 times smaller than cross-entropy's at the start and
    # underfits its given labels in 50 epochs of real images; the scale of the GJS code makes up for it.
    demo: ClassVar[dict] = {"scale_jsd": True}
    memorise: ClassVar[dict] = {"scale_jsd": False}  # by --noisy-val on 10,000 images: .534, scaled .477
    controls: ClassVar[dict] = {
        "seen_view": {"teacher_view": "crop"},  # the teacher labels views that the student trains on
        "no_average": {"decay": 0.0},  # the teacher is the student
    }
    bound: ClassVar[Bound] = Bound(
        ((1, 1, True),),
        (("preact_resnet18", 32), ("preact_resnet34_cifar", 32), ("small_cnn", 16)),
        {"view": "randaugment"},
    )

    @classmethod
    def read_cell(cls, cell: dict, dataset: str) -> dict:
        """pi1, pi2, pi3 are one setting, the moving average's beta is `decay`."""
        if {"pi1", "pi2", "pi3"} <= set(cell):
            cell = cell | {"pi": (cell["pi1"], cell["pi2"], cell["pi3"])}
        if "ema_beta" in cell:
            cell = cell | {"decay": cell["ema_beta"]}
        return cell | ({"teacher_view": "imagenet_augmix"} if dataset == "webvision" else {})

    def __post_init__(self):
        super().__post_init__()
        refuse(
            len(self.pi) != 3 or any(not 0 < w < 1 for w in self.pi) or abs(sum(self.pi) - 1) > 1e-6,
            f"pi {self.pi} is not allowed: three weights, each inside (0, 1), that sum to 1",
        )
        refuse(not 0 <= self.decay < 1, f"decay {self.decay} is outside [0, 1)")
        refuse(
            self.decay > 0 and (self.joint_batch or not self.stop_gradient),
            f"stop_gradient {self.stop_gradient}, joint_batch {self.joint_batch}: not possible with decay "
            f"{self.decay:g}; gradient and batch can be shared where the teacher is the student, decay 0",
        )


def train_nrd(data: NoisyData, settings: NRD, run: Run) -> None:
    """Algorithm 1: minimise JSD_pi(y, y_s, y_t) (25), y_s by the student (26), y_t by the teacher (27)."""
    student = run.network()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer, schedule = run.sgd(student, settings)
    clean_score = torch.full((len(data),), float("nan"), device=run.device)  # NaN = not yet seen
    new_labels = torch.nn.functional.one_hot(data.y, data.num_classes).float()
    state = run.state(
        student=student,
        teacher=teacher,
        optimizer=optimizer,
        schedule=schedule,
        clean_score=clean_score,
        new_labels=new_labels,
        tested="student",
        also_tested="teacher",
    )
    student_forward, teacher_forward = run.compiled(student), run.compiled(teacher)
    for epoch in run.epochs(state, settings.epochs):
        teacher.train(settings.teacher_batch_statistics)
        for (x_s, x_t), y, idx in data.batches(epoch, views=(settings.view, settings.teacher_view)):
            # the idea: the target comes from views that the student is never trained on
            if settings.joint_batch:
                with run.autocast():
                    y_s, y_t = student_forward(torch.cat((x_s, x_t))).float().softmax(1).chunk(2)
            else:
                with torch.set_grad_enabled(not settings.stop_gradient), run.autocast():
                    y_t = (teacher_forward if settings.stop_gradient else student_forward)(x_t)
                    y_t = y_t.float().softmax(1)  # (B, K)
                with run.autocast():
                    y_s = student_forward(x_s).float().softmax(1)  # (B, K)
            y_t = y_t.detach() if settings.stop_gradient else y_t
            loss = nrd_loss(settings.pi, y, y_s, y_t, scale=settings.scale_jsd)  # (B,)
            optimizer.zero_grad()
            run.total(jsd=loss.mean()).backward()
            optimizer.step()
            update_teacher(
                teacher, student, settings.decay, average_buffers=not settings.teacher_batch_statistics
            )
            y_t = y_t.detach()
            new_labels[idx] = y_t
            clean_score[idx] = y_t.gather(1, y[:, None]).squeeze(1)
        schedule.step()
        run.log(clean_score=clean_score, new_labels=new_labels)


def nrd_loss(pi, y, y_s, y_t, scale: bool = False):
    """Eq. (25): JSD_pi(onehot(y), y_s, y_t) (B,). y (B,): classes; y_s, y_t (B, K): probabilities."""
    onehot = torch.nn.functional.one_hot(y, y_s.shape[1]).float()
    divergence = losses.jsd(pi, onehot, y_s, y_t)
    return divergence / -((1 - pi[0]) * math.log(1 - pi[0])) if scale else divergence


METHODS = {"nrd": (train_nrd, NRD)}
