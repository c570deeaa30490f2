"""The findings about suspicious labels as one HTML page that needs no network and no other file."""

from __future__ import annotations

import html
import importlib.resources
import re
from pathlib import Path

import numpy as np

from .. import figures
from .. import texts as all_texts
from ..figures.page import document, figure_block
from ..files import save_atomically
from ..texts import Texts
from .faults import LINKED
from .findings import by_kind

WALL = 120  # images on the page, the most suspicious
SHOWN = 60  # images of each other kind
WALL_STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def write_report(findings, picture) -> Path:
    """Write `report.html` (see `report_bytes`) into the findings' folder; returns the path."""
    path = findings.folder / "report.html"
    save_atomically(path, report_bytes(findings, picture))
    return path


def report_bytes(findings, picture, language: str | None = None) -> bytes:
    """The page about findings: the numbers, the histogram, who is taken for whom, duplicates, and a wall of
    images.

    findings: a `Findings`; picture(findings, row, pixels): a data URI of a row's image; language: see
    `lnl_kit.texts`. How far estimates were off where the truth is known, which the page says, is in
    data/measured/find_errors.csv, and on 47 sets for heads.
    """
    say = all_texts.of(language)
    title = say("report.title", dataset=findings.summary["dataset"])
    parts = [_about(findings, say), *_plots(findings, say), *_tables(findings.summary, say)]
    parts += _walls(findings, picture, say)
    plotly = (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    body = f"<h1>{html.escape(title)}</h1>{''.join(parts)}"
    page = document(title, body, style=WALL_STYLE, plotly=plotly, language=say.language)
    return page.encode("utf-8", "replace")


def _about(findings, say: Texts) -> str:
    """How many labels are probably wrong, how sure that is, and how it was found (HTML)."""
    summary, text = findings.summary, html.escape
    # of the user's own files only the names: the page may be passed on
    noise = re.sub(r"^matrix:.*[/\\]", "matrix:", str(summary["noise"]))
    recipe = re.sub(r"\b(npz|file):[^,]*[/\\]", r"\1:", str(summary["recipe"]))
    low, high = summary["estimated_errors_interval"]
    made_wrong = (
        ""
        if summary["noise"] == "none"
        else text(say("report.made_wrong", noise=noise, rate=f"{summary['rate']:g}"))
    )
    about = say(
        "report.about",
        errors=f"{summary['estimated_errors']:.0f}",
        images=len(findings.table),
        share=f"{summary['estimated_share']:.1%}",
        low=f"{low:.0f}",
        high=f"{high:.0f}",
    )
    called = say("report.called", called=summary["called_errors"])
    off = say("report.off_networks" if summary.get("runs") else "report.off_heads")
    return (
        f"<p><strong>{text(about)}</strong> {text(called)} {text(off)} {text(say('report.look'))}"
        f"{made_wrong}</p><p class='meta'>{text(recipe)} "
        f"&middot; {text(summary['device'])} &middot; lnl-kit {text(summary['versions']['lnl_kit'])}</p>"
    )


def _plots(findings, say: Texts) -> list[str]:
    """The histogram of suspicion and the estimated transition matrix (HTML)."""
    table = findings.table
    wrong = None if "true" not in table else (table["true"] != table["given"]).to_numpy()
    heatmap = figures.transition_heatmap(
        np.array(findings.summary["transition_matrix"]),
        findings.classes,
        title=say("report.matrix"),
        subtitle=say("report.matrix_long"),
    )
    heatmap.update_xaxes(title=say("report.matrix_given")).update_yaxes(title=say("report.matrix_true"))
    histogram = figures.suspicion_histogram(table["suspicion"].to_numpy(), wrong, language=say.language)
    made = []
    for figure in (histogram, heatmap):
        made.append(f"<figure><div class='plot'>{figure_block(figure)}</div></figure>")
    return made


def _tables(summary: dict, say: Texts) -> list[str]:
    """What was read, where errors sit, who is confused with whom, pictures that are there twice (HTML)."""
    made = [f"<p class='meta'>{html.escape(summary.get('taken', ''))}</p>"]
    if "splits" in summary:
        rows = [(p, n["images"], f"{n['estimated_errors']:.1f}") for p, n in summary["splits"].items()]
        made.append(_part(say, "where", ("part", "images", "probably_wrong"), rows))
    if summary.get("leaks"):
        made.append(_part(say, "leaks", ("image", "also"), summary["leaks"][:200]))
    pairs = [(p["true"], p["given"], f"{p['images']:.1f}") for p in summary["confused_pairs"]]
    made.append(_part(say, "confused", ("probably", "labelled", "images"), pairs))
    if summary["conflicting_duplicates"]:
        labelled = [(image, label) for group in summary["conflicting_duplicates"] for image, label in group]
        made.append(_part(say, "same", ("image", "label"), labelled))
    return made


def _walls(findings, picture, say: Texts) -> list[str]:
    """The most suspicious images, and in tabs beside them those with which something else is wrong (HTML)."""
    n = min(WALL, len(findings.table))
    kinds = by_kind(findings.table, findings.summary.get("alike", []))
    first = _wall(findings, np.arange(n), picture, say)
    if not kinds:
        return [f"<h2>{html.escape(say('report.wall', n=n))}</h2>", first]
    tabs = [(say("report.wall_tab", n=n), first)]
    for kind, rows in kinds.items():
        first = html.escape(say("report.first", shown=SHOWN, all=len(rows)))
        left_out = f"<p class='meta'>{first}</p>" if len(rows) > SHOWN else ""
        wall = _wall(findings, rows[:SHOWN], picture, say, linked=kind in LINKED)
        tabs.append((f"{say.kinds(kind)} ({len(rows)})", left_out + wall))
    heads = "".join(
        f"<input type='radio' name='tab' id='tab{k}'{' checked' * (k == 0)}>"
        f"<label for='tab{k}'>{html.escape(name)}</label>"
        for k, (name, _) in enumerate(tabs)
    )
    panels = "".join(
        f"<section><h3>{html.escape(name[:1].upper() + name[1:])}</h3>{wall}</section>" for name, wall in tabs
    )
    return [
        f"<h2>{html.escape(say('report.walls'))}</h2>",
        f"<div class='tabs'>{heads}{panels}</div>",
    ]


def _wall(findings, rows: np.ndarray, picture, say: Texts, linked: bool = False) -> str:
    """Images (rows of the table) with what is known of each (HTML); linked: those that look alike stand side
    by side, on one ground, and say whom they look like.
    """
    text = html.escape
    group = {image: n for n, images in enumerate(findings.summary.get("alike", [])) for image in images}
    made, ground, before = ["<div class='wall'>"], True, None
    for row in findings.table.iloc[rows].to_dict("records"):
        ground, before = ground ^ (group.get(row["image"]) != before), group.get(row["image"])
        like = [part for part in row["because"].split("; ") if part.startswith("looks like ")]
        why = text(say.reason(row["because"]), quote=True)
        given, suspicion = say("report.given", label=row["given"]), f"{row['suspicion']:.0%}"
        made.append(
            f"<figure{' class=alike' * (linked and ground)} title='{why}'>"
            f"<img loading='lazy' alt='' src='{picture(findings, row, 112)}'>"
            f"<div class='given'>{text(given)}</div>"
            f"<div>{text(say('report.rather'))} <b>{text(row['suggested'])}</b></div>"
            f"<div>{text(say('report.suspicion', percent=suspicion))}</div>"
            f"<div class='path'>{text(row['image'])}</div>"
            + "".join(f"<div class='meta'>{text(say.reason(part))}</div>" for part in like[:3] if linked)
            + "</figure>"
        )
    return "".join([*made, "</div>"])


def _part(say: Texts, name: str, head, rows) -> str:
    """A heading and a table of text under it (HTML); head: the columns' keys among the texts."""
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in rows
    )
    heads = "".join(f"<th>{html.escape(say(f'report.{h}'))}</th>" for h in head)
    title = html.escape(say(f"report.{name}"))
    return (
        f"<h2>{title}</h2><div class='card'><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody>"
        "</table></div>"
    )
