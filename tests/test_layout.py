"""The layout of the package: short functions and files, and methods named in their own files alone."""

import ast
from pathlib import Path

import pytest

import lnl_kit
from lnl_kit.methods import METHODS

PACKAGE = Path(lnl_kit.__file__).parent
FUNCTION, FILE = 60, 350  # lines at most, signature and docstring among them

LONG_FILES = {
    "notebook/exercises.py": "a table of exercises",
    "toolbox/augment/kernels.py": "one kernel a transformation, each short",
}
NAMES_METHODS = {
    "toolbox/losses.py": "losses bear the names that their methods have",
    "bench/gpu_plan.py": "a plan of measurements, which names what it measures as a notebook does",
    "results/gpu.py": "what was measured by that plan, each method beside its controls",
    "bench/gpu_timings.py": "carries that plan out; the CPU's `cores` are no method",
}


def modules() -> dict[str, str]:
    """The text of every file of the package by its path."""
    return {p.relative_to(PACKAGE).as_posix(): p.read_text("utf-8") for p in sorted(PACKAGE.rglob("*.py"))}


def long_functions(text: str) -> dict[str, int]:
    """The lines of each function that has more than FUNCTION, its decorators aside."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, functions)]
    lines = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in found}
    return {name: n for name, n in lines.items() if n > FUNCTION}


def methods_named(text: str) -> list[tuple[int, str]]:
    """(line, method) of each string, docstrings aside, that is the name of a method."""
    tree = ast.parse(text)
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    docstrings = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in docstrings
        if isinstance(node.value, str) and node.value in METHODS
    ]


@pytest.mark.parametrize("path", modules())
def test_functions_and_files_are_short(path):
    text = modules()[path]
    lines = len(text.splitlines())
    assert lines <= FILE or path in LONG_FILES, f"{path} has {lines} lines: split it"
    assert not long_functions(text), f"{path} has functions of more than {FUNCTION} lines: split them"


@pytest.mark.parametrize("path", [p for p in modules() if not p.startswith("methods/")])
def test_no_other_module_names_a_method(path):
    named = methods_named(modules()[path])
    assert not named or path in NAMES_METHODS, (
        f"{path} names methods: let the method's own file say what it needs, or use BASELINE and FAMILIES"
    )


def test_every_exception_is_needed():
    texts = modules()
    assert all(len(texts[path].splitlines()) > FILE for path in LONG_FILES)
    assert all(methods_named(texts[path]) for path in NAMES_METHODS)


def test_the_measures_see_what_they_look_for():
    body = "\n".join(["    x = 1"] * FUNCTION)
    assert long_functions(f"def f():\n{body}\n") == {"f": FUNCTION + 1}
    assert not long_functions(f"def f():\n{body[: body.rindex(chr(10))]}\n")
    assert methods_named('"""nrd"""\ndef f(x="nrd"):\n    "ce"\n    return {"ce": x, "cells": 1}\n') == [
        (2, "nrd"),
        (4, "ce"),
    ]
