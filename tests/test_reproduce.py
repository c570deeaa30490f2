"""`lnl reproduce` on small notebooks made here: one that works, one that fails, in real kernels."""

import contextlib
import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lnl_kit import figures
from lnl_kit.reproduce import batch as module
from lnl_kit.reproduce import execute, values
from lnl_kit.reproduce.batch import find_notebooks, reproduce
from lnl_kit.reproduce.values import values_of

GOOD = [
    "# Does *it* work?\n\nAsked with $\\pi_1 = 0.2$, see [the other](30_fails.ipynb).\n\nMore.",
    ["rate = 0.5  # share of wrong labels\nwords = 'x'  # text\nseed = 0  # decides all"],
    "## Where it runs",
    "import json, os, sys\nfrom pathlib import Path\n"
    "print(json.dumps({'python': sys.executable, 'cwd': str(Path.cwd()), 'rate': rate, 'words': words, "
    "**{k: v for k, v in os.environ.items() if 'LNL' in k or 'PLOTLY' in k}}))",
    "## The first figure\n\n![a remote picture](https://example.com/picture.png)",
    "import plotly.graph_objects as go\nfig = go.Figure(go.Scatter(y=[1, 3, 2]), layout={'title': 'x'})\nfig",
    "frames = [go.Frame(name=str(k), data=[go.Scatter(y=[k, 3, 2])]) for k in range(3)]\n"
    "go.Figure(go.Scatter(y=[1, 3, 2]), frames=frames).show()",
    "### A table",
    "from IPython.display import HTML, display\n"
    'display(HTML(\'<table><tr><td>94.8 %</td></tr></table><script src="https://example.com/a.js"></script>'
    '<link rel=stylesheet href=//example.com/a.css><img alt="far" src=https://example.com/a.png>\'))',
    "print('seen at', rate)",
]
FAILS = [
    "# What breaks?\n\nThis one.",
    ["rate = 0.5  # share of wrong labels"],
    "# the claim\nassert rate > 0.9, f'the rate {rate} is low'",
    "print('never printed')",
]


def write(folder: Path, name: str, cells: list) -> Path:
    """A notebook: text that starts with a heading is Markdown, a list holds parameters, all else is code."""
    made = []
    for text in cells:
        if isinstance(text, list):
            made.append(new_code_cell(text[0], metadata={"tags": ["parameters"]}))
        else:
            markdown = text.lstrip("#").startswith(" ") and "assert" not in text
            made.append(
                (new_markdown_cell if markdown else new_code_cell)(
                    text, metadata={"tags": ["headline"]} if "seen at" in text else {}
                )
            )
    nbformat.write(new_notebook(cells=made), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def make_project(folder: Path) -> Path:
    (folder / "notebooks").mkdir(parents=True)
    (folder / "package").mkdir()  # stands in for lnl_kit's sources
    (folder / "package" / "x.py").touch()
    (folder / "pyproject.toml").touch()
    write(folder / "notebooks", "20_good", GOOD)
    write(folder / "notebooks", "30_fails", FAILS)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project whose notebooks were run once, all, with a rate and a text given as on the command line."""
    project = make_project(tmp_path_factory.mktemp("project"))
    decoy = project / "jupyter" / "kernels" / "python3"  # another Python's, with the usual name
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(project / "notebooks")
        patch.setenv("JUPYTER_PATH", str(project / "jupyter"))
        patch.setattr(figures, "save_pngs", lambda drawn: False)
        patch.setattr(execute, "PACKAGE", project / "package")
        status = reproduce(None, {"rate": "0.25", "words": "8a"}, out=project / "results")
        assert os.environ["JUPYTER_PATH"] == str(project / "jupyter")  # as it was before
    return project, status, out.getvalue(), err.getvalue()


@pytest.fixture
def again(done, monkeypatch):
    """Ask again; returns (status, names that would have been executed)."""
    project = done[0]
    monkeypatch.chdir(project)
    monkeypatch.setattr(figures, "save_pngs", lambda drawn: False)
    monkeypatch.setattr(execute, "PACKAGE", project / "package")
    monkeypatch.setattr(module, "_write_pages", lambda folder, notebooks: [])
    given = {"rate": 0.25, "words": "8a"}

    def ask(names, parameters=given, **options):
        ran = []

        def run(notebook, parameters, name, *_):
            ran.append(name)
            return {"notebook": name, "of": notebook.stem, "status": "finished", "seconds": 1, "error": None}

        monkeypatch.setattr(module, "_run", run)
        return reproduce(names, parameters, out=project / "results", **options), ran

    return ask


def test_a_failing_notebook_is_named_and_the_others_run(done):
    project, status, out, err = done
    assert status == 1
    assert out.splitlines()[-1] == str(project / "results" / "reproduce" / "index.html")
    lines = err.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["20_good", "finished"], ["30_fails", "FAILED"]]
    assert (
        "30_fails: cell [3] failed (assert rate > 0.9, f'the rate {rate} is low'): "
        "AssertionError: the rate 0.25 is low" in lines
    )
    assert sum("PNG" in line and "skipped" in line for line in lines) == 1


def test_the_kernel_is_this_python_headless_in_the_notebooks_folder(done):
    project = done[0]
    copy = nbformat.read(project / "results" / "reproduce" / "20_good.ipynb", as_version=4)
    printed = next(o.text for c in copy.cells for o in c.get("outputs", []) if o.output_type == "stream")
    seen = json.loads(printed)
    assert seen["python"] == sys.executable and seen["cwd"] == str(project / "notebooks")
    assert seen["LNL_HEADLESS"] == "1" and seen["LNL_RUNS"] == str(project / "results")
    assert seen["PLOTLY_RENDERER"] == "plotly_mimetype"
    assert seen["rate"] == 0.25 and seen["words"] == "8a"


def test_copies_are_in_place_and_nothing_is_left_over(done):
    folder = done[0] / "results" / "reproduce"
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == [
        "20_good.html",
        "20_good.ipynb",
        "20_good.json",
        "30_fails.html",
        "30_fails.ipynb",
        "30_fails.json",
        "index.html",
        "plotly.min.js",
    ]
    source = nbformat.read(done[0] / "notebooks" / "20_good.ipynb", as_version=4)
    assert not any(c.get("outputs") for c in source.cells)
    record = json.loads((folder / "30_fails.json").read_text())
    assert record["status"] == "failed" and record["error"]["cell"] == 3
    assert record["parameters"] == {"rate": 0.25}


class _Links(HTMLParser):
    """What a page loads by itself, and where its links lead."""

    def __init__(self, page: str):
        super().__init__()
        self.loads, self.links = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (name == "href" and tag != "a"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)


def test_pages_load_plotly_from_the_folder_and_nothing_else(done):
    import plotly

    folder = done[0] / "results" / "reproduce"
    for page in folder.glob("*.html"):
        loads = _Links(page.read_text()).loads
        assert [x for x in loads if not x.startswith("data:")] == ["plotly.min.js"], page
        assert "cdn" not in page.read_text().lower()
    packaged = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    assert (folder / "plotly.min.js").read_bytes() == packaged.read_bytes()


def test_the_index_has_a_section_per_notebook_with_its_figures(done):
    folder = done[0] / "results" / "reproduce"
    index = (folder / "index.html").read_text()
    assert [f'id="{n}"' in index for n in ("20_good", "30_fails")] == [True, True]
    assert "Does <em>it</em> work?" in index and "<math>" in index and "More." not in index
    assert index.count('class="figure-data"') == 2 and index.count("<figure>") == 2
    assert "<b>The first figure</b></figcaption>" in index and "<b>The first figure</b> &middot; 2<" in index
    assert "1 of 2 notebooks finished · 2 figures" in index
    assert "AssertionError: the rate 0.25 is low" in index
    for link in _Links(index).links:
        assert f'id="{link[1:]}"' in index if link.startswith("#") else (folder / link).exists(), link


def test_the_pages_show_code_tables_and_errors(done):
    folder = done[0] / "results" / "reproduce"
    good, fails = (folder / "20_good.html").read_text(), (folder / "30_fails.html").read_text()
    assert good.count('class="figure-data"') == 2 and "94.8 %" in good and "<em>far</em>" in good
    assert good.count("<details><summary>") == 7  # six code cells and the injected parameters
    assert 'href="30_fails.html"' in good and "papermill-error" not in fails
    assert "Stopped at cell [3]" in fails and "Traceback" in fails and "never printed" in fails


def test_a_finished_notebook_is_skipped(again, done, capsys):
    assert again(["20"]) == (0, [])
    assert "finished before" in capsys.readouterr().err
    assert again(["20_good.ipynb"], fresh=True) == (0, ["20_good"])
    assert again(["20"]) == (0, [])
    assert again(["20"], {"rate": 0.3, "words": "8a"}) == (0, ["20_good"])
    assert again(None) == (0, ["30_fails"])  # a failed one is not finished


@pytest.mark.parametrize("what", ["source", "package", "tables", "copy"])
def test_a_change_of_what_it_was_made_from_runs_it_again(again, done, what):
    project = done[0]
    changed = {
        "source": project / "notebooks" / "20_good.ipynb",
        "package": project / "package" / "x.py",
        "tables": project / "data" / "measured" / "digits.csv",
        "copy": project / "results" / "reproduce" / "20_good.ipynb",
    }[what]
    changed.parent.mkdir(parents=True, exist_ok=True)
    before = changed.read_bytes() if changed.exists() else None
    try:
        if what == "copy":
            changed.unlink()
        else:
            changed.write_bytes((before or b"") + b"\n")
        assert again(["20"]) == (0, ["20_good"])
    finally:
        changed.unlink(missing_ok=True)
        if before is not None:
            changed.write_bytes(before)


def test_ctrl_c_keeps_what_is_finished(done, monkeypatch, capsys):
    project = done[0]
    monkeypatch.chdir(project)
    monkeypatch.setattr(figures, "save_pngs", lambda drawn: False)
    monkeypatch.setattr(execute, "PACKAGE", project / "package")

    def interrupt(source, target, *_, **__):
        Path(target).write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    folder = project / "results" / "reproduce"
    before = {p: p.read_bytes() for p in folder.glob("*.ipynb")}
    assert reproduce(None, {"rate": 0.25, "words": "8a"}, out=project / "results") == 130
    assert {p: p.read_bytes() for p in folder.glob("*.ipynb")} == before and [
        p.name for p in folder.glob(".*")
    ] == [".lock"]
    assert "stopped" in capsys.readouterr().err and (folder / "index.html").exists()


def test_unknown_parameters_and_names_are_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path / "p"))
    monkeypatch.setattr(module, "_run", lambda *_: pytest.fail("a notebook was run"))
    ask = {"out": tmp_path / "out"}
    with pytest.raises(ValueError, match=r"parameter rte: 20_good has rate, words, seed; 30_fails has rate$"):
        reproduce(None, {"rte": 0.5}, **ask)
    with pytest.raises(ValueError, match=r"unknown parameter words: 30_fails has rate$"):
        reproduce(["20", "30"], {"words": "b"}, **ask)
    with pytest.raises(ValueError, match="unknown parameter preset"):
        reproduce(["20"], preset="demo", **ask)
    with pytest.raises(FileNotFoundError, match=r"no notebook 99 .* 20_good, 30_fails"):
        reproduce(["99"], **ask)
    assert not (tmp_path / "out").exists()


def test_without_names_a_parameter_goes_to_the_notebooks_that_have_it(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    good, fails = find_notebooks()
    given = execute._parameters_of([good, fails], {"rate": [0.1], "words": ["b"]}, all_named=False)
    assert given == {good: {"rate": [0.1], "words": ["b"]}, fails: {"rate": [0.1]}}


def test_two_presets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    with pytest.raises(ValueError, match="two presets were given, demo and quick"):
        reproduce(None, {"preset": "quick"}, preset="demo")


@pytest.mark.parametrize(
    "text, value",
    [
        ("0.5", 0.5),
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("none", None),
        ("[1, 2]", [1, 2]),
        ("'7'", "7"),
        ("paper:nrd", "paper:nrd"),
        ("007", "007"),
        ("", ""),
        (0.5, 0.5),
        ("a b", "a b"),
    ],
)
def test_values_are_read_as_literals(text, value):
    read = values.literal(text)
    assert read == value and type(read) is type(value)


@pytest.mark.browser
def test_the_index_draws_every_figure_with_the_network_off(done, browser):
    page = browser.new_context(offline=True).new_page()
    requests, problems = [], []
    page.on("request", lambda r: requests.append(r.url))
    page.on("console", lambda m: problems.append(m.text))
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.goto((done[0] / "results" / "reproduce" / "index.html").as_uri())
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 4")
    assert page.locator("figure .scatterlayer .trace").count() == 2
    assert [Path(r).name for r in requests] == ["index.html", "plotly.min.js"] and not problems
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.browser
def test_a_click_on_a_heading_sorts_a_table(tmp_path, browser):
    from lnl_kit.reproduce import pages

    table = (
        "<table><thead><tr><th></th><th>last</th></tr></thead><tbody><tr><th>ce</th><td>0.5</td></tr><tr><th>odd</th><td>–</td></tr>"
        "<tr><th>elr</th><td>0.98</td></tr><tr><th>nrd</th><td>0.9</td></tr></tbody></table>"
    )
    page = browser.new_context(offline=True).new_page()
    page.goto(pages._write(tmp_path / "page.html", "t", table).as_uri())

    def order(column):
        page.locator("thead th").nth(column).click()
        return page.locator("tbody th").all_inner_texts()

    assert order(1) == ["elr", "nrd", "ce", "odd"] and order(1) == [
        "ce",
        "nrd",
        "elr",
        "odd",
    ]  # the missing one stays last
    assert order(0) == ["odd", "nrd", "elr", "ce"]


@pytest.mark.browser
def test_figures_as_png(done, chromium, tmp_path, capsys):
    import shutil

    from PIL import Image

    shutil.copytree(done[0] / "results" / "reproduce", tmp_path / "reproduce")
    figure = {"id": "20_good-01", "plotly": {"data": [{"y": [1, 3, 2]}], "layout": {}, "config": {}}}
    stale = tmp_path / "reproduce" / "png" / "20_good-07.png"
    stale.parent.mkdir()
    stale.touch()
    module._write_pngs(tmp_path / "reproduce", [({"notebook": "20_good"}, [figure])])
    assert len(Image.open(stale.with_name("20_good-01.png")).convert("RGB").getcolors(10**6)) > 10
    assert not stale.exists() and "1 PNGs in" in capsys.readouterr().err
    module._write_pngs(tmp_path / "reproduce", [({"notebook": "20_good"}, [figure])])
    assert capsys.readouterr().err == ""  # drawn once


@pytest.mark.slow
def test_a_cell_that_hangs_and_a_process_that_dies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make_project(tmp_path))
    monkeypatch.setattr(figures, "save_pngs", lambda drawn: False)
    write(tmp_path / "notebooks", "50_hangs", ["# Hangs", "print('seen')", "import time\ntime.sleep(60)"])
    write(tmp_path / "notebooks", "60_dies", ["# Dies", "import os\nos._exit(1)"])
    assert reproduce(["50", "60"], timeout=3, out=tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "50_hangs: cell [2] failed (import time): the cell took longer than 3 s" in err
    assert "60_dies: cell [1] failed (import os): the notebook's process was killed" in err
    kept = nbformat.read(tmp_path / "out" / "reproduce" / "50_hangs.ipynb", 4)
    assert kept.cells[1].outputs[0].text == "seen\n"  # what had ended is not lost


@pytest.mark.parametrize(
    "text, values",
    [
        ("0.2,0.5", [0.2, 0.5]),
        ("a,b", ["a", "b"]),
        ("[1, 2],[3]", [[1, 2], [3]]),
        ("'a,b',c", ["a,b", "c"]),
        ("(1, 2)", [(1, 2)]),
        ("0.5", [0.5]),
        ("", [""]),
        ("folder:a", ["folder:a"]),
    ],
)
def test_commas_outside_brackets_and_quotes_separate_values(text, values):
    assert values_of(text) == values


def test_texts_stay_texts_and_paths_are_from_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "cats, dogs", "demo", "digits"):
        (tmp_path / name).mkdir()
    (tmp_path / "a,b.csv").touch()
    for text, wanted in (
        ("none", ["none"]),
        ("'none'", ["none"]),
        ("none,symmetric", ["none", "symmetric"]),
        ("folder:photos", [f"folder:{tmp_path}/photos"]),
        ("./photos", [f"folder:{tmp_path}/photos"]),
        ("folder:cats, dogs", [f"folder:{tmp_path}/cats, dogs"]),
        (f"folder:{tmp_path}/not, there", [f"folder:{tmp_path}/not, there"]),
        ("folder:photos,folder:demo", [f"folder:{tmp_path}/photos", f"folder:{tmp_path}/demo"]),
        ("a,b.csv", [f"{tmp_path}/a,b.csv"]),
        ("demo", ["demo"]),  # the preset, not the folder
        ("digits,cifar10", ["digits", "cifar10"]),
        ("", [""]),
    ):
        assert values_of(text, is_text=True) == wanted, text


def test_the_notebooks_tell_which_parameters_are_texts():
    texts = values.text_parameters(find_notebooks(["40"]))
    assert {"dataset", "noise", "labels", "preset"} <= texts and not texts & {
        "rate",
        "seed",
        "epochs",
        "full",
    }


def test_a_grid_runs_every_combination_goes_on_after_failures_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make_project(tmp_path / "p"))
    monkeypatch.setattr(figures, "save_pngs", lambda drawn: False)
    ask = dict(names=["20", "30"], parameters={"rate": "0.25,0.95"}, out=tmp_path / "out", jobs=2)
    assert reproduce(**ask) == 1  # 30_fails fails at 0.25
    folder, err = tmp_path / "out" / "reproduce", capsys.readouterr().err
    names = [f"{stem}-rate-{rate}" for stem in ("20_good", "30_fails") for rate in ("0.25", "0.95")]
    assert sorted(p.stem for p in folder.glob("*.ipynb")) == names
    status = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
    assert [status[n]["status"] for n in names] == ["finished", "finished", "failed", "finished"]
    assert status[names[1]]["parameters"] == {"rate": 0.95} and status[names[1]]["of"] == "20_good"
    table = [line.split() for line in err.splitlines() if line.startswith(("20  ", "30  "))]
    assert [row[:3] for row in table] == [
        ["20", "rate=0.25", "finished"],
        ["20", "rate=0.95", "finished"],
        ["30", "rate=0.25", "failed"],
        ["30", "rate=0.95", "finished"],
    ]
    index = (folder / "index.html").read_text()
    assert all(f'href="{name}.html"' in index for name in names) and 'class="thumb"' in index
    assert "seen at 0.95" in index and "seen at 0.95" in err  # the headline
    stamps = {name: (folder / f"{name}.ipynb").stat().st_mtime_ns for name in names}
    reproduce(**ask)
    changed = [name for name in names if (folder / f"{name}.ipynb").stat().st_mtime_ns != stamps[name]]
    assert changed == ["30_fails-rate-0.25"]  # only what had failed ran again


def test_a_grid_is_refused_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path / "p"))
    with pytest.raises(ValueError, match="jobs 0 is not allowed"):
        reproduce(["20"], {"rate": "0.1,0.2"}, out=tmp_path, jobs=0)


def test_notebooks_start_without_the_grammar_that_takes_seconds():
    code = (
        "import sys, ipykernel; from lnl_kit import figures; import plotly.io._renderers, nbformat\n"
        "assert 'jsonschema' in sys.modules and 'rfc3987_syntax' not in sys.modules\n"
        "nbformat.validate(nbformat.v4.new_notebook())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
