"""Each loss against a slow loop over images and classes in float64, at its limits, and at extreme logits."""

import math

import numpy as np
import pytest
import torch

from lnl_kit.toolbox import losses

B, K = 12, 5
TRANSITION = [[0.8 if i == j else 0.05 for j in range(5)] for i in range(5)]  # row = true class


def softmax(row):
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / sum(e) for v in e]


def onehot(y):
    return [float(k == y) for k in range(K)]


def slow_ce(p, t):
    return -sum(t[k] * math.log(p[k]) for k in range(K) if t[k] > 0)


def slow_rce(p, t):
    return -sum(p[k] * math.log(max(t[k], 1e-4)) for k in range(K))


def slow_kl(p, m):
    return sum(p[k] * math.log(p[k] / m[k]) for k in range(K) if p[k] > 0)


def slow_jsd(pi, *ps):
    m = [sum(w * p[k] for w, p in zip(pi, ps)) for k in range(K)]
    return sum(w * slow_kl(p, m) for w, p in zip(pi, ps))


def slow_js(p, t, pi1, scale=True):
    return slow_jsd((pi1, 1 - pi1), t, p) / (-(1 - pi1) * math.log(1 - pi1) if scale else 1)


def blend(beta, t, other):
    return [(1 - beta) * t[k] + beta * other[k] for k in range(K)]


CASES = {  # name: (loss with its parameters, the same for one image as a function of p and t)
    "cross_entropy": (losses.cross_entropy, slow_ce),
    "mae": (losses.mae, lambda p, t: sum(t[k] * (1 - p[k]) for k in range(K))),
    "label_smoothing": (
        lambda z, t: losses.label_smoothing(z, t, 0.3),
        lambda p, t: slow_ce(p, blend(0.3, t, [1 / K] * K)),
    ),
    "bootstrap_soft": (
        lambda z, t: losses.bootstrap_soft(z, t, 0.7),
        lambda p, t: slow_ce(p, blend(0.7, t, p)),
    ),
    "bootstrap_hard": (
        lambda z, t: losses.bootstrap_hard(z, t, 0.7),
        lambda p, t: slow_ce(p, blend(0.7, t, onehot(p.index(max(p))))),
    ),
    "cores": (
        lambda z, t: losses.cores(z, t, torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2]), 0.5),
        lambda p, t: (
            slow_ce(p, t) + 0.5 * sum(w * math.log(q + 1e-8) for w, q in zip((0.1, 0.2, 0.3, 0.2, 0.2), p))
        ),
    ),
    "forward_corrected": (
        lambda z, t: losses.forward_corrected(z, t, torch.tensor(TRANSITION)),
        lambda p, t: -math.log(sum(t[k] * sum(p[i] * TRANSITION[i][k] for i in range(K)) for k in range(K))),
    ),
    "imae": (
        lambda z, t: losses.imae(z, t, 8.0),
        lambda p, t: (
            slow_ce(p, t) * math.exp(8 * (q := sum(a * b for a, b in zip(p, t))) * (1 - q)) / (2 * (1 - q))
        ),
    ),
    "sce": (lambda z, t: losses.sce(z, t, 0.2, 0.5), lambda p, t: 0.2 * slow_ce(p, t) + 0.5 * slow_rce(p, t)),
    "gce": (
        lambda z, t: losses.gce(z, t, 0.7),
        lambda p, t: sum(t[k] * (1 - p[k] ** 0.7) / 0.7 for k in range(K)),
    ),
    "nce_rce": (
        lambda z, t: losses.nce_rce(z, t, 10, 0.1),
        lambda p, t: 10 * slow_ce(p, t) / -sum(map(math.log, p)) + 0.1 * slow_rce(p, t),
    ),
    "js": (lambda z, t: losses.js(z, t, 0.3), lambda p, t: slow_js(p, t, 0.3)),
    "js unscaled": (lambda z, t: losses.js(z, t, 0.3, scale=False), lambda p, t: slow_js(p, t, 0.3, False)),
}


def batch(dtype=torch.float32, size=3.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = (size * torch.randn(B, K, generator=g)).to(dtype)
    return logits, torch.randint(K, (B,), generator=g), torch.randn(B, K, generator=g).softmax(1)


# float64 too: whatever comes in, the work is done in float32
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_against_a_slow_loop(name, dtype):
    loss, slow = CASES[name]
    logits, y, soft = batch(dtype)
    for target, rows in ((y, [onehot(c) for c in y.tolist()]), (soft, soft.double().tolist())):
        got = loss(logits, target)
        assert got.shape == (B,) and got.dtype == torch.float32
        expected = [slow(softmax(z), t) for z, t in zip(logits.double().tolist(), rows)]
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name", [name for name in CASES if name != "imae"]
)  # whose gradient is not that of its value: see its own test
def test_gradient_against_finite_differences_of_the_slow_loop(name, dtype):
    loss, slow = CASES[name]
    logits, y, _ = batch(dtype)
    logits.requires_grad_()
    loss(logits, y).sum().backward()
    assert logits.grad.abs().sum() > 0
    for i in range(3):
        z = logits[i].detach().double().tolist()
        for k in range(K):
            up, down = ([v + (j == k) * step for j, v in enumerate(z)] for step in (1e-5, -1e-5))
            expected = (slow(softmax(up), onehot(y[i])) - slow(softmax(down), onehot(y[i]))) / 2e-5
            # the gradient comes in the precision of the logits
            tolerance = 1e-5 if dtype == torch.float32 else 0.01 * max(1, abs(expected))
            assert float(logits.grad[i, k]) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*CASES, "gjs"])
def test_finite_at_extreme_logits(name, dtype):
    """+-80 for one class against the rest, for all alike, and scattered; the label on either side."""

    def gjs(z, t):
        return losses.gjs((z, -z), t, 0.3)

    loss = gjs if name == "gjs" else CASES[name][0]
    rows = [[80, -80, -80, -80, -80], [-80, 80, 80, 80, 80], [80] * 5, [-80] * 5, [80, -80, 0, 80, -80]]
    logits = torch.tensor(rows, dtype=dtype).repeat(2, 1).requires_grad_()
    hard = torch.tensor([0] * 5 + [1] * 5)
    for target in (hard, torch.nn.functional.one_hot(hard, K).float(), torch.full((10, K), 1 / K)):
        value = loss(logits, target)
        assert value.isfinite().all()
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert gradient.isfinite().all()
    assert loss(logits, hard)[5] > 0.5  # sure of class 0, labelled 1: a loss to speak of


def test_cross_entropy_still_pulls_at_extreme_logits():
    """log_softmax keeps the gradient where a clamped probability would have none."""
    for loss in (losses.cross_entropy, lambda z, t: losses.bootstrap_soft(z, t, 0.5)):
        logits = torch.tensor([[80.0, -80, 0, 0, 0]], requires_grad=True)
        loss(logits, torch.tensor([1])).sum().backward()
        assert logits.grad[0, 1] < -0.4
    assert losses.cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(160)


def close(a, b, **tolerance):
    np.testing.assert_allclose(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_limits(dtype):
    z, y, _ = batch(dtype)
    ce, mae = losses.cross_entropy(z, y), losses.mae(z, y)
    close(losses.gce(z, y, 1e-5), ce, rtol=1e-3)
    close(losses.gce(z, y, 1), mae)
    close(losses.bootstrap_soft(z, y, 0), ce)
    close(losses.bootstrap_hard(z, y, 0), ce)
    entropy = torch.distributions.Categorical(logits=z.float()).entropy()
    close(losses.bootstrap_soft(z, y, 1), entropy)
    close(losses.bootstrap_hard(z, y, 1), losses.cross_entropy(z, z.argmax(1)))
    close(losses.label_smoothing(z, y, 0), ce)
    close(losses.label_smoothing(z, y, 1), -z.float().log_softmax(1).mean(1))
    close(losses.sce(z, y, 1, 0), ce)
    close(losses.sce(z, y, 0, 1), -math.log(1e-4) * mae)  # reverse cross-entropy is a scaled MAE
    close(losses.nce_rce(z, y, 0, 1), -math.log(1e-4) * mae)
    every = torch.stack([losses.nce_rce(z, torch.full((B,), k), 1, 0) for k in range(K)])
    close(every.sum(0), torch.ones(B))  # the normalised loss sums to 1 over the classes


def test_js_goes_from_cross_entropy_to_mae():
    z, y, _ = batch(size=1.0)
    ce, mae, p_y = losses.cross_entropy(z, y), losses.mae(z, y), 1 - losses.mae(z, y)
    close(losses.js(z, y, 1e-3), ce, rtol=0.02, atol=1e-3)
    gaps = [(losses.js(z, y, pi1) - mae).abs().max().item() for pi1 in (0.5, 0.9, 0.99, 0.999)]
    assert gaps == sorted(gaps, reverse=True)
    # towards 1 the rest fades as 1/|ln(1 − π₁)|: (1 − p_y) + p_y ln p_y over it
    rest = (mae + p_y * p_y.log()) / -math.log(1e-3)
    close(losses.js(z, y, 0.999), mae + rest, rtol=5e-3, atol=2e-3)


def test_js_and_gjs_have_no_loss_on_a_certain_match():
    z, y = 80 * torch.eye(K), torch.arange(K)
    same = losses.jsd((0.5, 0.5), z.softmax(1), torch.eye(K))
    for value in (losses.js(z, y, 0.3), losses.gjs((z, z, z), y, 0.3), same):
        close(value, torch.zeros(K), atol=1e-6)


@pytest.mark.parametrize("scale", [True, False])
def test_gjs(scale):
    z, y, soft = batch()
    other, _, _ = batch(seed=1)
    close(losses.gjs((z, z), y, 0.3, scale), losses.js(z, y, 0.3, scale))  # equal views
    both = losses.gjs((z, other), y, 0.3, scale)
    close(losses.gjs(torch.stack((z, other)), y, 0.3, scale), both)
    close(losses.gjs((other, z), y, 0.3, scale), both)
    factor = -0.7 * math.log(0.7) if scale else 1
    for target, rows in ((y, [onehot(c) for c in y.tolist()]), (soft, soft.double().tolist())):
        expected = [
            slow_jsd((0.3, 0.35, 0.35), t, softmax(a), softmax(b)) / factor
            for t, a, b in zip(rows, z.double().tolist(), other.double().tolist())
        ]
        close(losses.gjs((z, other), target, 0.3, scale), expected)
    # three views
    expected = [
        slow_jsd((0.4, 0.2, 0.2, 0.2), onehot(c), softmax(a), softmax(b), softmax(a))
        for c, a, b in zip(y.tolist(), z.double().tolist(), other.double().tolist())
    ]
    close(losses.gjs((z, other, z), y, 0.4, scale=False), expected)


def test_gjs_is_js_of_the_mean_prediction_plus_consistency():
    z, y, _ = batch()
    p, q = z.softmax(1), batch(seed=1)[0].softmax(1)
    label = torch.eye(K)[y]
    close(
        losses.jsd((0.3, 0.35, 0.35), label, p, q),
        losses.jsd((0.3, 0.7), label, (p + q) / 2) + 0.7 * losses.jsd((0.5, 0.5), p, q),
    )


def test_gjs_sends_gradient_to_every_view():
    z, y, _ = batch()
    views = [z.clone().requires_grad_(), batch(seed=1)[0].requires_grad_()]
    losses.gjs(views, y, 0.3).sum().backward()
    assert all(view.grad.abs().sum() > 0 for view in views)


def test_jsd_against_a_slow_loop():
    _, y, a = batch()
    b, c = batch(seed=1)[2], batch(seed=2)[2]
    label = torch.nn.functional.one_hot(y, K).float()
    pi = (0.2, 0.6, 0.2)
    rows = list(zip(label.double().tolist(), a.double().tolist(), b.double().tolist(), c.double().tolist()))
    close(losses.jsd(pi, label, a, b), [slow_jsd(pi, *row[:3]) for row in rows])
    four = (0.1, 0.2, 0.3, 0.4)
    close(losses.jsd(four, label, a, b, c), [slow_jsd(four, *row) for row in rows])
    low = losses.jsd(pi, label.bfloat16(), a.bfloat16(), b.bfloat16())
    assert low.dtype == torch.float32
    close(low, losses.jsd(pi, label, a, b), atol=0.02)


def test_jsd_limits():
    eye = torch.eye(K)
    p = batch()[2]
    close(losses.jsd((0.2, 0.6, 0.2), p, p, p), torch.zeros(B))
    # disjoint distributions: the entropy of the weights
    apart = losses.jsd((0.2, 0.6, 0.2), eye[:1], eye[1:2], eye[2:3])
    close(apart, [-(0.4 * math.log(0.2) + 0.6 * math.log(0.6))])
    close(losses.jsd((0.0, 1.0), eye, p[:K]), torch.zeros(K))  # one distribution alone


def test_jsd_gradient_at_the_start():
    """Uniform student and teacher, K = 10, π = (.2, .6, .2): −0.068 on the label's logit; CE −0.9."""
    z = torch.zeros(1, 10, requires_grad=True)
    label, teacher = torch.nn.functional.one_hot(torch.tensor([3]), 10).float(), torch.full((1, 10), 0.1)
    (gradient,) = torch.autograd.grad(losses.jsd((0.2, 0.6, 0.2), label, z.softmax(1), teacher).sum(), z)
    assert gradient[0, 3].item() == pytest.approx(-0.068, abs=5e-4)
    (gradient,) = torch.autograd.grad(losses.cross_entropy(z, torch.tensor([3])).sum(), z)
    assert gradient[0, 3].item() == pytest.approx(-0.9)


def test_jsd_leaves_a_detached_teacher_alone():
    student, teacher = batch()[0].requires_grad_(), batch(seed=1)[0].requires_grad_()
    label = torch.eye(K)[batch()[1]]
    losses.jsd((0.2, 0.6, 0.2), label, student.softmax(1), teacher.softmax(1).detach()).sum().backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_wrong_parameters():
    z, y, p = batch()
    for q in (0, 1.5):
        with pytest.raises(ValueError, match=rf"q is {q}; it lies in \(0, 1\]"):
            losses.gce(z, y, q)
    for pi1 in (0, 1):
        with pytest.raises(ValueError, match=f"pi1 is {pi1}"):
            losses.js(z, y, pi1)
    for loss in (losses.bootstrap_soft, losses.bootstrap_hard, losses.label_smoothing):
        with pytest.raises(ValueError, match=r"is 1.2; it lies in \[0, 1\]"):
            loss(z, y, 1.2)
    for pi in ((0.5, 0.6), (0.5, 0.25, 0.25), (1.5, -0.5), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match="sum to 1"):
            losses.jsd(pi, p, p)


@pytest.mark.cuda
@pytest.mark.parametrize("name", CASES)
def test_cuda_agrees_with_cpu(name):
    logits, y, soft = batch()
    for target in (y, soft):
        close(CASES[name][0](logits.cuda(), target.cuda()).cpu(), CASES[name][0](logits, target))


def test_imae_weighs_uncertain_images_more_and_temperature_0_all_alike():
    z, y = torch.tensor([[4.0, 0, 0], [0.5, 0, 0], [-3.0, 0, 0]], requires_grad=True), torch.tensor([0, 0, 0])
    p = z.softmax(1)[:, 0].tolist()
    for temperature in (0.0, 8.0):
        z.grad = None
        losses.imae(z, y, temperature).sum().backward()
        assert z.grad.abs().sum(1).tolist() == pytest.approx(
            [math.exp(temperature * q * (1 - q)) for q in p], rel=1e-5
        )
        assert (z.grad[:, 0] < 0).all()  # towards the given label


def test_evenness_is_the_divergence_of_the_mean_prediction_from_the_uniform():
    torch.manual_seed(0)
    probs = torch.randn(6, 4).softmax(1)
    assert losses.evenness(probs).item() == pytest.approx(
        sum(0.25 * math.log(0.25 / p) for p in probs.mean(0).tolist()), abs=1e-5
    )
    assert losses.evenness(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
