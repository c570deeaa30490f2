"""`lnl export RUN`: a folder with the program or weights, `model.json` and a model card."""

from __future__ import annotations

from pathlib import Path

from ..files import json_bytes, lock, make_folder, read_json, save_atomically
from ..run.opened import OpenedRun
from . import card
from .formats import FILES, FORMATS, notes_of, require, written
from .program import program_of

ABOUT = "model.json"


def export_run(
    run: str | Path | OpenedRun, to: str, out: str | Path | None = None, head: bool = False
) -> Path:
    """Write a run for other tools; returns the folder.

    to: safetensors (weights), onnx, torch-export (.pt2) or torchscript. out: a new or empty folder, or one of
    an earlier export; None = `export-<to>` in the run's folder. head: of a run on frozen features only what
    stands on these.
    The last finished epoch is exported, in float32. Nothing of the run's folder is executed: its weights are
    read as weights alone. Raises ValueError, FileNotFoundError or RunError with one sentence.
    """
    if to not in FORMATS:
        raise ValueError(f"a run cannot be exported to {to!r}: {', '.join(FORMATS)}")
    require(to)
    opened = run if isinstance(run, OpenedRun) else OpenedRun(run)
    folder = Path(out) if out else opened.folder / f"export-{to}"
    require_own(folder, ABOUT)
    on_features = bool(opened.settings.get("features"))
    made = program_of(opened, head or (on_features and to == "safetensors"))
    told = card.about(opened, to, FILES[to], made, made.takes == "features")
    content, difference = written(to, made, notes_of(told))
    make_folder(folder)
    with lock(folder):
        save_atomically(folder / FILES[to], content)
        save_atomically(folder / "README.md", card.readme(told, difference, made).encode())
        save_atomically(folder / ABOUT, json_bytes(told | {"largest_difference": difference}))
    return folder


def require_own(folder: Path, about: str) -> None:
    """Refuse in one sentence a folder that is not new, empty or of an earlier export (which has `about`)."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"{folder} is no folder: choose another with --out")
    if not any(path.name != ".lock" for path in folder.iterdir()):
        return
    try:
        made_by = read_json(folder / about)["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        made_by = ""
    if not str(made_by).startswith("lnl-kit"):
        raise ValueError(f"{folder} holds other files and no export: choose a new or empty folder with --out")
