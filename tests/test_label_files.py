"""Label files as people and tools write them: headings, paths, kinds; what does not match is said."""

import json

import numpy as np
import pandas as pd
import pytest

from lnl_kit import data
from lnl_kit.data import label_paths
from tests.test_inputs import count, picture, pictures

PATHS = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(3)]
SWAPPED = {
    path: "dog" if path == "cat/0.png" else path[:3] for path in PATHS
}  # one label is not the folder's


@pytest.fixture
def photos(tmp_path):
    return pictures(tmp_path / "photos", "cat", "dog")


@pytest.fixture
def load(tmp_path):
    return lambda folder, **options: data.load(
        f"folder:{folder}", root=tmp_path / "root", split=False, **options
    )


def table(
    tmp_path, spell=lambda path: path, heading="path,label", separator=",", encoding="utf-8", name="l.csv"
):
    rows = [heading, *(f"{spell(path)},{label}" for path, label in SWAPPED.items())]
    path = tmp_path / name
    path.write_bytes("\n".join(row.replace(",", separator) for row in rows if row).encode(encoding))
    return path


def labels(found):
    return {path: found.classes[k] for path, k in zip(found.paths, found.given_labels.tolist())}


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "spell, said",
    [
        (lambda p: f"./{p}", ""),
        (lambda p: f"train/{p}", ""),
        (lambda p: p.replace("/", "\\"), r"paths matched with \ read as /"),
        (
            lambda p: f"C:\\Users\\me\\photos\\{p}".replace("/", "\\"),
            "paths matched by the end of longer ones",
        ),
        (lambda p: f"photos/{p}", "paths matched by the end of longer ones"),
        (lambda p: f"/home/me/photos/{p}", "paths matched by the end of longer ones"),
        (lambda p: f"s3://bucket/photos%20new/{p}", "paths matched by the end of longer ones"),
        (lambda p: f"/data/local-files/?d=photos/{p}", "paths matched by the end of longer ones"),
        (lambda p: p.removesuffix(".png"), "paths matched without their endings"),
        (lambda p: p.upper(), "paths matched in small letters"),
        (lambda p: f'"{p} "', ""),
    ],
)
def test_paths_as_they_are_written(spell, said, photos, load, tmp_path):
    found = load(photos, labels=table(tmp_path, spell))
    assert labels(found) == SWAPPED
    assert (said in found.taken) if said else ("matched" not in found.taken)


def test_base_names_and_last_parts_where_they_are_unique(tmp_path, load):
    photos = tmp_path / "photos"
    for i, c in enumerate(("cat", "cat", "dog", "dog")):
        picture(photos / "train" / c / f"{i}.png", i)
        picture(photos / "test" / c / f"{10 + i}.png", 10 + i)
    rows = "\n".join(f"/elsewhere/{c}/{i}.png,dog" for i, c in enumerate(("cat", "cat", "dog", "dog")))
    (tmp_path / "l.csv").write_text(f"path,label\n{rows}")
    found = load(photos, labels=tmp_path / "l.csv")
    assert found.given_labels.tolist() == [1] * 4
    (tmp_path / "l.csv").write_text("path,label\n" + "\n".join(f"{i}.png,cat" for i in range(4)))
    found = load(photos, labels=tmp_path / "l.csv")
    assert found.given_labels.tolist() == [0] * 4 and "paths matched by base name" in found.taken


def test_a_base_name_that_fits_several_images_is_refused(photos, load, tmp_path):
    file = table(tmp_path, lambda p: f"/data/upload/3/0a1b2c3d-{p.split('/')[1]}")
    with pytest.raises(ValueError, match=r"labels without an image: 6.*fits 2 images: cat/0.png, dog/0.png"):
        load(photos, labels=file)


def test_label_studios_prefix_is_taken_off(tmp_path, load):
    photos = tmp_path / "photos"
    for i in range(4):
        picture(photos / f"{i}.png", i)
    rows = [f"/data/upload/3/0a1b2c3{i}-{i}.png,{'cat' if i < 2 else 'dog'}" for i in range(4)]
    (tmp_path / "l.csv").write_text("\n".join(["image,choice", *rows]))
    found = load(photos, labels=tmp_path / "l.csv")
    assert labels(found) == {f"{i}.png": "cat" if i < 2 else "dog" for i in range(4)}


def test_a_row_about_an_image_that_is_gone_is_never_given_to_another(tmp_path):
    paths = ["cat/1.png", "dog/2.png", "dog/3.png"]
    found = label_paths.match(["/x/cat/1.png", "/x/cat/2.png", "/x/dog/3.png"], paths)
    assert found.at == {"/x/cat/1.png": 0, "/x/dog/3.png": 2}
    assert label_paths.match(["a/2.png", "b/2.png"], ["2.png", "3.png"]).at == {}  # both would be 2.png


def test_accents_in_either_form(tmp_path, load):
    photos = tmp_path / "photos"
    for i in range(2):
        picture(photos / "Vo\u0308gel" / f"{i}.png", i)
        picture(photos / "Kühe" / f"{i}.png", 5 + i)
    rows = [f"{c}/{i}.png,{c}" for c in ("Vögel", "Ku\u0308he") for i in range(2)]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *rows]))
    found = load(photos, labels=tmp_path / "l.csv")
    assert found.classes == ("Kühe", "Vo\u0308gel")  # as the folders are called
    assert all(path.startswith(name) for path, name in labels(found).items())


def test_the_likely_cause_is_said(photos, load, tmp_path):
    with pytest.raises(ValueError, match=r"\(the rows end in .jpg, the images in .png\)"):
        load(photos, labels=table(tmp_path, lambda p: p.replace(".png", ".jpg")))


# ---------------------------------------------------------------- kinds of files


@pytest.mark.parametrize(
    "options, said",
    [
        ({"heading": "filename,class"}, ""),
        ({"heading": "file_name,label"}, ""),
        ({"heading": "Image Path,Category"}, ""),
        ({"heading": "id,breed"}, ""),
        ({"heading": "id,something"}, "labels taken from column something"),
        ({"heading": ""}, "l.csv has no heading: read as path,label"),
        ({"separator": ";"}, "columns separated by semicolons"),
        ({"separator": "\t"}, "columns separated by tabs"),
        ({"encoding": "utf-8-sig"}, ""),
        ({"encoding": "utf-16"}, "read as UTF-16"),
    ],
)
def test_headings_separators_and_encodings(options, said, photos, load, tmp_path):
    found = load(photos, labels=table(tmp_path, **options))
    assert labels(found) == SWAPPED and said in found.taken


def test_columns_may_be_named(photos, load, tmp_path):
    file = tmp_path / "l.csv"
    file.write_text("\n".join(["a,b,c", *(f"x,{path},{label}" for path, label in SWAPPED.items())]))
    with pytest.raises(
        ValueError, match="no column 'given' or 'label': name the one to use with --label-column"
    ):
        load(photos, labels=file)
    with pytest.raises(ValueError, match=r"no column of paths .*--path-column, out of a, b, c"):
        load(photos, labels=file, label_column="c")
    assert labels(load(photos, labels=file, label_column="c", path_column="b")) == SWAPPED


def records():
    return [{"file_name": path, "label": label} for path, label in SWAPPED.items()]


def coco():
    return {
        "images": [{"id": i, "file_name": path} for i, path in enumerate(SWAPPED)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 7 if label == "cat" else 9}
            for i, label in enumerate(SWAPPED.values())
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


def label_studio():
    return [
        {
            "id": i,
            "data": {"image": f"/data/local-files/?d=photos/{path}"},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"result": [{"type": "choices", "value": {"choices": [label]}}]},
            ],
        }
        for i, (path, label) in enumerate(SWAPPED.items())
    ]


@pytest.mark.parametrize(
    "content, name",
    [
        (records, "metadata.jsonl"),
        (records, "l.json"),
        (coco, "l.json"),
        (label_studio, "l.json"),
        (lambda: [{"image": r["file_name"], "choice": r["label"]} for r in records()], "min.json"),
        (lambda: dict(SWAPPED), "l.json"),
    ],
)
def test_json_of_every_kind(content, name, photos, load, tmp_path):
    value = content()
    lines = name.endswith("jsonl")
    (tmp_path / name).write_text("\n".join(map(json.dumps, value)) if lines else json.dumps(value))
    assert labels(load(photos, labels=tmp_path / name)) == SWAPPED


def test_parquet_with_and_without_the_names_of_hugging_face(photos, load, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    pd.DataFrame(records()).to_parquet(tmp_path / "l.parquet")
    assert labels(load(photos, labels=tmp_path / "l.parquet")) == SWAPPED
    images = [{"bytes": None, "path": path} for path in SWAPPED]
    written = pa.table({"image": images, "label": [int(label == "dog") for label in SWAPPED.values()]})
    feature = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"]}}}}
    parquet.write_table(
        written.replace_schema_metadata({"huggingface": json.dumps(feature)}), tmp_path / "hf.parquet"
    )
    assert labels(load(photos, labels=tmp_path / "hf.parquet")) == SWAPPED


def test_a_data_frame_is_a_label_file_kept_by_its_content(photos, load, tmp_path):
    frame = pd.DataFrame(records())
    assert labels(load(photos, labels=frame)) == labels(load(photos, labels=frame)) == SWAPPED
    assert labels(load(photos, labels=records())) == SWAPPED
    assert len(list((tmp_path / "root" / "cache" / "labels").iterdir())) == 1
    with pytest.raises(ValueError, match="labels of type int are not allowed: give the path of a CSV"):
        load(photos, labels=3)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("l.xlsx", b"PK\3\4", "a spreadsheet's own file: save it as CSV"),
        ("l.csv", b"\0\1\2\3\4", "not a CSV file in UTF-8, nor another table"),
        ("l.json", b"[1, 2]", "holds no table of labels"),
        ("l.json", b"{", "is not JSON"),
        ("l.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_one_sentence(name, content, said, photos, load, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        load(photos, labels=tmp_path / name)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- rows


def test_a_flat_folder_and_a_table_alone(tmp_path, load):
    photos = tmp_path / "photos"
    for i in range(10):
        picture(photos / "train" / f"{i}.png", i)
    (photos / "labels.csv").write_text("id,breed\n" + "\n".join(f"{i},{'ab'[i % 2]}" for i in range(9)))
    for folder in (photos, photos / "train"):
        found = load(folder, labels=photos / "labels.csv")
        assert found.classes == ("a", "b") and count(load(folder, labels=photos / "labels.csv")) == {
            "a": 6,
            "b": 5,
        }
        assert (
            "classes taken from labels.csv; 1 image that the label file does not name left out" in found.taken
        )
        assert "other file" not in found.taken
    split = data.load(f"folder:{photos}", root=tmp_path / "root", labels=photos / "labels.csv")
    assert len(split.x) == 7 and len(split.test_x) == 2
    table = "\n".join(f"{i},{10 if i % 2 else 9}.0" for i in range(10))
    (photos / "labels.csv").write_text("id,label\n" + table)
    assert load(photos, labels=photos / "labels.csv").classes == ("9", "10")


def test_folders_that_are_no_classes_leave_them_to_the_table(tmp_path, load):
    photos = pictures(tmp_path / "photos", "2023", "2024")
    rows = [f"{y}/{i}.png,{'cat' if i else 'dog'}" for y in (2023, 2024) for i in range(3)]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *rows]))
    found = load(photos, labels=tmp_path / "l.csv")
    assert found.classes == ("cat", "dog") and found.given_labels.tolist().count(1) == 2


def test_identical_rows_are_one_and_others_are_refused(photos, load, tmp_path):
    file = table(tmp_path)
    text = file.read_text()
    file.write_text(f"{text}\ndog/0.png,dog\ndog/0.png,dog")
    found = load(photos, labels=file)
    assert labels(found) == SWAPPED and "2 repeated rows of l.csv counted once" in found.taken
    file.write_text(f"{text}\ndog/0.png,cat")
    with pytest.raises(ValueError, match=r"images with several labels: 1; .*dog/0.png \(2 rows\)"):
        load(photos, labels=file)


def dropping(tmp_path, word):
    rows = [f"{path},{label},{word if path == 'cat/0.png' else 0}" for path, label in SWAPPED.items()]
    (tmp_path / "l.csv").write_text("\n".join(["path,given,dropped", *rows]))
    return tmp_path / "l.csv"


@pytest.mark.parametrize("word", ["1", "1.0", "true", "TRUE", "yes", "Y", "x", "t"])
def test_dropped_reads_as_people_write_it(word, photos, load, tmp_path):
    found = load(photos, labels=dropping(tmp_path, word))
    assert found.left_out == ("cat/0.png",) and found.left_out_why == (("dropped", "dog"),)
    assert "1 dropped by the label file" in found.taken and not found.skipped


def test_the_label_of_what_is_dropped_stays_also_where_its_class_is_gone(tmp_path, load):
    flat = pictures(tmp_path / "flat", "all")
    (tmp_path / "l.csv").write_text("path,given,dropped\nall/0.png,cat,0\nall/1.png,dog,0\nall/2.png,emu,1\n")
    found = load(flat, labels=tmp_path / "l.csv")
    assert found.classes == ("cat", "dog") and found.left_out_why == (("dropped", "emu"),)


@pytest.mark.parametrize("word", ["", "0", "0.0", "false", "No", "n"])
def test_not_dropped_too(word, photos, load, tmp_path):
    assert labels(load(photos, labels=dropping(tmp_path, word))) == SWAPPED


def test_any_other_dropped_is_refused_with_its_line(photos, load, tmp_path):
    with pytest.raises(
        ValueError, match=r"line 2 of l.csv has 'maybe' in column dropped: write 1, true, yes or x"
    ):
        load(photos, labels=dropping(tmp_path, "maybe"))


def test_class_numbers_from_one_are_found_out(tmp_path, load):
    photos = pictures(tmp_path / "photos", "cat", "dog", "emu")
    rows = [f"{c}/{i}.png,{k}" for c, k in (("cat", 1), ("dog", 2), ("emu", 1)) for i in range(3)]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *rows]))  # the last class is absent
    with pytest.raises(
        ValueError, match=r"numbers its classes from 1, .*\(0 = cat, 1 = dog, 2 = emu\): subtract 1"
    ):
        load(photos, labels=tmp_path / "l.csv")
    rows = [f"{c}/{i}.png,{k}.0" for c, k in (("cat", 0), ("dog", 1), ("emu", 2)) for i in range(3)]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *rows]))
    found = load(photos, labels=tmp_path / "l.csv")
    assert all(found.classes[k] == path[:3] for path, k in zip(found.paths, found.given_labels.tolist()))


def test_positions_with_a_point(tmp_path):
    truth = data.load("digits").true_labels.numpy()
    rows = [f"{i}.0,{k}" for i, k in enumerate(truth)]
    (tmp_path / "l.csv").write_text("\n".join(["index,label", *rows]))
    assert np.array_equal(data.load("digits", labels=tmp_path / "l.csv").given_labels.numpy(), truth)


def test_what_could_not_be_read_is_kept_apart_from_what_was_dropped(photos, load, tmp_path):
    (photos / "dog" / "0.png").write_bytes(b"")
    found = load(photos, labels=dropping(tmp_path, "1"), skip_bad=True)
    assert dict(zip(found.left_out, found.left_out_why)) == {
        "cat/0.png": ("dropped", "dog"),
        "dog/0.png": ("unreadable images", "dog"),
    }
    assert found.skipped_kinds == {"unreadable images": 1}
    assert "left out by --skip-bad: unreadable images 1" in found.taken
