"""Packed sets: Hugging Face's, WebDataset tars, Parquet. Small ones, made here; read as a folder of the same
images and labels is.
"""

import io
import json
import tarfile

import numpy as np
import pytest
from findings_by_hand import photos
from PIL import Image

import lnl_kit
from lnl_kit import cli, data
from lnl_kit.data import packed
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.label_errors.findings import open_findings

CLASSES = ("cat", "dog", "../emu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))


def images(n=24, seed=0):
    """[(name, PNG, class)], and the pixels (n, 3, 16, 16)."""
    rng = np.random.RandomState(seed)
    pixels = rng.randint(0, 256, (n, 3, 16, 16)).astype(np.uint8)
    made = []
    for k, x in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(x.transpose(1, 2, 0)).save(file, "PNG")
        made.append((f"im-{k}.png", file.getvalue(), CLASSES[k % 3]))
    return made, pixels


def tar(path, made, label=lambda name, k: ("cls", str(k)), extra=()):
    """A WebDataset tar of these images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content, label_of in made:
            stem = name.rpartition(".")[0]
            ending, text = label(name, CLASSES.index(label_of))
            for member, held in ((name, content), (f"{stem}.{ending}", text.encode())):
                info = tarfile.TarInfo(member)
                info.size = len(held)
                file.addfile(info, io.BytesIO(held))
        for info in extra:
            file.addfile(info)
    return path


def parquet(path, made, metadata=None):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "image": [{"bytes": c, "path": n} for n, c, _ in made],
        "label": [y for *_, y in made],
    }
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), path)
    return path


def hub_set(made):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "label": datasets.ClassLabel(names=list(CLASSES)),
            "text": datasets.Value("string"),
            "score": datasets.Value("float32"),
        }
    )
    rows = [
        {"picture": {"bytes": c, "path": n}, "label": CLASSES.index(y), "text": f"a {y}", "score": 0.5}
        for n, c, y in made
    ]
    return datasets.Dataset.from_list(rows, features=features)


def same(source, made, pixels):
    """The images of a data set are these, with their classes, train and test together."""
    x = np.concatenate([source.x.numpy(), source.test_x.numpy()])
    y = np.concatenate([source.given_labels.numpy(), source.test_y.numpy()])
    wanted = {p.tobytes(): label for p, (*_, label) in zip(pixels, made)}
    assert {i.tobytes(): source.classes[k] for i, k in zip(x, y)} == wanted
    assert len(x) == len(made)


# ---------------------------------------------------------------- each kind


def test_tars_are_read_with_the_classes_of_the_file_beside(tmp_path):
    made, pixels = images()
    folder = tmp_path / "shards"
    tar(folder / "a-000.tar", made[:12])
    tar(folder / "a-001.tar", made[12:])
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    source = data.load(f"tar:{folder}/a-{{000..001}}.tar")
    same(source, made, pixels)
    assert source.true_labels is None and len(source.test_y) == 5
    assert data.load(f"tar:{folder}").fingerprint == source.fingerprint  # the folder is its *.tar


def test_labels_of_a_tar_may_be_text_or_stand_in_json(tmp_path):
    made, pixels = images()
    by_text = tar(tmp_path / "text.tar", made, lambda name, k: ("cls", CLASSES[k]))
    same(data.load(f"tar:{by_text}"), made, pixels)
    told = tar(
        tmp_path / "json.tar",
        made,
        lambda name, k: ("json", json.dumps({"kind": CLASSES[k], "width": 16.5, "by": {"x": 1}})),
    )
    same(data.load(f"tar:{told}", label_column="kind"), made, pixels)
    with pytest.raises(ValueError, match="name the one to use with --label-column"):
        tar(tmp_path / "two.tar", made, lambda name, k: ("json", json.dumps({"kind": "a", "sort": "b"})))
        data.load(f"tar:{tmp_path / 'two.tar'}")


def test_parts_are_told_by_the_names_of_the_files(tmp_path):
    made, _ = images()
    tar(tmp_path / "s" / "x-train-000.tar", made[:15], lambda name, k: ("cls", CLASSES[k]))
    tar(tmp_path / "s" / "x-val-000.tar", made[15:], lambda name, k: ("cls", CLASSES[k]))
    source = data.load(f"tar:{tmp_path}/s/*.tar")
    assert (len(source.x), len(source.test_x)) == (15, 9)
    assert "no test folder: the images of val/ are the test set" in source.taken
    parquet(tmp_path / "p" / "train-00000-of-00001.parquet", made[:12])
    parquet(tmp_path / "p" / "test-00000-of-00001.parquet", made[12:18])
    parquet(tmp_path / "p" / "validation-00000-of-00001.parquet", made[18:])
    source = data.load(f"parquet:{tmp_path}/p")
    assert (len(source.x), len(source.test_x)) == (12, 6)


def test_parquet_with_bytes_or_hugging_faces_images(tmp_path):
    pa = pytest.importorskip("pyarrow")
    made, pixels = images()
    same(data.load(f"parquet:{parquet(tmp_path / 'a.parquet', made)}"), made, pixels)
    plain = pa.table({"photo": [c for _, c, _ in made], "thumb": [b"x"] * 24, "y": [y for *_, y in made]})
    from pyarrow import parquet as pq

    pq.write_table(plain, tmp_path / "b.parquet")
    same(data.load(f"parquet:{tmp_path / 'b.parquet'}"), made, pixels)
    with pytest.raises(ValueError, match="has no column 'none' of images: photo, thumb holds bytes"):
        data.load(f"parquet:{tmp_path / 'b.parquet'}", image_column="none")


@pytest.mark.extras
def test_hugging_face_saved_to_disk_as_parquet_and_as_a_folder_of_it(tmp_path):
    made, pixels = images()
    whole = hub_set(made)
    whole.save_to_disk(str(tmp_path / "saved"))
    whole.to_parquet(str(tmp_path / "p" / "train.parquet"))
    fingerprints = set()
    for name in ("saved", "p", "p/train.parquet"):
        source = data.load(f"hf:{tmp_path / name}")
        same(source, made, pixels)
        fingerprints.add(source.fingerprint)
    assert len(fingerprints) == 1
    assert data.load(f"hf:{tmp_path / 'saved'}", label_column="text").classes == (
        "a ../emu",
        "a cat",
        "a dog",
    )
    with pytest.raises(ValueError, match="has no column 'score'"):  # a number with fractions is no label
        data.load(f"hf:{tmp_path / 'saved'}", label_column="score")
    with pytest.raises(ValueError, match="no column 'label' of images: picture is one"):
        data.load(f"hf:{tmp_path / 'saved'}", image_column="label")


@pytest.mark.extras
def test_splits_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    made, _ = images(30)
    parts = {"train": made[:15], "test": made[15:21], "extra": made[21:]}
    datasets.DatasetDict({k: hub_set(v) for k, v in parts.items()}).save_to_disk(str(tmp_path / "d"))
    source = data.load(f"hf:{tmp_path / 'd'}")
    assert (len(source.x), len(source.test_x)) == (15, 6)
    assert "split extra left out (--split names those to read)" in source.taken
    both = data.load(f"hf:{tmp_path / 'd'}", hf_split="train,extra")
    assert len(both.x) + len(both.test_x) == 24 and "split test not read" in both.taken
    assert len(data.load(f"hf:{tmp_path / 'd'}", hf_split="test", split=False).x) == 6
    with pytest.raises(ValueError, match="has no split 'tset': it has train, test, extra"):
        data.load(f"hf:{tmp_path / 'd'}", hf_split="tset")


@pytest.mark.extras
def test_what_is_not_there_is_one_sentence(tmp_path, capsys, monkeypatch):
    datasets = pytest.importorskip("datasets")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # read when it is imported
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert cli.main(["check", "hf:nobody/nothing"]) == 2
    error = capsys.readouterr().err
    assert "was not found on the hub" in error and error.count("\n") == 1
    (tmp_path / "empty").mkdir()
    assert cli.main(["check", f"hf:{tmp_path / 'empty'}"]) == 2
    assert "is no data set that the package datasets reads" in capsys.readouterr().err
    assert cli.main(["check", f"tar:{tmp_path}/*.tar"]) == 2
    assert "give tar:PATTERN" in capsys.readouterr().err


def test_the_extra_that_is_missing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'lnl-kit\[hf\]'"):
        data.load(f"hf:{tmp_path}")


# ---------------------------------------------------------------- hostile and damaged ones


def test_a_tar_writes_nowhere_and_is_read_as_data(tmp_path):
    made, _ = images()
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("fifo.png")
    device.type = tarfile.FIFOTYPE
    names = ["../../evil.png", "/abs/evil.png", "a/../../../b.png", "nul\u0001.png", "x" * 90 + ".png"]
    hostile = [(name, c, y) for name, (_, c, y) in zip(names, made)] + made[5:]
    path = tar(tmp_path / "x.tar", hostile, lambda name, k: ("cls", CLASSES[k]), extra=(link, device))
    source = data.load(f"tar:{path}")
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".png"]
    assert len(files) == 24 and all(source.folder in p.parents for p in files)
    assert all(not p.is_symlink() for p in files)
    assert "2 entries of x.tar that are no ordinary files" in source.taken
    assert set(source.classes) == set(CLASSES)


def test_damaged_images_are_counted_and_refused_unless_skipped(tmp_path):
    made, _ = images()
    made[3] = ("im-3.png", b"not an image", "cat")
    made[4] = ("im-4.png", b"", "dog")
    path = tar(tmp_path / "x.tar", made, lambda name, k: ("cls", CLASSES[k] if k else "cat"))
    with pytest.raises(ValueError, match="unreadable images: 2"):
        data.load(f"tar:{path}")
    source = data.load(f"tar:{path}", skip_bad=True)
    assert source.skipped_kinds == {"unreadable images": 2}
    assert any("im-3" in p for p, _ in source.skipped)


def test_images_beyond_the_limit_of_pixels_count_as_unreadable(tmp_path):
    made, _ = images()
    path = tar(tmp_path / "x.tar", made, lambda name, k: ("cls", CLASSES[k]))
    with pytest.raises(ValueError, match="unreadable images: 24"):
        data.load(f"tar:{path}", max_pixels=200)


def test_samples_without_image_or_label_are_counted(tmp_path):
    made, _ = images()
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for n, (name, content, y) in enumerate(made):
            for member, held in ((name, content), (f"im-{n}.cls", y.encode())):
                if (n, member[-3:]) not in ((0, "png"), (1, "cls")):
                    info = tarfile.TarInfo(member)
                    info.size = len(held)
                    file.addfile(info, io.BytesIO(held))
    with pytest.raises(ValueError, match="images without a label: 1"):
        data.load(f"tar:{tmp_path / 'x.tar'}")
    source = data.load(f"tar:{tmp_path / 'x.tar'}", skip_bad=True)
    assert "1 samples without an image left out" in source.taken
    assert source.skipped_kinds == {"images without a label": 1}


@pytest.mark.extras
def test_a_set_that_names_files_outside_of_its_folder_gets_none(tmp_path):
    datasets = pytest.importorskip("datasets")
    made, _ = images()
    secret = photos(tmp_path / "secret", each=1) / "cat" / "0.png"
    made[0] = (str(secret), None, "cat")
    features = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    known = {"huggingface": json.dumps({"info": {"features": features}})}
    path = parquet(tmp_path / "d" / "d.parquet", made, metadata=known)
    assert isinstance(datasets.Dataset.from_parquet(str(path)).features["image"], datasets.Image)
    for kind in ("hf", "parquet"):
        with pytest.raises(ValueError, match="unreadable images: 1"):
            data.load(f"{kind}:{path}")


@pytest.mark.parametrize("kind, name", [("tar", "x.tar"), ("parquet", "x.parquet")])
def test_a_damaged_file_is_named(tmp_path, kind, name):
    made, _ = images()
    whole = (tar(tmp_path / name, made) if kind == "tar" else parquet(tmp_path / name, made)).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2 - 100])
    with pytest.raises(ValueError, match="cannot be read as"):
        data.load(f"{kind}:{tmp_path / name}")
    with pytest.raises(ValueError, match="cannot be read as"):  # what was begun does not count
        data.load(f"{kind}:{tmp_path / name}")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    made, _ = images()
    path = tar(tmp_path / "x.tar", made)
    monkeypatch.setattr(packed, "KEEP_FREE", 2**62)
    with pytest.raises(OSError, match="make room, or set LNL_DATA"):
        data.load(f"tar:{path}")


def test_it_is_unpacked_once_and_anew_when_its_files_change(tmp_path, monkeypatch):
    made, _ = images()
    path = tar(tmp_path / "x.tar", made, lambda name, k: ("cls", CLASSES[k]))
    first = data.load(f"tar:{path}")
    monkeypatch.setattr(packed, "_unpack", None)  # would fail
    again = data.load(f"tar:{path}")
    assert again.folder == first.folder and again.fingerprint == first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    tar(path, images(seed=1)[0], lambda name, k: ("cls", CLASSES[k]))
    other = data.load(f"tar:{path}")
    assert other.fingerprint != first.fingerprint and not first.folder.exists()


# ---------------------------------------------------------------- through the commands


def test_train_opens_the_run_again_and_compare_trains_on_it(tmp_path, capsys, monkeypatch):
    made, _ = images()
    tar(tmp_path / "x.tar", made, lambda name, k: ("cls", CLASSES[k]))
    monkeypatch.chdir(tmp_path)
    arguments = ["--dataset", "tar:x.tar", "--noise", "none", "--out", str(tmp_path / "runs")]
    assert cli.main(["train", "ce", *arguments, "--epochs", "1"]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    assert "/ce/tar-x.tar/none-0/" in folder
    monkeypatch.chdir(tmp_path / "runs")
    run = lnl_kit.open_run(folder)
    assert np.array_equal(run.predict(run.dataset().test_x), run.arrays["test_probs"])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", "ce", *arguments, "--epochs", "1"]) == 0
    assert "1 cells" in capsys.readouterr().err


def test_check_writes_nothing(tmp_path, capsys):
    made, _ = images()
    path = tar(
        tmp_path / "x.tar", [*made, ("copy.png", made[0][1], "dog")], lambda name, k: ("cls", CLASSES[k])
    )
    assert cli.main(["check", f"tar:{path}"]) == 0
    said = capsys.readouterr().out
    assert "16x16 25" in said and "the same picture under several labels: 1" in said
    assert not (tmp_path / "data").exists()


def test_findings_reviewed_applied_and_trained_on(tmp_path, capsys):
    made, _ = images(60)
    path = tar(tmp_path / "x.tar", made, lambda name, k: ("cls", CLASSES[k]))
    assert cli.main(["find-errors", f"tar:{path}", "--out", str(tmp_path / "f")]) == 0
    findings = open_findings(tmp_path / "f")
    assert len(findings.table) == 60 and findings.images_folder.is_dir()
    assert (tmp_path / "f" / "report.html").read_text().count("data:image/jpeg") > 5  # from the files
    decisions = Decisions(findings.folder / "decisions.csv", findings.seen())
    decisions.add(findings.table["image"][0], "drop")
    decisions.add(findings.table["image"][1], "accept", findings.table["suggested"][1])
    table = tmp_path / "labels.csv"
    assert cli.main(["apply", str(findings.folder / "decisions.csv"), "--out", str(table)]) == 0
    capsys.readouterr()
    source = data.load(f"tar:{path}", labels=table, split=False)
    at = dict(zip(source.names, source.given_labels.tolist()))
    assert len(at) == 59
    assert source.classes[at[findings.table["image"][1]]] == findings.table["suggested"][1]
    assert cli.main(["export", str(findings.folder), "--to", "coco", "--changed"]) == 0
    written = json.loads((findings.folder / "export-coco" / "coco.json").read_text())
    assert len(written["images"]) == 2
    assert all(
        (findings.folder / "export-coco" / "images" / i["file_name"]).exists() for i in written["images"]
    )


def test_what_only_packed_sets_have_is_refused_elsewhere(tmp_path):
    for more, said in (
        ({"hf_split": "train"}, "--split is for"),
        ({"image_column": "x"}, "--image-column is for"),
    ):
        with pytest.raises(ValueError, match=said):
            data.load("digits", **more)
