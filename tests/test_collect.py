"""Rows without races, and one table of all runs: every row once, whoever adds and whenever it is killed."""

import json
import multiprocessing
import os
import shutil
import sqlite3

import pytest
from conftest import cpu_seconds
from runs_by_hand import ROW, made_run

from lnl_kit.cli import main
from lnl_kit.results import collect, measured
from lnl_kit.results.rows import keep_beside, put

# ---------------------------------------------------------------- many add at once


def add_some(path, first, number):
    """What one of eight processes does."""
    for seed in range(first, first + number):
        measured.add(path, ROW | {"seed": seed, "device": 40 * "x", "uses": ["a", "b"]})


def eight_at_once(path, number):
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=add_some, args=(path, k * number, number)) for k in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
    rows = measured.read(path)
    assert len(rows) == 8 * number and {r["seed"] for r in rows} == set(range(8 * number))
    measured.gather(path)
    assert measured.read(path) == rows and measured.gather(path) == -1
    assert sorted(p.name for p in path.parent.iterdir()) == [".lock", path.name]


def test_eight_processes_add_rows_at_once(tmp_path):
    eight_at_once(tmp_path / "t.csv", 20)


@pytest.mark.slow
def test_eight_processes_add_a_thousand_rows_each(tmp_path):
    eight_at_once(tmp_path / "t.csv", 1000)


def test_a_row_that_waits_is_read_and_gathered_in_its_place(tmp_path):
    path = tmp_path / "t.csv"
    for seed in range(3):
        measured.add(path, ROW | {"seed": seed})
    for accuracy in (0.6, 0.7):
        put(path, measured.as_row(ROW | {"test_accuracy_last": accuracy}, measured.FIRST))
    waits = [(r["seed"], r["test_accuracy_last"]) for r in measured.read(path)]
    assert waits == [(1, 0.5), (2, 0.5), (0, 0.7)] and "0.7" not in path.read_text()
    os.rename(tmp_path / "t.rows", tmp_path / "t.rows-0123abcd")  # killed while it was gathered
    assert [(r["seed"], r["test_accuracy_last"]) for r in measured.read(path)] == waits
    assert measured.gather(path) == 3 and not [*tmp_path.glob("t.rows*")]
    assert [(r["seed"], r["test_accuracy_last"]) for r in measured.read(path)] == waits


def test_a_link_for_the_rows_that_wait_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "t.rows").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(measured.RunError, match="is a link, which is not followed"):
        measured.add(tmp_path / "t.csv", ROW)
    assert not [*(tmp_path / "elsewhere").iterdir()]


# ---------------------------------------------------------------- a root of runs


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Four finished runs, two of them with rows beside them, one unfinished, and findings, which are none."""
    monkeypatch.setattr(collect, "SETTLED", 0.0)  # folders need not rest before their times count
    for seed in range(4):
        made_run(tmp_path / "runs", seed, beside=seed < 2)
    made_run(tmp_path / "runs", 4, finished=False)
    (tmp_path / "runs" / "errors" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "runs" / "errors" / "a" / "b" / "c" / "summary.json").write_text("{}")
    return tmp_path / "runs"


def collected(root, table="t.csv"):
    done = collect.collect(root, root.parent / table)
    return done, {row["seed"]: row for row in measured.read(root.parent / table)}


def test_the_table_of_a_root(root):
    done, rows = collected(root)
    assert done == (4, 4, 6, 0, 1, []) and sorted(rows) == [0, 1, 2, 3]
    assert rows[0]["commit"] and rows[0]["asked"] == '{"method": "ce", "seed": 0}'
    assert rows[3]["commit"] is None or not rows[3]["commit"]
    told = json.loads(rows[3]["asked"])
    assert (told["lr"], told["method"], told["seed"]) == (0.1, "ce", 3)
    assert rows[3]["curves"] == {"test_accuracy": [0.1235, 0.5]} and rows[3]["seconds"] == 1.25
    again = (root.parent / "t.csv").read_bytes()
    done, _ = collected(root)
    assert done == (4, 4, 0, 0, 1, []) and (root.parent / "t.csv").read_bytes() == again
    (root.parent / "t.csv").write_bytes(again[: again.index(b"\n") + 1])
    assert sorted(collected(root)[1]) == [0, 1, 2, 3]


def test_only_what_changed_is_read_again(root, monkeypatch):
    collected(root)
    read, real = [], collect.read_run
    monkeypatch.setattr(collect, "read_run", lambda f, finished: read.append(f[-14:]) or real(f, finished))
    made_run(root, 7)
    made_run(root, 4, test_accuracy_last=0.9)
    shutil.rmtree(made_run(root, 1))
    done, rows = collected(root, "new.csv")
    assert sorted(read) == ["seed4-00000004", "seed7-00000007"] and done.unfinished == 0
    assert sorted(rows) == [0, 2, 3, 4, 7] and rows[4]["test_accuracy_last"] == 0.9


def test_rows_of_other_runs_stay_and_those_of_the_same_are_renewed(root):
    table = root.parent / "t.csv"
    measured.add(table, ROW | {"seed": 99, "asked": "{}", "note": "kept"})
    measured.add(table, ROW | {"seed": 2, "asked": '{"in": "other words"}'})  # by an earlier version
    measured.add(table, ROW | {"asked": '{"method": "ce", "seed": 0}', "test_accuracy_last": 0.1})
    put(table, measured.as_row(ROW | {"seed": 98}, measured.FIRST))
    _, rows = collected(root)
    assert sorted(rows) == [0, 1, 2, 3, 98, 99] and len(measured.read(table)) == 6
    assert rows[99]["note"] == "kept" and rows[0]["test_accuracy_last"] == 0.5
    assert rows[2]["asked"] == '{"in": "other words"}'


def test_of_two_runs_of_the_same_cell_the_newer_one_has_the_row(root):
    newer = made_run(root, 0, test_accuracy_last=0.8)
    shutil.copytree(newer, newer.with_name("seed0-ffffffff"))
    summary = newer.with_name("seed0-ffffffff") / "summary.json"
    keep_beside(
        summary.parent, measured.as_row(ROW | {"asked": '{"method": "ce", "seed": 0}'}, measured.FIRST)
    )
    os.utime(summary, ns=(0, 1))  # the older one
    done, rows = collected(root)
    assert done.replaced == 1 and rows[0]["test_accuracy_last"] == 0.8


@pytest.mark.parametrize("content", [b"", b"no database", None])
def test_a_damaged_index_is_made_anew(root, content):
    collected(root)
    index = root / collect.INDEX
    if content is None:  # of another version of the kit
        with sqlite3.connect(index) as db:
            db.executescript("PRAGMA user_version = 99; DROP TABLE rows")
    else:
        index.write_bytes(content)
    done, rows = collected(root, "new.csv")
    assert done.read == 6 and sorted(rows) == [0, 1, 2, 3]


def test_damaged_runs_are_named_and_the_others_kept(root, capsys):
    (made_run(root, 2, beside=False) / "summary.json").write_text("{")
    (made_run(root, 3, beside=False) / "settings.json").write_text('["a"]')
    assert main(["collect", str(root), "--csv", str(root.parent / "t.csv")]) == 1
    said = capsys.readouterr().err
    assert "2 rows; 2 finished runs, 1 unfinished" in said and said.count("damaged, and left out") == 2


def test_a_root_that_cannot_be_written_is_read(root, monkeypatch, capsys):
    real = sqlite3.connect

    def connect(place, **more):
        if place != ":memory:":
            raise sqlite3.OperationalError("unable to open database file")
        return real(place, **more)

    monkeypatch.setattr(sqlite3, "connect", connect)
    assert sorted(collected(root)[1]) == [0, 1, 2, 3]
    assert "is made in memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "ask, message",
    [
        (["nowhere", "--csv", "t.csv"], "nowhere is no folder"),
        ([".", "--csv", "t.txt"], "ends in .csv"),
        (["."], "required: --csv"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys, ask, message):
    monkeypatch.chdir(tmp_path)
    try:
        assert main(["collect", *ask]) == 2
    except SystemExit as end:
        assert end.code == 2
    assert message in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_links_are_not_followed(root):
    elsewhere = root.parent / "elsewhere"
    made_run(elsewhere, 50)
    (root / "linked").symlink_to(elsewhere / "ce")
    assert 50 not in collected(root)[1]
    (root / collect.INDEX).unlink()
    (root / collect.INDEX).symlink_to(elsewhere / "file")
    with pytest.raises(collect.RunError, match="is a link"):
        collected(root)
    assert not (elsewhere / "file").exists()


@pytest.mark.slow
def test_five_thousand_runs_cost_at_most_a_millisecond_each(tmp_path):
    """Of processor time: at that pace 100,000 take a minute and a half of one core, half of it of two."""
    for seed in range(5000):
        made_run(tmp_path / "runs", seed, beside=False)
    ask = ("-m", "lnl_kit.cli", "collect", str(tmp_path / "runs"), "--csv")
    assert cpu_seconds(*ask, str(tmp_path / "t.csv"), tries=1) < 7
    assert cpu_seconds(*ask, str(tmp_path / "again.csv")) < 4
