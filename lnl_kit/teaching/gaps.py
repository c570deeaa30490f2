"""Gaps in the code of a cell: made where it has an answer, and filled where it has dots."""

from __future__ import annotations

import ast
import textwrap
from typing import NamedTuple


class Asked(NamedTuple):
    """An exercise of a cell: `check(name, variable)`, and the lines that define the variable with dots."""

    name: str
    variable: str
    skeleton: str


def blank(source: str, variable: str, hint: str) -> str:
    """The code with dots, and a hint above them, in place of what is assigned to the variable.

    Raises ValueError where the code assigns to it never or more than once.
    """
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [variable]
    ]
    if len(found) != 1:
        raise ValueError(f"a gap for {variable!r}, which the cell assigns {len(found)} times, not once")
    node, lines = found[0], source.splitlines()
    indent = " " * node.col_offset
    told = [f"{indent}# {line}" for line in textwrap.wrap(f"Your turn: {hint}", 96 - len(indent))]
    lines[node.lineno - 1 : node.end_lineno] = [*told, f"{indent}{variable} = ..."]
    return "\n".join(lines)


def asked(source: str) -> list[Asked]:
    """The exercises of a cell of checks, in its order.

    Raises ValueError where something is checked that the cell does not define.
    """
    tree = ast.parse(source)
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign):
            defined[ast.unparse(node.targets[0])] = node
    found = []
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "check":
            name, variable = ast.literal_eval(call.args[0]), ast.unparse(call.args[1])
            if variable not in defined:
                raise ValueError(f"the exercise {name} checks {variable!r}, which its cell does not define")
            skeleton = ast.get_source_segment(source, defined[variable]) or ""
            found.append(Asked(name, variable, skeleton))
    return found


def filled(skeleton: str, solution: str) -> str:
    """The definition with a solution in place of its dots: an expression, or the body of the function."""
    solution = solution.strip("\n")
    if skeleton.startswith("def "):
        head = skeleton.splitlines()[0]
        return f"{head}\n{textwrap.indent(solution, '    ')}"
    return f"{skeleton.split(' = ')[0]} = {solution}"


def is_open(source: str) -> bool:
    """Whether dots are still assigned or returned somewhere, or the code is no Python at all."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    values = (n.value for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.Return))
    return any(isinstance(v, ast.Constant) and v.value is ... for v in values)
