"""Findings as tools read them, through their own libraries where they are there, and decisions back."""

import csv
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from findings_by_hand import photos, search
from PIL import Image

from lnl_kit import cli, data
from lnl_kit.exports import label_studio
from lnl_kit.exports.findings import WRITERS, export_findings
from lnl_kit.label_errors.decision_file import Decisions
from lnl_kit.label_errors.decisions import apply

NAMES = ("cat", "<b>\"x' & y<b>", "=1+1|$image")  # the two hostile ones are folders, and a class's name
DECIDED = {"accept": 0, "keep": 1, "drop": 2, "unsure": 3, "class": 4}  # which image, in the table's order


@pytest.fixture
def found(tmp_path):
    """Findings with one decision of each kind; image 4 goes to another class."""
    folder = photos(tmp_path / "my photos é", NAMES, each=4)
    findings = search(folder, tmp_path / "findings")
    decide(findings)
    return findings


def decide(findings):
    decisions = Decisions(findings.folder / "decisions.csv", findings.seen())
    table = findings.table
    for action, n in DECIDED.items():
        label = {"accept": table["suggested"][n], "class": NAMES[0]}.get(action, "")
        decisions.add(table["image"][n], action, label)


def final(findings) -> dict[str, str]:
    """{image: its label as decided, "" = dropped}."""
    labels = dict(zip(findings.table["image"], findings.table["given"]))
    for image, (action, label) in Decisions(findings.folder / "decisions.csv").made.items():
        labels[image] = "" if action == "drop" else label or labels[image]
    return labels


def exported(findings, to, **more):
    folder, count = export_findings(findings, to, **more)
    return folder, count


# ---------------------------------------------------------------- out


@pytest.mark.parametrize("to", WRITERS)
def test_everything_or_only_what_changed_and_the_rest_is_counted(found, tmp_path, to):
    if to == "hf":
        pytest.importorskip("pyarrow")
    changed = [image for image, label in final(found).items() if label != label_of(found, image)]
    assert len(changed) == 3  # accept, class, drop
    _, count = exported(found, to, out=tmp_path / "all")
    assert count == {"images written": 12}
    _, count = exported(found, to, out=tmp_path / "some", changed=True)
    assert count == {"images written": 3, "left out, as no decision changes their label": 9}
    assert json.loads((tmp_path / "some" / "export.json").read_text())["counts"] == count


def label_of(findings, image):
    return dict(zip(findings.table["image"], findings.table["given"]))[image]


@pytest.mark.parametrize("to", WRITERS)
def test_images_that_changed_or_are_gone_are_left_out_and_decisions_that_do_not_stand(found, tmp_path, to):
    folder, image = found.images_folder, found.table["image"]
    Image.new("RGB", (16, 16)).save(folder / image[0])  # decided: its decision is about another picture
    (folder / image[6]).unlink()
    _, count = exported(found, to, out=tmp_path / "out")
    assert count["images written"] == 10
    assert count["left out, as they are not there any more"] == 1
    assert count["left out, as the images changed since"] == 1


def test_csv_is_a_table_of_labels(found, tmp_path):
    folder, _ = exported(found, "csv", out=tmp_path / "out")
    text = (folder / "labels.csv").read_text()
    assert not any(cell.startswith("=") for row in csv.reader(text.splitlines()) for cell in row)
    labels = final(found)
    source = data.load(found.images_folder, labels=folder / "labels.csv", split=False)
    kept = {i for i, label in labels.items() if label}
    assert set(source.names) == kept and set(source.left_out) == labels.keys() - kept
    assert {n: source.classes[k] for n, k in zip(source.names, source.given_labels)} == {
        i: labels[i] for i in kept
    }


def test_coco_is_read_by_the_kit_and_by_pycocotools(found, tmp_path):
    folder, _ = exported(found, "coco", out=tmp_path / "out")
    labels = {i: label for i, label in final(found).items() if label}
    content = json.loads((folder / "coco.json").read_text())
    assert [i["file_name"] for i in content["images"]] == list(found.table["image"])
    source = data.load(found.images_folder, labels=folder / "coco.json", split=False, skip_bad=True)
    assert {n: source.classes[k] for n, k in zip(source.names, source.given_labels)} == labels
    assert all(i["width"] == i["height"] == 16 for i in content["images"])


@pytest.mark.extras
def test_pycocotools_reads_it(found, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    folder, _ = exported(found, "coco", out=tmp_path / "out")
    labels = {i: label for i, label in final(found).items() if label}
    read = coco.COCO(str(folder / "coco.json"))
    seen = {}
    for k in read.getCatIds():
        for note in read.loadAnns(read.getAnnIds(catIds=[k])):
            (image,) = read.loadImgs(note["image_id"])
            seen[image["file_name"]] = read.loadCats(k)[0]["name"]
            assert note["area"] == 256 and read.annToMask(note).sum() == 256
            assert note["attributes"]["given"] == label_of(found, image["file_name"])
    assert seen == labels


@pytest.mark.extras
def test_hugging_face_reads_it_with_its_classes_and_pixels(found, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _ = exported(found, "hf", out=tmp_path / "out")
    read = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    assert read.features["label"].names == found.classes == read.features["given"].names
    table = found.table
    for n, row in enumerate(read):
        label = final(found)[table["image"][n]]
        assert row["label"] == (found.classes.index(label) if label else -1)
        assert row["suspicion"] == table["suspicion"][n] and row["path"] == table["image"][n]
        assert (np.asarray(row["image"]) == Image.open(found.images_folder / row["path"])).all()


def test_large_exports_to_hugging_face_go_to_several_files(found, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("lnl_kit.exports.hugging_face.SHARD", 1)
    monkeypatch.setattr("lnl_kit.exports.hugging_face.GROUP", 5)
    folder, _ = exported(found, "hf", out=tmp_path / "out")
    files = sorted((folder / "data").iterdir())
    assert [parquet.read_table(f).num_rows for f in files] == [5, 5, 2]


def test_fiftyone_in_its_documented_layout(found, tmp_path):
    """FiftyOneImageClassificationDataset: classes, and by key a label, confidence, attributes."""
    folder, _ = exported(found, "fiftyone", out=tmp_path / "out")
    places = json.loads((folder / "data.json").read_text())
    assert list(places.values()) == [str(found.images_folder / i) for i in found.table["image"]]
    assert not any("." in key or "/" in key for key in places)  # keys are taken for names without ending
    read = {}
    for field in ("given", "suggested", "decided"):
        content = json.loads((folder / f"{field}.json").read_text())
        assert set(content) == {"classes", "labels"} and content["classes"] == found.classes
        assert set(content["labels"]) <= set(places)
        assert all(set(v) <= {"label", "confidence", "attributes"} for v in content["labels"].values())
        read[field] = [content["classes"][v["label"]] for v in content["labels"].values()]
        if field == "suggested":
            assert [v["confidence"] for v in content["labels"].values()] == list(found.table["suspicion"])
    assert read["given"] == list(found.table["given"]) and read["suggested"] == list(found.table["suggested"])
    assert read["decided"] == [label for label in final(found).values() if label]


@pytest.mark.extras
def test_fiftyones_own_importer_reads_it(found, tmp_path):
    """As far as it goes without FiftyOne's database."""
    importers = pytest.importorskip("fiftyone.utils.data")
    folder, _ = exported(found, "fiftyone", out=tmp_path / "out")
    table, labels = found.table, final(found)
    places = [str(found.images_folder / image) for image in table["image"]]
    decided = [labels[image] or None for image in table["image"]]
    for field, wanted in (("given", table["given"]), ("suggested", table["suggested"]), ("decided", decided)):
        importer = importers.FiftyOneImageClassificationDatasetImporter(
            data_path=str(folder / "data.json"), labels_path=str(folder / f"{field}.json")
        )
        importer.setup()
        read = [(path, label) for path, _, label in importer]  # what has no label is left out by it
        found_there = [(path, label.label) for path, label in read]
        assert found_there == [(path, label) for path, label in zip(places, wanted) if label]
        if field == "suggested":
            assert [label.confidence for _, label in read] == list(table["suspicion"])


@pytest.mark.extras
def test_fiftyone_runs_what_the_readme_of_an_export_says(found, tmp_path, monkeypatch):
    """It needs a MongoDB that runs: FIFTYONE_DATABASE_URI=mongodb://127.0.0.1:27017"""
    if "FIFTYONE_DATABASE_URI" not in os.environ:
        pytest.skip("no database of FiftyOne: FIFTYONE_DATABASE_URI is not set")
    fiftyone = pytest.importorskip("fiftyone")
    folder, _ = exported(found, "fiftyone", out=tmp_path / "export-fiftyone")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fiftyone, "launch_app", lambda dataset: None)
    names: dict = {}
    exec((folder / "README.md").read_text().split("```python\n")[1].split("```")[0], names)
    table, dataset = found.table, names["dataset"]
    assert dataset.values("filepath") == [str(found.images_folder / image) for image in table["image"]]
    assert dataset.values("given.label") == list(table["given"])
    assert dataset.values("given.suspicion") == dataset.values("suggested.confidence")
    assert dataset.values("suggested.confidence") == list(table["suspicion"])
    assert dataset.values("suggested.label") == list(table["suggested"])
    labels = final(found)
    assert dataset.values("decided.label") == [labels[image] or None for image in table["image"]]
    dataset.delete()


@pytest.mark.extras
def test_label_studio_accepts_every_task_prediction_and_annotation(found, tmp_path):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    folder, _ = exported(found, "label-studio", out=tmp_path / "out")
    asked = interface.LabelInterface((folder / "config.xml").read_text())
    asked.validate()
    assert list(asked.get_control("label").labels) == found.classes  # hostile names as they are
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        assert asked.validate_task({"data": task["data"]})
        assert all(asked.validate_prediction(p) for p in task["predictions"])
        assert all(asked.validate_annotation(a) for a in task.get("annotations", []))
    wrong = label_studio.answer("label", "no class")
    assert not asked.validate_prediction({"model_version": "x", "score": 0.5, "result": [wrong]})
    assert sum("annotations" in task for task in tasks) == len(DECIDED)


def test_the_prediction_is_the_more_probable_class(found, tmp_path):
    folder, _ = exported(found, "label-studio", out=tmp_path / "out", url="https://images.example/a/")
    for task in json.loads((folder / "tasks.json").read_text()):
        (prediction,) = task["predictions"]
        (choice,) = prediction["result"][0]["value"]["choices"]
        told = task["data"]
        assert choice == told["suggested" if told["suspicion"] >= 0.5 else "given"]
        assert prediction["score"] >= 0.5
        assert told["image"].startswith("https://images.example/a/") and "<" not in told["image"]


def test_sets_without_files_get_pictures(tmp_path):
    findings = search("digits", tmp_path / "findings")
    decisions = Decisions(findings.folder / "decisions.csv", findings.seen())
    decisions.add(findings.table["image"][5], "drop")
    folder, count = exported(findings, "coco", out=tmp_path / "out", changed=True)
    (image,) = json.loads((folder / "coco.json").read_text())["images"]
    assert count["images written"] == 1
    drawn = np.asarray(Image.open(folder / "images" / image["file_name"]))
    assert (drawn == findings.pixels(findings.table["image"][5])[0]).all()


# ---------------------------------------------------------------- and back


def answered(task, *choices, question="label", **more):
    """A task as Label Studio exports it, with one annotation."""
    result = [label_studio.answer(question, choice) for choice in choices]
    return task | {
        "annotations": [*task.get("annotations", []), {"result": result, "was_cancelled": False} | more]
    }


def tasks_of(findings, tmp_path):
    folder, _ = exported(findings, "label-studio", out=tmp_path / "out")
    return [
        t | {"annotations": t.get("annotations", [])} for t in json.loads((folder / "tasks.json").read_text())
    ]


def test_decisions_come_back_from_label_studio(found, tmp_path, capsys):
    before = (found.folder / "decisions.csv").read_bytes()
    tasks = tasks_of(found, tmp_path)
    table = found.table
    tasks[5] = answered(tasks[5], table["suggested"][5])
    tasks[6] = answered(tasks[6], table["given"][6])
    tasks[7] = answered(tasks[7], "drop", question="action")
    tasks[8] = answered(
        tasks[8], next(c for c in NAMES if c not in tuple(table.loc[8, ["given", "suggested"]]))
    )
    tasks[0] = answered(tasks[0], table["given"][0])  # somebody changed their mind: the last counts
    tasks[9] = answered(tasks[9], was_cancelled=True)
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    assert cli.main(["import-decisions", str(found.folder), str(export)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(found.folder / "decisions.csv")
    assert said.err.splitlines()[-1] == (
        "5 decisions taken over, 4 as decided before, 1 left out, as they are skipped there, "
        "2 left out, as they are without an annotation"
    )
    made = Decisions(found.folder / "decisions.csv").made
    assert made[table["image"][5]] == ("accept", table["suggested"][5])
    assert made[table["image"][6]] == ("keep", "") == made[table["image"][0]]
    assert made[table["image"][7]] == ("drop", "") and made[table["image"][8]][0] == "class"
    now = (found.folder / "decisions.csv").read_bytes()
    assert now.startswith(before)
    assert cli.main(["import-decisions", str(found.folder), str(export)]) == 0  # again: nothing new
    assert "0 decisions taken over, 9 as decided before" in capsys.readouterr().err
    assert (found.folder / "decisions.csv").read_bytes() == now
    count = apply(found.folder / "decisions.csv", tmp_path / "labels.csv")
    assert (count["changed"], count["dropped"]) == (3, 2)


def test_what_cannot_be_taken_over_is_counted(found, tmp_path):
    tasks = tasks_of(found, tmp_path)[5:]
    tasks[0] = answered(tasks[0], "dragon")
    tasks[1] = answered(tasks[1] | {"data": tasks[1]["data"] | {"image_name": "../../etc/passwd"}}, "cat")
    tasks[2] = answered(tasks[2] | {"data": tasks[2]["data"] | {"digest": "0" * 16}}, "cat")
    tasks[3] = answered(tasks[3] | {"data": tasks[3]["data"] | {"given": "dragon"}}, "cat")
    two = label_studio.answer("label", "cat")
    two["value"]["choices"].append(NAMES[1])
    tasks[4]["annotations"] = [{"result": [two]}]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    before = (found.folder / "decisions.csv").read_bytes()
    assert label_studio.import_decisions(found, export) == {
        "decisions taken over": 0,
        "left out, as their label is no class of the findings": 1,
        "left out, as the findings have no such image": 1,
        "left out, as the image is another one than when it was exported": 1,
        "left out, as the image had another label when it was exported": 1,
        "left out, as they have several classes": 1,
        "left out, as they are without an annotation": 2,
    }
    assert (found.folder / "decisions.csv").read_bytes() == before


def test_a_project_of_ones_own_comes_back_by_the_addresses_of_its_images(found, tmp_path):
    image = found.table["image"][6]
    task = {
        "data": {"img": 3, "image": f"/data/upload/1/0a1b2c3d-{image.rsplit('/')[-1]}"},
        "annotations": [],
    }
    whole = {"data": {"image": f"/data/local-files/?d=x/{image}"}, "annotations": []}
    export = tmp_path / "export.json"
    export.write_text(json.dumps([answered(whole, NAMES[0], question="kind"), task]))
    count = label_studio.import_decisions(found, export)
    assert count == {"decisions taken over": 1, "left out, as they are without an annotation": 1}
    assert image in Decisions(found.folder / "decisions.csv").made


@pytest.mark.parametrize(
    "content",
    ['[{"image": "a.png", "label": "cat"}]', "path,label\n", "{}", '[{"data": 3, "annotations": []}]', ""],
)
def test_other_files_are_refused_in_one_sentence(found, tmp_path, content, capsys):
    before = (found.folder / "decisions.csv").read_bytes()
    (tmp_path / "x.json").write_text(content)
    assert cli.main(["import-decisions", str(found.folder), str(tmp_path / "x.json")]) == 2
    assert "JSON" in capsys.readouterr().err
    assert (found.folder / "decisions.csv").read_bytes() == before


def test_the_command_refuses_what_does_not_belong_together(found, tmp_path, capsys):
    for arguments, said in {
        ("--to", "onnx"): "holds findings, which go to label-studio",
        ("--to", "coco", "--head"): "--head is not for --to coco",
        ("--to", "csv", "--out", str(found.images_folder)): "holds other files and no export",
    }.items():
        assert cli.main(["export", str(found.folder), *arguments]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text("{}")
    assert cli.main(["export", str(tmp_path / "run"), "--to", "coco"]) == 2
    assert "holds a run, which goes to" in capsys.readouterr().err
    assert cli.main(["export", str(found.folder), "--to", "csv"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(found.folder / "export-csv") and "12 images written" in said.err
    assert pd.read_csv(found.folder / "export-csv" / "labels.csv").shape[0] == 12


def test_the_images_are_never_touched(found, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(found.images_folder, copy)
    for to in ("label-studio", "coco", "fiftyone", "csv"):
        exported(found, to, out=tmp_path / to)
    for path in copy.rglob("*.png"):
        assert path.read_bytes() == (found.images_folder / path.relative_to(copy)).read_bytes()
