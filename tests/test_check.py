"""`lnl check`, pictures that occur twice, and the search of test/ and val/."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import lnl_kit
from lnl_kit.cli import main
from lnl_kit.data import copies
from lnl_kit.data.check import check, text
from lnl_kit.label_errors.findings import labels_before, load, open_findings
from lnl_kit.label_errors.searched import complete, parts_of
from tests.test_inputs import picture, pictures


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """train/ and test/ with one picture under two labels, one in both parts, one that cannot be read."""
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "photos"
    for k, (part, c, n) in enumerate(
        (("train", "cat", 40), ("train", "dog", 4), ("test", "cat", 3), ("test", "dog", 3))
    ):
        for i in range(n):
            picture(folder / part / c / f"{i}.png", 100 * k + i, (12, 12))
    same = Image.open(folder / "train/cat/0.png")
    same.save(folder / "train/dog/same.png")
    x = np.asarray(Image.open(folder / "train/cat/1.png")).astype(int)
    Image.fromarray(np.clip(x + 1, 0, 255).astype(np.uint8)).save(folder / "test/cat/nearly.png")
    (folder / "train/dog/bad.png").write_bytes(b"no image")
    (folder / "train/notes.txt").touch()
    return folder


def test_check_says_all_and_writes_nothing(photos, tmp_path, capsys):
    before = {p for p in tmp_path.rglob("*")}
    assert main(["check", str(photos), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"cat": {"train": 40, "test": 4}, "dog": {"train": 5, "test": 3}}
    assert found["sizes"] == {"12x12": 52} and found["modes"] == {"RGB": 52}
    assert found["problems"] == {
        "unreadable images": [["train/dog/bad.png", "it is no image of a known format"]]
    }
    assert found["equal_under_several_labels"] == [
        [["train/cat/0.png", "cat"], ["train/dog/same.png", "dog"]]
    ]
    assert found["across_parts"] == [["test/cat/nearly.png", "train/cat/1.png"]]
    assert found["imbalance"] == 44 / 8 and found["small"] == ["dog"] and found["too_small"] == []
    assert any("other file ignored" in note for note in found["notes"])
    assert main(["check", str(photos)]) == 1
    said = capsys.readouterr()
    for part in (
        "images: train 45, test 7",
        "cat      44  ##############################  (train 40, test 4)",
        "sizes: 12x12 52",
        "look at: unreadable images: 1, such as train/dog/bad.png",
        "look at: the same picture under several labels: 1, such as train/cat/0.png (cat) and",
        "look at: pictures of val/ or test/ that are in train/ too, equal or nearly: 1, such as "
        "test/cat/nearly.png",
        "look at: classes of fewer than 10 images: dog",
    ):
        assert part in said.out, part
    assert said.err == "" and {p for p in tmp_path.rglob("*")} == before


def test_check_of_a_label_file_says_how_it_was_matched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    folder = pictures(tmp_path / "photos", "cat", "dog", n=12)
    rows = [f"photos\\{c}\\{i}.png;{c}" for c in ("cat", "dog") for i in range(12)]
    (tmp_path / "l.csv").write_text("\n".join(["path;label", *rows]))
    assert main(["check", str(folder), "--labels", str(tmp_path / "l.csv")]) == 0
    said = capsys.readouterr().out
    assert "note: columns separated by semicolons" in said
    assert "note: paths matched by the end of longer ones" in said and "nothing odd was found" in said
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert "lnl: no folder" in capsys.readouterr().err


def test_commands_start_without_torchvision():
    """Half of the seconds that `lnl check` of 10,000 images may take."""
    code = "import sys, lnl_kit.cli; assert not {'torchvision', 'pandas', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_check_of_a_built_in_set():
    found = check("digits")
    assert sum(n["train"] for n in found["classes"].values()) == 1437 and found["sizes"] == {"16x16": 1437}
    assert "3" in text(found)


def test_near_copies_need_something_to_see():
    x = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8)
    test = torch.stack([x[7], (x[9].int() + 1).clamp(0, 255).byte(), 255 - x[3]])
    assert copies.near(x, test) == [(0, 7), (1, 9)]
    flat = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    assert copies.near(flat, flat) == []
    parts = np.array(["train"] * 50 + ["test"] * 3)
    assert copies.leaks(parts, [str(i) for i in range(53)], torch.cat([x, test])) == [(50, 7), (51, 9)]


# ---------------------------------------------------------------- find-errors


def test_a_wrong_label_in_test_is_searched_for(photos, capsys):
    quick = {"preset": "quick", "epochs": 1, "progress": False, "skip_bad": True}
    table = lnl_kit.find_errors(photos, **quick)
    assert sorted(table["split"].unique()) == ["test", "train"] and len(table) == 52
    assert (table["path"].str.split("/").str[0] == table["split"]).all()
    err = capsys.readouterr().err
    assert err.count("2 classes: cat 44, dog 8") == 1  # one line, however often the folder is read
    assert "left out by --skip-bad: unreadable images 1" in err
    findings = open_findings(table.attrs["folder"])
    s = findings.summary
    assert {p: n["images"] for p, n in s["splits"].items()} == {"train": 45, "test": 7}
    assert sum(n["estimated_errors"] for n in s["splits"].values()) == pytest.approx(table["suspicion"].sum())
    assert s["leaks"] == [["test/cat/nearly.png", "train/cat/1.png"]]
    assert s["skipped"] == {"unreadable images": 1} and "cat 44, dog 8" in s["taken"]
    page = (findings.folder / "report.html").read_text()
    assert "unreadable images 1" in page and "test/cat/nearly.png" in page and "Where they sit" in page
    assert findings.changed() == {"changed": [], "removed": [], "new": []}

    before = (findings.folder / "labels_before.csv").read_text().splitlines()
    assert sum("test/" in row for row in before) == 7
    assert next(row for row in before if "bad.png" in row).endswith(
        "train/dog/bad.png,dog,0,unreadable images,"
    )
    only = lnl_kit.find_errors(photos, splits="train", **quick)
    assert set(only["split"]) == {"train"} and "splits" not in open_findings(only.attrs["folder"]).summary


def test_what_could_not_be_read_comes_back_once_it_is_mended(photos, tmp_path):
    source = load(
        str(photos), None, None, None, None, None, None, True, splits=["train", "test"], recursive=True
    )
    rows = labels_before(source, {})
    table = tmp_path / "labels.csv"
    table.write_text(
        "\n".join(["path,given,dropped", *(f"{r['path']},{r['given']},{r['dropped']}" for r in rows)])
    )
    picture(photos / "train/dog/bad.png", 77, (12, 12))
    again = load(str(photos), str(table), None, None, None, None, None, False, splits=["train", "test"])
    assert "train/dog/bad.png" in again.names and again.left_out == ()


def test_labels_of_the_training_images_alone_leave_test_images_their_class(photos, tmp_path, monkeypatch):
    """As `apply` wrote them of findings that had looked at train/ only."""
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    (photos / "train/dog/bad.png").unlink()
    rows = [f"{p.relative_to(photos)},cat" for p in sorted(photos.glob("train/*/*.png"))]
    rows[0] = rows[0].replace(",cat", ",dog")
    (tmp_path / "l.csv").write_text("\n".join(["path,given", *rows, "test/cat/0.png,dog"]))
    table = str(tmp_path / "l.csv")
    found = load(str(photos), table, None, None, None, None, None, False, splits=("train", "test"))
    given = dict(zip(found.names, (found.classes[k] for k in found.given_labels)))
    assert given["test/cat/0.png"] == "dog" and given["test/cat/1.png"] == "cat" and len(given) == 52 - 1 + 1
    assert sum(name.startswith("test/dog") and label == "dog" for name, label in given.items()) == 3
    assert "6 images outside train/ without a row in l.csv keep their folder's class" in found.taken
    (tmp_path / "l.csv").write_text("\n".join(["path,given", *rows[1:]]))
    with pytest.raises(ValueError, match=r"images without a label: 1;.*train/cat/0.png"):
        load(str(photos), table, None, None, None, None, None, False, splits=("train", "test"))


def test_parts_are_asked_for_by_name(tmp_path):
    assert parts_of(None, "folder:x") == ("train", "val", "test")
    assert parts_of("test, train", "folder:x") == ("train", "test")
    assert parts_of(None, "digits") is False
    with pytest.raises(ValueError, match="split 'dev' does not exist: train, val, test"):
        parts_of("dev", "folder:x")
    with pytest.raises(ValueError, match="only folders have parts"):
        parts_of("test", "digits")
    assert complete(tmp_path) == f"folder:{tmp_path}"


# ---------------------------------------------------------------- arguments as people write them


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"rate": "0.2", "noise": "symmetric"}, "rate '0.2' is not allowed: a number in"),
        ({"image_size": "32"}, "image_size '32' is not allowed: a whole number"),
        ({"image_size": (32, 48)}, r"image_size \(32, 48\) is not allowed"),
        ({"train_size": 10.5}, "train_size 10.5 is not allowed: a whole number"),
        ({"labels": 3}, "labels of type int are not allowed"),
        ({"clean_list": 3}, "clean_list of type int is not allowed"),
        ({"noisy_val": 0.99}, r"noisy_val 0.99 holds out 42 of 42 images, which leaves 0 training images"),
    ],
)
def test_wrong_types_are_one_sentence(wrong, said, tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    photos = pictures(tmp_path / "photos", "cat", "dog", n=26)
    with pytest.raises(ValueError, match=said) as error:
        lnl_kit.train("ce", **{"dataset": photos, "noise": "none", "epochs": 1, "out": tmp_path} | wrong)
    assert "\n" not in str(error.value)


def test_paths_numbers_and_tables_of_other_libraries(tmp_path, monkeypatch):
    pd = pytest.importorskip("pandas")
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(pictures(tmp_path, "photos/cat", "photos/dog", n=12))
    quick = {"epochs": np.int64(1), "out": tmp_path / "runs", "progress": False}
    run = lnl_kit.train(
        "ce", "photos", "symmetric", np.float32(0.2), seed=np.int64(3), train_size=10.0, **quick
    )
    assert run.summary["rate"] == 0.2 and run.summary["train_images"] == 10
    rows = [(f"{c}/{i}.png", c) for c in ("cat", "dog") for i in range(12)]
    frame = pd.DataFrame(rows, columns=["path", "label"])
    run = lnl_kit.train("ce", tmp_path / "photos", labels=frame, **quick)
    assert run.settings["labels_file"].endswith(".csv") and len(run.train_images()) == 19
    assert run.summary["taken"].startswith("2 classes: cat 12, dog 12") and run.summary["skipped"] == {}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"train_size": 1.0}, "train_size 1 is not allowed: at least 2 images"),
        ({"train_size": "3"}, "train_size '3' is not allowed: a whole number"),
        ({"image_size": "32"}, "image_size '32' is not allowed: a whole number"),
        ({"rate": "x", "noise": "symmetric"}, "rate 'x' is not allowed: a number in"),
        ({"seed": "a"}, "seed 'a' is not allowed: a whole number"),
    ],
)
def test_wrong_types_are_one_sentence_in_a_search_too(wrong, said):
    with pytest.raises(ValueError, match=said):
        lnl_kit.find_errors("digits", **wrong)


def test_a_subset_is_judged_not_the_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "data"))
    photos = pictures(tmp_path / "photos", "cat", "dog", n=12)
    with pytest.raises(
        ValueError, match=r"train_size 4 leaves 2 images of class cat, too few .* at least 6 images"
    ):
        lnl_kit.find_errors(photos, train_size=4, features="none", out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(lnl_kit.RunError, match="cannot write in"):
        lnl_kit.find_errors(photos, to=tmp_path / "file" / "found", out=tmp_path)
