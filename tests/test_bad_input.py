"""Bad input that `make torture` found to end in a traceback: the smallest case of each, now one sentence."""

import json

import numpy as np
import pytest
from findings_by_hand import photos

import lnl_kit
from lnl_kit import data
from lnl_kit.cli import without_controls
from lnl_kit.files.contents import read_file
from lnl_kit.label_errors.evidence import table_of
from lnl_kit.reproduce.values import values_of
from lnl_kit.train import Plan


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
    (tmp_path / "x.npy").write_bytes(content[:20] + b"\0" + content[21:])
    with pytest.raises(ValueError, match="cannot be read as probabilities"):
        table_of(tmp_path / "x.npy", ["cat", "dog"])


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
