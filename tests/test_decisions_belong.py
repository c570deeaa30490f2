"""A decision belongs to a picture and a label: whatever is renamed, replaced, labelled or drawn anew in
between, none lands on another; old files open; corrected labels overwrite nothing.
"""

import csv
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from findings_by_hand import photos, search
from PIL import Image

import lnl_kit
from lnl_kit import data
from lnl_kit.cli import main
from lnl_kit.files import lock
from lnl_kit.label_errors import decision_file, decisions
from lnl_kit.label_errors.decision_file import (
    APPLIED,
    COLUMNS,
    LEFT_OUT,
    NOT_KNOWN,
    OTHER_IMAGE,
    OTHER_LABEL,
)
from lnl_kit.label_errors.decisions import Decisions, apply
from lnl_kit.label_errors.findings import open_findings
from lnl_kit.label_errors.review import Review


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "runs"))
    return tmp_path


def labels_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["path"] or row["index"]: row for row in csv.DictReader(file)}


def test_digest_and_label_are_in_every_row(place):
    found = search(photos(place / "photos"), place / "found")
    Decisions(found.folder / "decisions.csv").add("cat/1.png", "drop")
    with open(found.folder / "decisions.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert tuple(row) == COLUMNS and row["given"] == "cat"
    assert row["digest"] == found.seen()["cat/1.png"].digest and len(row["digest"]) == 16


def test_renamed_images_do_not_inherit_decisions(place, capsys):
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    made.add("cat/1.png", "drop")
    made.add("dog/0.png", "class", "cat")
    for n in (3, 2, 1, 0):
        (folder / "cat" / f"{n}.png").rename(folder / "cat" / f"{n + 1}.png")
    search(folder, place / "found")  # again, into the same folder
    assert Decisions(made.path).made == {"dog/0.png": ("class", "cat")}
    review = Review(place / "found")
    assert "1 earlier decisions are not taken over, as the image is another one" in review.status
    assert next(c for c in review.cards if c["image"] == "cat/1.png")["decision"] == ""
    count = apply(made.path, place / "labels.csv")
    assert (count["changed"], count["dropped"], count[f"left out, as {OTHER_IMAGE}"]) == (1, 0, 1)
    assert "left out, 1 decisions" in (said := capsys.readouterr().err) and "cat/1.png" in said
    assert not any(row["dropped"] == "1" for row in labels_of(place / "labels.csv").values())


def test_a_replaced_image_does_not_keep_its_decision_also_without_another_search(place):
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    for image in ("cat/1.png", "cat/2.png"):
        made.add(image, "class", "dog")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "cat" / "1.png")
    count = apply(made.path, place / "labels.csv")
    assert count["changed"] == 1 and count[f"left out, as {OTHER_IMAGE}"] == 1
    assert labels_of(place / "labels.csv")["cat/1.png"]["given"] == "cat"
    assert (
        list(Review(place / "found").made) == ["cat/2.png"] or "1 changed" in Review(place / "found").status
    )


def test_another_noise_seed_does_not_turn_keep_of_5_into_keep_of_2(place):
    true = [str(k) for k in data.load("digits").true_labels.tolist()]
    one, other = true.copy(), true.copy()
    one[7], other[7] = "5", "2"
    made = Decisions(search("digits", place / "found", given=one).folder / "decisions.csv")
    made.add("7", "keep")
    made.add("9", "keep")
    search("digits", place / "found", given=other)
    assert Decisions(made.path).made == {"9": ("keep", "")}
    assert Decisions(made.path).left_out == {OTHER_LABEL: ["7"]}


def test_a_second_round_starts_from_the_first_and_keeps_the_experts_hand(place):
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    made.add("cat/0.png", "class", "dog")
    made.add("cat/1.png", "class", "dog")
    made.add("cat/2.png", "keep")
    made.add("cat/3.png", "drop")
    apply(made.path, place / "one.csv")
    rows = (
        (place / "one.csv").read_text().replace("cat/1.png,dog,0", "cat/1.png,cat,0")
    )  # the expert disagrees
    (place / "expert.csv").write_text(rows.replace("dog/2.png,dog,0", "dog/2.png,cat,0"))
    search(folder, place / "found", labels=place / "expert.csv")
    second = Decisions(made.path)
    assert second.made == {"cat/2.png": ("keep", ""), "cat/3.png": ("drop", "")}
    assert second.left_out == {OTHER_LABEL: ["cat/0.png"], APPLIED: ["cat/1.png"]}
    apply(made.path, place / "two.csv")
    found = {image: (row["given"], row["dropped"]) for image, row in labels_of(place / "two.csv").items()}
    assert found["cat/0.png"] == ("dog", "0") and found["cat/1.png"] == ("cat", "0")
    assert found["dog/2.png"] == ("cat", "0") and found["cat/3.png"][1] == "1"


def rounds(place, edit, decisions):
    """labels.csv of a second round into the same folder, over the first round's as an expert edited them."""
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    for image, *what in decisions:
        made.add(image, *what)
    apply(made.path, place / "one.csv")
    text = (place / "one.csv").read_text()
    for before, after in edit:
        assert before in text
        text = text.replace(before, after)
    (place / "one.csv").write_text(text)
    search(folder, place / "found", labels=place / "one.csv")
    count = apply(made.path, place / "two.csv")
    two = {image: (row["given"], row["dropped"]) for image, row in labels_of(place / "two.csv").items()}
    return Decisions(made.path), count, two


def test_an_image_that_an_expert_took_back_in_stays_in(place):
    edit = [("cat/3.png,cat,1", "cat/3.png,cat,0"), ("cat/2.png,cat,1", "cat/2.png,dog,0")]
    second, count, two = rounds(place, edit, [(f"cat/{n}.png", "drop") for n in (1, 2, 3)])
    assert two["cat/3.png"] == ("cat", "0") and two["cat/2.png"] == ("dog", "0")
    assert two["cat/1.png"] == ("cat", "1")  # nobody took it back
    assert second.left_out == {APPLIED: ["cat/3.png"], OTHER_LABEL: ["cat/2.png"]}
    assert count[f"left out, as {APPLIED}"] == 1 and count["dropped"] == 1


def test_an_image_that_an_expert_left_out_stays_out(place):
    edit = [(f"{image},cat,0", f"{image},cat,1") for image in ("cat/0.png", "cat/1.png")]
    edit.append(("cat/2.png,dog,0", "cat/2.png,cat,1"))
    decisions = [("cat/0.png", "keep"), ("cat/1.png", "unsure"), ("cat/2.png", "class", "dog")]
    second, _, two = rounds(place, edit, decisions)
    assert [two[f"cat/{n}.png"] for n in range(4)] == [("cat", "1")] * 3 + [("cat", "0")]
    assert second.made == {} and second.left_out == {LEFT_OUT: ["cat/0.png", "cat/1.png", "cat/2.png"]}


def test_a_dropped_image_keeps_its_label_through_every_round(place):
    """For whoever takes it back in later, also where no other image of its class is left."""
    dropped = [(f"cat/{n}.png", "drop") for n in range(3)]
    _, _, two = rounds(place, [("cat/3.png,cat,0", "cat/3.png,cat,1")], dropped)
    assert {two[f"cat/{n}.png"] for n in range(4)} == {("cat", "1")}
    labels_of_two = (place / "two.csv").read_text().replace("cat/0.png,cat,1", "cat/0.png,cat,0")
    (place / "two.csv").write_text(labels_of_two)
    found = data.load(f"folder:{place / 'photos'}", labels=place / "two.csv", split=False)
    assert [found.classes[k] for p, k in zip(found.paths, found.given_labels) if p == "cat/0.png"] == ["cat"]


def test_decisions_made_after_a_table_was_applied_are_not_taken_for_applied_in_it(place, monkeypatch):
    """Also where another table was applied in between: a table is known by its content."""
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    moment = iter(f"2030-01-01T00:00:{n:02d}Z" for n in range(60))
    for module in (decision_file, decisions):
        monkeypatch.setattr(module, "utc", lambda: next(moment))
    made.add("cat/0.png", "class", "dog")
    apply(made.path, place / "one.csv")
    made.add("cat/1.png", "class", "dog")
    apply(made.path, place / "other.csv")
    search(folder, place / "found", labels=place / "one.csv")
    second = Decisions(made.path)
    assert second.made == {"cat/1.png": ("class", "dog")} and second.left_out == {OTHER_LABEL: ["cat/0.png"]}


def test_labels_of_any_kind_are_searched_a_second_time(place):
    """What `apply` wrote is looked for in the table: it need not be CSV in UTF-8."""
    folder = photos(place / "photos", ("café", "dog"))
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    made.add("dog/0.png", "class", "café")
    apply(made.path, place / "one.csv")
    for name, how in (("other.csv", "cp1252"), ("other.txt", "utf-16")):
        (place / name).write_text((place / "one.csv").read_text(), encoding=how)
        search(folder, place / "found", labels=place / name)
        assert Decisions(made.path).left_out == {OTHER_LABEL: ["dog/0.png"]}


def old_file(path, rows):
    """decisions.csv as version 0.1 wrote it."""
    path.write_text("image,action,label,when\n" + "".join(",".join(row) + "\n" for row in rows))


def test_files_of_the_last_version_open_and_count_where_nothing_changed(place, capsys):
    folder = photos(place / "photos")
    found = search(folder, place / "found")
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    old_file(
        found.folder / "decisions.csv", [("cat/1.png", "drop", "", later), ("dog/1.png", "keep", "", later)]
    )
    made = Decisions(found.folder / "decisions.csv")
    assert made.made == {"cat/1.png": ("drop", ""), "dog/1.png": ("keep", "")}
    (folder / "cat" / "1.png").rename(folder / "cat" / "9.png")
    shutil.copy(folder / "cat" / "2.png", folder / "cat" / "1.png")
    search(folder, place / "found")  # completes the old rows while the old findings are there
    assert Decisions(made.path).made == {"dog/1.png": ("keep", "")}
    assert Decisions(made.path).left_out == {OTHER_IMAGE: ["cat/1.png"]}
    made = Decisions(made.path)
    made.add("cat/0.png", "unsure")
    assert made.path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_where_nothing_is_known_of_an_old_decision_it_says_so(place, capsys):
    found = search(photos(place / "photos"), place / "found")
    old_file(
        found.folder / "decisions.csv", [("cat/1.png", "drop", "", "2020-01-01T00:00:00Z")]
    )  # findings are newer
    assert Decisions(found.folder / "decisions.csv").left_out == {NOT_KNOWN: ["cat/1.png"]}
    count = apply(found.folder / "decisions.csv", place / "labels.csv")
    assert count["dropped"] == 0 and "made by an earlier version" in capsys.readouterr().err
    assert "not known" in Review(found).status


def test_undo_takes_back_what_stands_and_not_what_was_left_behind(place):
    folder = photos(place / "photos")
    made = Decisions(search(folder, place / "found").folder / "decisions.csv")
    made.add("dog/0.png", "keep")
    made.add("cat/0.png", "drop")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "cat" / "0.png")
    search(folder, place / "found")
    again = Decisions(made.path)
    assert again.undo() == "dog/0.png" and again.undo() is None
    assert Decisions(made.path).made == {} and Decisions(made.path).left_out == {OTHER_IMAGE: ["cat/0.png"]}


def test_the_review_checks_before_it_writes(place):
    found = search(photos(place / "photos"), place / "found")
    review = Review(found)
    for message in (
        {"do": "decide", "image": "../etc/passwd", "action": "keep"},
        {"do": "decide", "image": "cat/0.png", "action": "class", "label": "cow"},
        {"do": "decide", "image": "cat/0.png", "action": "rm"},
        {"do": "decide", "image": ["cat/0.png"], "action": "keep"},
        {"do": "filter", "filter": [0, 99]},
        {"do": "filter", "filter": "ab"},
        {"do": "page", "page": "x"},
    ):
        review._receive(review, message, None)
        assert "not saved" in review.status, message
    assert not (found.folder / "decisions.csv").exists() and review.made == {}


def test_two_open_findings_look_at_their_own_images(place):
    one, other = (search(photos(place / n, seed=k), place / f"found-{n}") for k, n in enumerate("ab"))
    first = one.pixels("cat/0.png")
    other.changed()  # once cleared what the other had looked at
    assert np.array_equal(one.pixels("cat/0.png"), first) and not np.array_equal(
        other.pixels("cat/0.png"), first
    )


# ---------------------------------------------------------------- what apply overwrites


def test_apply_overwrites_only_what_it_wrote_and_nobody_changed(place, capsys):
    found = search(photos(place / "photos"), place / "found")
    made, out = Decisions(found.folder / "decisions.csv"), place / "labels.csv"
    made.add("cat/0.png", "drop")
    apply(made.path, out)
    made.add("cat/1.png", "drop")
    apply(made.path, out)  # its own
    assert sum(row["dropped"] == "1" for row in labels_of(out).values()) == 2
    edited = out.read_bytes().replace(b"dog/3.png,dog", b"dog/3.png,cat")
    out.write_bytes(edited)
    (place / "thesis.txt").write_text("years")
    os.symlink(place / "thesis.txt", place / "link.csv")
    for path in (out, place / "thesis.txt", place / "link.csv"):
        before = path.read_bytes()
        assert main(["apply", str(made.path), "--out", str(path)]) == 2
        assert "name another file" in capsys.readouterr().err and path.read_bytes() == before


def test_apply_does_not_overwrite_the_table_that_was_searched(place):
    folder = photos(place / "photos")
    table = place / "table.csv"
    table.write_text(
        "path,given,annotator\n" + "".join(f"{c}/{n}.png,{c},me\n" for c in ("cat", "dog") for n in range(4))
    )
    made = Decisions(search(folder, place / "found", labels=table).folder / "decisions.csv")
    made.add("cat/0.png", "drop")
    with pytest.raises(ValueError, match="is the table that was searched"):
        apply(made.path, table)
    assert "annotator" in table.read_text()


def test_labels_that_are_no_class_are_refused(place):
    found = search(photos(place / "photos"), place / "found")
    made = Decisions(found.folder / "decisions.csv")
    made.add("cat/0.png", "class", "cow")
    with pytest.raises(ValueError, match=r"gives cat/0.png the label 'cow', which is no class: cat, dog"):
        apply(made.path, place / "labels.csv")
    assert not (place / "labels.csv").exists()


def test_names_like_formulas_go_through_findings_decisions_and_labels(place):
    folder = photos(place / "photos", ("=cat", "@dog"))
    found = search(folder, place / "found")
    assert found.classes == ["=cat", "@dog"] and set(found.table["given"]) == {"=cat", "@dog"}
    made = Decisions(found.folder / "decisions.csv")
    made.add("=cat/0.png", "class", "@dog")
    apply(made.path, place / "labels.csv")
    for path in (found.folder / "errors.csv", made.path, place / "labels.csv"):
        with open(path, newline="") as file:
            assert not any(cell[:1] in ("=", "@") for row in csv.reader(file) for cell in row)
    corrected = data.load(f"folder:{folder}", labels=place / "labels.csv", split=False)
    given = {p: corrected.classes[k] for p, k in zip(corrected.paths, corrected.given_labels.tolist())}
    assert given == {p: "@dog" if p == "=cat/0.png" else p[:4] for p in given} and len(given) == 8


# ---------------------------------------------------------------- findings of one search


def test_files_of_two_searches_do_not_open_as_one(place):
    folder = photos(place / "photos")
    search(folder, place / "one")
    search(photos(place / "others", seed=1), place / "two")
    shutil.copy(place / "two" / "errors.csv", place / "one" / "errors.csv")
    with pytest.raises(ValueError, match="not of one search"):
        open_findings(place / "one")
    (place / "two" / "summary.json").write_text('{"asked": 1}')
    with pytest.raises(ValueError, match="are damaged"):
        open_findings(place / "two")
    (place / "two" / "errors.csv").write_text("")
    with pytest.raises(ValueError, match="are damaged"):
        open_findings(place / "two")


def test_of_two_searches_at_once_one_waits(place):
    folder = photos(place / "photos")
    search(folder, place / "found", report=b"old")
    other = threading.Thread(target=search, args=(folder, place / "found"), kwargs={"report": b"new"})
    with lock(place / "found"):
        other.start()
        other.join(2)
        assert other.is_alive() and (place / "found" / "report.html").read_bytes() == b"old"
    other.join(60)
    assert not other.is_alive() and (place / "found" / "report.html").read_bytes() == b"new"
    assert len(open_findings(place / "found").table) == 8


def test_decisions_are_read_without_torch():
    code = "import sys, lnl_kit.label_errors.decisions; print({'torch', 'pandas', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_renamed_folder_goes_on_with_its_review_and_a_copy_begins_its_own(place, capsys):
    folder = photos(place / "photos")
    probs = np.tile([0.7, 0.3], (len(list(folder.glob("*/*"))), 1))

    def look(images):
        return lnl_kit.find_errors(images, probs=probs, report=False).attrs["folder"]

    before = look(folder)
    Decisions(f"{before}/decisions.csv").add("cat/1.png", "drop")
    shutil.copytree(folder, place / "copy")
    assert look(place / "copy") != before and "go on" not in capsys.readouterr().err
    folder.rename(place / "bilder")
    assert look(place / "bilder") == before and "its findings and review go on" in capsys.readouterr().err
    assert Decisions(f"{before}/decisions.csv").made == {"cat/1.png": ("drop", "")}
    (place / "bilder/cat/1.png").unlink()  # other images: not the folder that was reviewed
    probs = probs[1:]
    (place / "bilder").rename(place / "third")
    assert look(place / "third") not in (before, str(place / "copy"))
