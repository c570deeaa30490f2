"""Losses per sample: loss(logits (B, K), target) -> (B,), in float32 whatever the input's precision.

`target` is (B,) int64 classes or (B, K) probabilities t. p = softmax(logits); p_y is the probability of the
given label, which for soft targets becomes its mean under t. Values and gradients stay finite: logarithms are
taken by log_softmax, or of probabilities clamped at 1e-7.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-7  # probabilities below this are raised to it inside a logarithm
SMALLEST_LABEL = 1e-4  # the same for one-hot labels in reverse cross-entropy: log 0 is "defined" as log 1e-4


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy −Σ_k t_k log p_k. (B, K), (B,) or (B, K) -> (B,)."""
    return F.cross_entropy(logits.float(), _target(target), reduction="none")


def mae(logits: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error in the form 1 − p_y: half of Σ_k |onehot_k − p_k| (Ghosh et al. 2017)."""
    return 1 - _mean_under(target, logits.float().softmax(1))


def label_smoothing(logits: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy with the target (1 − ε) onehot + ε/K (Szegedy et al. 2016, Sec. 7)."""
    _in_unit_interval("label smoothing's epsilon", epsilon)
    return F.cross_entropy(logits.float(), _target(target), reduction="none", label_smoothing=epsilon)


def bootstrap_soft(logits: Tensor, target: Tensor, beta: float) -> Tensor:
    """Cross-entropy with the target (1 − β) onehot + β p (Reed et al. 2015, soft bootstrapping).

    β weighs the prediction, as in the tables of the papers compared here; Reed et al. write β for the label's
    weight. As in their text the prediction in the target is not detached: its term is β times p's entropy.
    """
    _in_unit_interval("bootstrapping's beta", beta)
    log_p = logits.float().log_softmax(1)
    return -(1 - beta) * _mean_under(target, log_p) - beta * (log_p.exp() * log_p).sum(1)


def bootstrap_hard(logits: Tensor, target: Tensor, beta: float) -> Tensor:
    """Cross-entropy with the target (1 − β) onehot + β onehot(argmax p) (Reed et al. 2015, the hard form);
    β weighs the prediction, as above."""
    _in_unit_interval("bootstrapping's beta", beta)
    log_p = logits.float().log_softmax(1)
    return -(1 - beta) * _mean_under(target, log_p) - beta * log_p.amax(1)


def sce(logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """Symmetric cross-entropy α CE + β RCE (Wang et al. 2019)."""
    return alpha * cross_entropy(logits, target) + beta * _reverse_cross_entropy(logits, target)


def cores(logits: Tensor, target: Tensor, prior: Tensor, beta: float) -> Tensor:
    """CE − β Σ_c prior_c · (−log(p_c + 1e-8)): CORES²'s regulariser (Cheng et al. 2021); prior (K,)."""
    return cross_entropy(logits, target) + beta * (logits.float().softmax(1) + 1e-8).log() @ prior.to(
        logits.device, torch.float32
    )


def forward_corrected(logits: Tensor, target: Tensor, transition: Tensor) -> Tensor:
    """−log Σ_i T[i, y] p_i, with T (K, K) = P(given | true): forward correction (Patrini et al. 2017, Theorem
    2); (B, K), (B,) -> (B,)."""
    return -_mean_under(target, logits.float().softmax(1) @ transition).clamp(min=SMALLEST).log()


def imae(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Improved MAE (Wang et al. 2019): cross-entropy whose gradient with respect to the logits has, for each
    image, the L1 norm exp(T p_y (1 − p_y)), in place of cross-entropy's 2 (1 − p_y) and MAE's 2 p_y (1 −
    p_y).

    The factor between the two carries no gradient; the value itself is that factor times cross-entropy.
    """
    loss = cross_entropy(logits, target)
    with torch.no_grad():
        p = _mean_under(target, logits.float().softmax(1))
        factor = (temperature * p * (1 - p)).exp() / (2 * (1 - p).clamp(min=SMALLEST))
    return factor * loss


def gce(logits: Tensor, target: Tensor, q: float) -> Tensor:
    """Generalised cross-entropy (1 − p_y^q) / q, q in (0, 1] (Zhang & Sabuncu 2018); MAE at 1, CE near 0."""
    if not 0 < q <= 1:
        raise ValueError(f"generalised cross-entropy's q is {q}; it lies in (0, 1]")
    # expm1 keeps the digits that 1 − p^q loses at small q
    return _mean_under(target, -torch.expm1(q * logits.float().log_softmax(1)) / q)


def nce_rce(logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """α NCE + β RCE, with NCE = log p_y / Σ_k log p_k (Ma et al. 2020)."""
    log_p = logits.float().log_softmax(1)
    return alpha * _mean_under(target, log_p) / log_p.sum(1) + beta * _reverse_cross_entropy(logits, target)


def js(logits: Tensor, target: Tensor, pi1: float, scale: bool = True) -> Tensor:
    """Jensen-Shannon loss JSD_π(onehot, p), π = (π₁, 1 − π₁) (Englesson & Azizpour 2021).

    Divided by −(1 − π₁) ln(1 − π₁) unless `scale` is False. Scaled, π₁ -> 0 gives CE and π₁ -> 1 gives MAE.
    """
    return gjs((logits,), target, pi1, scale)


def gjs(logits_views: Tensor | Sequence[Tensor], target: Tensor, pi1: float, scale: bool = True) -> Tensor:
    """Generalised Jensen-Shannon loss JSD_π(onehot, p_1 … p_V) of V views (Englesson & Azizpour 2021).

    logits_views (V, B, K), or V tensors (B, K). π₁ weighs the label; each view has the weight (1 − π₁) / V.
    Divided by −(1 − π₁) ln(1 − π₁) unless `scale` is False. Raises ValueError where π₁ is not inside (0, 1).
    """
    if not 0 < pi1 < 1:
        raise ValueError(f"the label's weight pi1 is {pi1}; it lies between 0 and 1, both excluded")
    probs = [logits.float().softmax(1) for logits in logits_views]
    weights = (pi1, *[(1 - pi1) / len(probs)] * len(probs))
    loss = jsd(weights, _probabilities(target, probs[0].shape[1]), *probs)
    return loss / (-(1 - pi1) * math.log1p(-pi1)) if scale else loss


def jsd(pi: Sequence[float], *probs: Tensor) -> Tensor:
    """Weighted Jensen-Shannon divergence of distributions p_i, each (B, K) -> (B,), in nats (NRD, Eq. 19).

    JSD_π = Σ_i π_i KL(p_i ‖ m) with m = Σ_i π_i p_i, computed as H(m) − Σ_i π_i H(p_i), which is the same.
    No scaling. A distribution that shall carry no gradient (a teacher's) comes in detached.
    Raises ValueError where the weights are not one per distribution, non-negative, and 1 in sum.
    """
    if len(pi) != len(probs) or min(pi) < 0 or not abs(sum(pi) - 1) <= 1e-6:
        raise ValueError(
            f"the weights {tuple(pi)} must be non-negative, one for each of the {len(probs)} "
            "distributions, and sum to 1"
        )
    parts = [p.float() for p in probs]
    mixture = added(weight * p for weight, p in zip(pi, parts))
    return entropy(mixture) - added(weight * entropy(p) for weight, p in zip(pi, parts))


def added(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one or more tensors of the same shape."""
    return functools.reduce(torch.add, terms)


# Losses that resist wrong labels, with the parameters their papers use most: name -> loss(logits, target) ->
# (B,)
ROBUST: dict[str, Callable[..., Tensor]] = {
    "gce": lambda logits, target, q=0.7: gce(logits, target, q),
    "mae": mae,
    "js": lambda logits, target: js(logits, target, 0.5),
    "sce": lambda logits, target: sce(logits, target, 0.1, 1.0),
    "nce_rce": lambda logits, target: nce_rce(logits, target, 1.0, 0.1),
}


def contrastive(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent of two views' projections z1, z2 (B, D) -> (2B,): each view has to find the other view of its
    image among all others of the batch, by cosine similarity / temperature (Chen et al. 2020, SimCLR, Eq. 1).
    """
    z = F.normalize(torch.cat((z1, z2)).float(), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(z1)), reduction="none")


def consistency(weak: Tensor, strong: Tensor) -> Tensor:
    """KL(p_weak ‖ p_strong) of two views' logits (B, K) -> (B,); the weak view's side carries no gradient."""
    target = weak.detach().float().softmax(1)
    return cross_entropy(strong, target) - entropy(target)


def entropy(p: Tensor) -> Tensor:
    """−Σ_k p_k log p_k, with 0 log 0 = 0: (B, K) -> (B,)."""
    return -(p * p.clamp(min=SMALLEST).log()).sum(1)


def evenness(p: Tensor) -> Tensor:
    """KL divergence of the batch's mean prediction from the uniform distribution, Σ_k 1/K log((1/K) /
    mean_k), 0-d, of
    probabilities (B, K): 0 where all classes are predicted equally often (Tanaka et al. 2018, with a uniform
    prior).
    """
    mean = p.float().mean(0)
    return -(mean.clamp(min=SMALLEST) * len(mean)).log().mean()


def _reverse_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−Σ_k p_k log t_k, with t raised to 1e-4 inside the logarithm (Wang et al. 2019, A = log 1e-4)."""
    p = logits.float().softmax(1)
    if target.ndim == 1:  # log 1 = 0 for the label, log 1e-4 for every other class
        return -math.log(SMALLEST_LABEL) * (1 - _mean_under(target, p))
    return -(p * target.float().clamp(min=SMALLEST_LABEL).log()).sum(1)


def _target(target: Tensor) -> Tensor:
    return target if target.ndim == 1 else target.float()


def _probabilities(target: Tensor, num_classes: int) -> Tensor:
    return F.one_hot(target, num_classes).float() if target.ndim == 1 else target.float()


def _mean_under(target: Tensor, values: Tensor) -> Tensor:
    """Σ_k t_k v_k, which for a class y is v_y: (B,) or (B, K), (B, K) -> (B,)."""
    if target.ndim == 1:
        return values.gather(1, target[:, None])[:, 0]
    return (target.float() * values).sum(1)


def _in_unit_interval(what: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{what} is {value}; it lies in [0, 1]")
