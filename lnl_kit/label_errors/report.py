"""The findings about suspicious labels as one HTML page that needs no network and no other file."""

from __future__ import annotations

import html
import importlib.resources
import re
from pathlib import Path

import numpy as np

from .. import figures
from ..figures.page import document, figure_block
from ..files import save_atomically
from .faults import LINKED
from .findings import by_kind

# How far estimates were off where the truth is known: data/measured/find_errors.csv, and 47 sets for heads.
OFF = {
    "networks": "How well the networks know the classes adds to the uncertainty: where the truth was known, "
    "the estimate was off by up to 6 images in a hundred.",
    "heads": "Nothing can tell a hard image from a wrong label for certain: on 47 sets where the truth was "
    "known, the estimate was off by 3 images in a hundred on average and by 9 at most (too few, where people "
    "were wrong about 40 in a hundred and the predictions nearly always right), and the interval held the "
    "truth in 9 of 10.",
}
WALL = 120  # images on the page, the most suspicious
SHOWN = 60  # images of each other kind
WALL_STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def write_report(findings, picture) -> Path:
    """Write `report.html` (see `report_bytes`) into the findings' folder; returns the path."""
    path = findings.folder / "report.html"
    save_atomically(path, report_bytes(findings, picture))
    return path


def report_bytes(findings, picture) -> bytes:
    """The page about findings: the numbers, the histogram, who is taken for whom, duplicates, and a wall of
    images.

    findings: a `Findings`; picture(findings, row, pixels): a data URI of a row's image.
    """
    title = f"Suspicious labels in {findings.summary['dataset']}"
    parts = [_about(findings), *_plots(findings), *_tables(findings.summary), *_walls(findings, picture)]
    plotly = (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")
    body = f"<h1>{html.escape(title)}</h1>{''.join(parts)}"
    return document(title, body, style=WALL_STYLE, plotly=plotly).encode("utf-8", "replace")


def _about(findings) -> str:
    """How many labels are probably wrong, how sure that is, and how it was found (HTML)."""
    summary, text = findings.summary, html.escape
    # of the user's own files only the names: the page may be passed on
    noise = re.sub(r"^matrix:.*[/\\]", "matrix:", str(summary["noise"]))
    recipe = re.sub(r"\b(npz|file):[^,]*[/\\]", r"\1:", str(summary["recipe"]))
    low, high = summary["estimated_errors_interval"]
    made_wrong = (
        ""
        if summary["noise"] == "none"
        else f" (The labels were made wrong to try this: {text(noise)} noise, {summary['rate']:g}.)"
    )
    return (
        f"<p><strong>About {summary['estimated_errors']:.0f} of {len(findings.table)} labels are probably "
        f"wrong ({summary['estimated_share']:.1%}; {low:.0f} to {high:.0f}).</strong> "
        f"The {summary['called_errors']} images with a suspicion of 50 % or more are more likely wrong "
        f"than right. {OFF['networks' if summary.get('runs') else 'heads']} Suspicion is a probability, no "
        f"verdict: look before you change a label.{made_wrong}</p><p class='meta'>{text(recipe)} "
        f"&middot; {text(summary['device'])} &middot; lnl-kit {text(summary['versions']['lnl_kit'])}</p>"
    )


def _plots(findings) -> list[str]:
    """The histogram of suspicion and the estimated transition matrix (HTML)."""
    table = findings.table
    wrong = None if "true" not in table else (table["true"] != table["given"]).to_numpy()
    heatmap = figures.transition_heatmap(
        np.array(findings.summary["transition_matrix"]),
        findings.classes,
        title="Estimated transition matrix",
        subtitle="percent of the images that are probably of a class (row), by the label they were given",
    )
    made = []
    for figure in (figures.suspicion_histogram(table["suspicion"].to_numpy(), wrong), heatmap):
        made.append(f"<figure><div class='plot'>{figure_block(figure)}</div></figure>")
    return made


def _tables(summary: dict) -> list[str]:
    """What was read, where errors sit, who is confused with whom, pictures that are there twice (HTML)."""
    made = [f"<p class='meta'>{html.escape(summary.get('taken', ''))}</p>"]
    if "splits" in summary:
        rows = [(p, n["images"], f"{n['estimated_errors']:.1f}") for p, n in summary["splits"].items()]
        made.append("<h2>Where they sit</h2>" + _table(("part", "images", "probably wrong"), rows))
    if summary.get("leaks"):
        made.append(
            "<h2>Pictures outside the training images that are among them too</h2>"
            + _table(("image", "also in training as"), summary["leaks"][:200])
        )
    pairs = [(p["true"], p["given"], f"{p['images']:.1f}") for p in summary["confused_pairs"]]
    made.append("<h2>Most often confused</h2>" + _table(("probably", "labelled", "images"), pairs))
    if summary["conflicting_duplicates"]:
        labelled = [(image, label) for group in summary["conflicting_duplicates"] for image, label in group]
        made.append("<h2>The same picture under several labels</h2>" + _table(("image", "label"), labelled))
    return made


def _walls(findings, picture) -> list[str]:
    """The most suspicious images, and in tabs beside them those with which something else is wrong (HTML)."""
    n = min(WALL, len(findings.table))
    kinds = by_kind(findings.table, findings.summary.get("alike", []))
    first = _wall(findings, np.arange(n), picture)
    if not kinds:
        return [f"<h2>The {n} most suspicious</h2>", first]
    tabs = [(f"the {n} most suspicious", first)]
    for kind, rows in kinds.items():
        left_out = f"<p class='meta'>The first {SHOWN} of {len(rows)}.</p>" if len(rows) > SHOWN else ""
        wall = _wall(findings, rows[:SHOWN], picture, linked=kind in LINKED)
        tabs.append((f"{kind} ({len(rows)})", left_out + wall))
    heads = "".join(
        f"<input type='radio' name='tab' id='tab{k}'{' checked' * (k == 0)}>"
        f"<label for='tab{k}'>{html.escape(name)}</label>"
        for k, (name, _) in enumerate(tabs)
    )
    panels = "".join(
        f"<section><h3>{html.escape(name.capitalize())}</h3>{wall}</section>" for name, wall in tabs
    )
    return [
        "<h2>The most suspicious, and what else is wrong with images</h2>",
        f"<div class='tabs'>{heads}{panels}</div>",
    ]


def _wall(findings, rows: np.ndarray, picture, linked: bool = False) -> str:
    """Images (rows of the table) with what is known of each (HTML); linked: those that look alike stand side
    by side, on one ground, and say whom they look like.
    """
    text = html.escape
    group = {image: n for n, images in enumerate(findings.summary.get("alike", [])) for image in images}
    made, ground, before = ["<div class='wall'>"], True, None
    for row in findings.table.iloc[rows].to_dict("records"):
        ground, before = ground ^ (group.get(row["image"]) != before), group.get(row["image"])
        like = [part for part in row["because"].split("; ") if part.startswith("looks like ")]
        made.append(
            f"<figure{' class=alike' * (linked and ground)} title='{text(row['because'], quote=True)}'>"
            f"<img loading='lazy' alt='' src='{picture(findings, row, 112)}'>"
            f"<div class='given'>given {text(row['given'])}</div>"
            f"<div>rather <b>{text(row['suggested'])}</b></div><div>suspicion {row['suspicion']:.0%}</div>"
            f"<div class='path'>{text(row['image'])}</div>"
            + "".join(f"<div class='meta'>{text(part)}</div>" for part in like[:3] if linked)
            + "</figure>"
        )
    return "".join([*made, "</div>"])


def _table(head, rows) -> str:
    """A table of text (HTML)."""
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>" for row in rows
    )
    heads = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    return f"<div class='card'><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div>"
