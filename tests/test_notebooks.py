"""The notebooks: clean as committed, and every cell runs at tiny settings."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from lnl_kit.reproduce import batch

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# beside two epochs
TINY = {"00": {"epochs": 1}, "10": {"epochs": 1}, "20": {"n_views": 2}, "21": {"live_epochs": 1}}
SHARED = ("preset", "dataset", "noise", "rate", "seed", "epochs", "full")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_clean_with_documented_parameters(path):
    notebook = nbformat.read(path, 4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code)
    assert "parameters" in code[0].metadata.tags
    lines = code[0].source.splitlines()
    assert all("=" in line and "  # " in line for line in lines), (
        "one assignment a line, each with its comment"
    )
    assert all(line.count("=") == 1 for line in lines), "papermill cannot read a second equals sign"
    assert {line.split(" = ")[0] for line in lines} >= set(SHARED)
    assert max(len(c.source.splitlines()) for c in code) <= 40, "a cell is seen whole"
    styled = [c.source for c in code if re.search(r"(?<!figures)\.style\b", c.source)]
    assert not styled, "tables go through figures.table_of, which escapes their text"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_at_tiny_settings(path, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "_write_pngs", lambda folder, entries: None)  # test_reproduce.py makes some
    tiny = {"epochs": 2} | TINY.get(path.stem[:2], {})
    assert batch.reproduce([path.stem], tiny, out=tmp_path, timeout=1800) == 0
    index = (tmp_path / "reproduce" / "index.html").read_text()
    executed = nbformat.read(tmp_path / "reproduce" / path.name, 4)
    text = json.dumps(executed)
    assert path.stem in index and "application/vnd.plotly.v1+json" in text
    assert "skipped" in text, "claims are skipped with a printed reason at test-sized parameters"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_headline_for_the_index(path):
    tagged = [c for c in nbformat.read(path, 4).cells if "headline" in c.metadata.get("tags", ())]
    assert len(tagged) == 1 and "print(" in tagged[0].source
