"""Bad input that `make torture` found to end in a traceback: the smallest case of each, now one sentence."""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SHORT_STAGES, feature_file
from findings_by_hand import photos, search
from runs_by_hand import ROW

import lnl_kit
from lnl_kit import cli, data
from lnl_kit.cli import without_controls
from lnl_kit.commands.config import read_config
from lnl_kit.features import backbones
from lnl_kit.files import Hold, RunError, ordinary
from lnl_kit.files.contents import read_file, read_npz
from lnl_kit.label_errors.allowed import require_own
from lnl_kit.label_errors.evidence import table_of
from lnl_kit.reproduce.values import values_of
from lnl_kit.results import measured
from lnl_kit.run.loop import Run
from lnl_kit.run.stages import computed_once
from lnl_kit.run.state import Damaged, torch_bytes, torch_read
from lnl_kit.run.tables import load_state
from lnl_kit.train import Plan


def test_the_readme_tells_what_was_counted(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "torture")
    ledger = importlib.import_module("ledger")
    assert ledger.table(ledger.Ledger(ledger.KEPT)) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "content, words",
    [
        (1, "holds no table of labels"),
        ([{"annotations": "x", "data": "cat/0.png"}], "task 0 is none"),
        ([{"annotations": [{"result": [1]}], "data": {"image": "cat/0.png"}}], "task 0 is none"),
    ],
)
def test_json_that_is_no_table_of_labels(tmp_path, content, words):
    table = tmp_path / "labels.json"
    table.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        data.load(f"folder:{photos(tmp_path / 'p')}", root=tmp_path, labels=str(table), split=False)


@pytest.mark.parametrize(
    "name, value", [("preset", None), ("noise", 3), ("like", ["digits"]), ("model", 1.5)]
)
def test_what_should_be_a_text(name, value):
    with pytest.raises(ValueError, match=f"{name} .* is not allowed: a text"):
        Plan.of("ce", **{name: value}).resolve()


def test_a_parameter_too_long_for_a_path_is_a_text():
    text = "a/" * 3000
    assert values_of(text, True) == [text]


def test_a_header_that_is_no_python(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    content = (tmp_path / "x.npy").read_bytes()
    for middle in (b"\0", b"["):
        (tmp_path / "x.npy").write_bytes(content[:20] + middle + content[21:])
        with pytest.raises(ValueError, match="cannot be read as probabilities"):
            table_of(tmp_path / "x.npy", ["cat", "dog"])


def test_arrays_whose_directory_points_outside(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.zeros((1, 3), np.float32))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[277] = 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or no file of arrays"):
        read_npz(tmp_path / "x.npz")


def test_a_checkpoint_cut_off_is_said_without_the_system_s_number(tmp_path):
    torch.save({"state": torch.zeros(5000)}, tmp_path / "state.pt")
    for at in (4097, 100, 0):
        (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:at])
        with pytest.raises(RunError, match=r"is damaged or missing \((?!\[Errno)"):
            load_state(tmp_path)


def test_damaged_settings_of_a_run(tmp_path):
    (tmp_path / "settings.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match=r"settings.json is damaged, or no JSON"):
        _ = lnl_kit.open_run(tmp_path).settings


def test_a_small_file_takes_little_memory_whatever_is_allowed(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert read_file(tmp_path / "x", at_most=2**62) == b"abc"
    with pytest.raises(ValueError, match="more than"):
        read_file(tmp_path / "x", at_most=2)


@pytest.mark.parametrize("named", [".findings-0123456789abcdef", ".findings"])
def test_an_interrupted_search_into_a_named_folder_is_asked_for_again(tmp_path, named):
    """Killed before its files were written, or before they were in their places."""
    folder, found = photos(tmp_path / "p"), tmp_path / "found"
    ask = {"probs": np.random.RandomState(0).dirichlet(np.ones(2), 8), "report": False}
    whole = lnl_kit.find_errors(folder, to=tmp_path / "whole", **ask)
    (found / named).mkdir(parents=True)
    if named == ".findings":
        for path in (tmp_path / "whole").glob("[!.]*"):
            path.rename(found / named / path.name)
    again = lnl_kit.find_errors(folder, to=found, **ask)
    assert again.equals(whole) and {p.name for p in found.glob(".*")} <= {".lock"}
    (found / "summary.json").unlink()
    with pytest.raises(ValueError, match="holds other files and no findings"):
        lnl_kit.find_errors(folder, to=found, **ask)


def test_a_sentence_steers_no_terminal():
    assert without_controls("a\x1b[31mb\x85\u00e9\n") == "a\\x1b[31mb\\x85\u00e9\n"


@pytest.mark.parametrize("name", ["settings.yaml", "settings.json", "settings.toml"])
def test_a_folder_where_a_file_is_read(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OSError, match=rf"^{tmp_path / name} is a folder, where a file is read$"):
        read_config(tmp_path / name, "nrd")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are of Unix")
def test_a_pipe_in_place_of_arrays_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "arrays.npz")
    with pytest.raises(ValueError, match="is no ordinary file"):
        read_npz(tmp_path / "arrays.npz")


def test_of_many_columns_the_first_are_named(tmp_path):
    (tmp_path / "labels.csv").write_text("a," * 100_000 + "\n")
    with pytest.raises(ValueError, match="and 99,981 more") as said:
        data.load(
            f"folder:{photos(tmp_path / 'p')}",
            root=tmp_path,
            labels=str(tmp_path / "labels.csv"),
            split=False,
        )
    assert len(str(said.value)) < 500
    with pytest.raises(ValueError, match="it has 100,001 columns"):
        table_of(tmp_path / "labels.csv", ["cat", "dog"])


def test_a_line_without_an_end_is_no_heading(tmp_path):
    with open(tmp_path / "t.csv", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="is not a table of measured runs"):
        measured.read(tmp_path / "t.csv")


def test_a_program_larger_than_any_is_refused_unread(tmp_path):
    with open(tmp_path / "eye.pt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="has more than 34 GB, which is no such program"):
        backbones.of_file("file:eye.pt", tmp_path / "eye.pt", None)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")]
)
def test_too_little_memory_is_a_sentence(monkeypatch, capsys, error):
    def fails(options):
        raise error

    monkeypatch.setattr("lnl_kit.results.commands.collect_command", fails)
    assert cli.main(["collect", "somewhere", "--csv", "t.csv"]) == 2
    assert capsys.readouterr().err.startswith("lnl: there is not enough memory for that: smaller images")


def test_features_of_one_s_own_are_told_by_what_is_in_them(tmp_path, monkeypatch):
    """Found by kills of PUDistill, whose stages were seeded with, and shared by, the path of the features."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = feature_file(tmp_path / "a"), feature_file(tmp_path / "b")
    ask = SHORT_STAGES["pu_distill"] | {"epochs": 1, "train_size": 128, "progress": False}
    one = lnl_kit.train("pu_distill", features=first, out=tmp_path / "one", **ask)
    two = lnl_kit.train("pu_distill", features=second, out=tmp_path / "two", **ask)
    assert one.folder.name == two.folder.name
    assert one.arrays["accepted"].tobytes() == two.arrays["accepted"].tobytes()
    monkeypatch.chdir(tmp_path / "a")  # as a path from here, and opened from elsewhere
    again = lnl_kit.train("pu_distill", features="npz:digits.npz", out=tmp_path / "one", **ask)
    assert again.folder == one.folder
    monkeypatch.chdir(tmp_path)
    assert one.train_images().shape[0] == 128
    path = Path(first.removeprefix("npz:"))
    held = dict(np.load(path))
    np.savez(path, **{k: v + np.float32(1) for k, v in held.items()})
    with pytest.raises(ValueError, match=r"is not what .* was trained on any more"):
        lnl_kit.open_run(one.folder).train_images()
    assert lnl_kit.train("pu_distill", features=first, out=tmp_path / "one", **ask).folder != one.folder


def test_ctrl_c_ends_any_command_without_a_traceback(monkeypatch, capsys):
    def stopped(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lnl_kit.results.commands.collect_command", stopped)
    assert cli.main(["collect", "somewhere", "--csv", "t.csv"]) == 130
    assert capsys.readouterr().err == "\nlnl: stopped\n"


def test_a_byte_that_the_disk_changed_in_a_checkpoint(tmp_path, capsys):
    """torch does not compare the checksums: the run went on from other weights."""
    ask = {"epochs": 2, "train_size": 64, "batch_size": 32, "progress": False}
    alone = lnl_kit.train("ce", out=tmp_path / "alone", **ask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "commit", stops_after(Run.commit))
        stopped = lnl_kit.train("ce", out=tmp_path / "damaged", **ask)
    path = stopped.folder / "state.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"state.pt in .* is damaged"):
        load_state(stopped.folder)
    again = lnl_kit.train("ce", out=tmp_path / "damaged", **ask)
    assert "state.pt" in (said := capsys.readouterr().err) and "damaged: this run starts anew" in said
    assert again.metrics[-1]["loss"] == alone.metrics[-1]["loss"]
    weights = [[p for net in run.networks() for p in net.parameters()] for run in (alone, again)]
    assert all(map(torch.equal, *weights))


def test_whatever_byte_changes_in_a_file_of_a_run_it_is_read_whole_or_called_damaged(tmp_path):
    """Headings and directory of the archive have no checksum: zipfile and torch say it in many ways."""
    value = {"a": torch.arange(50), "b": [1, 2, "x"]}
    content, told = bytes(torch_bytes(value)), []
    for n in range(0, len(content), 2):
        changed = bytearray(content)
        changed[n] ^= (1, 128)[n % 4 == 0]
        (tmp_path / "x.pt").write_bytes(changed)
        try:
            assert str(torch_read(tmp_path / "x.pt")) == str(value)
        except Damaged as error:
            told.append(str(error))
    assert len(told) > len(content) / 8 and all(told)
    assert any("encrypted" in text for text in told) and any("outside itself" in text for text in told)


def stops_after(commit):
    def committed(self, state):
        commit(self, state)
        raise KeyboardInterrupt

    return committed


def test_a_stage_s_result_that_was_cut_off_is_computed_again(tmp_path, capsys):
    def compute(held):
        times.append(1)
        return {"x": torch.arange(1000)}

    times: list[int] = []
    ask = (tmp_path / "stage", compute, torch.device("cpu"), Hold())
    whole = computed_once(*ask)[0]
    assert torch.equal(computed_once(*ask)[0]["x"], whole["x"]) and len(times) == 1
    path = tmp_path / "stage" / "result.pt"
    for content in (path.read_bytes()[:2000], b"", path.read_bytes().replace(b"\x07\x01", b"\x07\x03", 1)):
        path.write_bytes(content)
        before = len(times)
        assert torch.equal(computed_once(*ask)[0]["x"], whole["x"]) and len(times) == before + 1
        assert "is damaged: this stage starts anew" in capsys.readouterr().err


def test_a_heading_of_the_decoding_cache_that_does_not_end(tmp_path):
    source = f"folder:{photos(tmp_path / 'photos')}"
    before = data.load(source, root=tmp_path / "cache", split=False)
    (digests,) = (tmp_path / "cache").rglob("digests.npy")
    content = digests.read_bytes()
    digests.write_bytes(content.replace(b"False", b"(alse", 1))
    again = data.load(source, root=tmp_path / "cache", split=False)
    assert torch.equal(before.x[:], again.x[:]) and digests.read_bytes() == content


def test_findings_of_a_search_killed_when_all_its_files_were_in_place(tmp_path):
    folder, found = photos(tmp_path / "photos"), tmp_path / "found"
    search(folder, found)
    (found / ".findings").mkdir()
    require_own(found, json.loads((found / "summary.json").read_text())["asked"]["dataset"])


def test_a_disk_that_fails_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    with ordinary(tmp_path / "x") as file:
        unreadable = os.open(tmp_path / "y", os.O_WRONLY | os.O_CREAT)
        os.dup2(unreadable, file.fileno())
        os.close(unreadable)
        with pytest.raises(OSError, match=r"x cannot be read \(Bad file descriptor\)"):
            file.read(2)


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9])
def test_a_table_of_runs_that_was_cut_off(tmp_path, left):
    """A row that lost its end is left out, and a column that lost its name."""
    path = tmp_path / "t.csv"
    for seed in range(3):
        row = ROW | {"seed": seed, "asked": json.dumps({"seed": seed}), "last_column": "text"}
        measured.add(path, row)
    head, *rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + b"".join(rows[:2]) + rows[2][: int(left * len(rows[2]))])
    found = measured.read(path)
    assert [(r["seed"], r["last_column"]) for r in found] == [(0, "text"), (1, "text")]
    path.write_bytes(head[:-3])
    assert measured.read(path) == []
    measured.add(path, ROW | {"asked": "{}"})
    assert "last_colu" not in path.read_text()
