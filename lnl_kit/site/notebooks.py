"""Executed notebooks as pages of the site, with their figures, and the gallery of them all.

What notebooks say and show may come from others: their text is made harmless, and figures are data in files
of their own, which `site.js` draws when a reader comes near them.
"""

from __future__ import annotations

import html
import importlib.resources
import re
from pathlib import Path
from typing import NamedTuple

import plotly.io

from ..figures.nbformat_quickly import nbformat
from ..figures.page import without_places
from ..files import safe, save_atomically
from ..reproduce.execute import read_record
from ..reproduce.fragments import code_cell, figure_of, inline, joined, markdown, output_html
from ..reproduce.pages import failure, headline_of, meta, opening
from .prose import escape, raw

HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", flags=re.S)


class Shown(NamedTuple):
    """A notebook's page."""

    name: str  # of the page, after the notebook
    title: str  # text
    question: str  # its first paragraph, Markdown
    headline: str  # what its headline cell printed, text
    figures: list[tuple[str, str]]  # (id, heading above it), text
    page: str  # Markdown of the site


def executed(runs: Path) -> tuple[list[dict], int]:
    """(records of the executed notebooks in a folder of `lnl reproduce`, number of copies of batches there).

    Raises ValueError where there is no executed notebook.
    """
    records = [record for path in sorted(runs.glob("*.json")) if (record := read_record(path))]
    whole = [r for r in records if r["of"] == r["notebook"] and (runs / f"{r['notebook']}.ipynb").exists()]
    if not whole:
        raise ValueError(
            f"no executed notebooks in {runs}: `lnl reproduce` makes them, or name another folder"
        )
    return whole, len(records) - len(whole)


def shown(folder: Path, record: dict, assets: Path) -> Shown:
    """The page of the executed notebook of a record; its figures are written to assets/<id>.js."""
    name = record["notebook"]
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    cells = [c for c in cells if "papermill-error-cell-tag" not in c.metadata.get("tags", ())]
    for cell in cells:
        cell.source = without_places(cell.source)
    found = opening(cells, name)
    slug, title = safe(name), plain_text(inline(found["title"]))
    heading = title
    figures: list[tuple[str, str]] = []
    body: list[str] = []
    for cell in cells:
        if cell.cell_type == "markdown":
            for level, text, rest in _parts(_site_links(markdown(cell.source))):
                heading = text or heading
                if level > 1:
                    body.append(f"{'#' * level} {escape(text)}")
                body.append(raw(rest))
        elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
            body.append(raw(code_cell(cell)))
            for output in joined(cell.outputs):
                body.append(raw(_figure(output, slug, heading, figures, assets) or output_html(output)))
    top = [f"# {escape(title)}", raw(f'<p class="run">{meta(record | {"figures": len(figures)})}</p>')]
    if headline := headline_of(cells):
        top.append(raw(f'<p class="headline">{html.escape(headline)}</p>'))
    top.append(raw(failure(record)))
    page = "\n\n".join(part for part in (*top, *body) if part) + "\n"
    return Shown(slug, title, found["question"], headline, figures, page)


def _figure(output, name: str, heading: str, figures: list, assets: Path) -> str:
    """A figure of an output as HTML, noted in `figures` and kept in `assets`; nothing for what is none."""
    found = figure_of(output)
    if not found:
        return ""
    key = f"{name}-{len(figures) + 1:02d}"
    figures.append((key, heading))
    caption = f"<figcaption>{html.escape(heading)}</figcaption>"
    if "plotly" not in found:
        alt = html.escape(heading, quote=True)
        picture = found["html"].replace('alt=""', f'alt="{alt}"')
        return f'<figure id="{key}">{picture}{caption}</figure>'
    spec = without_places(found["plotly"])
    layout = spec.get("layout") if isinstance(spec.get("layout"), dict) else {}
    height = layout.get("height")
    height = height if isinstance(height, int | float) and 0 < height < 10_000 else 450
    told = {"data": spec.get("data") or [], "layout": layout, "frames": spec.get("frames") or []}
    text = plotly.io.json.to_json_plotly(told).replace("<", "\\u003c")
    save_atomically(assets / f"{key}.js", f"lnlFigure({key!r}, {text});\n".encode())
    described = html.escape(_title(layout) or heading, quote=True)
    return (
        f'<figure><div id="{key}" class="lnl-figure" role="group" aria-label="{described}" '
        f'style="height:{height}px"></div>{caption}</figure>'
    )


def _title(layout: dict) -> str:
    """The title of a plotly figure as text."""
    title = layout.get("title")
    text = title.get("text") if isinstance(title, dict) else title
    return re.sub(r"<[^>]*>", "", text) if isinstance(text, str) else ""


def gallery(notebooks: list[Shown], pictures: set[str], copies: int) -> str:
    """The overview of all notebooks, with those figures that were drawn as PNG (Markdown).

    copies: how many notebooks of batches were there and are not shown.
    """
    parts = [
        "# Notebooks and their figures",
        "Executed by `lnl reproduce`. A picture leads to its notebook, where the figure answers to the mouse "
        "and the code that made it can be unfolded.",
    ]
    for notebook in notebooks:
        parts.append(f"## [{escape(notebook.title)}]({notebook.name}.md)")
        parts.append(raw(f'<div class="lead">{_site_links(markdown(notebook.question))}</div>'))
        if notebook.headline:
            parts.append(raw(f'<p class="headline">{html.escape(notebook.headline)}</p>'))
        small = [
            f'<a href="{notebook.name}.html#{key}"><img loading="lazy" src="png/{key}.png" '
            f'alt="{html.escape(caption, quote=True)}"></a>'
            for key, caption in notebook.figures
            if key in pictures
        ]
        if small:
            parts.append(f'<div class="thumbs">{"".join(small)}</div>')
    if copies:
        parts.append(f"Left out here: {copies} with other parameters; see the pages of `lnl reproduce`.")
    return "\n\n".join(parts) + "\n"


def library() -> bytes:
    """plotly.min.js, as plotly's package brings it."""
    return (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def _parts(page: str) -> list[tuple[int, str, str]]:
    """(level of a heading, its text, the HTML after it), with level 0 for what comes before the first."""
    pieces = HEADING.split(page)
    found = [(0, "", pieces[0])]
    for level, text, rest in zip(pieces[1::3], pieces[2::3], pieces[3::3]):
        found.append((int(level), plain_text(text), rest))
    return found


def plain_text(page: str) -> str:
    """HTML as text."""
    return html.unescape(re.sub(r"<[^>]*>", "", page)).strip()


def _site_links(page: str) -> str:
    """Links to files of the repository that are pages here lead to these."""
    return re.sub(r'href="(?:\.\./)?data/README\.(?:md|html)', 'href="../data.html', page)
