"""The site: pages from docstrings, settings, numbers and notebooks; links; the README's pictures."""

import itertools
import json
import re
import shutil

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lnl_kit.cli import COMMANDS
from lnl_kit.methods import METHODS
from lnl_kit.reproduce import batch
from lnl_kit.site import build, links, methods, notebooks, numbers, pictures, reference
from lnl_kit.site.prose import escape, prose, sections, table


@pytest.mark.parametrize(
    "text, expected",
    [
        ("y_s of `y_t` <b> a*b", "y_s of `y_t` &lt;b&gt; a\\*b"),
        ("the *other* one|two", "the *other* one&#124;two"),
        ("[not](a link) _x", "\\[not\\](a link) \\_x"),
        ("(1 - p(y)^q) / q", "(1 - p(y)^q) / q"),
    ],
)
def test_plain_text_stays_plain(text, expected):
    assert escape(text) == expected


def test_docstrings_become_paragraphs_and_lists():
    text = "Two things:\n- one, which is\n  long\n- another\nAnd after.\n\n"
    text += "rows: a table\n    of runs\nRaises Error."
    assert prose(text, names=True) == (
        "Two things:\n\n- one, which is\n  long\n- another\n\nAnd after.\n\n- `rows`: a table\n  of runs\n\n"
        "Raises Error."
    )
    assert prose("rows: a table") == "rows: a table"
    assert sections("A (B; 2020).\n\nIdea.\n\nMore.\n\nWhere this differs: x.\n\nEnd.") == (
        "A (B; 2020).",
        "Idea.\n\nMore.",
        "Where this differs: x.\n\nEnd.",
    )
    assert table(["a", "b"], [(None, float("nan")), ("x|y", 2)], ["b"]).splitlines()[1:] == [
        "|---|---:|",
        "| – | – |",
        "| x&#124;y | 2 |",
    ]


def test_every_method_has_an_equation_that_the_page_can_show():
    assert set(methods.equations()) == set(METHODS)
    for method in METHODS:
        made = methods.equation(method)
        assert "<math" in made and "$" not in made
        assert not re.findall(r"<mtext>\\\w+</mtext>", made), f"{method}: TeX that MathML is not made of"


def test_the_page_of_a_method_has_all_its_parts():
    page = methods.page("nrd")
    headings = re.findall(r"^## (.+)$", page, flags=re.M)
    assert headings == "Idea,Equation,Settings,Measured,Published,Where it differs,Use it".split(",")
    assert "weights of label, student, teacher; sum 1; Table 5" in page  # a setting with its source
    assert "`pi1 = 0.2`" in page and "`nrd:seen_view`" in page and "def nrd_loss(" in page
    assert "The divergence is Eq. (19) as printed" in page
    rows = [r for r in numbers._rows().to_dict("records") if r["method"] == "nrd"]
    at = [r["test_accuracy_last"] for r in rows if r["setting"] == "symmetric 0.8" and r["preset"] == "quick"]
    shown = next(line for line in page.splitlines() if "| symmetric 0.8 | `nrd` |" in line)
    assert f"| {100 * sum(at) / len(at):.1f}\u00a0±" in shown and shown.rstrip(" |").endswith(str(len(at)))
    control = [line for line in page.splitlines() if "| symmetric 0.8 | `nrd:seen_view` |" in line]
    assert len(control) == 1
    assert "## Published" not in methods.page("knn") and "Nothing is kept" not in page


def test_rows_with_more_changes_than_a_control_s_are_no_control():
    asked = {"method": "nrd", "dataset": "digits", "rate": 0.5, "teacher_view": "crop"}
    assert numbers._is_control("nrd:seen_view", json.dumps(asked))
    assert not numbers._is_control("nrd:seen_view", json.dumps(asked | {"decay": 0.9}))
    assert not numbers._is_control("nrd", json.dumps(asked))


HOSTILE = '<script>alert(1)</script><img src="https://example.com/a.png" onerror="alert(2)"><b>kept</b>'
FIGURE = {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {"title": {"text": "<b>Two</b> points"}}}


@pytest.fixture
def runs(tmp_path):
    """A folder as `lnl reproduce` leaves it, with one executed notebook and a copy of a batch."""
    folder = tmp_path / "reproduce"
    (folder / "png").mkdir(parents=True)
    figure = new_output("display_data", {"application/vnd.plotly.v1+json": FIGURE})
    table = new_output("display_data", {"text/html": HOSTILE})
    printed = new_output("stream", name="stdout", text="test accuracy 0.9\n```\nmore `x`\n")
    cells = [
        new_markdown_cell("# What `is` it?\n\nA question about $\\pi_1$.\n\n## A part\n\n" + HOSTILE),
        new_code_cell("fig", outputs=[figure, table], execution_count=1),
        new_code_cell("print()", outputs=[printed], metadata={"tags": ["headline"]}),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "50_small.ipynb")
    record = {"notebook": "50_small", "status": "finished", "seconds": 3.0, "parameters": {}, "error": None}
    for name in ("50_small", "50_small-rate-0.5"):
        (folder / f"{name}.json").write_text(json.dumps(record | {"notebook": name, "of": "50_small"}))
    Image.new("RGB", (4, 4)).save(folder / "png" / "50_small-01.png")
    return folder


def test_a_notebook_s_page_shows_its_figures_and_runs_nothing(runs, tmp_path):
    records, copies = notebooks.executed(runs)
    shown = notebooks.shown(runs, records[0], tmp_path)
    assert (len(records), copies, shown.title, shown.headline) == (1, 1, "What is it?", "test accuracy 0.9")
    assert shown.page.startswith("# What is it?\n") and "\n## A part\n" in shown.page
    assert "<script" not in shown.page and "onerror" not in shown.page and "example.com" not in shown.page
    assert "<b>kept</b>" in shown.page and "`" not in shown.page  # nothing that Markdown takes for code
    assert 'id="50_small-01"' in shown.page and 'aria-label="Two points"' in shown.page
    script = (tmp_path / "50_small-01.js").read_text()
    assert script.startswith("lnlFigure('50_small-01', {") and "</script>" not in script
    gallery = notebooks.gallery([shown], {"50_small-01"}, copies)
    assert (
        'src="png/50_small-01.png"' in gallery and "Left out here: 1 with" in gallery and "<msub>" in gallery
    )
    with pytest.raises(ValueError, match="no executed notebooks"):
        notebooks.executed(tmp_path / "nothing")


def test_links_that_lead_nowhere_and_loads_from_elsewhere_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="a/b.html#there">1</a><a href="a/b.html#gone">2</a><a href="c.html">3</a>'
        '<a href="https://example.com">4</a><a href="a">5</a><img src="https://example.com/x.png">'
    )
    (tmp_path / "a" / "b.html").write_text(
        '<p id="there"><a href="../index.html#top">up</a><a href="../../x">'
    )
    (tmp_path / "s.css").write_text("@import 'https://example.com/f.css'; a {background: url(//e.com/i.png)}")
    found = links.check(tmp_path)
    assert len(found) == 7 and not [w for w in found if "#there" in w or "#top" in w]
    for part in ("loads https://example.com/x.png", "#gone", "c.html, which is not there", "a folder"):
        assert any(part in w for w in found), part
    assert links.check(tmp_path / "a" / "none") == [f"{tmp_path / 'a' / 'none'} has no page"]


def test_the_reference_names_every_module_and_command():
    named = {name for modules in reference.folders().values() for name in modules}
    package = ROOT / "lnl_kit"
    files = {p.relative_to(package).with_suffix("").as_posix() for p in package.rglob("*.py")}
    there = {f.removesuffix("/__init__").replace("/", ".") for f in files if not f.startswith("site/")}
    assert named == there - {"__init__"}
    text = reference.command_line()
    assert re.findall(r"^## lnl ([\w-]+)$", text, flags=re.M) == list(COMMANDS) and "--noisy-val" in text
    assert "::: lnl_kit.train.train\n" in reference.overview(reference.folders())


def test_docstrings_and_comments_reach_the_reference():
    griffe = pytest.importorskip("griffe")
    from lnl_kit.site.docstrings import PlainDocstrings

    def shown(module, name):
        file = ROOT / "lnl_kit" / f"{module}.py"
        lines = griffe.LinesCollection()
        lines[file] = file.read_text().splitlines()
        read = griffe.visit(file.stem, filepath=file, code=file.read_text(), lines_collection=lines)
        PlainDocstrings().on_object(obj=read[name])  # as mkdocstrings calls it for every object
        return read[name].docstring.value

    assert shown("methods/nrd", "NRD.decay").startswith("of the teacher's moving average")
    assert "- `names`: notebooks as `20`" in shown("reproduce/batch", "reproduce")


def test_the_readme_shows_the_pictures_and_they_are_small():
    readme = (ROOT / "README.md").read_text()
    for name, picture in pictures.PICTURES.items():
        path = ROOT / "data" / "measured" / f"{name}.png"
        assert f"data/measured/{name}.png" in readme and path.stat().st_size < pictures.MOST_BYTES
        assert Image.open(path).width > 1000
        assert (ROOT / "notebooks" / f"{picture.notebook}.ipynb").exists()
        home = (ROOT / "lnl_kit" / "site" / "pages" / "index.md").read_text()
        assert f"({build.PICTURES}/{name}.png)" in home


def test_a_picture_is_the_figure_of_that_title(runs):
    found = pictures.figure(runs, pictures.Picture("50_small", "Two"))
    assert found["data"][0]["y"] == [1, 2]
    with pytest.raises(ValueError, match="has no figure 'Three'"):
        pictures.figure(runs, pictures.Picture("50_small", "Three"))
    with pytest.raises(ValueError, match="lnl reproduce"):
        pictures.figure(runs, pictures.Picture("60_none", "Two"))


def test_a_folder_of_something_else_is_left_alone(runs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pages").write_text("text")
    with pytest.raises(ValueError, match="a folder of something else"):
        build.build(runs, tmp_path / "mine")
    assert (tmp_path / "mine" / "pages").read_text() == "text"


@pytest.mark.slow
@pytest.mark.browser
def test_the_whole_site_in_a_browser_without_network(tmp_path, browser, monkeypatch):
    """One notebook at tiny settings, every other page; opened as files."""
    pytest.importorskip("material", reason="pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings")
    monkeypatch.setattr(batch, "_write_pngs", lambda folder, entries: None)
    assert batch.reproduce(["00"], {"epochs": 2}, out=tmp_path / "runs", timeout=1800) == 0
    home = build.build(tmp_path / "runs" / "reproduce", tmp_path / "site")
    page = browser.new_page()
    outside, errors = [], []
    page.on("request", lambda r: outside.append(r.url) if re.match("https?:|wss?:", r.url) else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    for path in ("index.html", "methods/nrd.html", "notebooks/00_start_here.html", "reference/data.html"):
        page.goto((home.parent / path).as_uri())
        assert page.locator("h1").count() == 1 and page.locator("html").get_attribute("lang") == "en"
        levels = [
            int(h[1]) for h in page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(e => e.tagName)")
        ]
        assert all(after - before < 2 for before, after in itertools.pairwise(levels)), (path, levels)
        assert page.evaluate("[...document.images].every(i => i.alt !== '')")
    page.goto((home.parent / "methods/nrd.html").as_uri())
    assert page.locator("math").first.bounding_box()["width"] > 50
    page.goto((home.parent / "notebooks/00_start_here.html").as_uri())
    figure = page.locator(".lnl-figure").first
    figure.scroll_into_view_if_needed()
    page.wait_for_selector(".lnl-figure[data-drawn] .main-svg", timeout=60_000)
    page.goto(home.as_uri())
    page.click("input.md-search__input")
    page.locator("input.md-search__input").press_sequentially("distillation")
    page.wait_for_selector(".md-search-result__item", timeout=60_000)
    assert not outside and not errors
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://example.com/x.png'}))")
    page.wait_for_timeout(500)
    assert any("Content Security Policy" in e for e in errors), "what comes from elsewhere is blocked"
    shutil.rmtree(tmp_path / "site")
