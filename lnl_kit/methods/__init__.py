"""Every method: name -> (train function, settings class). Adding one = one file, and its name in MODULES.

What else the kit wants to know of a method (family, number of networks, colour, paper) stands in its settings
class; the tables below are made from it when they are first asked for, since methods import torch. `listed`
reads the names, and what lists of them say, from the files as text.
"""

from __future__ import annotations

import ast
import functools
import importlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..run.settings import Settings

if TYPE_CHECKING:
    METHODS: dict[str, tuple[Callable[..., None], type[Settings]]]
    FAMILIES: dict[str, tuple[str, ...]]
    FIVE: tuple[str, ...]
    TWO_NETWORKS: tuple[str, ...]

# Each file says by its own METHODS which names it has. Their order is that of lists and menus.
MODULES = (
    "nrd",
    "pu_distill",
    "label_confidence",
    "flywheel",
    "robust_features",
    "loss_only",
    "peer",
    "rrm",
    "linear_probe",
    "elr",
    "sop",
    "correction",
    "volminnet",
    "joint_optimization",
    "pencil",
    "m_correction",
    "pes",
    "disc",
    "cores_star",
    "early_cutting",
    "ssr",
    "jo_snc",
    "co_teaching",
    "promix",
    "dividemix",
    "unicon",
)
BASELINE = "ce"  # what the others are compared with: plain cross-entropy


@functools.cache
def _tables() -> dict[str, Any]:
    """METHODS and the tables made from it."""
    files = [importlib.import_module(f"{__name__}.{module}") for module in MODULES]
    methods = {name: method for file in files for name, method in file.METHODS.items()}
    settings = {name: settings for name, (_, settings) in methods.items()}
    families: dict[str, tuple[str, ...]] = {}
    for name, s in settings.items():
        families[s.family] = (*families.get(s.family, ()), name)
    return {
        "METHODS": methods,
        "FAMILIES": families,
        "FIVE": families["the five papers"],
        "TWO_NETWORKS": tuple(name for name, s in settings.items() if s.networks == 2),
    }


def __getattr__(name: str) -> Any:
    if name not in ("METHODS", "FAMILIES", "FIVE", "TWO_NETWORKS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _tables()[name]


class Listed(NamedTuple):
    """A method as lists name it."""

    name: str
    summary: str  # the first line of its settings class
    controls: tuple[str, ...]  # the names of `Settings.controls`


def listed() -> list[Listed]:
    """Every method, in the order of METHODS, read from the files without importing them."""
    return [method for module in MODULES for method in _in(Path(__file__).with_name(f"{module}.py"))]


def _in(file: Path) -> list[Listed]:
    """The methods of a file: its METHODS, as it is written there."""
    body = ast.parse(file.read_bytes()).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    table = next(
        n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "METHODS"
    )
    if not isinstance(table, ast.Dict):
        raise ValueError(f"METHODS of {file} is no dictionary as it is written: {{name: (function, class)}}")
    found = []
    for key, value in zip(table.keys, table.values):
        name, settings = ast.literal_eval(key), classes[ast.unparse(value.elts[1])]  # type: ignore
        summary = (ast.get_docstring(settings) or "").partition("\n")[0]
        found.append(Listed(name, summary, _controls(settings, classes)))
    return found


def _controls(settings: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> tuple[str, ...]:
    """The names of a class's controls: its own, else those of its base in the same file."""
    for node in settings.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "controls":
            return tuple(ast.literal_eval(key) for key in node.value.keys)  # type: ignore
    bases = [classes[name] for name in map(ast.unparse, settings.bases) if name in classes]
    return _controls(bases[0], classes) if bases else ()


def family(method: str) -> str:
    """What a method works by, a key of FAMILIES; of a function in a notebook "your own"."""
    methods = _tables()["METHODS"]
    return methods[method][1].family if method in methods else Settings.family


def find_method(
    method: str | Callable, settings_class: type[Settings] = Settings
) -> tuple[str, Callable, type[Settings]]:
    """(name, train function, settings class) of a built-in name or of a function of one's own.

    Raises ValueError for a name that does not exist, and for a built-in function passed as one's own.
    """
    methods = _tables()["METHODS"]
    if isinstance(method, types.FunctionType):
        if any(method is known for known, _ in methods.values()) and settings_class is Settings:
            raise ValueError(
                f"{method.__name__} is built in: ask for it by its name, one of {', '.join(methods)}"
            )
        return method.__name__.removeprefix("train_"), method, settings_class
    if method not in methods:
        raise ValueError(f"method {method!r} does not exist: {', '.join(methods)}")
    return method, *methods[method]
