"""Decisions about labels: nothing is lost, undo, corrected labels, names of every kind."""

import csv
import os
import subprocess
import sys

import pytest

from lnl_kit.decisions import COLUMNS, Decisions, apply, read_errors

NAMES = ['train/a/plain.png', 'train/a/with, comma.png', 'train/a/"quoted".png', 'train/a/two\nlines.png', 'train/é/ñ-画.png', 'train/<b>/<img src=x>.png']


def write_errors(folder, names=NAMES, given="cat"):
    """An errors.csv, most suspicious first."""
    with open(folder / "errors.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "index", "path", "given", "suggested", "suspicion", "because", "digest"])
        for n, name in enumerate(names):
            writer.writerow([n + 1, len(names) - n - 1, name, given, "dog", 0.9 - n / 100, "why", ""])


def test_decisions_are_read_again_and_the_last_one_about_an_image_counts(tmp_path):
    made = Decisions(tmp_path / "decisions.csv")
    for name in NAMES:
        made.add(name, "accept", "dog")
    made.add(NAMES[3], "class", '<b>, "x"\ny')
    made.add(NAMES[0], "keep")
    again = Decisions(tmp_path / "decisions.csv").made
    assert again == made.made and again[NAMES[3]] == ("class", '<b>, "x"\ny') and again[NAMES[0]] == ("keep", "")


def test_undo_takes_back_the_last_decision_that_stands_also_after_reading_again(tmp_path):
    path = tmp_path / "decisions.csv"
    made = Decisions(path)
    made.add("a", "keep")
    made.add("a", "drop")
    made.add("b", "unsure")
    assert made.undo() == "b" and made.made == {"a": ("drop", "")}
    again = Decisions(path)
    assert again.undo() == "a" and again.made == {"a": ("keep", "")}  # the decision before it stands again
    assert again.undo() == "a" and again.undo() is None and Decisions(path).made == {}


@pytest.mark.parametrize("name", NAMES[1:4])
def test_a_row_torn_anywhere_is_removed_and_the_others_stay(tmp_path, name):
    path = tmp_path / "decisions.csv"
    made = Decisions(path)
    made.add("first", "keep")
    whole = path.read_bytes()
    made.add(name, "class", "a, b\nc")
    longer = path.read_bytes()
    for cut in range(len(whole), len(longer) - 1, 3):  # without its last newline it is whole
        path.write_bytes(longer[:cut])
        again = Decisions(path)
        assert again.made == {"first": ("keep", "")}, longer[:cut]
        again.add("next", "drop")
        assert Decisions(path).made == {"first": ("keep", ""), "next": ("drop", "")}


def test_a_decision_is_on_disk_when_add_returns(tmp_path):
    code = ("import os, sys; from lnl_kit.decisions import Decisions\n"
            "d = Decisions(sys.argv[1]); d.add('a', 'accept', 'dog'); os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "decisions.csv")])
    assert done.returncode == -9 and Decisions(tmp_path / "decisions.csv").made == {"a": ("accept", "dog")}


def test_a_file_that_cannot_be_written_decides_nothing(tmp_path, monkeypatch):
    made = Decisions(tmp_path / "decisions.csv")
    made.add("a", "keep")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        made.add("b", "keep")
    assert list(made.made) == ["a"] == list(Decisions(tmp_path / "decisions.csv").made)


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="'maybe' does not exist: keep, accept"):
        Decisions(tmp_path / "decisions.csv").add("a", "maybe")
    (tmp_path / "other.csv").write_text("path,label\na,b\n")
    with pytest.raises(ValueError, match="not a file of decisions"):
        Decisions(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match="no file"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="not a table of findings"):
        read_errors(tmp_path / "other.csv")
    write_errors(tmp_path)
    Decisions(tmp_path / "decisions.csv").add("strange.png", "keep")
    with pytest.raises(ValueError, match="1 images that its errors.csv does not list, such as strange.png"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")


def test_apply_writes_every_image_with_its_corrected_label(tmp_path):
    write_errors(tmp_path)
    made = Decisions(tmp_path / "decisions.csv")
    for name, action, label in zip(NAMES, ("accept", "class", "keep", "drop", "unsure"), ("dog", "<b>", "", "", "")):
        made.add(name, action, label)
    count = apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    assert count == {"changed": 2, "kept": 1, "dropped": 1, "unsure": 1, "undecided": 1}
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["path"] for r in rows] == NAMES[::-1] and [r["index"] for r in rows] == list("012345")
    by = {r["path"]: (r["given"], r["dropped"], r["before"]) for r in rows}
    assert [by[n] for n in NAMES] == [("dog", "0", "cat"), ("<b>", "0", "cat"), ("cat", "0", "cat"), ("cat", "1", "cat"), ("cat", "0", "cat"), ("cat", "0", "cat")]


def test_the_file_has_the_columns_it_says(tmp_path):
    Decisions(tmp_path / "decisions.csv").add("a", "keep")
    assert (tmp_path / "decisions.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
