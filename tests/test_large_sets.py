"""Tiny-ImageNet, Clothing1M and mini-WebVision, on small copies of their folders that the tests make."""

import re
import shutil

import numpy as np
import pytest
import torch
from test_streams import decoded, save

import lnl_kit
from lnl_kit import data
from lnl_kit.data import classes, dataset, decode, large_sets
from lnl_kit.data.batches import NoisyData
from lnl_kit.data.streams import Stream
from lnl_kit.run import prepared


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("LNL_STREAM", raising=False)
    monkeypatch.setattr(large_sets, "MD5", {})  # the archives are made here
    return tmp_path / "data"


@pytest.fixture
def tiny(root):
    """3 classes, two of them cranes; 4 training images and 1 test image each, 8x8."""
    folder = root / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    write(folder / "wnids.txt", wnids)
    write(
        folder / "words.txt",
        ["n01\tcrane, wading bird", "n02\tcrane", "n03\tgoldfish, Carassius auratus", "n04\tx"],
    )
    for c, wnid in enumerate(wnids):
        for i in range(4):
            save(folder / f"train/{wnid}/images/{wnid}_{i}.JPEG", 10 * c + i, (8, 8))
        write(folder / f"train/{wnid}/{wnid}_boxes.txt", ["not an image"])
        save(folder / f"val/images/val_{c}.JPEG", 10 * c + 9, (8, 8))
    write(
        folder / "val/val_annotations.txt",
        [f"val_{2 - i}.JPEG\t{wnids[2 - i]}\t0\t0\t7\t7" for i in range(3)],
    )
    return folder


@pytest.fixture
def clothing(root):
    """3 classes; 6 noisy training images, of which 4 have clean labels too; 2 test images."""
    folder = root / "clothing1m"
    write(folder / "category_names_eng.txt", ["T-Shirt", "Shirt", "Dress"])
    keys = [f"images/{i}/00/{i}.jpg" for i in range(9)]
    for i, key in enumerate(keys):
        save(folder / key, i, (20, 30))
    write(folder / "noisy_train_key_list.txt", keys[:6])
    write(folder / "noisy_label_kv.txt", [f"{key} {(5 - i) % 3}" for i, key in enumerate(keys[:7])])
    write(folder / "clean_train_key_list.txt", keys[2:3])
    write(folder / "clean_val_key_list.txt", keys[3:6])
    write(folder / "clean_test_key_list.txt", keys[7:])
    write(folder / "clean_label_kv.txt", [f"{keys[i]} {i % 3}" for i in (8, 7, 5, 4, 3, 2)])
    return folder


@pytest.fixture
def web(root):
    """52 synsets, of which 50 count; 2 training, 1 test and 1 ImageNet image of each, none of them square."""
    folder = root / "webvision"
    wnids = [f"n{k:02}" for k in range(52)]
    write(folder / "info/synsets.txt", [f"{wnid} word {k}, other word" for k, wnid in enumerate(wnids)])
    train = [(f"google/q{k + 1:04}/{i}.jpg", k) for k in reversed(range(52)) for i in range(2)]
    test = [(f"val{k:06}.jpg", k) for k in range(52)]
    write(folder / "info/train_filelist_google.txt", [f"{path} {k}" for path, k in train])
    write(folder / "info/val_filelist.txt", [f"{path} {k}" for path, k in test])
    for i, (path, _) in enumerate(train):
        save(folder / path, i, (48, 36))
    for i, (path, k) in enumerate(test):
        save(folder / "val_images_256" / path, 200 + i, (36, 40))
        save(folder / f"imagenet/val/{wnids[k]}/ILSVRC2012_val_{k:08}.JPEG", 300 + i, (40, 36))
    return folder


# ---------------------------------------------------------------- layouts


def test_tiny_imagenet(tiny):
    d = data.load("tiny_imagenet")
    assert d.classes == ("goldfish", "crane (n01)", "crane (n02)") and d.like == d.slug == "tiny_imagenet"
    assert d.true_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and d.given_labels is None
    assert d.test_y.tolist() == [2, 1, 0] and d.x.shape == (12, 3, 8, 8) and d.second_test is None
    for path, x in zip(d.paths, d.x):
        assert torch.equal(x, decoded(tiny / path, 8))
    assert torch.equal(d.test_x[0], decoded(tiny / "val/images/val_2.JPEG", 8))
    assert d.mean == classes.MEAN_STD["tiny_imagenet"][0]
    assert data.load("tiny_imagenet", image_size=4).x.shape == (12, 3, 4, 4)


def test_tiny_imagenet_from_its_archive(tiny, root):
    before = data.load("tiny_imagenet").fingerprint
    shutil.make_archive(str(root / "tiny-imagenet-200"), "zip", root, tiny.name)
    shutil.rmtree(tiny)
    assert data.load("tiny_imagenet").fingerprint == before
    assert (tiny / "wnids.txt").is_file() and not list(root.glob("*.unpacking"))
    shutil.rmtree(tiny)
    archive = root / "tiny-imagenet-200.zip"
    archive.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(
        FileNotFoundError, match=r"tiny-imagenet-200.zip is not the whole archive .*: fetch it again"
    ):
        data.load("tiny_imagenet")
    assert not tiny.exists()  # no half of it is left to be taken for the whole


def test_clothing1m(clothing):
    d = data.load("clothing1m", image_size=16)
    assert d.classes == ("T-Shirt", "Shirt", "Dress") and d.true_labels is None
    assert d.given_labels.tolist() == [2, 1, 0, 2, 1, 0] and d.test_y.tolist() == [1, 2]
    assert isinstance(d.x, Stream) and d.x.shape == (6, 3, 16, 16) and d.test_x.shape == (2, 3, 16, 16)
    assert d.paths == tuple(f"images/{i}/00/{i}.jpg" for i in range(6))
    for path, x in zip(d.paths, d.x[:]):
        assert torch.equal(x, decoded(clothing / path, 16))
    assert torch.equal(d.test_x[1], decoded(clothing / "images/8/00/8.jpg", 16))
    assert data.load("clothing1m").x.shape == (6, 3, 224, 224)


def test_clothing1m_images_labelled_twice(clothing):
    given, true = data.clothing1m_double_labels()
    assert given.tolist() == [(5 - i) % 3 for i in (2, 3, 4, 5)] and given.dtype == np.int64
    assert true.tolist() == [i % 3 for i in (2, 3, 4, 5)] and true.dtype == np.int64
    with pytest.raises(FileNotFoundError, match=r"clothing1m needs .*elsewhere"):
        data.clothing1m_double_labels(clothing / "elsewhere")


def test_webvision(web):
    d = data.load("webvision", image_size=24)
    assert len(d.classes) == 50 and d.classes[3] == "word 3" and d.true_labels is None
    assert d.given_labels.tolist() == [k for k in reversed(range(50)) for _ in range(2)]
    assert d.test_y.tolist() == d.second_test.y.tolist() == list(range(50))
    assert torch.equal(d.x[3], decoded(web / "google/q0049/1.jpg", 24))
    assert torch.equal(d.test_x[7], decoded(web / "val_images_256/val000007.jpg", 24))
    assert d.second_test.name == "imagenet"
    assert torch.equal(d.second_test.x[7], decoded(web / "imagenet/val/n07/ILSVRC2012_val_00000007.JPEG", 24))
    shutil.rmtree(web / "imagenet")
    without = data.load("webvision", image_size=24)
    assert without.second_test is None and without.fingerprint != d.fingerprint


@pytest.mark.parametrize(
    "name, file",
    [
        ("tiny_imagenet", "tiny-imagenet-200/wnids.txt"),
        ("clothing1m", "clothing1m/category_names_eng.txt"),
        ("webvision", "webvision/info/synsets.txt"),
    ],
)
def test_an_absent_set_says_what_to_put_where(name, file, root):
    with pytest.raises(FileNotFoundError) as error:
        data.load(name)
    message = str(error.value)
    assert str(root / file) in message and large_sets.PLACE[name] in message and "\n" not in message
    assert re.search(r"https?://", message)


@pytest.mark.parametrize(
    "gone, said",
    [
        ("clean_label_kv.txt", "clothing1m needs .*clean_label_kv.txt"),
        ("../webvision/imagenet/val/n05", "second test set"),
        ("../webvision/info/val_filelist.txt", "info.tar"),
        ("../tiny-imagenet-200/train/n01/images", "put tiny-imagenet"),
    ],
)
def test_half_a_set_says_what_is_missing(gone, said, tiny, clothing, web):
    path = (clothing / gone).resolve()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    name = "webvision" if "webvision" in gone else "tiny_imagenet" if "tiny" in gone else "clothing1m"
    with pytest.raises(FileNotFoundError, match=said):
        data.load(name)


def test_missing_images_are_counted_or_left_out(web):
    (web / "google/q0001/0.jpg").unlink()
    (web / "val_images_256/val000002.jpg").write_bytes(b"")
    (web / "imagenet/val/n04/ILSVRC2012_val_00000004.JPEG").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unreadable images: 3; .*google/q0001/0.jpg.* .missing or empty"):
        data.load("webvision")
    d = data.load("webvision", image_size=24, skip_bad=True)
    assert len(d.x) == len(d.given_labels) == len(d.paths) == 99 and len(d.skipped) == 3
    assert d.test_y.tolist() == [k for k in range(50) if k != 2] and len(d.test_x) == 49
    assert d.second_test.y.tolist() == [k for k in range(50) if k != 4]
    assert torch.equal(d.second_test.x[4], decoded(web / "imagenet/val/n05/ILSVRC2012_val_00000005.JPEG", 24))
    assert torch.equal(d.x[98], decoded(web / "google/q0001/1.jpg", 24))


def test_the_fingerprint_is_over_names_sizes_and_labels(web, monkeypatch):
    monkeypatch.setattr(decode, "decode_files", None)  # nothing is decoded for it
    first = data.load("webvision").fingerprint
    assert data.load("webvision").fingerprint == first != data.load("webvision", image_size=24).fingerprint
    prints = {first}
    for change in (
        lambda: (web / "google/q0001/0.jpg").open("ab").write(b"x"),
        lambda: (web / "imagenet/val/n00/ILSVRC2012_val_00000000.JPEG").open("ab").write(b"x"),
        lambda: (web / "info/val_filelist.txt").write_text("val000001.jpg 0\nval000000.jpg 1\n"),
        lambda: (
            (web / "imagenet/val/n01").rename(web / "imagenet/val/n0x")
            and (web / "imagenet/val/n02").rename(web / "imagenet/val/n01")
            and (web / "imagenet/val/n0x").rename(web / "imagenet/val/n02")
        ),
    ):
        change()
        prints.add(data.load("webvision").fingerprint)
    assert len(prints) == 5


def test_labels_of_one_s_own_are_found_by_path(clothing, tmp_path):
    table = tmp_path / "labels.csv"
    write(table, ["path,given,true", *(f"images/{i}/00/{i}.jpg,Dress,{i % 3}" for i in range(6))])
    d = data.load("clothing1m", labels=table, true_column="true")
    assert d.given_labels.tolist() == [2] * 6 and d.true_labels.tolist() == [0, 1, 2] * 2


def test_subset_leaves_a_stream_undecoded(web):
    d = data.load("webvision", image_size=24)
    part = dataset.subset(d, [5, 2], [7])
    assert isinstance(part.x, Stream) and torch.equal(part.x[:], d.x[torch.tensor([5, 2])])
    assert part.given_labels.tolist() == d.given_labels[[5, 2]].tolist()
    assert torch.equal(part.test_x[0], d.test_x[7]) and part.paths == (d.paths[5], d.paths[2])


# ---------------------------------------------------------------- runs


def train(method="ce", **options):
    return lnl_kit.train(
        method,
        **(
            {
                "dataset": "webvision",
                "model": "small_cnn",
                "image_size": 32,
                "epochs": 2,
                "batch_size": 20,
                "progress": False,
            }
            | options
        ),
    )


def test_a_second_test_set_has_its_columns(web, tmp_path):
    for i in range(9):  # the two test sets differ in their labels, too
        save(web / f"imagenet/val/n00/more{i}.JPEG", 400 + i, (40, 36))
    run = train(
        out=tmp_path / "runs", precision="fp32"
    )  # in bfloat16 logits are often equal, and any five are the top
    assert len(data.load("webvision").second_test.y) == 59
    assert run.folder.parts[-3:-1] == ("webvision", "none-0") and run.summary["actual_rate"] is None
    assert run.settings["model"] == "small_cnn" and len(run.metrics) == 2
    d = data.load("webvision", image_size=32)
    for prefix, images, y in (("test", d.test_x, d.test_y), ("imagenet", d.second_test.x, d.second_test.y)):
        probs = run.predict(images)
        first = (probs.argmax(1) == y.numpy()).mean()
        fifth = (np.argsort(-probs, 1)[:, :5] == y.numpy()[:, None]).any(1).mean()
        assert run.summary[f"{prefix}_accuracy_last"] == pytest.approx(first)
        assert run.summary[f"{prefix}_top5_last"] == pytest.approx(fifth) and first <= fifth
    shutil.rmtree(web / "imagenet")
    without = train(out=tmp_path / "runs")
    assert without.folder != run.folder and not any("imagenet" in column for column in without.metrics[0])


def test_a_streamed_run_equals_a_resident_one(web, tmp_path, monkeypatch):
    options = {"noisy_val": 0.1, "keep": ("features",)}
    resident = train(out=tmp_path / "a", **options)
    monkeypatch.setenv("LNL_STREAM", "1")
    monkeypatch.setattr(prepared, "NoisyData", streams_only(NoisyData))
    streamed = train(out=tmp_path / "b", **options)
    assert streamed.folder.relative_to(tmp_path / "b") == resident.folder.relative_to(tmp_path / "a")
    for one, other in zip(resident.metrics, streamed.metrics, strict=True):
        assert all(value == other[key] for key, value in one.items() if "second" not in key)
    assert len(resident.arrays) == len(streamed.arrays) > 2
    for key, value in resident.arrays.items():
        assert np.array_equal(value, streamed.arrays[key], equal_nan=True), key
    images = streamed.train_images()
    assert isinstance(images, Stream) and len(images) == 90
    assert np.array_equal(streamed.predict(images), streamed.arrays["train_probs"])
    for one, other in zip(
        streamed.views(images, "crop", 2), streamed.views(images[:], "crop", 2), strict=True
    ):
        assert torch.equal(one, other)


def streams_only(make):
    def check(x, *args, **options):
        assert isinstance(x, Stream)
        return make(x, *args, **options)

    return check


def test_noise_of_its_own_is_not_added_to(web, tmp_path):
    with pytest.raises(ValueError, match=r"noise symmetric on webvision: .*its noise is none"):
        train(out=tmp_path, noise="symmetric", rate=0.5)


def test_tiny_imagenet_takes_synthetic_noise(tiny, tmp_path):
    run = train(
        dataset="tiny_imagenet", image_size=8, batch_size=4, out=tmp_path, noise="symmetric_exclusive"
    )
    assert run.summary["actual_rate"] == 0.5 and run.folder.parts[-3] == "tiny_imagenet"
