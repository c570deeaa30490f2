"""Where the kit's files lie, names that are safe in a path, and how long a download may be silent."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / "shipped"  # made by setup.py when a wheel is built; in a clone there is none


def installed() -> bool:
    """Whether the package came as a wheel, which has notebooks and tables inside; False in a clone."""
    return SHIPPED.is_dir()


def shipped(what: str) -> Path:
    """What comes with the kit: `notebooks`, `data/published`, `data/measured` or `data/README.md`.

    In a clone they lie beside the package, in an installed package inside it: one place or the other, never
    mixed. An installed package is nobody's place to write to.
    """
    return (SHIPPED if installed() else PACKAGE.parent) / what


def runs_root(out: str | Path | None = None) -> Path:
    """The root of the run folders: `out`, else $LNL_RUNS, else runs/ beside the pyproject.toml found upwards
    from the current folder, else ./runs."""
    if out or os.environ.get("LNL_RUNS"):
        return Path(out or os.environ["LNL_RUNS"]).absolute()
    return project_folder() / "runs"


def project_folder() -> Path:
    """The folder of the `pyproject.toml` found upwards from the current folder, else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "pyproject.toml").is_file()), here)


def data_root() -> Path:
    """Where data sets and caches lie: `$LNL_DATA`, else `data/` in the project folder, else `./data`."""
    told = os.environ.get("LNL_DATA")
    return Path(told).expanduser() if told else project_folder() / "data"


def safe(text: str) -> str:
    """`text` with only letters, digits, dots, dashes and underscores, for use in a path."""
    kept = (c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return "".join(kept).strip(".") or "folder"


PATIENCE = 10  # seconds of silence after which a download has failed


@contextlib.contextmanager
def patience(seconds: float):
    """Network calls that are silent for so long fail (torchvision sets no limit)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
