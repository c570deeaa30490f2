"""What `-p NAME=VALUE` says: one value or several, numbers or text, paths from where the user stands."""

from __future__ import annotations

import ast
import contextlib
import os
from pathlib import Path

from ..data import NAMES
from ..figures.nbformat_quickly import nbformat


def text_parameters(notebooks: list[Path]) -> set[str]:
    """The parameters whose value in the notebooks is a text."""
    import papermill

    found = set()
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.setdefault("kernelspec", {"name": "python3", "language": "python"})
        known = papermill.inspect_notebook(notebook)
        found |= {name for name, p in known.items() if str(p["default"]).strip()[:1] in ("'", '"')}
    return found


def values_of(value, is_text: bool = False) -> list:
    """The values that a text names: commas outside brackets and quotes separate them. Anything else is one
    value.

    is_text: whether the parameter is a text: then `none` is the word, and paths are made absolute. A comma in
    a path of a folder or file is a comma.
    """
    if not isinstance(value, str):
        return [str(value) if isinstance(value, os.PathLike) else value]
    if is_text and _is_path(value):
        return [_absolute(value)]
    parts, depth, quote = [""], 0, ""
    for sign in value:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        depth += (sign in "([{") - (sign in ")]}") if not quote else 0
        if sign == "," and not quote and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [_text(part) if is_text else literal(part) for part in parts]


def literal(value: str):
    """`0.5`, `3`, `true`, `none`, `[1, 2]`, `'x'` as what they say; every other text stays text."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(value.lower())
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return value


def _text(value: str) -> str:
    """A text without the quotes around it; a path absolute."""
    stripped = value.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return str(literal(stripped))
    return _absolute(value) if _is_path(value) else value


def _is_path(value: str) -> bool:
    """Whether a whole text is the path of a folder or file: one that is there, or `folder:PATH`."""
    bare = value.removeprefix("folder:")
    if value in NAMES:
        return False
    written_as_one = value.startswith("folder:") or os.sep in bare or Path(bare).suffix
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a text too long or odd for a path
        if written_as_one and Path(bare).expanduser().exists():  # not the preset demo beside a folder demo
            return True
    rest = value.split(",")[1:]  # folder:a,folder:b and folder:a,digits are two data sets
    return value.startswith("folder:") and not (
        rest and all(part.startswith("folder:") or part in NAMES for part in rest)
    )


def _absolute(value: str) -> str:
    """A path from where the user stands, as notebooks run in a folder of their own."""
    path = Path(value.removeprefix("folder:")).expanduser().absolute()
    return f"folder:{path}" if value.startswith("folder:") or path.is_dir() else str(path)
