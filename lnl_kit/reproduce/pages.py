"""Executed notebooks as HTML pages that work from a folder, with the network off.

One page per notebook, and an index with the figures of all. Every page loads the one `plotly.min.js` that is
copied beside it from the plotly package; everything else is in the page.
"""

from __future__ import annotations

import html
import importlib.resources
import re
from pathlib import Path

from ..figures.nbformat_quickly import nbformat
from ..figures.page import document, figure_block, without_places
from ..files import save_atomically
from .fragments import CODE, code_cell, figure_of, inline, joined, markdown, output_html, plain


def write_page(notebook: Path, record: dict) -> list[dict]:
    """Write `<name>.html` beside an executed notebook and return its figures.

    record: what `lnl_kit.reproduce` keeps beside the notebook; gets `title` and `question` (the first
    paragraph), both Markdown, `figures` (their number), and `headline`, the first line that a cell tagged so
    has printed. A figure is a dict: `id` (unique among all pages), `caption` (HTML), and either `plotly` (the
    figure as a dictionary) or `html` (an image; with `kind` and `bytes` where it is not an SVG).
    """
    # without papermill's own error messages: the page shows errors in its own way
    cells = [
        c
        for c in nbformat.read(notebook, as_version=4).cells
        if "papermill-error-cell-tag" not in c.metadata.get("tags", ())
    ]
    for cell in cells:
        cell.source = without_places(cell.source)
    record.update(opening(cells, notebook.stem), headline=headline_of(cells))
    heading, seen = record["title"], 0
    figures: list[dict] = []
    body: list[str] = []
    for cell in cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ +(.+?)[ #]*$", cell.source, flags=re.M)
            if headings and headings[-1] != heading:
                heading, seen = headings[-1], 0
            body.append(markdown(cell.source))
        elif cell.cell_type == "code" and (cell.source.strip() or cell.outputs):
            body.append(code_cell(cell))
            for output in joined(cell.outputs):
                figure = figure_of(output)
                if not figure:
                    body.append(output_html(output))
                    continue
                seen += 1
                caption = f"<b>{inline(heading)}</b>" + (f" &middot; {seen}" if seen > 1 else "")
                figure |= {"id": f"{notebook.stem}-{len(figures) + 1:02d}", "caption": caption}
                figures.append(figure)
                body.append(figure_html(figure))
    record["figures"] = len(figures)
    top = f'<p class="meta"><a href="index.html">all figures</a> &middot; {meta(record)}</p>'
    _write(notebook.with_suffix(".html"), record["title"], top + failure(record) + "\n".join(body))
    return figures


def write_index(folder: Path, entries: list[tuple[dict, list[dict]]], parts: list[str]) -> Path:
    """Write `index.html`: a section per (record, figures), in the order given, and `plotly.min.js` beside it.

    parts: what the line under the title says, as text. Returns the path of the index.
    """
    script = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    save_atomically(folder / "plotly.min.js", script.read_bytes())
    body = [
        "<h1>lnl-kit: reproductions</h1>",
        f'<p class="meta">{html.escape(" · ".join(parts))}</p>',
        "<nav>",
    ]
    whole = [
        (record, figures)
        for record, figures in entries
        if record.get("of", record["notebook"]) == record["notebook"]
    ]
    grid = [entry for entry in entries if entry not in whole]
    for record, _ in whole:
        body.append(
            f'<a href="#{html.escape(record["notebook"])}"><b>{inline(record["title"])}</b>'
            f'<span class="meta">{meta(record)}</span></a>'
        )
    body.append("</nav>")
    body += _batch(grid) if grid else []
    for record, figures in whole:
        name = html.escape(record["notebook"])
        body.append(
            f'<section id="{name}"><h2>{inline(record["title"])}</h2>'
            f'<div class="lead">{markdown(record["question"])}</div>'
            f'<p class="meta">{meta(record)} &middot; '
            f'<a href="{name}.html">the whole notebook, with code and tables</a></p>'
            f"{headline(record)}{failure(record)}"
        )
        body += [figure_html(figure) for figure in figures] + ["</section>"]
    return _write(folder / "index.html", "lnl-kit: reproductions", "\n".join(body))


def _batch(grid: list[tuple[dict, list[dict]]]) -> list[str]:
    """A table of the notebooks that ran with several values of a parameter, with their figures."""
    rows = [
        "<section><h2>Batches</h2><div class='card'><table><thead><tr><th>notebook</th><th>parameters</th>"
        "<th>status</th><th>time</th><th>headline</th><th>figures</th></tr></thead><tbody>"
    ]
    for record, figures in grid:
        page = html.escape(f"{record['notebook']}.html")
        given = without_places(", ".join(f"{name}={value}" for name, value in record["parameters"].items()))
        small = "".join(
            f'<a href="{page}"><img class="thumb" loading="lazy" src="png/{html.escape(f["id"])}.png" '
            f'alt="{html.escape(_text(f["caption"]))}"></a>'
            for f in figures
        )
        rows.append(
            f'<tr><th><a href="{page}">{inline(record["title"])}</a></th>'
            f"<td><code>{html.escape(given)}</code></td>"
            f'<td class="status {record["status"]}">{record["status"]}</td>'
            f"<td>{duration(record['seconds'])}</td>"
            f'<td>{html.escape(record["headline"])}</td><td class="thumbs">{small}</td></tr>'
        )
    return [*rows, "</tbody></table></div></section>"]


def _text(fragment: str) -> str:
    """HTML as plain text."""
    return html.unescape(re.sub(r"<[^>]*>", "", fragment))


def headline(record: dict) -> str:
    """What a notebook's headline cells printed, or nothing (HTML)."""
    return f"<p><strong>{html.escape(record['headline'])}</strong></p>" if record.get("headline") else ""


def headline_of(cells: list) -> str:
    """The first line that the cells tagged `headline` have printed, as text."""
    printed = (
        output
        for cell in cells
        if "headline" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )
    return " ".join(plain(output.text).strip().split("\n")[0] for output in printed)


def meta(record: dict) -> str:
    """One line about a record: status, time, number of figures, parameters (HTML)."""
    figures = record["figures"]
    status = record["status"]
    parts = [
        f'<span class="status {status}">{status}</span>',
        duration(record["seconds"]),
        f"{figures} figure{'s' * (figures != 1)}",
    ]
    if record["parameters"]:
        given = ", ".join(f"{name}={value}" for name, value in record["parameters"].items())
        parts.append(f"<code>{html.escape(without_places(given))}</code>")
    return " &middot; ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them: `12 s`, `3 min 05 s`, `2 h 10 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def failure(record: dict) -> str:
    """A box that says where a failed notebook stopped, or nothing (HTML)."""
    if record["status"] != "failed":
        return ""
    e = {key: without_places(value) for key, value in record["error"].items()}
    return (
        f'<div class="error"><b class="failed">Stopped at cell [{html.escape(str(e["cell"]))}]</b> '
        f"<code>{html.escape(e['line'])}</code><pre>{html.escape(e['message'])}</pre></div>"
    )


def figure_html(figure: dict) -> str:
    """A figure with its caption (HTML)."""
    if "plotly" in figure:
        body = figure_block(without_places(figure["plotly"]), figure["id"])
    else:
        body = figure["html"]
    return f'<figure><div class="plot">{body}</div><figcaption>{figure["caption"]}</figcaption></figure>'


def opening(cells: list, name: str) -> dict:
    """Title and question: the first heading and the first paragraph after it."""
    text = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    title = re.search(r"^# +(.+?)[ #]*$", text, flags=re.M)
    rest = text[title.end() :] if title else text
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", rest) if p.strip()]
    question = next((p for p in paragraphs if not re.match(r"[#|>$`<]|[-*] |!\[", p)), "")
    return {"title": title[1] if title else name, "question": question}


def _write(path: Path, title: str, body: str) -> Path:
    page = document(
        re.sub(r"[`*$]", "", title), body, style=CODE.get_style_defs(".highlight"), plotly="plotly.min.js"
    )
    save_atomically(path, page.encode("utf-8", "replace"))
    return path
