"""The five pictures of the README, from executed notebooks: `python -m lnl_kit.site.pictures [RUNS]`.

Each is a figure of a notebook that shows digits or kept numbers, so that no photograph of others is in the
repository. A code host shows notebooks as they are kept, without outputs; these stand in their place.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..figures import save_pngs
from ..figures.nbformat_quickly import nbformat
from ..figures.web import PLOTLY
from ..files import runs_root, save_atomically, shipped

MOST_BYTES = 100_000  # of a picture: the repository keeps every version of it
SCALE = 1.5  # pixels of the picture a pixel of the figure


class Picture(NamedTuple):
    """A figure of a notebook."""

    notebook: str
    title: str  # how the figure's title begins
    subtitle: str = ""  # in place of the figure's, where that speaks of the notebook


PICTURES = {
    "memorization": Picture(
        "20_noise_robust_distillation",
        "Loss on the true class",
        "1,437 scans; 1 and 2: one image, wrongly labelled",
    ),
    "projection": Picture("20_noise_robust_distillation", "Predictions for many views"),
    "transitions": Picture("23_lnl_flywheel", "Which wrong label does each class get?"),
    "label_errors": Picture("40_find_label_errors", "The 24 most suspicious labels"),
    "leaderboard": Picture("30_leaderboard", "Last test accuracy"),
}


def make(runs: Path, folder: Path) -> list[Path]:
    """Draw the pictures from the executed notebooks in `runs`; returns their paths in `folder`.

    Raises ValueError where a notebook or its figure is missing, FileNotFoundError where there is no Chrome or
    Chromium to draw with.
    """
    figures = {folder / f"{name}.png": figure(runs, picture) for name, picture in PICTURES.items()}
    if not save_pngs(figures, scale=SCALE):
        raise FileNotFoundError("no Chrome or Chromium was found to draw the pictures with")
    for path in figures:
        save_atomically(path, small(path.read_bytes()))
    return list(figures)


def figure(runs: Path, picture: Picture) -> dict:
    """A figure out of an executed notebook, as plotly's dictionary."""
    notebook = runs / f"{picture.notebook}.ipynb"
    if not notebook.is_file():
        raise ValueError(f"{notebook} is not there: `lnl reproduce` makes it")
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", ()):
            spec = output.get("data", {}).get(PLOTLY) or {}
            title = spec.get("layout", {}).get("title", {})
            if f"<b>{picture.title}" in str(title.get("text")):
                if picture.subtitle:
                    title["subtitle"] |= {"text": picture.subtitle}
                return {k: v for k, v in spec.items() if k != "config"}
    raise ValueError(f"{notebook} has no figure {picture.title!r}: run it at its own settings")


def small(png: bytes) -> bytes:
    """A PNG with as few colours as bring it below MOST_BYTES. Raises ValueError where none do."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        held = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
        if held.tell() < MOST_BYTES:
            return held.getvalue()
    raise ValueError(
        f"a picture of {picture.width} x {picture.height} is {held.tell():,} bytes even with 32 colours"
    )


if __name__ == "__main__":
    runs = Path(sys.argv[1]) if len(sys.argv) > 1 else runs_root() / "reproduce"
    for made in make(runs, shipped("data/measured")):
        print(made)
