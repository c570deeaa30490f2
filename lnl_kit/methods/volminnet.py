"""VolMinNet: Provably End-to-end Label-Noise Learning without Anchor Points (Li, Liu, Han, Niu, Sugiyama;
ICML 2021).

Forward correction with a transition matrix T that is learned together with the network. Many T explain
the given labels equally well; where clean posteriors are spread widely enough, the true one spans the
smallest volume, so log det T is minimised beside the cross-entropy.

Where this differs: the epochs and the network's learning rate are the recipe's; T's own rate falls with
it, as in the release. The start is the release's for CIFAR-10, where each wrong class has sigmoid(-2) =
0.12 beside 1 for the right one; CIFAR-100 starts from -4.5 and its T learns by Adam there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses


@dataclass(frozen=True, kw_only=True)
class VolMinNet(Settings):
    """VolMinNet: forward correction whose transition matrix is learned, kept small in volume."""

    volume: float = 1e-4  # lambda: weight of log det T; Sec. 4
    transition_start: float = -2.0  # w: a wrong class has sigmoid(w) beside 1 at the start; its release
    transition_learning_rate: float = 0.01  # of T's weights, by SGD with the recipe's momentum; its release

    search: ClassVar[dict] = {
        **Settings.search,
        "transition_learning_rate": (1e-3, 10.0, "log"),
        "volume": (1e-5, 1e-2, "log"),
    }
    family: ClassVar[str] = "a transition matrix"
    # By --noisy-val on digits, asymmetric 0.4, seed 0: .771; with 0.01, which hardly moves T in 660 steps,
    # .764, with 1 .674.
    quick: ClassVar[dict] = {"transition_learning_rate": 0.1}
    controls: ClassVar[dict] = {"no_volume": {"volume": 0.0}}

    def __post_init__(self):
        super().__post_init__()
        refuse(self.volume < 0, f"volume {self.volume} is not allowed: 0 or more")
        refuse(
            not self.transition_learning_rate > 0,
            f"transition_learning_rate {self.transition_learning_rate} is not allowed: above 0",
        )


class Transition(nn.Module):
    """T (K, K) by weights w (K, K): a diagonal of 1 beside sigmoid(w), each row made to sum to 1.

    The diagonal is always the largest of its row, as the paper assumes.
    """

    def __init__(self, num_classes: int, start: float):
        super().__init__()
        self.w = nn.Parameter(torch.full((num_classes, num_classes), float(start)))

    def forward(self) -> Tensor:
        eye = torch.eye(len(self.w), device=self.w.device)
        T = eye + (1 - eye) * self.w.sigmoid()
        return T / T.sum(1, keepdim=True)


def train_volminnet(data: NoisyData, settings: VolMinNet, run: Run) -> None:
    """Network and T by one loss, each with an optimiser of its own."""
    network, transition = run.network(), Transition(data.num_classes, settings.transition_start)
    transition.to(run.device)
    optimizer, schedule = run.sgd(network, settings)
    of_transition = dataclasses.replace(
        settings, learning_rate=settings.transition_learning_rate, weight_decay=0.0
    )
    transition_optimizer, transition_schedule = run.sgd(transition, of_transition)
    state = run.state(
        network=network,
        transition=transition,
        optimizer=optimizer,
        schedule=schedule,
        transition_optimizer=transition_optimizer,
        transition_schedule=transition_schedule,
        tested="network",
    )
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        for x, y, _ in data.batches(epoch, views=settings.view):
            with run.autocast():
                logits = forward(x)
            T = transition()
            optimizer.zero_grad()
            transition_optimizer.zero_grad()
            run.total(
                labels=losses.forward_corrected(logits, y, T).mean(), volume=settings.volume * log_volume(T)
            ).backward()
            optimizer.step()
            transition_optimizer.step()
        schedule.step()
        transition_schedule.step()
        run.log(transition=transition().detach())


def log_volume(T: Tensor) -> Tensor:
    """log |det T| (0-d), of T (K, K)."""
    return torch.linalg.slogdet(T).logabsdet


METHODS = {"volminnet": (train_volminnet, VolMinNet)}
