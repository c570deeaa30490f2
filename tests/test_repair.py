"""A finished run whose tables were emptied or cut is repaired from state.pt, or trained again with a
sentence; and what the kit writes over is its own.
"""

import json
import shutil

import pytest

import lnl_kit
from lnl_kit import measured
from lnl_kit.cli import main
from lnl_kit.files import RunError
from lnl_kit.label_errors.find import require_own
from lnl_kit.reproduce import batch
from lnl_kit.reproduce.values import values_of
from lnl_kit.run.device import find_device
from lnl_kit.toolbox.wide import wide

TINY = {"epochs": 2, "train_size": 64, "batch_size": 32, "image_size": 8, "progress": False}
TABLES = ("labels.csv", "metrics.csv", "arrays.npz", "history.npz")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return lnl_kit.train("ce", out=tmp_path_factory.mktemp("root"), **TINY)


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy of the run's folder, to be damaged."""
    return shutil.copytree(finished.folder, tmp_path / "copy" / "ce" / "digits" / "symmetric-0.5" / "seed0-x")


def contents(run):
    labels = {k: None if v is None else v.tolist() for k, v in run.labels.items()}
    arrays = {k: v.tobytes() for k, v in (*run.arrays.items(), *run.history.items())}
    return labels, run.metrics, arrays


@pytest.mark.parametrize("how", ["emptied", "cut", "removed", "garbage"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_read_is_rebuilt(finished, damaged, name, how):
    path = damaged / name
    whole = path.read_bytes()
    damage = {"emptied": b"", "cut": whole[: len(whole) // 2], "garbage": b"\xff\x00" * 50}
    path.unlink() if how == "removed" else path.write_bytes(damage[how])
    assert contents(lnl_kit.open_run(damaged)) == contents(finished)
    assert contents(lnl_kit.open_run(damaged)) == contents(finished) and path.stat().st_size > 0


def test_what_state_cannot_tell_is_one_sentence_and_never_zero_labels(damaged):
    (damaged / "state.pt").write_bytes(b"")
    (damaged / "labels.csv").write_bytes(b"")
    with pytest.raises(RunError, match=r"state.pt in .* is damaged or missing .*with --fresh") as error:
        lnl_kit.open_run(damaged).labels  # noqa: B018
    assert "\n" not in str(error.value)
    (damaged / "state.pt").unlink()
    with pytest.raises(
        RunError, match=r"labels.csv in .* cannot be read .*train this run again with --fresh"
    ):
        lnl_kit.open_run(damaged).labels  # noqa: B018


@pytest.mark.parametrize("name", ["summary.json", "settings.json"])
def test_a_damaged_summary_is_written_again(tmp_path, capsys, name):
    run = lnl_kit.train("ce", out=tmp_path, **TINY)
    before = json.loads((run.folder / "summary.json").read_text())
    (run.folder / name).write_bytes(b"")
    again = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert (
        f"{name} in {run.folder} is damaged: the run goes on from its last epoch" in capsys.readouterr().err
    )
    assert (
        again.summary["test_accuracy_last"] == before["test_accuracy_last"]
        and again.settings["method"] == "ce"
    )


def test_loading_a_run_leaves_other_peoples_files_alone(tmp_path):
    run = lnl_kit.train("ce", out=tmp_path, **TINY)
    (run.folder / ".notes.md").write_text("mine")
    (run.folder / ".labels.csv.swp").write_text("an editor's")
    lnl_kit.train("ce", out=tmp_path, **TINY)
    assert (run.folder / ".notes.md").exists() and (run.folder / ".labels.csv.swp").exists()


# ---------------------------------------------------------------- what is not the kit's is left alone


def test_a_foreign_csv_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    foreign = tmp_path / "lab.csv"
    foreign.write_text("sample,value\nA,1e5\nB,007\n")
    monkeypatch.setattr("lnl_kit.compare.train", lambda *a, **k: pytest.fail("it was trained"))
    assert main(["compare", "ce", "--noise", "symmetric:0.5", "--csv", str(foreign)]) == 2
    assert "is not a table of measured runs, and is left as it is" in capsys.readouterr().err
    with pytest.raises(ValueError, match="left as it is"):
        measured.add(foreign, {"method": "ce"})
    assert foreign.read_text() == "sample,value\nA,1e5\nB,007\n"


def test_cells_of_other_rows_stay_text(tmp_path):
    path = tmp_path / "t.csv"
    row = {"method": "ce", "asked": "{}", "seed": 0}
    measured.add(path, row | {"note": "1e5"})
    before = path.read_text().replace("1e5", "1e5,007").replace("note", "note,code")
    path.write_text(before)
    measured.add(path, row | {"seed": 1})
    lines = path.read_text().splitlines()
    assert lines[:2] == before.splitlines() and len(lines) == 3


@pytest.mark.parametrize("values", ["a/b,a b", "1,'1'", "A,a", "ä,ö"])
def test_two_values_of_one_safe_name_are_two_copies(tmp_path, values):
    jobs = batch._jobs(tmp_path / "10_x.ipynb", {"x": values_of(values)})
    assert len({job.name.lower() for job in jobs}) == 2
    assert [job.name for job in batch._jobs(tmp_path / "n.ipynb", {"x": [0.2, -1]})] == ["n-x-0.2", "n-x--1"]
    with pytest.raises(ValueError, match="parameter x has a value twice"):
        batch._jobs(tmp_path / "n.ipynb", {"x": [1, 1]})


def test_findings_are_not_written_into_a_folder_of_something_else(tmp_path, finished):
    before = (finished.folder / "summary.json").read_bytes()
    with pytest.raises(ValueError, match="holds other files and no findings"):
        require_own(finished.folder, "digits")
    with pytest.raises(ValueError, match="holds other files and no findings"):
        lnl_kit.find_errors("digits", to=finished.folder, epochs=1, train_size=60, progress=False)
    assert (finished.folder / "summary.json").read_bytes() == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "errors.csv").write_text("my own errors")
    with pytest.raises(ValueError, match="no findings"):
        require_own(tmp_path / "thesis", "digits")
    (tmp_path / "new").mkdir()
    require_own(tmp_path / "new", "digits")
    require_own(tmp_path / "absent", "digits")


# ---------------------------------------------------------------- devices


def test_devices_have_the_names_people_know(monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert find_device("mps").type == "mps" and find_device("xpu:1").index == 1
    assert find_device("xpu").type == "xpu"
    with pytest.raises(ValueError, match=r"'npu' is not here: there are cpu.*mps, xpu:0, xpu:1"):
        find_device("npu")


def test_float64_stays_off_devices_that_lack_it():
    import ast
    from pathlib import Path

    import torch

    assert wide(torch.device("cpu")) == wide(torch.device("cuda")) == torch.float64
    assert wide(torch.device("mps")) == wide(torch.device("xpu")) == torch.float32
    package = Path(lnl_kit.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("double", "float64"):
                on_cpu = ".cpu()" in ast.unparse(node) or ast.unparse(node) in (
                    "np.float64",
                    "by_batch.double",
                    "pa.float64",  # a column of a file
                )
                if not on_cpu and path.name != "wide.py":
                    found.append(f"{path.relative_to(package)}:{node.lineno} {ast.unparse(node)}")
    assert not found, found
