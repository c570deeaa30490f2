"""A person's view: notebooks opened in JupyterLab in a real browser, sliders moved, a training stopped.

Screenshots go to $LNL_SCREENSHOTS, where it is set.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SLIDER = """
import plotly.graph_objects as go
from lnl_kit.widgets import explore, live
def draw(rate=0.3):
    return go.Figure(go.Bar(x=["wrong"], y=[rate]), layout_title_text=f"rate is {rate:.1f}")
print("live:", live())
explore(draw, rate=(0, 0.9, 0.1))
"""
TRAINING = (
    "from lnl_kit import widgets\ntraining = widgets.train('ce', epochs=2000)\ntraining",
    "run = training.result()\n"
    "print('kept', len(run.metrics) < 2000, run.predict(run.dataset().test_x[:2]).shape)",
)


def write(folder, *cells):
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, folder / "one.ipynb")


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that serves tmp_path; its kernels write their runs there."""
    environment = {k: v for k, v in os.environ.items() if k != "LNL_HEADLESS"} | {
        "LNL_RUNS": str(tmp_path / "runs")
    }
    log = tmp_path / "server.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--port=0",
                "--IdentityProvider.token=test",
                f"--ServerApp.root_dir={tmp_path}",
            ],
            stderr=file,
            env=environment,
        )
    end = time.monotonic() + 60
    while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/lab", log.read_text())):
        assert server.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    yield found[1]
    server.terminate()
    server.wait(timeout=30)


def open_notebook(browser, lab, name="one.ipynb", token="test"):
    """A page on which the notebook is open; page errors are collected in `page.problems`."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(f"{lab}/lab/tree/{name}?token={token}")
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.wait_for_selector("text=/ipykernel.*Idle/", timeout=120_000)  # what runs before is lost
    time.sleep(3)
    page.keyboard.press("Escape")
    return page


def run_all(browser, lab, name="one.ipynb", token="test"):
    """The page of a notebook all of whose cells were started."""
    page = open_notebook(browser, lab, name, token)
    page.click(".lm-MenuBar-itemLabel:text-is('Run')", timeout=30_000)
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')", timeout=30_000)
    return page


def shot(page, name):
    """Keep a screenshot where somebody asked for them."""
    if os.environ.get("LNL_SCREENSHOTS"):
        Path(os.environ["LNL_SCREENSHOTS"]).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(os.environ["LNL_SCREENSHOTS"]) / f"{name}.png"))


def press(page, slider, key="ArrowRight"):
    """Move a slider by a key."""
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.keyboard.press(key)


@pytest.mark.slow
@pytest.mark.browser
def test_a_slider_redraws_its_figure_in_jupyterlab(lab, browser, tmp_path):
    write(tmp_path, SLIDER)
    page = run_all(browser, lab)
    page.wait_for_selector("text=rate is 0.3", timeout=60_000)
    assert page.locator("text=live: True").count() == 1
    press(page, page.locator(".widget-slider .noUi-handle").first)
    page.wait_for_selector("text=rate is 0.4", timeout=30_000)
    assert page.locator("text=Error").count() == 0 and not page.problems


@pytest.mark.slow
@pytest.mark.browser
def test_stop_ends_a_training_and_the_next_cell_uses_the_network(lab, browser, tmp_path):
    write(tmp_path, *TRAINING)
    page = open_notebook(browser, lab)
    page.locator(".jp-Cell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("text=/epoch [2-9] of 2000/", timeout=120_000)
    shot(page, "training")
    page.click("button:has-text('Stop')")
    page.wait_for_selector("text=/stopped after \\d+ epochs/", timeout=60_000)
    page.locator(".jp-Cell .jp-InputArea-editor").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("text=kept True (2, 10)", timeout=60_000)
    assert not page.problems


@pytest.mark.slow
@pytest.mark.browser
def test_interrupting_the_kernel_while_a_cell_waits_ends_the_training_too(lab, browser, tmp_path):
    write(tmp_path, *TRAINING)
    page = run_all(browser, lab)
    page.wait_for_selector("text=/epoch [2-9] of 2000/", timeout=120_000)  # the second cell is waiting by now
    page.locator("[data-command='notebook:interrupt-kernel'], [data-jp-item-name='interrupt']").first.click()
    page.wait_for_selector("text=kept True (2, 10)", timeout=60_000)
    assert not page.problems


@pytest.mark.slow
@pytest.mark.browser
def test_the_noise_lab_answers_its_sliders(lab, browser, tmp_path):
    source = next(p for p in NOTEBOOKS if p.stem == "10_label_noise").read_text()
    (tmp_path / "one.ipynb").write_text(source.replace("epochs = 0 ", "epochs = 1 "))
    page = run_all(browser, lab)
    page.wait_for_selector("text=10 networks in", timeout=300_000)
    time.sleep(2)
    shot(page, "noise_lab_models")
    first, second = (
        page.locator(".widget-slider .noUi-handle").first,
        page.locator(".widget-slider .noUi-handle").nth(2),
    )
    press(page, second)  # the models' slider: at once and without training
    page.wait_for_selector("text=/symmetric noise at 60%: 5\\d.\\d% of the labels are wrong/", timeout=10_000)
    page.wait_for_selector(
        "text=test images, percent of each true class; symmetric noise at 60%",
        state="attached",
        timeout=10_000,
    )
    before = page.locator("text=/^\\d+.\\d% of the labels are wrong$/").first.text_content()
    seconds = []
    for k in range(20):  # forth and back
        key, percent = ("ArrowRight", 60) if k % 2 == 0 else ("ArrowLeft", 50)
        page.wait_for_timeout(400)  # a person looks at what came
        press(page, first, "Shift")  # in view and focused before the clock starts
        started = time.monotonic()
        page.keyboard.press(key)
        page.wait_for_function(
            "(text) => [...document.querySelectorAll('.js-plotly-plot .g-gtitle')]"
            ".some(t => t.textContent.includes(text))",
            arg=f"noise at {percent}%, seed 0",
            timeout=10_000,
        )
        seconds.append(time.monotonic() - started)
    median, longest = 1000 * statistics.median(seconds), 1000 * max(seconds)
    print(f"median of 20 moves: {median:.0f} ms, longest {longest:.0f} ms")
    press(page, first)
    page.wait_for_selector(
        "text=symmetric noise at 60%, seed 0: percent of each true class, as drawn",
        state="attached",
        timeout=10_000,
    )
    assert (
        page.locator("text=/^\\d+.\\d% of the labels are wrong$/").first.text_content() != before
    )  # the rate really made
    shot(page, "noise_lab_labels")
    assert statistics.median(seconds) < 1, seconds
    assert (
        page.locator(
            ".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'] >> text=Error"
        ).count()
        == 0
        and not page.problems
    )


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_opens_and_runs(lab, browser, tmp_path, path):
    notebook = nbformat.read(path, 4)
    first = next(c for c in notebook.cells if c.cell_type == "code")
    first.source = re.sub(r"^epochs = 0 ", "epochs = 1 ", first.source, flags=re.M)
    notebook.cells.append(nbformat.v4.new_code_cell("open('end', 'w').close()"))
    nbformat.write(notebook, tmp_path / "one.ipynb")
    page = run_all(browser, lab)
    end = time.monotonic() + 600
    while not (tmp_path / "end").exists():
        page.wait_for_timeout(3000)
        assert time.monotonic() < end and not errors_saved(page, tmp_path / "one.ipynb")
    page.wait_for_timeout(2000)
    assert not errors_saved(page, tmp_path / "one.ipynb")
    figures = page.locator(".js-plotly-plot")
    assert figures.count() >= 1 and not page.problems  # JupyterLab draws those in view
    for k in range(0, figures.count(), 4):
        figures.nth(k).scroll_into_view_if_needed()
        shot(page, f"{path.stem}-{k:02d}")


def errors_saved(page, path):
    """What went wrong in the cells of the open notebook, which is saved for it."""
    page.keyboard.press("Control+s")
    page.wait_for_timeout(500)
    return [
        o.evalue
        for c in nbformat.read(path, 4).cells
        for o in c.get("outputs", ())
        if o.output_type == "error"
    ]


REVIEW = (
    "import lnl_kit\nfrom lnl_kit import widgets\nfrom lnl_kit.label_errors.findings import open_findings\n"
    "table = lnl_kit.find_errors('digits', noise='symmetric', rate=0.4, epochs=8)\n"
    "findings = open_findings(table.attrs['folder'])",
    "review = widgets.review(findings)\nreview",
    "print('stands:', len(review.made), sorted({a for a, _ in review.made.values()}))",
)


@pytest.mark.slow
@pytest.mark.browser
def test_thirty_images_are_reviewed_by_keyboard_and_a_killed_kernel_loses_none(lab, browser, tmp_path):
    write(tmp_path, *REVIEW)
    page = run_all(browser, lab)
    page.wait_for_selector("text=stands: 0 []", timeout=300_000)
    page.locator(".lnl-review").click(position={"x": 5, "y": 5})

    def decided(n):
        page.wait_for_selector(f"text=/{n} decided, \\d+ relabelled; about \\d+ errors left/", timeout=10_000)

    for n in range(30):
        page.keyboard.press("akud"[n % 4] if n != 5 else "3")
        decided(n + 1)  # in decisions.csv by now
    shot(page, "review")
    page.keyboard.press("z")
    decided(29)
    page.locator(".lnl-review .heat button").first.click()
    page.wait_for_selector("text=/^only \\d → \\d$/", timeout=10_000)
    only = page.locator(".lnl-review .bar span", has_text="only").text_content().split()
    cards = page.locator(".lnl-review .card")
    assert {
        (c.locator(".given").text_content().split()[-1], c.locator(".suggested").text_content())
        for c in cards.all()
    } == {(only[1], only[3])}
    shot(page, "review_filtered")
    page.keyboard.press("a")
    decided(30)
    before = (next((tmp_path / "runs").rglob("decisions.csv"))).read_text()
    assert len(before.splitlines()) == 1 + 30 + 1 + 1  # heading, thirty, the undo, one more
    kernels = [
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdigit()
        and b"ipykernel_launcher" in (p / "cmdline").read_bytes()
        and str(tmp_path).encode() in (p / "environ").read_bytes()
    ]
    for process in kernels:
        os.kill(process, signal.SIGKILL)
    page.close()
    page = run_all(browser, lab)
    page.wait_for_selector(
        "text=/stands: 30 \\['accept', 'class', 'drop', 'keep', 'unsure'\\]/", timeout=300_000
    )
    decided(30)
    assert next((tmp_path / "runs").rglob("decisions.csv")).read_text() == before and not page.problems
