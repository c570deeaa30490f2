"""What keeps people out, as axe-core finds it; the review by keyboard and by ear; dark and light.

Screenshots go to $LNL_SCREENSHOTS, where it is set.
"""

import importlib.resources

import numpy as np
import pytest
from test_jupyterlab import lab, run_all, shot, write  # noqa: F401 (a fixture)
from test_review import card, show

from lnl_kit.figures.views import png_uri

pytestmark = pytest.mark.browser

DARK = """body { background: #111 }
:root { --jp-ui-font-color1: rgba(255, 255, 255, .87); --jp-layout-color2: #424242 }
"""


def problems(page, inside):
    """[(impact, rule, how many, the first of them)] of axe's serious and critical findings in an element."""
    package = pytest.importorskip("axe_playwright_python")
    page.evaluate((importlib.resources.files(package) / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("(inside) => axe.run(inside)", inside)
    assert len(found["passes"]) > 5  # it has looked
    return [
        (v["impact"], v["id"], len(v["nodes"]), v["nodes"][0]["html"][:200])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def wall(browser, **more):
    """A review as it may look."""
    picture = png_uri(np.random.RandomState(0).randint(0, 256, (3, 8, 8)).astype(np.uint8), 112)
    why = "efficientnet_lite0: dog 90%, the label 2%"
    cards = [card(f"cat/{n}.jpg", "cat", "dog", src=picture, because=why) for n in range(5)]
    cards[1] |= {"kind": "dark"}
    cards[2] |= {"decision": "now dog"}
    known = dict(classes=["cat", "dog"], counts=[[0, 3], [1, 0]], kinds=[["dark", 1, "dark"]], filter=[0, 1])
    return show(browser, cards=cards, status="1 decided", **known | more)


def test_the_review_has_no_serious_problem_light_and_dark(browser):
    page, press = wall(browser)
    assert problems(page, ".lnl-review") == []
    shot(page, "review_light")
    page.evaluate("document.querySelector('.lnl-review select').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('.lnl-review .given').style.color = '#ddd'")
    assert {rule for _, rule, *_ in problems(page, ".lnl-review")} == {"color-contrast", "label-title-only"}
    page, press = wall(browser, language="de")
    page.add_style_tag(content=DARK)
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    press("ArrowRight")
    assert problems(page, ".lnl-review") == []
    assert page.locator(".lnl-review").get_attribute("lang") == "de"
    shot(page, "review_dark")


def test_the_review_by_keyboard_and_by_ear(browser):
    page, _ = wall(browser)
    heard = page.locator(".heard")
    assert heard.get_attribute("aria-live") == "polite"
    assert (
        heard.text_content() == "1 of 5 on this page: image cat/0.jpg, given cat, rather dog, suspicion 50 %"
    )
    page.keyboard.press("ArrowRight")
    assert heard.text_content().startswith("2 of 5 ") and heard.text_content().endswith(", dark")
    page.keyboard.press("ArrowRight")
    assert heard.text_content().endswith(", now dog")
    names = []
    for _ in range(40):  # Tab through all of it, once round
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        if page.evaluate("document.activeElement === document.body"):
            break
    names = names[: names.index(None)] if None in names else names
    one = ["accept (a)", "keep (k)", "drop (d)", "unsure (u)"]
    assert [n for n in names if n.endswith(")") and n[-3] == "("][-len(one) :] == one  # of one card alone
    assert names.count("accept (a)") == 1 and any(n.startswith("another class") for n in names)
    page.locator(".card").nth(2).locator("button").first.focus()
    page.keyboard.press("Enter")  # a button that has the focus answers to Enter
    assert page.evaluate("window.sent.at(-1).action") == "accept"


@pytest.mark.slow
def test_the_report_has_no_serious_problem(browser, tmp_path):
    from lnl_kit.label_errors.find import find_errors

    probs = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1437)
    ask = dict(noise="symmetric", rate=0.2, to=tmp_path / "found", out=tmp_path / "runs", train_size=None)
    find_errors("digits", probs=probs, **ask)
    page = browser.new_page()
    page.goto((tmp_path / "found" / "report.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert problems(page, "main") == []
    shot(page, "report")


SLIDERS = """
from lnl_kit import widgets
import plotly.graph_objects as go
def draw(rate=0.3, noise="a"):
    return go.Figure(go.Bar(x=["wrong"], y=[rate]), layout_title_text=f"rate is {rate:.1f}")
widgets.explore(draw, rate=(0, 0.9, 0.1), noise=["a", "b"])
"""
LAB = """
panel = widgets.NoiseLab("ce", rates=(0.0, 0.5), epochs=1, train_size=256)
panel
"""


@pytest.mark.slow
def test_the_labs_widgets_have_no_serious_problem(lab, browser, tmp_path):  # noqa: F811
    write(tmp_path, SLIDERS, LAB)
    page = run_all(browser, lab)
    page.wait_for_selector("text=rate is 0.3", timeout=120_000)
    page.wait_for_selector("text=/finished after/", timeout=120_000)
    page.wait_for_timeout(2000)
    shot(page, "lab_light")
    for output in (
        ".jp-Cell:nth-child(1) .jp-OutputArea-output",
        ".jp-Cell:nth-child(2) .jp-OutputArea-output",
    ):
        assert problems(page, output) == []
    page.click(".lm-MenuBar-itemLabel:text-is('Settings')")
    page.hover(".lm-Menu-itemLabel:text-is('Theme')")
    page.click(".lm-Menu-itemLabel:text-is('JupyterLab Dark')")
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    page.wait_for_timeout(1500)
    shot(page, "lab_dark")
    for output in (
        ".jp-Cell:nth-child(1) .jp-OutputArea-output",
        ".jp-Cell:nth-child(2) .jp-OutputArea-output",
    ):
        assert problems(page, output) == []
