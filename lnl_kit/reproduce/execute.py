"""One notebook, executed in a fresh kernel, with a record of what it was made from."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from ..figures.nbformat_quickly import nbformat
from ..files import data_root, installed, json_bytes, read_json, save_atomically, shipped
from ..results import measured
from .fragments import first_line

PACKAGE = Path(__file__).resolve().parents[1]


def _parameters_of(notebooks: list[Path], values: dict, all_named: bool) -> dict[Path, dict]:
    """The part of `values` for each notebook; refuses what a named notebook, or every notebook, lacks."""
    import papermill

    known = {}
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook.metadata.setdefault("kernelspec", kernel)
        known[path] = list(papermill.inspect_notebook(notebook))
    for name in values:
        lacking = [path for path in notebooks if name not in known[path]]
        if lacking and (all_named or len(lacking) == len(notebooks)):
            known_names = "; ".join(f"{path.stem} has {', '.join(known[path]) or 'none'}" for path in lacking)
            raise ValueError(f"unknown parameter {name}: {known_names}")
    return {path: {k: v for k, v in values.items() if k in known[path]} for path in notebooks}


def _digest(*files: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def _made_from(notebook: Path, parameters: dict) -> dict:
    """What decides a notebook's outputs: itself, its parameters, the package, the tables it draws from."""
    places = {notebook.parent.parent / "data" / part for part in ("published", "measured")}
    if installed():
        places |= {shipped("data/published"), shipped("data/measured"), measured.kept()}
    return {
        "source": _digest(notebook),
        "parameters": parameters,
        "package": _digest(*PACKAGE.rglob("*.py")),
        "tables": _digest(*(file for place in places for file in place.glob("*.csv"))),
    }


def _still_holds(notebook: Path, parameters: dict, name: str, folder: Path) -> dict | None:
    """The record of a finished copy that nothing has changed since, or None."""
    record = read_record(folder / f"{name}.json")
    wanted = json.loads(json.dumps(_made_from(notebook, parameters)))
    same = record and record["status"] == "finished" and all(record.get(k) == v for k, v in wanted.items())
    return record if same and (folder / f"{name}.ipynb").exists() else None


def read_record(path: Path) -> dict | None:
    """A record that is one: of the notebook that its file is named after, with fields of the right kind."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("status") not in ("finished", "failed"):
        return None
    error, parameters = record.get("error"), record.get("parameters")
    if record["status"] == "failed" and not isinstance(error, dict):
        return None
    if type(record.get("seconds")) not in (int, float) or not isinstance(parameters, dict):
        return None
    if error is not None:
        record["error"] = {key: str(error.get(key, "")) for key in ("cell", "line", "message")}
        with contextlib.suppress(ValueError):
            record["error"]["cell"] = int(record["error"]["cell"])
    record["of"] = str(record.get("of", path.stem))
    return record | {"notebook": path.stem}


def _run(
    notebook: Path, parameters: dict, name: str, folder: Path, timeout: float | None, threads: int = 0
) -> dict:
    """Execute a notebook in a fresh kernel; its copy and record, called name, are put in place at the end.

    threads: of the kernel's arithmetic; 0 = as many as it likes.
    """
    import papermill

    from . import engine

    made_from, error, start = _made_from(notebook, parameters), None, time.monotonic()
    progress = {
        "desc": name,
        "leave": False,
        "disable": True if threads else None,
    }  # None: only on a terminal
    with tempfile.TemporaryDirectory() as place:  # papermill would write through a link left by others
        unfinished = Path(place) / f"{name}.ipynb"
        try:
            with _kernel_of_this_python(folder.parent, threads):
                papermill.execute_notebook(
                    notebook,
                    unfinished,
                    parameters,
                    kernel_name="python3",
                    language="python",
                    engine_name=engine.NAME,
                    cwd=_workplace(notebook),
                    progress_bar=progress,
                    execution_timeout=int(timeout) if timeout else None,
                )
        except Exception as exception:  # an error in a cell, a cell that takes too long, a kernel that died
            error = _explain(exception, unfinished, timeout)
        # not even the kernel started: the copy is the notebook itself
        copy = _copy(unfinished if unfinished.exists() else notebook)
    # The notebook may have written a table of its own: that must not make it out of date.
    made_from["tables"] = _made_from(notebook, parameters)["tables"]
    record = {
        "notebook": name,
        "of": notebook.stem,
        "status": "failed" if error else "finished",
        **made_from,
        "seconds": round(time.monotonic() - start, 1),
        "error": error,
        "ended": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    target = folder / f"{name}.json"
    target.unlink(missing_ok=True)  # a copy without a record is not taken for finished
    save_atomically(folder / f"{name}.ipynb", copy)
    save_atomically(target, json_bytes(record))
    return record


def _workplace(notebook: Path) -> Path:
    """The folder that a notebook's kernel works in: its own, but for one inside an installed package, where
    nobody should write, the current one.
    """
    return Path.cwd() if notebook.parent == shipped("notebooks") and installed() else notebook.parent


def _copy(executed: Path) -> bytes:
    """An executed notebook as it is kept: papermill's notes without the paths of this machine."""
    try:
        notebook = json.loads(executed.read_bytes())
        notes = notebook["metadata"]["papermill"]
        for name in ("input_path", "output_path"):
            notes[name] = Path(str(notes[name])).name
    except (ValueError, KeyError, TypeError):
        return executed.read_bytes()
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


@contextlib.contextmanager
def _kernel_of_this_python(root: Path, threads: int = 0):
    """Within: `python3` is a kernel of this very interpreter, whatever kernels the machine has installed."""
    from ipykernel.kernelspec import get_kernel_dict

    clone = [] if installed() else [str(PACKAGE.parent)]
    path = os.pathsep.join(filter(None, [*clone, os.environ.get("PYTHONPATH")]))
    environment = {
        "LNL_HEADLESS": "1",
        "LNL_RUNS": str(root),
        "PYTHONPATH": path,
        "PLOTLY_RENDERER": "plotly_mimetype",
    }
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    environment |= {"LNL_DATA": str(data_root().absolute())} if installed() else {}
    spec = get_kernel_dict() | {"env": environment}
    spec["argv"] = [sys.executable, *spec["argv"][1:], "--log-level=ERROR"]
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernels" / "python3"
        kernel.mkdir(parents=True)
        save_atomically(kernel / "kernel.json", json_bytes(spec))
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before]))  # searched first
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _explain(exception: Exception, executed: Path, timeout: float | None) -> dict:
    """{cell, line, message}: the number of the cell that failed, its first line, and the error."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(exception, PapermillExecutionError):
        return {
            "cell": exception.exec_count,
            "line": first_line(exception.source),
            "message": f"{exception.ename}: {exception.evalue}",
        }
    number, source = 0, ""  # the last cell that was started
    if executed.exists():
        for cell in nbformat.read(executed, as_version=4).cells:
            started = cell.metadata.get("papermill", {}).get("start_time")
            if started and cell.cell_type == "code" and cell.source.strip():
                number, source = number + 1, cell.source
    message = f"{type(exception).__name__}: {exception}"
    if isinstance(exception, CellTimeoutError):
        message = (
            f"the cell took longer than {timeout:g} s (--timeout); what it trained is kept, "
            "so running it again goes on"
        )
    elif isinstance(exception, DeadKernelError):
        message = "the notebook's process was killed, often for lack of memory"
    return {"cell": number, "line": first_line(source), "message": message}
