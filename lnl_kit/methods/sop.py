"""SOP and SOP+: Robust Training under Label Noise by Over-parameterization (Liu, Zhu, Qu, You; ICML 2022).

Wrong labels are few among all entries of all labels: they are sparse. So each image gets variables of its
own, u and v, that may take over what its label says and the network does not: s = u*u*y - v*v*(1 - y),
added to the prediction. Learned by gradient descent from nearly 0, a square stays sparse: it grows where
the loss insists, on wrong labels, and hardly elsewhere. SOP+ adds consistency with a strong view (Xie et
al. 2020) and evenness over the classes (Tanaka et al. 2018).

Where this differs, or chooses what the paper leaves to its release:
- The network and u learn by cross-entropy, v by the squared error of the network's class, as in the
  paper.
- What is added, and the corrected prediction, are kept 1e-4 away from their ends, as in the release.
- u and v move by their learning rate along the gradient of the batch's mean loss: at twice the batch size
  each image's own step is half as large.
- The release's strong view has Cutout after AutoAugment; this one has not.
- The rates are those of its experiments with symmetric noise on CIFAR-10; CIFAR-100 has 1 for u, and 100
  for v where noise is asymmetric. Evenness is that of the corrected predictions, as in the release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses
from ..toolbox.rng import generator

EPSILON = 1e-4  # corrected predictions are at least this large, squares at most 1 - EPSILON; the release
START = 1e-8  # standard deviation of u and v at the start; the release


@dataclass(frozen=True, kw_only=True)
class SOP(Settings):
    """SOP: variables of each image's own take over what its wrong label says, sparsely by their squares."""

    u_learning_rate: float = 10.0  # alpha_u: step of u, what is added to the given class; Table A.1
    v_learning_rate: float = 10.0  # alpha_v: step of v, what is taken from the other classes; Table A.1

    search: ClassVar[dict] = {
        **Settings.search,
        "u_learning_rate": (0.1, 100.0, "log"),
        "v_learning_rate": (0.1, 100.0, "log"),
    }
    family: ClassVar[str] = "a loss"
    controls: ClassVar[dict] = {"no_noise": {"u_learning_rate": 0.0, "v_learning_rate": 0.0}}

    @property
    def views(self) -> tuple[str, ...]:
        """The augmentations that an image is seen under, that of the label first."""
        return (self.view,)

    def __post_init__(self):
        super().__post_init__()
        refuse(
            min(self.u_learning_rate, self.v_learning_rate) < 0,
            f"u_learning_rate {self.u_learning_rate} and v_learning_rate {self.v_learning_rate} must be 0 or "
            "more",
        )

    def more_terms(self, logits: Tensor, corrected: Tensor) -> dict[str, Tensor]:
        """Terms beside the two of the labels, of all views' logits (V * B, K); SOP has none."""
        return {}


@dataclass(frozen=True, kw_only=True)
class SOPPlus(SOP):
    """SOP+: SOP, and the prediction of a strong view follows that of the ordinary one."""

    consistency: float = 0.9  # lambda_C: weight of the divergence between the two views; Table A.1
    evenness: float = 0.1  # lambda_B: weight of the classes' evenness in a batch; Table A.1
    strong_view: str = "autoaugment_crop"  # augmentation of the second view; the release adds Cutout

    @property
    def views(self) -> tuple[str, ...]:
        """The ordinary view and the strong one."""
        return self.view, self.strong_view

    def __post_init__(self):
        super().__post_init__()
        refuse(
            min(self.consistency, self.evenness) < 0,
            f"consistency {self.consistency} and evenness {self.evenness} must be 0 or more",
        )

    def more_terms(self, logits: Tensor, corrected: Tensor) -> dict[str, Tensor]:
        """Consistency of the two views, stacked in the logits, and evenness of what is corrected."""
        weak, strong = logits.chunk(2)
        return {
            "consistency": self.consistency * losses.consistency(weak, strong).mean(),
            "evenness": self.evenness * losses.evenness(corrected),
        }


def train_sop(data: NoisyData, settings: SOP, run: Run) -> None:
    """Each batch moves the network by both terms' sum, and its images' u (N, 1) and v (N, K) likewise."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    draw, k = generator(run.seed, "sop"), data.num_classes
    u, v = ((START * torch.randn(len(data), n, generator=draw)).to(run.device) for n in (1, k))
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, u=u, v=v, tested="network")
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        for x, y, idx in data.batches(epoch, views=settings.views):
            own_u, own_v = u[idx].requires_grad_(), v[idx].requires_grad_()
            with run.autocast():
                logits = forward(torch.cat(x))
            first, onehot = logits[: len(y)], F.one_hot(y, k).float()
            # the idea: what the label says and the network does not may go into u and v
            corrected = corrected_prediction(first.float().softmax(1), own_u, own_v.detach(), onehot)
            terms = {
                "labels": -(corrected.gather(1, y[:, None])).log().mean(),
                "others": squared_error(first.detach(), own_u.detach(), own_v, onehot).mean(),
            } | settings.more_terms(logits, corrected)
            optimizer.zero_grad()
            run.total(**terms).backward()
            optimizer.step()
            for all_images, own, rate in (
                (u, own_u, settings.u_learning_rate),
                (v, own_v, settings.v_learning_rate),
            ):
                if own.grad is not None:
                    all_images[idx] = own.detach() - rate * own.grad
        schedule.step()
        run.log(clean_score=-u[:, 0].abs().clamp(min=1e-30).log())


def noise(u: Tensor, v: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
    """(u*u*y, v*v*(1 - y)), each (B, K): what s adds to the given class and takes from the others."""
    added, taken = u.square() * onehot, v.square() * (1 - onehot)
    return added.clamp(max=1 - EPSILON), taken.clamp(max=1 - EPSILON)


def corrected_prediction(p: Tensor, u: Tensor, v: Tensor, onehot: Tensor) -> Tensor:
    """phi(p + s), (B, K), of predictions p (B, K): raised to EPSILON, then made to sum to 1."""
    added, taken = noise(u, v, onehot)
    raised = (p + added - taken).clamp(min=EPSILON)
    return (raised / raised.sum(1, keepdim=True)).clamp(min=EPSILON)


def squared_error(logits: Tensor, u: Tensor, v: Tensor, onehot: Tensor) -> Tensor:
    """|onehot(the network's class) + s - y|^2, (B,), which v learns by."""
    added, taken = noise(u, v, onehot)
    predicted = F.one_hot(logits.argmax(1), onehot.shape[1]).float()
    return (predicted + added - taken - onehot).square().sum(1)


METHODS = {
    "sop": (train_sop, SOP),
    "sop_plus": (train_sop, SOPPlus),
}
