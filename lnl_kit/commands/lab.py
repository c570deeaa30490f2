"""`lnl lab`: the notebooks, or lessons made from them, in a folder of the user's, opened in JupyterLab."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..files import (
    data_root,
    installed,
    json_bytes,
    make_folder,
    read_file,
    read_json,
    runs_root,
    save_atomically,
    shipped,
)
from ..teaching.lessons import make, notes, of_text

# Where files are copied in the current folder: an installed kit's notebooks, lessons, and the teacher's.
FOLDER, LESSONS, TEACHER = "lnl-notebooks", "lnl-lessons", "lnl-lessons-teacher"
RECORD = ".lnl-kit.json"  # in that folder: the digests of what was copied, by which changes are known


class Brought(NamedTuple):
    """What became of each notebook of the kit, by its name."""

    copied: list[str]
    renewed: list[str]  # as an older kit brought it, and replaced by the newer one
    same: list[str]
    kept: list[str]  # changed by the user, or a file of another origin: left as it is
    outdated: list[str]  # of those kept: the kit's own has changed too since it was copied


def notebooks() -> dict[str, bytes]:
    """{name: content} of the kit's notebooks. Raises FileNotFoundError where it has none."""
    own = sorted(shipped("notebooks").glob("*.ipynb"))
    if not own:
        raise FileNotFoundError(
            f"the kit's notebooks are not in {shipped('notebooks')}: install the kit from its wheel (pip "
            "install lnl-kit), or work in a whole clone"
        )
    return {notebook.name: notebook.read_bytes() for notebook in own}


def lessons(numbers: str, solutions: bool) -> dict[str, bytes]:
    """{name: content} of lessons ("2", "1,3", "1..6"), with solutions those for the teacher, with notes."""
    notebooks()  # says where they are missing
    made = {}
    for number in of_text(numbers):
        made[f"lesson_{number}{'_solutions' * solutions}.ipynb"] = make(number, solutions)
        if solutions:
            made[f"lesson_{number}_notes.md"] = notes(number).encode()
    return made


def bring(folder: Path, files: dict[str, bytes]) -> Brought:
    """Copy files of the kit to a folder; what a user changed there is never written over.

    Raises OSError where the folder cannot be written.
    """
    make_folder(folder)
    brought, record = Brought([], [], [], [], []), _record(folder)
    for name, content in files.items():
        target = folder / name
        wanted, there = _digest(content), _digest(read_file(target)) if target.exists() else None
        if there not in (None, wanted, record.get(name)):
            brought.kept.append(name)
            if record.get(name) != wanted:
                brought.outdated.append(name)
            continue
        (brought.copied if there is None else brought.same if there == wanted else brought.renewed).append(
            name
        )
        if there != wanted:
            save_atomically(target, content)
        record[name] = wanted
    save_atomically(folder / RECORD, json_bytes({"lnl_kit": __version__, "notebooks": record}))
    return brought


def _record(folder: Path) -> dict[str, str]:
    """{notebook: digest of what was copied}; a record that cannot be read is none."""
    try:
        notebooks = read_json(folder / RECORD)["notebooks"]
        return {str(name): str(digest) for name, digest in notebooks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def in_sentences(brought: Brought, folder: Path) -> str:
    """What was done, and what was left."""
    words = (("copied", brought.copied), ("renewed", brought.renewed), ("as they were", brought.same))
    done = ", ".join(f"{len(names)} {word}" for word, names in words if names)
    lines = [f"notebooks in {folder}: {done or 'none copied'}"]
    if brought.kept:
        lines.append(f"yours, and left as they are: {', '.join(brought.kept)}")
    if brought.outdated:
        lines.append(
            f"of these the kit has others: {', '.join(brought.outdated)}; rename yours and run this again to "
            "have both"
        )
    return "\n".join(lines)


def lab(
    folder: str | Path | None = None,
    *,
    lesson: str | None = None,
    solutions: bool = False,
    copy_only: bool = False,
    browser: bool = True,
    port: int = 8888,
    allow_root: bool = False,
) -> int:
    """Copy notebooks to a folder and open them in JupyterLab, on this machine alone and with a token.

    folder: None = in a clone its own notebooks, which are not copied, else `lnl-notebooks` in the current
        folder, lessons in `lnl-lessons`, those with solutions in `lnl-lessons-teacher`. lesson: see
        `lessons`; with solutions, None = all. Runs and data lie where those of `lnl train` in the current
        folder do. port: the first that is tried. Returns 0 when the server was stopped.
    """
    files = lessons(lesson or "all", solutions) if lesson or solutions else None
    default = FOLDER if files is None else TEACHER if solutions else LESSONS
    place = Path(folder).expanduser().absolute() if folder else Path.cwd() / default
    if folder is None and files is None and not installed():
        place = shipped("notebooks")
    else:
        print(in_sentences(bring(place, files or notebooks()), place), file=sys.stderr)
    if copy_only:
        print(place)
        return 0
    for name, root in (("LNL_RUNS", runs_root()), ("LNL_DATA", data_root())):
        os.environ[name] = str(root.absolute())
    from jupyterlab.labapp import LabApp

    # Arguments go before what configuration files say. They are given inside this process, so that a list of
    # processes does not show the token.
    token = secrets.token_urlsafe(24)
    server = LabApp.initialize_server(
        [
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
            f"--ServerApp.root_dir={place}",
            f"--ServerApp.open_browser={browser}",
            f"--ServerApp.allow_root={allow_root}",
            f"--LabApp.default_url=/lab{f'/tree/{next(iter(files))}' if files else ''}",
            "--ServerApp.allow_remote_access=False",
            f"--IdentityProvider.token={token}",
        ]
    )
    print(f"{server.connection_url}lab?token={token}", flush=True)
    server.start()
    return 0
