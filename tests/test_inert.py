"""Pages are inert: a hundred hostile strings in class names, file names, noise, methods, settings, notebooks'
outputs and records; every page is opened in a browser with a server that would see what is fetched.
"""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from findings_by_hand import photos, search
from hostile import notebook, open_all, strings, what_runs
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import lnl_kit
from lnl_kit.figures.page import without_places
from lnl_kit.figures.web import PLOTLY
from lnl_kit.label_errors.decisions import Decisions, apply
from lnl_kit.label_errors.pictures import picture
from lnl_kit.label_errors.report import report_bytes
from lnl_kit.reproduce import pages
from lnl_kit.reproduce.execute import read_record
from lnl_kit.reproduce.safe_html import harmless


def test_there_are_a_hundred(server):
    assert len(set(strings(server[0]))) >= 100


@pytest.mark.browser
def test_pages_of_hostile_notebooks_and_records(tmp_path, browser, server):
    address, asked = server
    hostile = strings(address)
    entries = []
    for n, part in enumerate(hostile[k::2] for k in range(2)):
        name = f"{n}{hostile[n]}".replace("/", " ")[:80]
        nbformat.write(notebook(hostile[n], part), tmp_path / f"{name}.ipynb")
        record = {
            "notebook": "<script>window.hurt=1</script>",
            "of": name if n else hostile[n],
            "status": "failed" if n == 1 else "finished",
            "parameters": dict(zip(part, reversed(part))),
            "seconds": 1.5,
            "error": {"cell": hostile[n], "line": hostile[n], "message": "\n".join(part)} if n == 1 else None,
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        record = read_record(tmp_path / f"{name}.json")
        entries.append((record, pages.write_page(tmp_path / f"{name}.ipynb", record)))
    index = pages.write_index(tmp_path, entries, hostile)
    drawn = ".main-svg"
    open_all(browser, asked, [index, *(p for p in tmp_path.glob("*.html") if p != index)], drawn)


@pytest.mark.browser
def test_the_policy_alone_stops_scripts_and_requests(tmp_path, browser, server):
    """Were every other guard to fail: the strings stand in the body as HTML, and the policy alone holds."""
    address, asked = server
    leads_away = ("<meta", "http-equiv", "javascript:")  # no policy stops a page from leaving itself
    bodies = [b for b in strings(address) if not any(word in b.lower() for word in leads_away)][::3]
    assert len(bodies) > 25
    assert what_runs(browser, asked, tmp_path, bodies) == (0, 0)
    ran, fetched = what_runs(
        browser, asked, tmp_path, bodies, lambda page: page.replace("Content-Security-Policy", "x-none")
    )
    assert ran >= 5 and fetched >= 5, "without the policy they run: these strings are a test"


@pytest.mark.parametrize(
    "change",
    [{"status": "<b>"}, {"seconds": "1"}, {"parameters": []}, {"status": "failed", "error": None}],
)
def test_records_that_are_none_are_not_read(tmp_path, change):
    good = {"notebook": "x", "of": "x", "status": "finished", "parameters": {}, "seconds": 1, "error": None}
    (tmp_path / "a.json").write_text(json.dumps(good))
    assert read_record(tmp_path / "a.json")["notebook"] == "a"
    (tmp_path / "a.json").write_text(json.dumps(good | change))
    assert read_record(tmp_path / "a.json") is None


@pytest.mark.browser
def test_a_report_of_hostile_names_and_settings(tmp_path, monkeypatch, browser, server):
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    address, asked = server
    hostile = strings(address)
    classes = tuple(s.replace("/", "\u2215")[:80] for s in hostile[:20])
    findings = search(photos(tmp_path / "photos", classes, each=1), tmp_path / "found")
    table, summary = findings.table.copy(), findings.summary
    names = [hostile[n % len(hostile)] for n in range(len(table))]
    for column in ("given", "suggested", "because", "image"):
        table[column] = names
    table["because"] = [f"a; looks like {name}" for name in names]
    table["kind"] = "near duplicate, other label; dark"
    summary["alike"] = [names]
    for key in ("dataset", "noise", "recipe", "device"):
        summary[key] = " ".join(hostile)
    summary["noise"] = "matrix:/home/someone/" + hostile[0]
    summary["versions"] = {"lnl_kit": hostile[1]}
    summary["conflicting_duplicates"] = [[(one, other) for one, other in zip(hostile, reversed(hostile))]]
    summary["confused_pairs"] = [{"true": s, "given": s, "images": 1.0} for s in hostile]
    summary["classes"] = hostile[:20]
    report = report_bytes(type(findings)(findings.folder, table, summary), picture)
    (tmp_path / "report.html").write_bytes(report)
    assert b"/home/someone" not in report
    drawn = ".main-svg"
    open_all(browser, asked, [tmp_path / "report.html"], drawn)


def test_what_notebooks_show_stays(tmp_path):
    """Tables with pandas' colours, embedded pictures, equations and links come through."""
    table = (
        "<style type='text/css'>\n#T_1 td { color: red }\n</style><table id='T_1'><thead><tr>"
        "<th class='col'>a</th></tr></thead><tbody><tr>"
        "<td style='background-color: #fff; width: 10em'>1</td></tr></tbody></table>"
    )
    shown = harmless(table)
    assert "#T_1 td { color: red }" in shown and 'id="T_1"' in shown and "background-color" in shown
    assert 'src="data:image/png;base64,aGk="' in harmless("<img src='data:image/png;base64,aGk='>")
    assert harmless("<a href='30_x.ipynb#a'>x</a>").startswith('<a href="30_x.ipynb#a"')
    assert "<math" in pages.markdown("$\\pi_1$") and "<mi>" in pages.markdown("$\\pi_1$")
    assert harmless("<img src='https://e.com/a.png' alt='a <b>'>") == "<em>a &lt;b&gt;</em>"


def test_no_path_of_this_machine_is_in_what_a_search_or_a_training_passes_on(tmp_path, monkeypatch):
    """The report, the tables, the corrected labels and the labels of a run, of data that lie anywhere."""
    monkeypatch.setenv("LNL_DATA", str(tmp_path / "cache"))
    folder, rng = photos(tmp_path / "my photos", each=12), np.random.RandomState(0)
    np.savez(tmp_path / "mine.npz", features=rng.randn(24, 4), probs=np.full((24, 2), 0.5))
    np.savetxt(tmp_path / "flips.csv", [[0.9, 0.1], [0.1, 0.9]], delimiter=",")
    rows = [f"{c}/{n}.png,{c}" for c in ("cat", "dog") for n in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    asked = {"progress": False, "out": tmp_path / "runs", "labels": str(tmp_path / "labels.csv")}
    networks = {"method": "ce", "epochs": 1, "batch_size": 4, "image_size": 8}
    noisy = {"noise": f"matrix:{tmp_path / 'flips.csv'}", "labels": None}
    searches = [
        {"features": f"npz:{tmp_path / 'mine.npz'}"} | noisy,
        {"probs": tmp_path / "mine.npz"},
        networks,
    ]
    for n, search_of in enumerate(searches):
        found = tmp_path / f"found{n}"
        lnl_kit.find_errors(folder, to=found, **asked | search_of)
        Decisions(found / "decisions.csv").add("cat/0.png", "drop")
        apply(found / "decisions.csv", found / "corrected.csv")
    passed_on = [*tmp_path.glob("found*/*.csv"), *tmp_path.glob("found*/report.html")]
    passed_on += [p for p in tmp_path.glob("runs/ce/**/*.csv")]
    assert len(passed_on) == 3 * 5 + 2, passed_on
    for path in passed_on:
        assert str(tmp_path) not in (text := path.read_text("utf-8")), (
            path,
            text[text.index(str(tmp_path)) :][:200],
        )
    assert "npz:mine.npz" in (tmp_path / "found0" / "report.html").read_text("utf-8")


def test_no_path_of_this_machine_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_RUNS", str(tmp_path / "my runs"))
    private = [
        str(Path.home() / "thesis" / "x.py"),
        str(tmp_path / "my runs" / "ce"),
        str(Path.cwd() / "a.csv"),
    ]
    text = " and ".join(private)
    cells = [
        new_markdown_cell(f"# T\n\n{text}"),
        new_code_cell(
            f"open({text!r})",
            outputs=[
                new_output("stream", name="stdout", text=text),
                new_output("display_data", {"text/html": f"<p>{text}</p>"}),
                new_output("error", ename="E", evalue=text, traceback=[text]),
                new_output("display_data", {PLOTLY: {"data": [], "layout": {"title": {"text": text}}}}),
            ],
        ),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    error = {"cell": 1, "line": text, "message": text}
    record = {"notebook": "a", "status": "failed", "seconds": 1, "parameters": {"path": text}, "error": error}
    figures = pages.write_page(tmp_path / "a.ipynb", record)
    pages.write_index(tmp_path, [(record, figures)], [])
    for name in ("a.html", "index.html"):
        page = (tmp_path / name).read_text()
        for path in (str(Path.home()), str(tmp_path), str(Path.cwd())):
            assert path not in page, (name, path, page[page.index(path) - 200 : page.index(path) + 100])
    assert without_places({"bdata": "/root/x"}) == {"bdata": "/root/x"}
