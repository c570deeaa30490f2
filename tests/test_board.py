"""lnl board: a root of runs as one page that works offline, renews itself and shows text as text."""

import html
import json

import pytest
from hostile import open_all, strings
from runs_by_hand import made_run

from lnl_kit.board import live
from lnl_kit.cli import main
from lnl_kit.results import collect


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "SETTLED", 0.0)
    for method in ("ce", "gce"):
        for seed in range(2):
            made_run(tmp_path / "runs", seed, method=method, beside=seed == 0)
    made_run(tmp_path / "runs", 5, finished=False)
    return tmp_path / "runs"


def test_the_page_of_a_root(root, capsys, monkeypatch):
    monkeypatch.setattr(live.webbrowser, "open", lambda url: pytest.fail("not asked for"))
    assert main(["board", str(root), "--once", "--no-browser"]) == 0
    path = root / "board.html"
    assert capsys.readouterr().out.strip() == str(path)
    page = path.read_text()
    assert "4 finished runs" in page and "1 unfinished" in page and "1 of 2" in page
    assert "symmetric 0.5" in page and '"gce"' in page and "data-renew=" not in page
    assert str(root.parent) not in page
    with collect.Index(root) as index:
        assert not index.read  # its own page is no run
    for folder in root.glob("*/*/*/*"):  # more settings than have a section
        for name in ("settings.json", "summary.json"):
            if (folder / name).exists():
                told = json.loads((folder / name).read_text()) | {"dataset": f"set {folder}"[-40:]}
                (folder / name).write_text(json.dumps(told))
        for row in folder.glob("row-*.csv"):
            row.unlink()
    monkeypatch.setattr("lnl_kit.board.page.SECTIONS", 1)
    live.write(root, path, 5)
    page = path.read_text()
    assert "not shown: 3 other settings with 3 runs" in page and 'data-renew="5"' in page
    assert page.count("<section") == 1
    before = path.stat().st_mtime_ns
    live.write(root, path, 5, only_changes=True)
    assert path.stat().st_mtime_ns == before
    made_run(root, 9)
    live.write(root, path, 5, only_changes=True)
    assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    "ask, message", [(["nowhere"], "nowhere is no folder"), ([".", "--every", "0"], "--every 0")]
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys, ask, message):
    monkeypatch.chdir(tmp_path)
    assert main(["board", *ask, "--no-browser"]) == 2
    assert message in capsys.readouterr().err and not [*tmp_path.iterdir()]


@pytest.mark.browser
def test_a_root_of_hostile_runs_and_a_page_that_renews_itself(root, browser, server):
    address, asked = server
    hostile = strings(address)
    for n, text in enumerate(hostile[:60]):
        other = hostile[-1 - n]
        more = {"preset": text, "noise": text} if n % 3 else {"dataset": "digits", "uses": [other]}
        wrong = {"test_accuracy_best": other, "seconds": other} if n % 5 == 0 else {}
        made_run(root, n + 10, method=text, beside=n % 2 == 0, finished=n % 4 > 0, **more | wrong)
    path = root / "board.html"
    live.write(root, path, 0)
    page = path.read_text()  # of 60 settings it shows those where a run ended last; all that it shows is text
    assert sum(html.escape(text) in page for text in hostile[:60]) > 30
    drawn = ".main-svg"
    open_all(browser, asked, [path], drawn)
    live.write(root, path, 0.2)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("text=unfinished")
    made_run(root, 99, method="new_one")
    live.write(root, path, 0)
    page.wait_for_selector("td:has-text('new_one')", timeout=60_000)
    page.wait_for_selector(drawn)
    page.close()
