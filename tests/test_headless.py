"""Widgets in notebooks that nobody looks at: nothing to answer, so nothing to wait for (nbclient#312).

nbclient answers a kernel in the middle of a cell only where an Output widget asks it to, and may then wait
for ever. Headless, the kit opens no widget at all; live, it opens none of that kind.
"""

import copy
import os
from pathlib import Path

import nbclient
import nbformat
import pytest

from lnl_kit.reproduce.execute import _kernel_of_this_python

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CALLS = (
    "widgets.explore(",
    "widgets.NoiseLab(",
    "widgets.pick_run(",
    "widgets.beside_image(",
    "widgets.train(",
    "widgets.review(",
)
WITH_WIDGETS = [
    p for p in NOTEBOOKS if any(call in c.source for c in nbformat.read(p, 4).cells for call in CALLS)
]
EVERY_WIDGET = """
import numpy as np, plotly.graph_objects as go
from lnl_kit import widgets
def draw(rate=0.3):
    return go.Figure(go.Bar(y=[rate]))
display(widgets.explore(draw, rate=(0, 0.9, 0.1)))
point = go.Figure(go.Scatter(x=[0], y=[0], customdata=[0]))
display(widgets.beside_image(point, np.zeros((1, 1, 8, 8), np.uint8)))
training = widgets.train("ce", epochs=1)
display(training)
run = training.result()
display(widgets.NoiseLab("ce", epochs=1, rates=(0.0, 0.5)), widgets.pick_run())
display(widgets.histogram_by_epoch(run), widgets.decagon_by_epoch(run), widgets.inspect_images(run))
import lnl_kit
probs = np.random.RandomState(0).dirichlet(np.ones(10), 1437)
found = lnl_kit.find_errors("digits", noise="symmetric", rate=0.2, probs=probs, report=False)
display(widgets.review(found.attrs["folder"]))
"""


class Recorder(nbclient.NotebookClient):
    """Executes a notebook and remembers which widgets each cell opened, by their model's name."""

    opened: list

    def handle_comm_msg(self, outs, msg, cell_index):
        """What nbclient does with a widget's message, and a note of it."""
        if msg["msg_type"] == "comm_open":
            name = msg["content"]["data"].get("state", {}).get("_model_name")
            self.opened.append((cell_index, name))
        return super().handle_comm_msg(outs, msg, cell_index)


def execute(sources, root, tmp_path):
    """(names of the widgets that each of these cells opened, the executed notebook)."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with _kernel_of_this_python(root):
        client = Recorder(
            notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.opened = []
        client.execute(env=os.environ)
    return [[name for at, name in client.opened if at == i] for i in range(len(cells))], notebook


def test_headless_no_widget_is_opened_and_live_none_for_output(tmp_path):
    live = "import os; os.environ.pop('LNL_HEADLESS'); os.environ['JPY_SESSION_NAME'] = 'x'\n"
    (headless, seen), notebook = execute([EVERY_WIDGET, live + EVERY_WIDGET], tmp_path / "runs", tmp_path)
    assert headless == []
    kinds = {kind for output in notebook.cells[0].outputs for kind in output.get("data", {})}
    assert (
        "application/vnd.plotly.v1+json" in kinds and "application/vnd.jupyter.widget-view+json" not in kinds
    )
    assert "FloatSliderModel" in seen and "ButtonModel" in seen and "OutputModel" not in seen


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_WIDGETS, ids=lambda p: p.stem)
def test_the_cells_with_widgets_run_twenty_times_without_a_hang(path, tmp_path):
    import papermill

    notebook, cells = nbformat.read(path, 4), []
    for cell in notebook.cells:
        again = 19 if cell.cell_type == "code" and any(call in cell.source for call in CALLS) else 0
        cells += [cell] + [
            nbformat.from_dict(copy.deepcopy(cell) | {"id": f"{cell['id']}-{k}"}) for k in range(again)
        ]
    notebook.cells = cells
    nbformat.write(notebook, tmp_path / path.name)
    with _kernel_of_this_python(tmp_path / "runs"):
        papermill.execute_notebook(
            tmp_path / path.name,
            tmp_path / "done.ipynb",
            {"epochs": 1},
            kernel_name="python3",
            cwd=path.parent,
            progress_bar=False,
            execution_timeout=1200,
        )
    assert (
        sum(
            c.execution_count is not None
            for c in nbformat.read(tmp_path / "done.ipynb", 4).cells
            if c.cell_type == "code" and any(call in c.source for call in CALLS)
        )
        >= 20
    )
