"""Parts of a notebook as HTML that loads nothing: Markdown, code, and what cells have put out."""

from __future__ import annotations

import base64
import functools
import html
import re

import mistune
from mistune.plugins.math import math
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from ..figures.page import without_places
from ..figures.web import PLOTLY
from .mathml import mathml
from .safe_html import harmless

WIDGET = "application/vnd.jupyter.widget-view+json"
CODE = HtmlFormatter(style="friendly", nobackground=True)


def first_line(source: str) -> str:
    """The line that tells code cells apart: the first that is not a comment."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("#")), lines[0] if lines else "")


def markdown(source: str) -> str:
    """Markdown with tables and equations as HTML that loads nothing; notebook links lead to their pages."""
    page = harmless(_markdown()(source))
    return re.sub(r'(<a href="[^":]+)\.ipynb(?=["#])', r"\1.html", page)


def inline(source: str) -> str:
    """One line of Markdown as HTML without a paragraph around it."""
    return re.sub(r"^<p>|</p>$", "", harmless(_markdown()(source.lstrip("# "))).strip())


@functools.cache
def _markdown():
    renderer = mistune.HTMLRenderer(escape=False)
    render = mistune.create_markdown(renderer=renderer, plugins=["table", "strikethrough", math])
    renderer.register("inline_math", lambda _, text: mathml(text))  # in place of the plugin's
    renderer.register("block_math", lambda _, text: mathml(text, display=True))
    return render


def code_cell(cell) -> str:
    """A code cell as it stands on a page: its source, folded (HTML)."""
    number = cell.execution_count or " "
    return (
        f"<details><summary>[{number}] <code>{html.escape(first_line(cell.source))}</code></summary>"
        f"{highlight(cell.source, PythonLexer(), CODE)}</details>"
    )


def joined(outputs: list) -> list:
    """The outputs, with what was printed in several pieces in one piece, where its first one stood."""
    joined: list = []
    streams: dict = {}
    for output in outputs:
        if output.output_type != "stream":
            streams = {}
        elif output.name in streams:
            streams[output.name]["text"] += output.text
            continue
        else:
            streams[output.name] = output = output.copy()
        joined.append(output)
    return joined


def figure_of(output) -> dict | None:
    """The figure in a cell's output, or None when it is text or a table."""
    data = output.get("data", {})
    if isinstance(data.get(PLOTLY), dict):
        return {"plotly": data[PLOTLY]}
    for kind in ("image/png", "image/jpeg", "image/gif"):
        if kind in data:
            try:
                code = "".join(data[kind].split())
                content = base64.b64decode(code, validate=True)
            except (ValueError, AttributeError):  # no picture
                return None
            return {
                "html": f'<img alt="" src="data:{kind};base64,{code}">',
                "kind": kind,
                "bytes": content,
            }
    if "image/svg+xml" in data:
        # as an image, an SVG can load nothing
        code = base64.b64encode(data["image/svg+xml"].encode()).decode()
        return {"html": f'<img alt="" src="data:image/svg+xml;base64,{code}">'}
    return None


def output_html(output) -> str:
    """Text, tables, messages and errors of a cell (HTML)."""
    if output.output_type == "error":
        text = plain("\n".join(output.traceback)) or f"{output.ename}: {output.evalue}"
        return f'<div class="error"><pre>{html.escape(text)}</pre></div>'
    if output.output_type == "stream":
        text = html.escape(plain(output.text)).strip("\n")
        if not text.strip():
            return ""
        if output.name == "stderr":
            return f"<details><summary>messages</summary><pre>{text}</pre></details>"
        return f'<div class="card"><pre>{text}</pre></div>'
    data = output.get("data", {})
    if WIDGET in data:
        return '<p class="meta">An interactive widget: open the notebook in JupyterLab to use it.</p>'
    if "text/html" in data:
        shown = harmless(without_places(data["text/html"]))
        return f'<div class="card"><div class="html">{shown}</div></div>'
    if "text/markdown" in data:
        return markdown(without_places(data["text/markdown"]))
    if "text/latex" in data:
        return harmless(mathml(data["text/latex"].strip("$ \n"), display=True))
    text = html.escape(plain(data.get("text/plain", "")))
    return f'<div class="card"><pre>{text}</pre></div>' if text.strip() else ""


def plain(text: str) -> str:
    """Terminal text as a terminal leaves it: no colours, and of a progress bar only its last state."""
    text = without_places(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
