"""Built-in data sets, label tables by index, human label files, fingerprints."""

import hashlib
import http.server
import pickle
import socket
import tarfile
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from lnl_kit import data, files
from lnl_kit.data import built_in, classes, dataset, decode, folders


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


# ---------------------------------------------------------------- digits


def test_digits_have_the_stated_shapes_and_split(digits):
    assert digits.x.shape == (1437, 1, 16, 16) and digits.test_x.shape == (360, 1, 16, 16)
    assert digits.x.dtype == digits.test_x.dtype == torch.uint8
    assert digits.true_labels.dtype == digits.test_y.dtype == torch.int64
    assert digits.classes == tuple("0123456789") and digits.given_labels is None and digits.paths is None
    per_class = torch.bincount(torch.cat([digits.true_labels, digits.test_y]))
    assert (torch.bincount(digits.test_y) - per_class * 360 / 1797).abs().max() < 1
    assert digits.name == digits.slug == digits.like == "digits"


def test_digits_are_the_same_everywhere(digits):
    # Pixels, split and class names on the platform where this was written.
    assert digits.fingerprint == "0fa31211f32593ba5d2abacaac8332f2"
    assert data.load("digits").fingerprint == digits.fingerprint


def test_digits_pixels_are_bilinear_interpolations_of_the_scans(digits):
    from sklearn.datasets import load_digits

    scans, y = load_digits().images, load_digits().target
    train, test = folders.stratified_split(y, 360, seed=0)
    assert np.array_equal(y[train], digits.true_labels) and np.array_equal(y[test], digits.test_y)
    scan, shown = scans[train[7]].astype(int), digits.x[7, 0]
    for row in range(16):
        for column in range(16):
            total = 0
            for i, wi in ((row // 2, 3), (row // 2 + (1 if row % 2 else -1), 1)):
                for j, wj in ((column // 2, 3), (column // 2 + (1 if column % 2 else -1), 1)):
                    total += wi * wj * scan[min(max(i, 0), 7), min(max(j, 0), 7)]
            assert shown[row, column] == (total * 255 + 128) // 256
    scans = torch.tensor(scans[test])[:, None] / 16
    smooth = torch.nn.functional.interpolate(scans, size=16, mode="bilinear")
    assert (smooth * 255 - digits.test_x).abs().max() <= 0.5


def test_normalisation_is_that_of_the_training_pixels(digits):
    x = digits.x.double() / 255
    assert digits.mean == pytest.approx([x.mean().item()], abs=1e-6)
    assert digits.std == pytest.approx([x.std(correction=0).item()], abs=1e-6)
    assert classes.channel_stats(digits.x.numpy()) == (digits.mean, digits.std)


def test_channel_stats_of_many_and_of_flat_images():
    x = np.random.RandomState(0).randint(0, 256, (1200, 3, 4, 5)).astype(np.uint8)
    mean, std = classes.channel_stats(x)
    assert mean == pytest.approx((x / 255).mean((0, 2, 3)), abs=1e-6)
    assert std == pytest.approx((x / 255).std((0, 2, 3)), abs=1e-6)
    few, _ = classes.channel_stats(x, at_most=3)
    assert few == pytest.approx((x[[0, 600, 1199]] / 255).mean((0, 2, 3)), abs=1e-6)
    assert classes.channel_stats(np.zeros((2, 1, 3, 3), np.uint8))[1] == pytest.approx([1 / 255], abs=1e-6)


def test_image_size_resizes(digits):
    large = data.load("digits", image_size=32)
    assert large.x.shape == (1437, 1, 32, 32) and large.test_x.shape == (360, 1, 32, 32)
    assert large.fingerprint != digits.fingerprint
    back = torch.nn.functional.avg_pool2d(large.x[:50].float(), 2)
    assert (back - digits.x[:50]).abs().mean() < 8
    with pytest.raises(ValueError, match="image size 2 is outside 4 to 1024"):
        data.load("digits", image_size=2)


def test_subset_picks_images_labels_and_paths(digits):
    part = dataset.subset(digits, [5, 2], np.array([0, 3]))
    assert torch.equal(part.x, digits.x[[5, 2]]) and torch.equal(part.true_labels, digits.true_labels[[5, 2]])
    assert torch.equal(part.test_x, digits.test_x[[0, 3]]) and torch.equal(part.test_y, digits.test_y[[0, 3]])
    assert part.given_labels is None and dataset.subset(digits, [1]).test_x is digits.test_x


def test_wrong_names_say_what_is_allowed():
    with pytest.raises(
        ValueError, match=r"unknown data set 'mnist'.*digits, cifar10, cifar100, tiny_imagenet, .*folder:PATH"
    ):
        data.load("mnist")
    with pytest.raises(ValueError, match="digits cannot be like 'cifar10'"):
        data.load("digits", like="cifar10")


# ---------------------------------------------------------------- label tables by index


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_by_index(tmp_path, digits):
    y = digits.true_labels.tolist()
    rows = [f"{i},,{(k + 1) % 10},{k}" for i, k in enumerate(y)]
    table = write(tmp_path / "labels.csv", ["index,path,given,true", *reversed(rows)])
    found = data.load("digits", labels=table, true_column="true")
    assert torch.equal(found.given_labels, (digits.true_labels + 1) % 10)
    assert torch.equal(found.true_labels, digits.true_labels)
    without_truth = data.load("digits", labels=table, label_column="given")
    assert torch.equal(without_truth.true_labels, digits.true_labels)  # a built-in set knows its truth
    assert found.fingerprint == without_truth.fingerprint != digits.fingerprint
    assert data.load("digits", labels=table, label_column="true").fingerprint != found.fingerprint


def test_bad_rows_are_reported_together(tmp_path, digits):
    y = digits.true_labels.tolist()
    rows = [f"{i},{k}" for i, k in enumerate(y)]
    rows[3], rows[4], rows[5] = "3,eleven", "9999,1", "6,6"  # unknown class, no such image, image 6 twice
    table = write(tmp_path / "labels.csv", ["index,label", *rows])
    with pytest.raises(ValueError) as error:
        data.load("digits", labels=table)
    for part in (
        "labels of unknown class: 1",
        "labels without an image: 1",
        "images with several labels: 1",
        "images without a label: 2",
        "3 ('eleven' in column label)",
        "9999",
        "--skip-bad",
    ):
        assert part in str(error.value)
    kept = data.load("digits", labels=table, skip_bad=True)
    assert len(kept.x) == len(kept.true_labels) == len(kept.given_labels) == 1437 - 4
    left = [i for i in range(1437) if i not in (3, 4, 5, 6)]
    assert torch.equal(kept.x, digits.x[left]) and torch.equal(kept.given_labels, digits.true_labels[left])
    assert {path for path, _ in kept.skipped} == {"3", "4", "5", "6", "9999"}


def test_wrong_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label file"):
        data.load("digits", labels=tmp_path / "none.csv")
    table = write(tmp_path / "a.csv", ["index,worst", "0,1"])
    with pytest.raises(ValueError, match=r"no column 'given' or 'label'.*index, worst"):
        data.load("digits", labels=table)
    with pytest.raises(ValueError, match="no column 'best': its columns are index, worst"):
        data.load("digits", labels=table, label_column="best")
    with pytest.raises(ValueError, match="no column 'index'"):
        data.load("digits", labels=write(tmp_path / "b.csv", ["path,label", "x,1"]))
    with pytest.raises(ValueError, match=r"no column 'given' or 'label'.*none"):
        data.load("digits", labels=write(tmp_path / "c.csv", []))
    with pytest.raises(ValueError, match="--labels"):
        data.load("digits", true_column="clean")


# ---------------------------------------------------------------- fingerprint, folders of the user


def test_the_fingerprint_covers_everything_but_paths():
    x = decode.image_digests(np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4))
    other = decode.image_digests(np.arange(24, dtype=np.uint8).reshape(2, 1, 4, 3))  # the same bytes
    y, z = np.array([0, 1]), np.array([1, 0])
    prints = [
        dataset.fingerprint("ab", x, None, y, x, y),
        dataset.fingerprint("ac", x, None, y, x, y),
        dataset.fingerprint("ab", other, None, y, x, y),
        dataset.fingerprint("ab", x, y, y, x, y),
        dataset.fingerprint("ab", x, y, None, x, y),
        dataset.fingerprint("ab", x, None, z, x, y),
        dataset.fingerprint("ab", x, None, y, other, y),
        dataset.fingerprint("ab", x, None, y, x, z),
    ]
    assert len(set(prints)) == len(prints)
    assert dataset.fingerprint("ab", x.copy(), None, y, x, y) == prints[0]


def test_data_root(tmp_path, monkeypatch):
    monkeypatch.delenv("LNL_DATA", raising=False)
    (tmp_path / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "notebooks")
    (tmp_path / "project" / "pyproject.toml").touch()
    assert files.data_root() == tmp_path / "project" / "data"
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "elsewhere"))
    assert files.data_root() == tmp_path / "elsewhere"


# ---------------------------------------------------------------- CIFAR


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address under which this machine serves `tmp_path`."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def cifar(tmp_path, monkeypatch, served):
    """Makes a small archive in CIFAR's format and lets torchvision take it for the real one."""
    from torchvision import datasets

    def make(name, n=20):
        kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        random = np.random.RandomState(0)
        source = tmp_path / "source" / kind.base_folder
        source.mkdir(parents=True)
        key = "labels" if name == "cifar10" else "fine_labels"
        sums, labels, pixels = {}, {}, {}
        for file in [*kind.train_list, *kind.test_list, [kind.meta["filename"]]]:
            pixels[file[0]] = random.randint(0, 256, (n, 3072)).astype(np.uint8)
            labels[file[0]] = random.randint(0, len(data.CLASSES[name]), n).tolist()
            content = {"data": pixels[file[0]], key: labels[file[0]], kind.meta["key"]: data.CLASSES[name]}
            (source / file[0]).write_bytes(pickle.dumps(content))
            sums[file[0]] = hashlib.md5((source / file[0]).read_bytes()).hexdigest()
        archive = tmp_path / kind.filename
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(source, kind.base_folder)
        monkeypatch.setattr(kind, "url", f"{served}/{kind.filename}")
        monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(kind, part, [[f[0], sums[f[0]]] for f in getattr(kind, part)])
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})
        train = [f[0] for f in kind.train_list]
        return (
            np.concatenate([pixels[f] for f in train]).reshape(-1, 3, 32, 32),
            np.concatenate([labels[f] for f in train]),
            kind,
        )

    return make


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_downloaded_checked_and_read(name, tmp_path, cifar):
    x, y, kind = cifar(name)
    root = tmp_path / "data"
    found = data.load(name, root=root)
    assert np.array_equal(found.x.numpy(), x) and np.array_equal(found.true_labels.numpy(), y)
    assert found.test_x.shape == (20, 3, 32, 32) and found.test_y.shape == (20,)
    assert (
        found.classes == data.CLASSES[name] and found.mean == classes.MEAN_STD[name][0] and found.like == name
    )
    (tmp_path / kind.filename).unlink()  # from now on there is nothing to download
    assert data.load(name, root=root).fingerprint == found.fingerprint
    assert data.load(name, root=root, image_size=8).x.shape == (len(x), 3, 8, 8)


def test_class_names_are_in_cifars_order():
    assert len(classes.CIFAR100_CLASSES) == 100 and len(classes.CIFAR10_CLASSES) == 10
    assert list(classes.CIFAR100_CLASSES) == sorted(classes.CIFAR100_CLASSES)


def test_without_network_one_sentence_says_which_file_to_put_where(tmp_path, cifar):
    _, _, kind = cifar("cifar10")
    archive = tmp_path / kind.filename
    archive.rename(tmp_path / "hidden")
    root = tmp_path / "data"
    with pytest.raises(FileNotFoundError) as error:
        data.load("cifar10", root=root)
    message = str(error.value)
    for part in (kind.filename, kind.url, kind.tgz_md5, str(root / kind.filename)):
        assert part in message
    assert "\n" not in message and "not that file" not in message
    (root / kind.filename).write_bytes(b"half a download")
    with pytest.raises(FileNotFoundError, match="what is there is not that file"):
        data.load("cifar10", root=root)
    (tmp_path / "hidden").rename(root / kind.filename)  # as the sentence says
    assert len(data.load("cifar10", root=root).x) == 100


def test_a_silent_server_is_given_up(tmp_path, cifar, monkeypatch):
    _, _, kind = cifar("cifar10")
    monkeypatch.setattr(built_in, "PATIENCE", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(kind, "url", f"http://127.0.0.1:{server.getsockname()[1]}/{kind.filename}")
        start = time.monotonic()
        with pytest.raises(FileNotFoundError, match="timed out"):
            data.load("cifar10", root=tmp_path / "data")
        assert time.monotonic() - start < 10
    assert socket.getdefaulttimeout() == before


def test_labels_of_cifar_may_be_numbers(tmp_path, cifar):
    _, y, _ = cifar("cifar10")
    table = write(
        tmp_path / "n.csv",
        ["index,label", *(f"{i},{k if i % 2 else classes.CIFAR10_CLASSES[k]}" for i, k in enumerate(y))],
    )
    assert np.array_equal(data.load("cifar10", root=tmp_path / "data", labels=table).given_labels.numpy(), y)


# ---------------------------------------------------------------- human labels


def test_human_labels_are_read_and_checked(tmp_path, cifar):
    _, y, _ = cifar("cifar10")
    root = tmp_path / "data"
    data.load("cifar10", root=root)
    worst, aggre = (y + 1) % 10, (y + 2) % 10
    path = root / "CIFAR-10_human.pt"
    torch.save(
        {
            "clean_label": y,
            "worse_label": worst,
            "aggre_label": aggre.astype(np.int32),
            "random_label1": y.tolist(),
        },
        path,
    )
    found = data.human_labels("cifar10", "worst", root)
    assert found.dtype == torch.int64 and np.array_equal(found.numpy(), worst)
    assert np.array_equal(data.human_labels("cifar10", "aggre", root).numpy(), aggre)
    assert np.array_equal(data.human_labels("cifar10", "random1", root, true_labels=y).numpy(), y)
    with pytest.raises(ValueError, match="choose one of aggre, worst, random1, random2, random3"):
        data.human_labels("cifar10", "best", root)
    with pytest.raises(ValueError, match=r"not the label file.*random_label2"):
        data.human_labels("cifar10", "random2", root)
    torch.save({"clean_label": y[::-1].copy(), "worse_label": worst}, path)
    with pytest.raises(ValueError, match=r"disagree with cifar10 on \d+ of 100 images"):
        data.human_labels("cifar10", "worst", root)


def test_human_labels_of_cifar100(tmp_path):
    y = np.arange(50) % 100
    torch.save({"clean_label": y, "noisy_label": (y + 7) % 100}, tmp_path / "CIFAR-100_human.pt")
    for column in ("noisy_fine", "noisy"):
        assert np.array_equal(data.human_labels("cifar100", column, tmp_path, y).numpy(), (y + 7) % 100)


def test_files_written_with_an_old_numpy_are_read(tmp_path):
    y = np.arange(30) % 10
    path = tmp_path / "CIFAR-10_human.pt"
    torch.save({"clean_label": y, "worse_label": 9 - y}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray\n" in content  # the name numpy 2 gives it
    path.write_bytes(content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    assert np.array_equal(data.human_labels("cifar10", "worst", tmp_path, y).numpy(), 9 - y)


def test_absent_human_labels_say_where_to_put_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"put CIFAR-10_human.pt .*there as {tmp_path}"):
        data.human_labels("cifar10", "worst", tmp_path)
    with pytest.raises(ValueError, match="not for 'digits'"):
        data.human_labels("digits", "worst", tmp_path)


class Evil:
    def __reduce__(self):
        return (threading.Event, ())


def test_a_label_file_runs_no_code(tmp_path):
    y = np.arange(10)
    torch.save({"clean_label": y, "worse_label": Evil()}, tmp_path / "CIFAR-10_human.pt")
    with pytest.raises(ValueError, match="not the label file"):
        data.human_labels("cifar10", "worst", tmp_path, y)
