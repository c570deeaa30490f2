"""Decisions about labels: nothing is lost, undo, corrected labels, names of every kind."""

import csv
import os
import subprocess
import sys

import pytest
from findings_by_hand import photos, search

from lnl_kit import cli
from lnl_kit.label_errors.decisions import COLUMNS, Decisions, apply

NAMES = [
    "train/a/plain.png",
    "train/a/with, comma.png",
    'train/a/"quoted".png',
    "train/a/two\nlines.png",
    "train/a/re\rturn.png",
    "train/é/ñ-画.png",
    "train/<b>/<img src=x>.png",
]


def write_labels(folder, names=NAMES, given="cat"):
    """A labels_before.csv; the last image was dropped before."""
    with open(folder / "labels_before.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "path", "given", "dropped"])
        writer.writerows([n, name, given, 0] for n, name in enumerate(names))
        writer.writerow([len(names), "before.png", "", 1])


def test_decisions_are_read_again_and_the_last_one_about_an_image_counts(tmp_path):
    made = Decisions(tmp_path / "decisions.csv")
    for name in NAMES:
        made.add(name, "accept", "dog")
    made.add(NAMES[3], "class", '<b>, "x"\ny')
    made.add(NAMES[0], "keep")
    again = Decisions(tmp_path / "decisions.csv").made
    assert (
        again == made.made and again[NAMES[3]] == ("class", '<b>, "x"\ny') and again[NAMES[0]] == ("keep", "")
    )


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
    code = (
        "import os, sys; from lnl_kit.label_errors.decisions import Decisions\n"
        "d = Decisions(sys.argv[1]); d.add('a', 'accept', 'dog'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "decisions.csv")])
    assert done.returncode == -9 and Decisions(tmp_path / "decisions.csv").made == {"a": ("accept", "dog")}


@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_cannot_be_written_decides_nothing(tmp_path, monkeypatch, first):
    made = Decisions(tmp_path / "decisions.csv")
    before = [] if first else ["a"]
    for image in before:
        made.add(image, "keep")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        made.add("b", "keep")
    assert list(made.made) == before == list(Decisions(tmp_path / "decisions.csv").made)
    monkeypatch.undo()
    made.add("c", "drop")
    assert list(made.made) == [*before, "c"] == list(Decisions(tmp_path / "decisions.csv").made)


def test_a_disk_that_takes_a_part_of_a_row_decides_nothing(tmp_path):
    code = (
        "import resource, signal, sys; from lnl_kit.label_errors.decisions import Decisions\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "d = Decisions(sys.argv[1]); d.add('a', 'keep')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (70, 70))\n"
        "try: d.add('bbbbbbbb.png', 'drop')\n"
        "except OSError: pass\n"
        "else: sys.exit('a part of a row was taken for the whole')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "decisions.csv")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Decisions(tmp_path / "decisions.csv").made == {"a": ("keep", "")}


def test_a_file_that_grew_elsewhere_is_read_anew_before_anything_is_decided(tmp_path):
    one, two = Decisions(tmp_path / "decisions.csv"), Decisions(tmp_path / "decisions.csv")
    one.add("a", "keep")
    with pytest.raises(OSError, match="changed elsewhere"):
        two.undo() or two.add("b", "drop")
    assert two.made == {"a": ("keep", "")}
    two.add("b", "drop")
    assert list(Decisions(tmp_path / "decisions.csv").made) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        "path,label\ncat/0.png,cat\n",
        "path,label\ncat/0.png,cat",
        "image,action,label,when\na,keep,,yesterday\nb,keep,,2026-01-02T03:04:05Z\n",
        "image,action,label,when\na,perhaps,,2026-01-02T03:04:05Z\n",
        "x" * 200_000,
    ],
)
def test_what_is_not_a_file_of_decisions_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "decisions.csv"
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match=r"not a file of decisions|no decision"):
        Decisions(path)
    assert path.read_bytes() == content.encode()


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="'maybe' does not exist: keep, accept"):
        Decisions(tmp_path / "decisions.csv").add("a", "maybe")
    with pytest.raises(FileNotFoundError, match="no file"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    Decisions(tmp_path / "decisions.csv").add("strange.png", "keep")
    with pytest.raises(FileNotFoundError, match=r"labels_before.csv: `lnl find-errors` writes it"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    (tmp_path / "labels_before.csv").write_text("path,label\na,b\n")
    with pytest.raises(ValueError, match="not a table of labels: it has no index, given, dropped"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    write_labels(tmp_path)
    with pytest.raises(ValueError, match=r"such as strange.png: they are not of one search"):
        apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    for name in ("decisions.csv", "labels_before.csv", "errors.csv"):
        with pytest.raises(ValueError, match="belongs to the findings"):
            apply(tmp_path / "decisions.csv", tmp_path / name)


def test_apply_writes_every_image_with_its_corrected_label(tmp_path):
    write_labels(tmp_path)
    made = Decisions(tmp_path / "decisions.csv")
    for name, action, label in zip(
        NAMES, ("accept", "class", "keep", "drop", "unsure"), ("dog", "<b>", "", "", "")
    ):
        made.add(name, action, label)
    made.add("gone.png", "keep")
    count = apply(tmp_path / "decisions.csv", tmp_path / "labels.csv")
    assert count == {
        "changed": 2,
        "kept": 1,
        "dropped": 1,
        "unsure": 1,
        "undecided": 2,
        "about images that are not there any more": 1,
    }
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["path"] for r in rows] == [*NAMES, "before.png"] and [r["index"] for r in rows] == list(
        "01234567"
    )
    by = {r["path"]: (r["given"], r["dropped"], r["before"]) for r in rows}
    assert [by[n] for n in NAMES] == [
        ("dog", "0", "cat"),
        ("<b>", "0", "cat"),
        ("cat", "0", "cat"),
        ("cat", "1", "cat"),
        ("cat", "0", "cat"),
        ("cat", "0", "cat"),
        ("cat", "0", "cat"),
    ]
    assert by["before.png"] == ("", "1", "")


def test_the_file_has_the_columns_it_says(tmp_path):
    Decisions(tmp_path / "decisions.csv").add("a", "keep")
    assert (tmp_path / "decisions.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_apply_says_where_it_cannot_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    search(photos(tmp_path / "photos"), tmp_path / "found")
    (tmp_path / "afile").write_text("")
    asked = ["apply", str(tmp_path / "found" / "decisions.csv"), "--out", str(tmp_path / "afile" / "x.csv")]
    Decisions(tmp_path / "found" / "decisions.csv").add("cat/1.png", "keep")
    assert cli.main(asked) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"lnl: cannot write in {tmp_path / 'afile'}") and "--out" in said
