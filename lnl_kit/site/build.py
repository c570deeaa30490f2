"""The site from its parts: pages written, laid out by MkDocs, links checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from ..files import installed, save_atomically, shipped
from . import links, methods, notebooks, reference

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = "mkdocs.yml"  # in a folder that this has made
PICTURES = "pictures"
HOW_TO = ("own-images", "cluster", "gpu", "teaching")


def build(runs: Path, out: Path) -> Path:
    """Make the site in `out` from the executed notebooks in `runs`; returns the path of its first page.

    Raises FileNotFoundError outside a clone, ValueError where `runs` has no executed notebook, where `out` is
    a folder of something else, and where a link leads nowhere.
    """
    if installed():
        raise FileNotFoundError(
            "the site is made in a clone of the repository: git clone it and run make docs"
        )
    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        raise ValueError(f"{out} is a folder of something else: name an empty one with --out")
    out.mkdir(parents=True, exist_ok=True)
    save_atomically(out / MARK, b"")
    for made in ("pages", "html"):
        shutil.rmtree(out / made, ignore_errors=True)
    shown = write_pages(runs, out / "pages")
    config = yaml.safe_load((HERE / "mkdocs.yml").read_text("utf-8"))
    config |= {"docs_dir": "pages", "site_dir": "html", "nav": navigation(shown)}
    config["theme"]["custom_dir"] = str(HERE / "theme")
    config["plugins"][-1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    save_atomically(out / MARK, yaml.safe_dump(config, sort_keys=False).encode())
    lay_out(out)
    if wrong := links.check(out / "html"):
        raise ValueError(f"{len(wrong)} links lead nowhere or outside:\n" + "\n".join(wrong))
    return out / "html" / "index.html"


def write_pages(runs: Path, pages: Path) -> list[notebooks.Shown]:
    """Write every page as Markdown, and what pages show beside it; returns the pages of notebooks."""
    records, copies = notebooks.executed(runs)
    shutil.copytree(HERE / "pages", pages)
    for picture in sorted(shipped("data/measured").glob("*.png")):
        _copy(picture, pages / PICTURES / picture.name)
    texts = methods.pages() | reference.pages()
    texts["data.md"] = (shipped("data/README.md")).read_text("utf-8")
    texts["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    figures = pages / "notebooks" / "figures"
    figures.mkdir(parents=True)
    shown = [notebooks.shown(runs, record, figures) for record in records]
    drawn = {p.stem: p for p in (runs / "png").glob("*.png")}
    wanted = [key for notebook in shown for key, _ in notebook.figures if key in drawn]
    for key in wanted:
        _copy(drawn[key], pages / "notebooks" / "png" / f"{key}.png")
    texts |= {f"notebooks/{notebook.name}.md": notebook.page for notebook in shown}
    texts["notebooks/index.md"] = notebooks.gallery(shown, set(wanted), copies)
    for path, text in texts.items():
        (pages / path).parent.mkdir(parents=True, exist_ok=True)
        save_atomically(pages / path, text.encode("utf-8", "replace"))
    (pages / "assets").mkdir()
    save_atomically(pages / "assets" / "plotly.min.js", notebooks.library())
    return shown


def navigation(shown: list[notebooks.Shown]) -> list[dict]:
    """The site's tree, as MkDocs takes it."""
    parts = reference.folders()
    families = [
        {methods.heading(family): [{name: f"methods/{name}.md"} for name in names]}
        for family, names in methods.FAMILIES.items()
    ]
    return [
        {"Home": "index.md"},
        {"Notebooks": ["notebooks/index.md", *({n.title: f"notebooks/{n.name}.md"} for n in shown)]},
        {"Methods": ["methods/index.md", *families]},
        {"How to": [f"how-to/{name}.md" for name in HOW_TO]},
        {
            "Reference": [
                "reference/index.md",
                {"Command line": "reference/command-line.md"},
                *({name: f"reference/{name}.md"} for name in sorted(parts)),
            ]
        },
        {"Glossary": "glossary.md"},
        {"Data": "data.md"},
        {"Contributing": "contributing.md"},
    ]


def lay_out(out: Path) -> None:
    """Let MkDocs make the pages of out/pages into a site in out/html. Raises ValueError with what it says."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(out / MARK)]
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        raise ValueError(f"mkdocs could not make the site (pip install -e '.[docs]'):\n{done.stderr.strip()}")
    for name in (
        "404.html",
        "sitemap.xml",
        "sitemap.xml.gz",
    ):  # of a server; this site is opened from a folder
        (out / "html" / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
