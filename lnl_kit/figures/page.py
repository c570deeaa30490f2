"""Pages that do nothing but show: every HTML file of the kit is made by `document`.

Its Content-Security-Policy lets only the kit's own scripts run and nothing be fetched, whatever stands in the
page. Figures are data in the page (JSON), which the kit's own script draws.
"""

from __future__ import annotations

import html
import secrets
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import plotly.io

from ..files import project_folder, runs_root
from .web import SORT, STYLE

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
DRAW = """
for (const block of document.querySelectorAll("script.figure-data")) {
  const {data, layout, config, frames} = JSON.parse(block.textContent), place = block.previousElementSibling;
  Plotly.newPlot(place, data, layout, config).then(() => frames.length && Plotly.addFrames(place, frames));
}
"""


def document(
    title: str, body: str, *, style: str = "", plotly: str = "", script: str = "", language: str = "en"
) -> str:
    """A whole page. title: text; body: HTML, whose figures come from `figure_block`; style: more CSS; script:
    more of the kit's own.

    plotly: a file beside the page to load plotly from, or its source; "" for a page without figures.
    """
    nonce = secrets.token_urlsafe(18)
    own = f"<script nonce='{nonce}'"
    library = f"{own}>{plotly}</script>" if len(plotly) > 200 else f"{own} src='{plotly}'></script>"
    return (
        f"<!doctype html>\n<html lang='{language}'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(nonce=nonce)}">'
        "<meta name='referrer' content='no-referrer'>\n"
        f"<title>{html.escape(title)}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<link rel='icon' href='data:,'><style>{STYLE}{style}</style>{library if plotly else ''}</head>\n"
        f"<body><main>\n{body}\n</main>{own}>{SORT}{DRAW if plotly else ''}{script}</script></body></html>\n"
    )


def figure_block(figure, name: str = "") -> str:
    """A plotly figure, or its dictionary with data, layout and frames, as HTML for a `document`."""
    spec = figure if isinstance(figure, dict) else figure.to_plotly_json()
    layout, config = ({**v} if isinstance(v := spec.get(k), dict) else {} for k in ("layout", "config"))
    height = layout.get("height")
    height = height if isinstance(height, int | float) and 0 < height < 10_000 else 450
    told = {
        "data": spec.get("data") or [],
        "layout": layout,
        "frames": spec.get("frames") or [],
        "config": config | {"responsive": True, "displaylogo": False, "plotlyServerURL": ""},
    }
    text = plotly.io.json.to_json_plotly(told).replace("<", "\\u003c")
    return (
        f'<div id="{html.escape(name)}" class="plotly-graph-div" style="height:{height}px; width:100%"></div>'
        f'<script type="application/json" class="figure-data">{text}</script>'
    )


def without_places(value):
    """Text, or a nest of lists and dictionaries of it, without the paths of this machine: what a page says
    may be passed on. Arrays that plotly keeps as text (`bdata`) stay as they are.
    """
    return _replaced(value, _places())


def _places() -> list[tuple[str, str]]:
    """(path, what is said in its place), the longest first."""
    package = Path(__file__).resolve().parents[2]
    known = [
        (runs_root(), "runs"),
        (project_folder(), "."),
        (package, "."),
        (sys.prefix, ".venv"),
        (sys.base_prefix, "python"),
        (Path.home(), "~"),
        (tempfile.gettempdir(), "tmp"),
    ]
    found = {str(place): said for place, said in known if len(str(place)) > 2}
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def _replaced(value, places: Iterable[tuple[str, str]]):
    if isinstance(value, str):
        for place, said in places:
            value = value.replace(place, said)
        return value
    if isinstance(value, dict):
        return {k: v if k == "bdata" else _replaced(v, places) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(v, places) for v in value]
    return value
