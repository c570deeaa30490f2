import importlib.util
import urllib.error

import numpy as np
import pytest
import torch
import torchvision

from lnl_kit.toolbox import models, resnets

PARAMETERS = {  # 10 classes, 3 channels
    "small_cnn": 94_122,
    "airbench": 498_114,
    "preact_resnet18": 11_171_146,
    "preact_resnet34": 21_279_306,
    "preact_resnet34_cifar": 1_860_138,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_528_522,
    "resnet18_imagenet": 11_181_642,
    "resnet50_imagenet": 23_528_522,
    "inception_resnet_v2": 54_321_834,
}
SMALLEST = {"inception_resnet_v2": 75}  # pixels a side
without_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
every_network = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=without_timm) if name == "inception_resnet_v2" else name
        for name in models.NAMES
        if name not in models.HEADS
    ],
)


def count(net):
    return sum(p.numel() for p in net.parameters())


def build(name, num_classes=10, channels=3, seed=0):
    torch.manual_seed(seed)
    return models.make(name, num_classes, channels, pretrained=False)


def test_every_name_has_a_count():
    assert set(models.NAMES) - set(models.HEADS) == set(PARAMETERS)  # heads have a test of their own


@every_network
def test_parameter_counts(name):
    with torch.device("meta"):  # shapes without memory
        ten, hundred = (models.make(name, k, pretrained=False) for k in (10, 100))
    assert count(ten) == PARAMETERS[name]
    assert count(hundred) == PARAMETERS[name] + 90 * (ten.head.in_features + 1)


def test_parameter_counts_by_hand():
    """The three-stage network, convolution by convolution."""
    convolutions = 3 * 9 * 32
    norms, inputs = 0, 32
    for width in (32, 64, 128):
        for _i in range(5):
            shortcut = inputs * width if inputs != width else 0
            convolutions += 9 * inputs * width + 9 * width * width + shortcut
            norms += 2 * inputs + 2 * width
            inputs = width
    assert PARAMETERS["preact_resnet34_cifar"] == convolutions + norms + 2 * 128 + 128 * 10 + 10


def test_airbench_by_hand():
    """Its layers one by one, and the sizes that they leave of 32 pixels: 31, 15, 7, 3."""
    convolutions, norms, inputs = 3 * 4 * 24 + 24, 0, 24
    for width in (32, 128, 128):
        convolutions += 9 * inputs * width + 9 * width * width
        norms += 4 * width
        inputs = width
    assert PARAMETERS["airbench"] == convolutions + norms + 128 * 10 + 10
    assert build("airbench").eval().feature_map(torch.zeros(2, 3, 32, 32)).shape == (2, 128, 3, 3)


@pytest.mark.parametrize(
    "name, reference",
    [
        ("resnet18", torchvision.models.resnet18),
        ("resnet34", torchvision.models.resnet34),
        ("resnet50", torchvision.models.resnet50),
    ],
)
def test_counts_against_torchvision(name, reference):
    stem = 0 if name == "resnet50" else 64 * 3 * (7 * 7 - 3 * 3)
    with torch.device("meta"):
        theirs = reference(num_classes=10)
    assert PARAMETERS[name] == count(theirs) - stem


def test_resnet50_is_torchvisions():
    ours = build("resnet50").eval()
    with torch.device("meta"):
        theirs = torchvision.models.resnet50(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))


# name -> (width, how much smaller than the image the feature map is)
GRID = {
    "small_cnn": (64, 4),
    "airbench": (128, 11),
    "preact_resnet18": (512, 8),
    "preact_resnet34": (512, 8),
    "preact_resnet34_cifar": (128, 4),
    "resnet18": (512, 8),
    "resnet34": (512, 8),
    "resnet50": (2048, 32),
    "resnet18_imagenet": (512, 32),
    "resnet50_imagenet": (2048, 32),
    "inception_resnet_v2": (1536, 75),
}


@pytest.mark.parametrize("channels, size", [(1, 16), (3, 32)])
@every_network
def test_shapes_and_head(name, channels, size):
    net = build(name, 7, channels).eval()
    size = max(size, SMALLEST.get(name, 0))
    x = torch.randn(2, channels, size, size)
    width, stride = GRID[name]
    side = (
        1 if (name, size) == ("airbench", 16) else -(-size // stride)
    )  # it drops a border pixel at each of three pools
    maps, features, logits = net.feature_map(x), net.features(x), net(x)
    assert maps.shape == (2, width, side, side)
    assert features.shape == (2, width) and logits.shape == (2, 7)
    torch.testing.assert_close(features, torch.nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1))
    assert isinstance(net.head, torch.nn.Linear)
    torch.testing.assert_close(features @ net.head.weight.T + net.head.bias, logits)


@every_network
def test_gradients_reach_every_parameter(name):
    net = build(name, 10, 1)
    size = SMALLEST.get(name, 16)
    net(torch.randn(4, 1, size, size)).square().sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ["small_cnn", "preact_resnet34_cifar"])
def test_weights_follow_the_seed(name):
    one, same, other = build(name).state_dict(), build(name).state_dict(), build(name, seed=1).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_pre_activation_block_by_hand():
    """He et al. 2016: x + conv(relu(bn(conv(relu(bn(x)))))), with plain out-of-place operations."""
    torch.manual_seed(0)
    x = torch.randn(4, 8, 6, 6)
    for block in (models.PreActBlock(8, 8, 1), models.PreActBlock(8, 16, 2)):
        before = x.clone()
        relu = torch.relu
        pre = relu(block.bn1(x))
        shortcut = x if block.shortcut is None else block.shortcut(pre)
        expected = shortcut + block.conv2(relu(block.bn2(block.conv1(pre))))
        torch.testing.assert_close(block(x), expected)
        assert torch.equal(x, before)  # in-place operations never touch the input
    assert models.PreActBlock(8, 16, 2).shortcut is not None


def test_in_place_operations_leave_the_gradient_alone():
    """Finite differences of the whole small network in float64."""
    net = build("small_cnn", 3, 1).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    net(x)[:, 0].square().sum().backward()
    step = torch.zeros_like(x)
    step[1, 0, 3, 4] = 1e-6
    with torch.no_grad():
        up, down = (net(x + s)[:, 0].square().sum() for s in (step, -step))
    assert ((up - down) / 2e-6).item() == pytest.approx(x.grad[1, 0, 3, 4].item(), rel=1e-4)


def test_channels_last_and_bfloat16_give_the_same():
    net = build("preact_resnet34_cifar").eval()
    x = torch.randn(4, 3, 32, 32)
    plain = net(x)
    fast = net.to(memory_format=torch.channels_last)
    last = fast(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = fast(x).float()
    assert (low - plain).abs().max() < 0.05 * plain.abs().max()


def test_wrong_requests():
    with pytest.raises(ValueError, match="unknown network 'resnet17'; choose one of small_cnn, "):
        models.make("resnet17", 10)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        models.make("small_cnn", 10, 4)
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        models.make("small_cnn", 1)


@pytest.mark.cuda
@every_network
def test_cuda_agrees_with_cpu(name):
    net = build(name).eval()
    size = SMALLEST.get(name, 32)
    x = torch.from_numpy(np.random.RandomState(0).randn(4, 3, size, size).astype(np.float32))
    expected = net(x)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        got = net.cuda()(x.cuda()).cpu()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- ImageNet's weights, timm


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_imagenet_weights_are_loaded_but_for_the_head(monkeypatch, name):
    theirs = getattr(torchvision.models, name)().state_dict()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda url, **_: theirs)
    torch.manual_seed(0)
    net = models.make(f"{name}_imagenet", 14)
    assert net.head.out_features == 14 and all(
        torch.equal(value, theirs[key])
        for key, value in net.state_dict().items()
        if not key.startswith("fc.")
    )
    assert name == "resnet18" or torch.equal(
        net.head.weight, build(name, 14).head.weight
    )  # the head follows the seed
    assert not torch.equal(build(f"{name}_imagenet", 14).conv1.weight, theirs["conv1.weight"])
    with pytest.raises(ValueError, match="images of 3 channels, not 1"):
        models.make(f"{name}_imagenet", 14, 1)


def test_without_network_one_sentence_says_where_the_weights_go(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        models.make("resnet50_imagenet", 14)
    message, path = str(error.value), tmp_path / "hub/checkpoints/resnet50-0676ba61.pth"
    assert str(path) in message and "https://download.pytorch.org/models/resnet50-0676ba61.pth" in message
    assert "no route" in message and "\n" not in message
    torch.save({k: v.bfloat16() for k, v in build("resnet50", 1000).state_dict().items()}, path)  # as it says
    with pytest.raises(ValueError, match="not the file that its name says"):
        models.make("resnet50_imagenet", 14)
    monkeypatch.setattr(resnets, "_has_its_hash", lambda path: True)
    assert models.make("resnet50_imagenet", 14).head.out_features == 14


def unreachable(*args, **options):
    raise urllib.error.URLError("no route")


def test_without_timm_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="inception_resnet_v2 needs the library timm: pip install timm"):
        models.check("inception_resnet_v2")
    models.check("resnet50")


@without_timm
def test_inception_is_timms_and_refuses_small_images():
    import timm

    ours = build("inception_resnet_v2").eval()
    with torch.device("meta"):
        theirs = timm.create_model("inception_resnet_v2", num_classes=10).eval()
    weights = {
        key.removeprefix("body.").replace("head.", "classif."): v for key, v in ours.state_dict().items()
    }
    theirs.load_state_dict(weights, assign=True)
    x = torch.randn(2, 3, 80, 80)
    torch.testing.assert_close(ours(x), theirs(x))
    with pytest.raises(ValueError, match="at least 75 pixels a side, not 32"):
        ours(torch.randn(1, 3, 32, 32))
