"""Batched augmentations against torchvision's, one image at a time, and against slow loops."""

import math

import pytest
import torch
from torchvision.transforms import autoaugment as reference_policies
from torchvision.transforms.v2 import functional as TF

from lnl_kit.bench.augment import _images, compare_with_pil, throughput
from lnl_kit.toolbox import augment
from lnl_kit.toolbox.augment import base, kernels, policies
from lnl_kit.toolbox.rng import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
# Magnitudes that an operation may meet, small, large and edge cases, in the units of apply_operations.
MAGNITUDES = {
    "Identity": [0.0], "ShearX": [0.03, 0.3, -0.17], "ShearY": [0.03, 0.3, -0.17],
    "TranslateX": [1.45, 14.5, -7.0, 0.0], "TranslateY": [1.45, 14.5, -7.0, 0.0],
    "Rotate": [3.0, 30.0, -11.5, 0.0], "Brightness": [0.09, 0.9, -0.9, 0.0],
    "Color": [0.09, 0.9, -0.9, 0.0], "Contrast": [0.09, 0.9, -0.9, 0.0], "Sharpness": [0.09, 0.9, -0.9, 0.0],
    "Posterize": [8.0, 4.0, 3.0, 1.0, 0.0], "Solarize": [255.0, 226.7, 128.0, 0.0], "AutoContrast": [0.0],
    "Equalize": [0.0], "Invert": [0.0], "Hue": [0.2, -0.5, 0.5, 0.03],
}  # fmt: skip


def images(n: int, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth images, pure noise, nearly flat ones, and one that is all one grey."""
    noise = torch.randint(
        0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator(seed, "noise")
    )
    smooth = _images(n, channels, size)
    x = torch.where(torch.arange(n)[:, None, None, None] % 3 > 0, smooth, noise)
    x[n // 4] = x[n // 4] // 8 + 100
    x[n // 2] = 77
    return x


def torchvision_operation(image: torch.Tensor, name: str, m: float, interpolation: str) -> torch.Tensor:
    """What torchvision's own policies do with one uint8 image (C, H, W)."""
    if name == "Hue":
        return TF.adjust_hue(image, m)
    mode = {"nearest": TF.InterpolationMode.NEAREST, "bilinear": TF.InterpolationMode.BILINEAR}[interpolation]
    return reference_policies._apply_op(image, name, m, mode, fill=None)


def difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.cpu().int() - b.cpu().int()).abs()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", augment.OPERATIONS)
def test_operation_agrees_with_torchvision(name, channels, device):
    x = images(12, channels)
    for interpolation in ("nearest", "bilinear") if name in GEOMETRIC else ("nearest",):
        for m in MAGNITUDES[name]:
            ours = augment.operation(x.to(device), name, torch.full((len(x),), m), interpolation)
            theirs = torch.stack([torchvision_operation(image, name, m, interpolation) for image in x])
            gap = difference(ours, theirs)
            if name not in GEOMETRIC:
                assert gap.max() <= 1, (m, gap.max())
            elif interpolation == "nearest":
                assert (gap > 0).float().mean() <= 0.005, m
            else:
                assert gap[..., 2:-2, 2:-2].max() <= 2, (m, gap.max())


def test_operations_of_a_batch_have_their_own_magnitudes():
    x = images(6)
    for name in (
        "Rotate",
        "ShearY",
        "TranslateX",
        "Brightness",
        "Contrast",
        "Posterize",
        "Solarize",
        "Sharpness",
    ):
        m = torch.tensor((MAGNITUDES[name] * 6)[:6])
        together = augment.operation(x, name, m)
        for i in range(6):
            assert (
                difference(together[i], torchvision_operation(x[i], name, float(m[i]), "nearest")).max() <= 1
            )


@pytest.mark.parametrize("name", ["Color", "Hue"])
def test_colour_operations_leave_grey_images_alone(name):
    x = images(8, channels=1)
    assert torch.equal(augment.operation(x, name, torch.full((8,), 0.4)), x)
    assert not torch.equal(augment.operation(images(8), name, torch.full((8,), 0.4)), images(8))


@pytest.mark.parametrize("name", ["TranslateX", "Rotate"])
def test_fill_is_the_grey_level_from_outside(name):
    x = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    y = augment.operation(x, name, torch.tensor([9.0, -9.0]), fill=77)
    assert set(y.unique().tolist()) == {77, 200}
    reference = torchvision_operation(x[0], name, 9.0, "nearest")  # black where we filled
    assert torch.equal(y[0] == 77, reference == 0)


def test_a_chain_is_its_operations_in_order():
    """Order matters for these: equalising after brightening is not brightening after equalising."""
    x = images(60)
    op = torch.stack(
        [torch.randperm(len(augment.OPERATIONS), generator=generator("op", i))[:4] for i in range(60)]
    )
    m = torch.tensor([[MAGNITUDES[augment.OPERATIONS[c]][0] for c in row] for row in op.tolist()])
    chained = kernels.apply_operations(x, op, m, "bilinear")
    for i in range(60):
        y = x[i : i + 1]
        for code, magnitude in zip(op[i].tolist(), m[i].tolist(), strict=True):
            y = augment.operation(y, augment.OPERATIONS[code], torch.tensor([magnitude]), "bilinear")
        assert torch.equal(chained[i], y[0]), [augment.OPERATIONS[c] for c in op[i].tolist()]


def test_crop_and_flip_are_a_slow_loop():
    x = images(40, size=16)
    crop = augment.CropFlip(3, 0.5, fill=9)
    params = crop.draw(40, generator(1), size=(16, 16))
    y = crop.apply(x, params)
    for i in range(40):
        top, left = int(params["top"][i]), int(params["left"][i])
        for v in range(16):
            for u in range(16):
                a, b = top + v, left + (15 - u if params["flip"][i] else u)
                inside = 0 <= a < 16 and 0 <= b < 16
                assert torch.equal(
                    y[i, :, v, u], x[i, :, a, b] if inside else torch.tensor([9] * 3, dtype=torch.uint8)
                )


def test_crop_and_flip_draw_every_shift_and_half_the_flips():
    params = augment.CropFlip(2, 0.5).draw(5000, generator(2))
    for name in ("top", "left"):
        values, counts = params[name].unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert (counts / 5000 - 0.2).abs().max() < 0.03
    assert abs(params["flip"].float().mean() - 0.5) < 0.03
    assert not augment.RandomCrop(4).draw(500, generator(3))["flip"].any()
    flip = augment.HorizontalFlip(0.3)
    x = images(50)
    params = flip.draw(50, generator(4))
    assert torch.equal(flip.apply(x, params), torch.where(params["flip"][:, None, None, None], x.flip(-1), x))


@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_erases_one_square(channels):
    x = images(200, channels) // 2 + 100
    fill = tuple(range(10, 10 + channels))
    cutout = augment.Cutout(5, fill)
    params = cutout.draw(200, generator(5))
    y = cutout.apply(x, params)
    for i in range(200):
        cy, cx = int(params["y"][i]), int(params["x"][i])
        expected = x[i].clone()
        expected[:, max(0, cy - 2) : cy + 3, max(0, cx - 2) : cx + 3] = torch.tensor(fill, dtype=torch.uint8)[
            :, None, None
        ]
        assert torch.equal(y[i], expected)
    assert set(params["y"].tolist()) == set(range(32))


def test_random_erasing_has_torchvisions_areas_and_shapes():
    erasing = augment.RandomErasing(p=0.5)
    params = erasing.draw(6000, generator(6))
    on = params["height"] > 0
    assert abs(on.float().mean() - 0.5) < 0.03
    height, width = params["height"][on].float(), params["width"][on].float()
    area, ratio = height * width / 1024, height / width
    assert area.min() > 0.015 and area.max() < 0.35 and ratio.min() > 0.25 and ratio.max() < 4
    assert abs(area.mean() - 0.168) < 0.02  # evenly from 0.02 to 0.33, less what does not fit
    assert abs(ratio.log().mean()) < 0.05
    assert (params["top"] + params["height"]).max() <= 32 and (params["left"] + params["width"]).max() <= 32
    x = images(50) // 2 + 100
    y = erasing.apply(x, augment.take(params, 0, 50))
    for i in range(50):
        t, s, h, w = (int(params[k][i]) for k in ("top", "left", "height", "width"))
        expected = x[i].clone()
        expected[:, t : t + h, s : s + w] = 0
        assert torch.equal(y[i], expected)


@pytest.mark.parametrize("size,out", [(32, 32), (40, 24), (24, 48)])
def test_random_resized_crop_agrees_with_torchvision(size, out):
    x = images(30, size=size)
    crop = augment.RandomResizedCrop(out)
    params = crop.draw(30, generator(7), size=(size, size))
    y = crop.apply(x, params)
    for i in range(30):
        t, s, h, w = (int(params[k][i]) for k in ("top", "left", "height", "width"))
        theirs = TF.resized_crop(x[i], t, s, h, w, [out, out], antialias=True)
        assert difference(y[i], theirs).max() <= 2
    params = crop.draw(4000, generator(8), size=(size, size))
    area = (params["height"] * params["width"]) / size**2
    ratio = params["width"] / params["height"]
    assert area.min() > 0.06 and 0.95 < area.max() <= 1 and ratio.min() > 0.6 and ratio.max() < 1.6
    assert (params["top"] + params["height"]).max() <= size


def test_random_resized_crop_falls_back_to_the_centre():
    """A narrow image has no part as wide as asked for: the centred part closest to it is taken."""
    params = augment.RandomResizedCrop(8, scale=(0.9, 1.0), ratio=(1.0, 1.0)).draw(
        5, generator(9), size=(40, 10)
    )
    assert params["width"].tolist() == [10] * 5 and params["height"].tolist() == [10] * 5
    assert params["top"].tolist() == [15] * 5 and params["left"].tolist() == [0] * 5


def test_magnitude_tables_are_torchvisions():
    pairs = [
        ("randaugment", 31, reference_policies.RandAugment()._augmentation_space(31, (24, 32))),
        ("randaugment", 10, reference_policies.AutoAugment()._augmentation_space(10, (24, 32))),
        ("augmix", 10, reference_policies.AugMix()._augmentation_space(10, (24, 32))),
    ]
    for policy, bins, space in pairs:
        table = policies.magnitudes(policy, bins, (24, 32))
        for name, (values, signed) in space.items():
            assert signed == (name in policies._SIGNED)
            if values.ndim:
                assert torch.allclose(table[kernels.CODE[name]], values.float(), atol=1e-4), name
    assert set(policies.RANDAUGMENT) == set(pairs[0][2]) and set(policies.AUGMIX) == set(pairs[2][2])


def test_cifar10_policy_is_torchvisions():
    theirs = reference_policies.AutoAugment()._get_policies(reference_policies.AutoAugmentPolicy.CIFAR10)
    assert len(theirs) == len(policies.CIFAR10_POLICY)
    for ours, pair in zip(policies.CIFAR10_POLICY, theirs, strict=True):
        assert ours == tuple((name, p, level or 0) for name, p, level in pair)


def test_randaugment_draws_every_operation_and_sign_evenly():
    params = augment.RandAugment(2, 9).draw(14_000, generator(10))
    names, counts = params["op"].flatten().unique(return_counts=True)
    assert {augment.OPERATIONS[c] for c in names.tolist()} == set(policies.RANDAUGMENT)
    assert (counts / 28_000 * 14 - 1).abs().max() < 0.1
    first, second = params["op"].T
    assert abs((first == second).float().mean() - 1 / 14) < 0.01  # the two are independent
    for name in GEOMETRIC:
        values, counts = params["magnitude"][params["op"] == kernels.CODE[name]].unique(return_counts=True)
        assert len(values) == 2 and values[0] == -values[1] and abs(counts[0] / counts.sum() - 0.5) < 0.05
    shear = params["magnitude"][params["op"] == kernels.CODE["ShearX"]]
    assert shear.abs().unique().tolist() == pytest.approx([0.09])  # level 9 of 0..30, top 0.3


def test_autoaugment_follows_its_probabilities():
    n = 50_000
    params = augment.AutoAugment().draw(n, generator(11))
    for position in (0, 1):
        wanted = torch.zeros(len(augment.OPERATIONS))
        for pair in policies.CIFAR10_POLICY:
            wanted[kernels.CODE[pair[position][0]]] += pair[position][1] / 25
        wanted[0] = 1 - wanted.sum()
        made = torch.bincount(params["op"][:, position], minlength=len(wanted)) / n
        assert (made - wanted).abs().max() < 0.01
    # The two operations belong to one pair: after Color at level 9 (0.9) comes Equalize or nothing.
    color = (params["op"][:, 0] == kernels.CODE["Color"]) & (params["magnitude"][:, 0].abs() > 0.85)
    assert set(params["op"][color, 1].tolist()) == {0, kernels.CODE["Equalize"]}


def test_augmix_draws_depths_and_weights():
    params = augment.AugMix().draw(9000, generator(12))
    depth = (params["op"] > 0).sum(-1).flatten()
    assert depth.unique().tolist() == [1, 2, 3]
    assert (torch.bincount(depth)[1:] / len(depth) - 1 / 3).abs().max() < 0.02
    assert not (
        params["op"][:, :, 1:] > params["op"][:, :, :-1] * 100
    ).any()  # no gap: after nothing comes nothing
    weight = params["weight"]
    assert torch.allclose(weight.sum(1), torch.ones(9000), atol=1e-5)
    assert (
        abs(weight[:, 0].mean() - 0.5) < 0.02 and abs(weight[:, 0].var() - 1 / 12) < 0.01
    )  # Beta(1, 1): even
    assert (weight[:, 1:].mean(0) - 1 / 6).abs().max() < 0.02
    names = {augment.OPERATIONS[c] for c in params["op"].unique().tolist()}
    assert names == {"Identity", *policies.AUGMIX}
    rotation = params["magnitude"][params["op"] == kernels.CODE["Rotate"]].abs().unique()
    assert torch.allclose(
        rotation, torch.tensor([0.0, 10 / 3, 20 / 3])
    )  # severity 3: the first 3 of 10 levels
    assert augment.AugMix(depth=2).draw(10, generator(13))["op"].gt(0).all()


def test_augmix_is_the_weighted_sum_of_its_chains():
    x = images(24)
    mix = augment.AugMix()
    params = mix.draw(24, generator(14))
    y = mix.apply(x, params)
    for i in range(24):
        total = params["weight"][i, 0] * x[i].float()
        for chain in range(3):
            z = x[i]
            for code, m in zip(
                params["op"][i, chain].tolist(), params["magnitude"][i, chain].tolist(), strict=True
            ):
                z = augment.operation(z[None], augment.OPERATIONS[code], torch.tensor([m]), "bilinear")[0]
            total += params["weight"][i, chain + 1] * z.float()
        assert difference(y[i], total.to(torch.uint8)).max() <= 1
    assert y.float().std() > 0 and not torch.equal(x, y)


def test_augmix_is_torchvisions_augmix():
    """Same distribution: mean and spread of the distance to the original, over many draws."""
    x = _images(16, 3, 32)
    theirs = reference_policies.AugMix()
    torch.manual_seed(0)
    a = torch.stack(
        [torch.stack([difference(theirs(image), image).float().mean() for image in x]) for _ in range(12)]
    )
    b = torch.stack([
        difference(augment.AugMix()(x, generator(15, i)), x).float().mean((1, 2, 3)) for i in range(100)
    ])  # fmt: skip
    assert abs(a.mean() - b.mean()) < 4 * (a.std() / math.sqrt(a.numel()) + b.std() / math.sqrt(b.numel()))


def test_color_jitter_draws_factors_and_orders():
    jitter = augment.ColorJitter(0.4, 0.4, 0.4, 0.2)
    params = jitter.draw(6000, generator(16))
    names = ("Brightness", "Contrast", "Color", "Hue")
    for name, reach in zip(names, (0.4, 0.4, 0.4, 0.2), strict=True):
        where = params["op"] == kernels.CODE[name]
        assert (where.sum(1) == 1).all() and (where.float().mean(0) - 0.25).abs().max() < 0.03
        m = params["magnitude"][where]
        assert -reach <= m.min() < -0.95 * reach and 0.95 * reach < m.max() <= reach and abs(m.mean()) < 0.02
    only = augment.ColorJitter(contrast=2.0).draw(500, generator(17))
    assert set(only["op"].unique().tolist()) == {0, kernels.CODE["Contrast"]}
    assert only["magnitude"][only["op"] > 0].min() >= -1  # a factor is never negative
    x = images(10)
    params = jitter.draw(10, generator(18))
    y = jitter.apply(x, params)
    for i in range(10):
        z = x[i]
        for code, m in zip(params["op"][i].tolist(), params["magnitude"][i].tolist(), strict=True):
            z = torchvision_operation(z, augment.OPERATIONS[code], m, "nearest")
        assert (
            difference(y[i], z).float().mean() < 1
        )  # steps of one grey level each, stretched by what follows


# --- what every augmentation holds to

SHAPES = [(3, 32, "cifar10"), (1, 16, "digits"), (3, 20, "")]


def views(size: int, channels: int, like: str):
    for name in augment.VIEWS:
        if name != "none":
            yield name, augment.view(name, like, size, channels)


@pytest.mark.parametrize("channels,size,like", SHAPES)
def test_result_depends_on_image_and_parameters_alone(channels, size, like, monkeypatch):
    """Bitwise: alone, in odd pieces, in internal chunks of any size, with one thread and with two."""
    n = 70
    x = images(n, channels, size)
    threads = torch.get_num_threads()
    for name, view in views(size, channels, like):
        params = view.draw(n, generator(19, name), channels, (size, size))
        whole = view.apply(x, params)
        assert whole.shape == (n, channels, size, size) and whole.dtype == torch.uint8
        pieces, start = [], 0
        for stop in (1, 4, 33, 70):
            pieces.append(view.apply(x[start:stop], augment.take(params, start, stop)))
            start = stop
        assert torch.equal(whole, torch.cat(pieces)), name
        with monkeypatch.context() as patch:
            patch.setattr(base, "_CHUNK_CPU", 7 * view.work * channels * size * size)
            torch.set_num_threads(3 - min(threads, 2))
            assert torch.equal(whole, view.apply(x, params)), name
            torch.set_num_threads(threads)
        order = torch.randperm(n, generator=generator(20))
        assert torch.equal(whole[order], view.apply(x[order], reorder(params, order))), name


def reorder(params, order):
    if isinstance(params, torch.Tensor):
        return params[order]
    if isinstance(params, dict):
        return {k: reorder(v, order) for k, v in params.items()}
    return [reorder(v, order) for v in params]


@pytest.mark.parametrize("channels,size,like", SHAPES)
def test_same_generator_same_draw_and_images_draw_apart(channels, size, like):
    x = images(1, channels, size)[:1].repeat(64, 1, 1, 1)
    x += torch.arange(size, dtype=torch.uint8)  # a picture without symmetries
    x[:, :, : size // 2] //= 2
    for name, view in views(size, channels, like):
        a, b = view(x, generator(21)), view(x, generator(21))
        assert torch.equal(a, b), name
        if name == "flip" and like == "digits":  # a mirrored digit is none
            assert torch.equal(a, x)
            continue
        assert not torch.equal(a, view(x, generator(22))), name
        at_least = {"small_crop": 8, "flip": 1}.get(name, 16)  # which has 9 places at 16 pixels, and which 2
        assert len(a.flatten(1).unique(dim=0)) > at_least, name  # 64 copies of one image differ


@pytest.mark.cuda
def test_gpu_agrees_with_cpu():
    x = images(64)
    for name, view in views(32, 3, "cifar10"):
        params = view.draw(64, generator(23))
        gap = difference(view.apply(x, params), view.apply(x.cuda(), params))
        assert (gap > 2).float().mean() < 0.005, name


def test_apply_leaves_the_input_alone():
    for channels, size, like in SHAPES:
        x = images(20, channels, size)
        for name, view in views(size, channels, like):
            before = x.clone()
            view(x, generator(24))
            assert torch.equal(x, before), name


def test_take_slices_nested_draws():
    view = augment.view("randaugment")
    params = view.draw(10, generator(25))
    part = augment.take(params, 2, 5)
    assert isinstance(part, list) and len(part) == 3
    assert torch.equal(part[0]["op"], params[0]["op"][2:5])
    assert torch.equal(part[1]["flip"], params[1]["flip"][2:5])


def test_compose_applies_its_parts_in_order_and_passes_the_size_on():
    x = images(16, size=40)
    parts = (augment.RandomResizedCrop(24), augment.RandAugment(1, 20), augment.Cutout(4))
    both = augment.Compose(parts)
    params = both.draw(16, generator(26), size=(40, 40))
    y = x
    for part, p in zip(parts, params, strict=True):
        y = part.apply(y, p)
    assert torch.equal(both.apply(x, params), y) and y.shape == (16, 3, 24, 24)
    assert both.out_size((40, 40)) == (24, 24)
    translate = params[1]["magnitude"][params[1]["op"] == kernels.CODE["TranslateX"]].abs()
    assert params[2]["y"].max() < 24
    assert torch.allclose(translate, torch.full_like(translate, 20 / 30 * 150 / 331 * 24))


def test_views_have_the_papers_parameters():
    assert augment.view("none") is None
    assert augment.view("crop") == augment.CropFlip(4, 0.5)
    assert augment.view("crop", "digits", 16, 1) == augment.CropFlip(2, 0.0)
    assert augment.view("crop", "", 64) == augment.CropFlip(8, 0.5)
    randaugment, crop, cutout = augment.view("randaugment").parts
    assert (randaugment.num_ops, randaugment.magnitude, randaugment.bins) == (1, 3, 31)
    assert crop == augment.CropFlip(4, 0.5) and cutout == augment.Cutout(5)
    assert augment.view("cutout16", "digits", 16, 1).parts[2] == augment.Cutout(8)
    assert augment.view("randaugment", "digits", 16, 1).parts[2] == augment.Cutout(3)
    assert augment.view("strong").parts[0] == augment.RandAugment(2, 10)
    mix, crop = augment.view("augmix").parts
    assert (mix.severity, mix.width, mix.depth, mix.alpha, mix.interpolation) == (3, 3, -1, 1.0, "bilinear")
    filled = augment.view("autoaugment", mean=(0.4914, 0.4822, 0.4465)).parts[1]
    assert filled.fill == (125, 123, 114) and filled.p == 0.5
    assert augment.view("autoaugment").parts[1].fill == (0,)
    assert augment.view("imagenet", size=224).parts[2] == augment.ColorJitter(0.4, 0.4, 0.4, 0.2)
    assert [type(p).__name__ for p in augment.view("imagenet_augmix").parts] == [
        "AugMix",
        "RandomResizedCrop",
        "CropFlip",
    ]
    assert [type(p).__name__ for p in augment.view("autoaugment_crop").parts] == ["CropFlip", "AutoAugment"]


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="'cropp' is unknown; the views are none, crop"):
        augment.view("cropp")
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        augment.view("crop", channels=4)
    with pytest.raises(ValueError, match="mean has 3 values for 1 channels"):
        augment.view("crop", channels=1, mean=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="takes uint8 images"):
        augment.view("crop")(torch.zeros(2, 3, 8, 8), generator(0))
    with pytest.raises(ValueError, match="'Blur' is unknown"):
        augment.operation(images(4), "Blur", torch.zeros(4))


def test_no_images_give_no_images():
    for _, view in views(32, 3, "cifar10"):
        assert view(torch.zeros(0, 3, 32, 32, dtype=torch.uint8), generator(27)).shape == (0, 3, 32, 32)


def test_throughput_counts_images():
    rate = throughput(augment.view("crop"), n=64, seconds=0.05)
    assert rate > 100


@pytest.mark.slow
def test_batched_augmentation_is_three_times_torchvision_on_pil():
    for name, (ours, pil, ratio) in compare_with_pil(seconds=2.0).items():
        assert ratio == pytest.approx(ours / pil) and ratio >= 3, (name, ours, pil)
