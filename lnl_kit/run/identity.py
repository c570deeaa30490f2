"""What makes two runs the same: digests of the method's code, of the labels, versions."""

from __future__ import annotations

import hashlib
import inspect
import platform
import sys
import types
from pathlib import Path

import numpy as np
import torch

from .. import __version__

PACKAGE = "lnl_kit."  # what the names of its modules begin with


def source_of(fn) -> str:
    """The text of the file that a function stands in; of the function itself where it was typed into a
    notebook.
    """
    try:
        module = sys.modules.get(fn.__module__)
        return inspect.getsource(module if getattr(module, "__file__", None) else fn)
    except (OSError, TypeError):
        return ""


ONLY_RECORDED = (
    "preset",
    "dataset_path",
    "labels_file",
    "versions",
    "not_given",
    "image_size",
    "label_column",
    "true_column",
    "classes",
    "mean",
    "std",
    "split",
)  # in settings.json, not in the hash


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "lnl_kit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def method_digest(function, settings_class) -> str:
    """A digest of the method's own source.

    A built-in method: its file. A function of one's own: its source, defaults and what it refers to outside
    installed packages (constants, helper functions, closures), and its settings class.
    """
    if (function.__module__ or "").startswith(PACKAGE):
        text = inspect.getsource(sys.modules[function.__module__])
    else:
        seen: dict[int, str] = {}
        describe(function, seen)
        describe(settings_class, seen)
        text = "\n".join(seen.values())
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def describe(thing, seen: dict[int, str]) -> None:
    """Add the source of a function or class, and of what it refers to, to `seen`; plain values as text."""
    if id(thing) in seen:
        return
    if isinstance(thing, (types.FunctionType, type)):
        module = sys.modules.get(thing.__module__)
        where = getattr(module, "__file__", None) or ""
        if (thing.__module__ or "").startswith(PACKAGE) or "site-packages" in where or "/lib/python" in where:
            return
        try:
            seen[id(thing)] = inspect.getsource(thing)
        except (OSError, TypeError):
            seen[id(thing)] = code_text(thing.__code__) if hasattr(thing, "__code__") else repr(thing)
        if isinstance(thing, types.FunctionType):
            seen[id(thing)] += repr((thing.__defaults__, thing.__kwdefaults__))
            used = inspect.getclosurevars(thing)
            for name, value in sorted({**used.globals, **used.nonlocals}.items()):
                if isinstance(value, types.FunctionType | type):
                    describe(value, seen)
                elif isinstance(value, int | float | str | bool | tuple | list | dict | None):
                    seen[id(thing)] += f"{name}={value!r}"


def code_text(code) -> str:
    """The byte code of a function without source, with that of the functions inside it."""
    inner = [code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, inner))


def absolute(dataset: str) -> str:
    """`folder:PATH` with an absolute path, so that the run can be opened from anywhere; other names as they
    are.
    """
    kind, colon, path = dataset.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if colon else dataset


def digest(*arrays) -> str:
    """A digest of integer arrays; None counts as absent."""
    h = hashlib.blake2b(digest_size=8)
    for a in filter(lambda a: a is not None, arrays):
        h.update(np.ascontiguousarray(a, dtype=np.int64).tobytes())
    return h.hexdigest()
