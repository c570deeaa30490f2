"""A person's view: a notebook opened in JupyterLab in a real browser, a slider moved."""

import os
import re
import subprocess
import sys
import time

import nbformat
import pytest

SOURCE = """
import plotly.graph_objects as go
from lnl_kit.widgets import explore, live
def draw(rate=0.3):
    return go.Figure(go.Bar(x=["wrong"], y=[rate]), layout_title_text=f"rate is {rate:.1f}")
print("live:", live())
explore(draw, rate=(0, 0.9, 0.1))
"""


@pytest.fixture
def lab(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)], metadata={
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    nbformat.write(notebook, tmp_path / "slider.ipynb")
    environment = {k: v for k, v in os.environ.items() if k != "LNL_HEADLESS"}
    log = tmp_path / "server.log"
    with open(log, "w") as file:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
                                   "--IdentityProvider.token=test", f"--ServerApp.root_dir={tmp_path}"],
                                  stderr=file, env=environment)
    end = time.monotonic() + 60
    while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/lab", log.read_text())):
        assert server.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    address = found[1]
    yield address
    server.terminate()
    server.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.browser
def test_a_slider_redraws_its_figure_in_jupyterlab(lab, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.goto(f"{lab}/lab/tree/slider.ipynb?token=test")
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    time.sleep(3)
    page.keyboard.press("Escape")
    page.click("text=Run", timeout=30_000)
    page.click("text=Run All Cells", timeout=30_000)
    page.wait_for_selector("text=rate is 0.3", timeout=60_000)
    assert page.locator("text=live: True").count() == 1
    slider = page.locator(".widget-slider .noUi-handle").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=rate is 0.4", timeout=30_000)
    assert page.locator("text=Error").count() == 0
